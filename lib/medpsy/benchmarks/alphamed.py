"""AlphaMedQA: the multiple-choice questions for reinforcement learning. For training only, never a suite.

Liu et al., "Beyond Distillation". Built from the training splits of MedQA and MedMCQA. Its schema is not confirmed:
a column `question`, options inside it or in a column of their own, and `answer` as a letter or a text. Each form is
read; anything else stops with the row, so that a wrong guess cannot pass for a reward.
"""

import re

from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.benchmarks.lettered import Lettered, split_options
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.benchmarks.suite import Notes, SuiteSpec

FILES = ("train*", "data/train*")
FEWEST, MOST = 17_500, 20_000  # ours: holds the report's 18K, a survey's 19,178 and a recalled mix of 19,778
LETTER = re.compile(r"\(?([A-J])\)?[.:)]?(?:\s+(.+))?", re.DOTALL)  # "B", "(B)", "B.", "B. text"


def load(origin: rows.Origin) -> tuple[list[Question], Notes]:
    """Return the training questions that have options; those without are left out and counted.

    Raises:
        DataError: unless there are about as many rows as published (sources disagree on the number).
    """
    found = rows.read(origin, FILES)
    if not origin.partial and not FEWEST <= len(found) <= MOST:
        where = rows.sources(found) or origin.data_dir
        raise DataError(f"{where}: {len(found):,} rows, {FEWEST:,} to {MOST:,} expected; pass partial=True for a part")
    read = [(row, lettered(row)) for row in found]
    questions = [to_question(row, parts, number) for number, (row, parts) in enumerate(read, 1) if parts]
    return questions, {"rows": len(found), "without options, left out": len(found) - len(questions)}


def lettered(row: Row) -> Lettered | None:
    """Return stem and options of a row, or None if it has no options anywhere."""
    stem, given = row.text("question"), row.values.get("options")
    if given is None or given == "":
        return split_options(stem)
    if isinstance(given, str) and (parts := split_options(given)):
        return Lettered(stem, parts.options)
    given = row.structure("options")
    if isinstance(given, dict):
        named = {name: text for name, text in given.items() if text is not None}  # a struct column fills gaps with null
        if sorted(named) != list(LETTERS[: len(named)]):
            raise row.error("options", "letters from A without gaps are expected")
        given = [named[name] for name in sorted(named)]
    if not 2 <= len(given) <= len(LETTERS) or not all(isinstance(text, str) for text in given):
        raise row.error("options", f"2 to {len(LETTERS)} texts are expected")
    inside = split_options(stem)  # the same list may also end the question; it must not be shown twice
    return Lettered(inside.stem if inside else stem, tuple(text.strip() for text in given))


def to_question(row: Row, parts: Lettered, number: int) -> Question:
    """Return training question `number`; no id column is known."""
    if not parts.stem:
        raise row.error("question", "a question is expected before its options")
    gold = gold_index(row, parts.options)
    return Question(str(number), SPEC.key, "", parts.stem, parts.options, gold, None, weight_group=SPEC.key)


def gold_index(row: Row, options: tuple[str, ...]) -> int:
    """Return the index that `answer` names by letter, by text or by both; they must not contradict each other."""
    answer = row.text("answer")
    same = {index for index, option in enumerate(options) if plain(option) == plain(answer)}
    match = LETTER.fullmatch(answer)
    if match and match[1] in LETTERS[: len(options)]:
        index = LETTERS.index(match[1])
        if match[2] is None or plain(match[2]) == plain(options[index]):
            same.add(index)
    if len(same) != 1:
        what = "fits several options" if same else "fits no option"
        raise row.error("answer", f"it {what}; the letter or the exact text of one of {len(options)} is expected")
    return same.pop()


def plain(text: str) -> str:
    """Return `text` without case, outer punctuation and repeated white space."""
    return " ".join(text.casefold().split()).strip(" .")


SPEC = SuiteSpec(
    key="alphamed",
    title="AlphaMedQA",
    hub_id="che111/AlphaMed19K",
    config=None,
    split="train",
    revision=None,  # none is known: the caller must choose one
    licence="not stated",
    published=None,  # 18K in the report, 19,178 in a survey
    load=load,
    use="training",
)
