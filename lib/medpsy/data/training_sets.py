"""Questions for training only, never a suite: AlphaMedQA, and options printed inside running text.

AlphaMedQA, Liu et al., "Beyond Distillation", is the set for reinforcement learning, built from the training splits of
MedQA and MedMCQA. Its schema is not confirmed: a column `question`, options inside it or in a column of their own, and
`answer` as a letter or a text. Each form is read; anything else stops with the row, so that a wrong guess cannot pass
for a reward.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from medpsy.data.questions import LETTERS, Question
from medpsy.data.rows import DataError, Origin, Row, read, sources

OWN_LINE = re.compile(r"^[ \t]*(?:\(([A-J])\)|([A-J])[.):])[ \t]+", re.MULTILINE)  # "A. x", "A) x", "(A) x" per line
BRACKETED = re.compile(r"(?<!\S)\(([A-J])\)[ \t]+")  # "(A) x (B) y" on one line
# "A: x B: y C: z" on one line, always with the same mark; of two alone, prose ("type A. ... type B. ...") is not told
INLINE = tuple(re.compile(rf"(?<!\S)([A-J]){mark}[ \t]+") for mark in (":", r"\)", r"\."))
FEWEST_INLINE = 3
HEADING = re.compile(r"\s*(?:answer choices|answer options|options|choices)\s*:?\s*$", re.IGNORECASE)


class Lettered(NamedTuple):
    """A text split into what stands before its options and the options."""

    stem: str
    options: tuple[str, ...]


def split_options(text: str) -> Lettered | None:
    """Return stem and options of `text`, or None if it does not end with at least two, lettered from A without gaps, a
    line each or all on one line."""
    forms = [(OWN_LINE, 2), (BRACKETED, 2), *((mark, FEWEST_INLINE) for mark in INLINE)]
    return next(filter(None, (_split_at(text, mark, fewest) for mark, fewest in forms)), None)


def _split_at(text: str, mark: re.Pattern[str], fewest: int) -> Lettered | None:
    """Return stem and options if the marks from the last A onwards read A, B, C, ... to the end, `fewest` or more."""
    marks = list(mark.finditer(text))
    names = [next(group for group in match.groups() if group) for match in marks]
    start = max((place for place, name in enumerate(names) if name == "A"), default=0)
    run = marks[start:]
    if len(run) < fewest or names[start:] != list(LETTERS[: len(run)]):
        return None
    ends = [following.start() for _, following in pairwise(run)] + [len(text)]
    options = tuple(text[match.end() : end].strip() for match, end in zip(run, ends, strict=True))
    return Lettered(HEADING.sub("", text[: run[0].start()]).strip(), options)


FEWEST, MOST = 17_500, 20_000  # ours: holds the report's 18K, a survey's 19,178 and a recalled mix of 19,778
LETTER = re.compile(r"\(?([A-J])\)?[.:)]?(?:\s+(.+))?", re.DOTALL)  # "B", "(B)", "B.", "B. text"


def alphamed(origin: Origin) -> list[Question]:
    """Return the training questions that have options; refuses other than about as many rows as published, on whose
    number sources disagree."""
    rows = read(origin, ("train*", "data/train*"))
    if not origin.partial and not FEWEST <= len(rows) <= MOST:
        where = sources(rows) or origin.data_dir
        raise DataError(f"{where}: {len(rows):,} rows, {FEWEST:,} to {MOST:,} expected; use the complete copy")
    questions = []
    for number, row in enumerate(rows, 1):
        if parts := lettered(row):
            row.expect(parts.stem, "question", "a question is expected before its options")
            gold = _gold(row, parts.options)
            questions.append(Question(str(number), "alphamed", "", parts.stem, parts.options, gold, None, "alphamed"))
    return questions


def lettered(row: Row) -> Lettered | None:
    """Return stem and options of a row of AlphaMedQA, or None if it has no options anywhere."""
    stem, given = row.text("question"), row.values.get("options")
    inside = split_options(stem)
    if given is None or given == "":
        return inside
    if isinstance(given, str) and (parts := split_options(given)):
        return Lettered(stem, parts.options)
    given = row.structure("options")
    if isinstance(given, dict):
        named = {name: text for name, text in given.items() if text is not None}  # a struct column fills gaps with null
        row.expect(sorted(named) == list(LETTERS[: len(named)]), "options", "letters from A without gaps are expected")
        given = [named[name] for name in sorted(named)]
    whole = 2 <= len(given) <= len(LETTERS) and all(isinstance(text, str) for text in given)
    row.expect(whole, "options", f"2 to {len(LETTERS)} texts are expected")
    # The same list may also end the question; it must not be shown twice.
    return Lettered(inside.stem if inside else stem, tuple(text.strip() for text in given))


def _gold(row: Row, options: tuple[str, ...]) -> int:
    """Return the index that `answer` names by letter, by text or by both; they must not contradict each other."""
    answer = row.text("answer")
    same = {index for index, option in enumerate(options) if plain(option) == plain(answer)}
    match = LETTER.fullmatch(answer)
    if match and match[1] in LETTERS[: len(options)]:
        index = LETTERS.index(match[1])
        if match[2] is None or plain(match[2]) == plain(options[index]):
            same.add(index)
    what = "several options" if same else "no option"
    wanted = f"the letter or the exact text of one of {len(options)} is expected"
    row.expect(len(same) == 1, "answer", f"it fits {what}; {wanted}")
    return same.pop()


def plain(text: str) -> str:
    """Return `text` without case, outer punctuation and repeated white space."""
    return " ".join(text.casefold().split()).strip(" .")
