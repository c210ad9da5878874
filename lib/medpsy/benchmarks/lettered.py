"""Read lettered options out of running text, for sets that print them inside the question.

It reads options that stand at the end of the text, lettered from A without gaps. Anything else is no option list.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from medpsy.benchmarks.question import LETTERS

OWN_LINE = re.compile(r"^[ \t]*(?:\(([A-J])\)|([A-J])[.):])[ \t]+", re.MULTILINE)  # "A. x", "A) x", "(A) x" per line
INLINE = re.compile(r"(?<!\S)\(([A-J])\)[ \t]+")  # "(A) x (B) y" on one line
HEADING = re.compile(r"\s*(?:answer choices|answer options|options|choices)\s*:?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Lettered:
    """A text split into what stands before its options and the options."""

    stem: str
    options: tuple[str, ...]


def split_options(text: str) -> Lettered | None:
    """Return stem and options of `text`, or None if it does not end with a list of at least two."""
    return split_at(text, OWN_LINE) or split_at(text, INLINE)


def split_at(text: str, mark: re.Pattern[str]) -> Lettered | None:
    """Return stem and options if the marks from the last A onwards read A, B, C, ... to the end."""
    marks = list(mark.finditer(text))
    names = [next(group for group in match.groups() if group) for match in marks]
    start = max((place for place, name in enumerate(names) if name == "A"), default=0)
    run = marks[start:]
    if len(run) < 2 or names[start:] != list(LETTERS[: len(run)]):
        return None
    ends = [following.start() for _, following in pairwise(run)] + [len(text)]
    options = tuple(text[match.end() : end].strip() for match, end in zip(run, ends, strict=True))
    return Lettered(HEADING.sub("", text[: run[0].start()]).strip(), options)
