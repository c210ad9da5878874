"""A suite: a benchmark as this study evaluates it, and what is known about it before it is read.

Nothing here reads a file. `build` is the last check that every suite passes, the miniature's included.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from medpsy.benchmarks.conversation import Conversation
from medpsy.benchmarks.fields import DataError
from medpsy.benchmarks.question import Question

Notes = dict[str, int | str]
Items = Iterable[Question] | Iterable[Conversation]


@dataclass(frozen=True)
class SuiteSpec:
    """Where a suite comes from and what its complete copy holds.

    Args:
        key: name in code and tables of ours; `title` is the report's name of its column.
        hub_id, config, split, revision: the copy that is read; None where none is needed or known.
        licence: of that copy, as its page states it.
        published: number of questions (or conversations) of the complete suite, or None where sources disagree.
        load: reads an `Origin`, with the suite's named options, into questions (or conversations) and notes.
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
    load: Callable[..., tuple[list[Question] | list[Conversation], Notes]]
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


@dataclass(frozen=True)
class OpenSuite:
    """Conversations ready to be asked, each with its rubric; `notes` and `digest` as in `Suite`."""

    key: str
    title: str
    conversations: tuple[Conversation, ...]
    notes: Mapping[str, int | str]
    digest: str


def build(spec: SuiteSpec, questions: Iterable[Question], notes: Notes) -> Suite:
    """Return the suite after the checks of `checked`."""
    questions = checked(spec, questions, notes, "question")
    counts = {
        "questions": len(questions),
        "without a key": sum(question.gold is None for question in questions),
        "empty options": sum(option == "" for question in questions for option in question.options),
    }
    return Suite(spec.key, spec.title, questions, {**notes, **counts}, digest(questions))


def build_open(spec: SuiteSpec, conversations: Iterable[Conversation], notes: Notes) -> OpenSuite:
    """Return the open suite after the checks of `checked`."""
    conversations = checked(spec, conversations, notes, "conversation")
    criteria = [criterion for conversation in conversations for criterion in conversation.rubric]
    counts = {
        "conversations": len(conversations),
        "criteria": len(criteria),
        "criteria with negative points": sum(criterion.points < 0 for criterion in criteria),
    }
    return OpenSuite(spec.key, spec.title, conversations, {**notes, **counts}, digest(conversations))


def checked(spec: SuiteSpec, items: Items, notes: Notes, what: str) -> tuple:
    """Return `items` as a tuple after the checks that hold for all suites: not empty, right suite, no id twice.

    Raises:
        DataError: naming the suite and the item, which is called `what`.
    """
    items = tuple(items)
    if not items:
        raise DataError(f"{spec.key}: no {what} is left; notes so far: {notes}")
    for item in items:
        if item.suite != spec.key:
            raise DataError(f"{spec.key}: {what} {item.id!r} says it belongs to suite {item.suite!r}")
    ident, times = Counter(item.id for item in items).most_common(1)[0]
    if times > 1:
        raise DataError(f"{spec.key}: id {ident!r} occurs {times} times; remove the file or rows read twice")
    return items


def digest(items: Items) -> str:
    """Return the SHA-256 over every field of every question or conversation, in order."""
    total = hashlib.sha256()
    for item in items:
        total.update(json.dumps(item, ensure_ascii=True, default=_values).encode() + b"\n")
    return total.hexdigest()


def _values(item: object) -> list[object]:
    """Return the fields of a dataclass in order; `dataclasses.astuple` would copy every text, a second per suite."""
    return [getattr(item, one.name) for one in fields(item)]
