"""Texts as the filters compare them: words without case and punctuation, and runs of words."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of `text`, in lower case and compatibility form."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs(found: Sequence[str], length: int) -> list[str]:
    """Return every run of `length` neighbouring words; a shorter text is one run."""
    return [" ".join(found[at : at + length]) for at in range(max(1, len(found) - length + 1))]


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for `text`."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
