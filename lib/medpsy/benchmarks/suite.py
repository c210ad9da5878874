"""A suite: a benchmark as this study evaluates it, and what is known about it before it is read.

Nothing here reads a file. `build` is the last check that every suite passes, the miniature's included.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass

from medpsy.benchmarks.fields import DataError
from medpsy.benchmarks.question import Question

Notes = dict[str, int | str]


@dataclass(frozen=True)
class SuiteSpec:
    """Where a suite comes from and what its complete copy holds.

    Args:
        key: name in code and tables of ours; `title` is the report's name of its column.
        hub_id, config, split, revision: the copy that is read; None where none is needed or known.
        licence: of that copy, as its page states it.
        published: number of questions of the complete suite, or None where sources disagree.
        load: reads an `Origin`, with the suite's named options, into questions and notes.
        use: ``"evaluation"``, or ``"training"`` for a set that must never be evaluated on.
    """

    key: str
    title: str
    hub_id: str
    config: str | None
    split: str
    revision: str | None
    licence: str
    published: int | None
    load: Callable[..., tuple[list[Question], Notes]]
    use: str = "evaluation"


@dataclass(frozen=True)
class Suite:
    """Questions ready to be asked.

    Args:
        notes: counts of what was read, left out and kept apart, and where it came from.
        digest: SHA-256 over all questions in order; two loads with one digest ask the same.
    """

    key: str
    title: str
    questions: tuple[Question, ...]
    notes: Mapping[str, int | str]
    digest: str

    @property
    def scored(self) -> tuple[Question, ...]:
        """Questions with a key; only these can be graded."""
        return tuple(question for question in self.questions if question.gold is not None)


def build(spec: SuiteSpec, questions: Iterable[Question], notes: Notes) -> Suite:
    """Return the suite after the checks that hold for all: not empty, right suite, no id twice.

    Raises:
        DataError: naming the suite and the question.
    """
    questions = tuple(questions)
    if not questions:
        raise DataError(f"{spec.key}: no question is left; notes so far: {notes}")
    for question in questions:
        if question.suite != spec.key:
            raise DataError(f"{spec.key}: question {question.id!r} says it belongs to suite {question.suite!r}")
    ident, times = Counter(question.id for question in questions).most_common(1)[0]
    if times > 1:
        raise DataError(f"{spec.key}: id {ident!r} occurs {times} times; remove the file or rows read twice")
    counts = {
        "questions": len(questions),
        "without a key": sum(question.gold is None for question in questions),
        "empty options": sum(option == "" for question in questions for option in question.options),
    }
    return Suite(spec.key, spec.title, questions, {**notes, **counts}, digest(questions))


def digest(questions: Iterable[Question]) -> str:
    """Return the SHA-256 over every field of every question, in order."""
    total = hashlib.sha256()
    for question in questions:
        total.update(json.dumps(astuple(question), ensure_ascii=True).encode() + b"\n")
    return total.hexdigest()
