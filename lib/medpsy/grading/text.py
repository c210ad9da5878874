"""Text as the readers compare it: look-alike letters folded, text marks of LaTeX and HTML dropped, words flattened.

Changes only how text is written, never what it says; decides nothing about answers.
"""

import re
import unicodedata
from functools import lru_cache

# Capitals of other alphabets that look like A to J, and signs that hide or split a letter.
_CYRILLIC_GREEK = str.maketrans("АВСЕНІЈΑΒΕΗΙ", "ABCEHIJABEHI")
_LONE_LOOKALIKE = re.compile(r"(?<!\w)[АВСЕНІЈΑΒΕΗΙ](?!\w)(?!\s+[а-яα-ω])")  # "В этом" is the Russian word "in"
_BOXED_LETTERS = {0x1F170 + i: chr(65 + i) for i in range(26)} | {0x1F150 + i: chr(65 + i) for i in range(26)}
_SIGNS = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xFE0E, 0xFE0F, 0xAD]) | {
    ord(old): new for old, new in zip("‘’‚“”„«»‐‑–—−、", '\'\'\'"""""-----,', strict=True)
}
_LATEX = re.compile(r"\\(?:text(?:bf|rm|it|sf)?|math(?:rm|bf|sf|it)|operatorname|bf|rm)\s*\{([^{}]{0,200})\}")
_TAGS = re.compile(r"</?(?:b|i|u|em|strong|mark|p|br|span|div|sup|sub)\b[^<>]{0,80}>", re.I)
_TOKEN = re.compile(r"[^\W_]+(?:[.:/^'][^\W_]+)*|[<>≤≥=+%↑↓→±]|-(?=[\d.])")
_JOINING = re.compile(r"(?<!\d)[ ./:']|[ ./:'](?!\d)")
_LETTER_A = re.compile(r"[\W_]*a[.):]", re.I)
_LEAD_WORD = re.compile(r"^(?:a|an|the|both) (?!and |or )(?=.)")


def word_set(words: str) -> frozenset[str]:
    """Return the words of a space-separated list."""
    return frozenset(words.split())


def clean(text: str) -> str:
    """Return `text` with look-alike characters folded and LaTeX and HTML text marks taken off."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_BOXED_LETTERS)).translate(_SIGNS)
        text = _LONE_LOOKALIKE.sub(lambda found: found[0].translate(_CYRILLIC_GREEK), text)
    text = _LATEX.sub(r"\1", text) if "\\" in text else text
    return _TAGS.sub("", text) if "<" in text else text


def flat(text: str) -> str:
    """Return the words of cleaned text in lower case with single spaces; signs that carry meaning stay words."""
    words = _TOKEN.findall(text.replace("&", " and ").casefold())
    if _LETTER_A.match(text):
        words[0] = "(a)"  # an option's letter, not an article
    return " ".join(words)


@lru_cache(maxsize=65536)
def flat_option(text: str) -> str:
    """Return an option's words as `flat` does, without a leading article or "both"."""
    return bare(flat(clean(text)))


def bare(words: str) -> str:
    """Drop one leading article (or "both") from flattened words, unless nothing else is left."""
    return _LEAD_WORD.sub("", words)


def packed(words: str) -> str:
    """Return flattened words without spaces, "and" or joining signs: the loosest form in which texts are called equal.

    Numbers keep their borders, so that 1.5 and 15 stay different.
    """
    return _JOINING.sub("", " ".join(word for word in words.split() if word != "and"))
