"""Score a user's own verdicts on HealthBench examples: `medpsy grade healthbench`.

Reads two files; loads no model. What the verdicts do not say is missing and counted: a criterion without a verdict,
with null, or with two verdicts that differ is unjudged, never "not met".
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpsy.benchmarks.conversation import Conversation
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.healthbench import to_conversation
from medpsy.grading.rows import BadRow, Place, field_of, identifier, read_rows
from medpsy.grading.verdicts import MET, NOT_MET, UNJUDGED

SUITE = "healthbench"
UNNAMED = "judge not named"
SHOWN = 40  # characters of a strange criterion in a message
MISSING, CONFLICTING = "missing", "conflicting"
OUTCOME = {True: MET, False: NOT_MET, None: UNJUDGED}


@dataclass
class Verdicts:
    """The verdicts of a file, by judge.

    Args:
        said: judge -> (prompt id, criterion's text) -> outcomes, in file order.
        rows: verdicts in the file.
        unknown_prompts, unknown_criteria: verdicts on what is not in the examples, by name.
    """

    said: dict[str, dict[tuple[str, str], list[str]]] = field(default_factory=dict)
    rows: int = 0
    unknown_prompts: Counter[str] = field(default_factory=Counter)
    unknown_criteria: Counter[str] = field(default_factory=Counter)


@dataclass
class Rubrics:
    """What one judge said of every criterion: rows for `medpsy.grading.rubric`, and what was wrong with the verdicts.

    Args:
        outcomes: prompt id -> outcome of each criterion, in rubric order.
        missing, null: criteria without a verdict, and with null.
        duplicates: verdicts beyond those that a criterion needs, whether they agree or not, by criterion.
        conflicting: criteria with verdicts that differ, and so unjudged.
    """

    outcomes: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    null: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    conflicting: list[str] = field(default_factory=list)


def load_examples(path: Path) -> dict[str, Conversation]:
    """Return the examples of a file in the published schema, plain or gzipped, by prompt id.

    Raises:
        ValueError: names file, row, field and fix.
    """
    examples: dict[str, Conversation] = {}
    for place, row in read_rows(path):
        one = to_conversation(Row(row, path.name, place.line), SUITE, tags=())  # a level is not needed to score
        if one.id in examples:
            raise place.bad(f"{one.id!r} is there already", field="prompt_id", fix="keep one row per example")
        examples[one.id] = one
    if not examples:
        raise BadRow(f"{path.name}: no examples in this file. Fix: write one JSON object a line.")
    return examples


def load_verdicts(path: Path, examples: Mapping[str, Conversation]) -> Verdicts:
    """Return the verdicts of a file: ``{prompt_id, criterion, criteria_met: true|false|null, judge?}``, one a line.

    Raises:
        BadRow: a row is malformed; the message names file, line, field and fix.
    """
    known = {name: {one.text for one in example.rubric} for name, example in examples.items()}
    found = Verdicts()
    for place, row in read_rows(path):
        prompt_id, text = identifier(place, row, "prompt_id"), _text(place, row, "criterion")
        outcome, judge = _outcome(place, row), _judge(place, row)
        found.rows += 1
        said = found.said.setdefault(judge, {})
        if prompt_id not in known:
            found.unknown_prompts[prompt_id] += 1
        elif text not in known[prompt_id]:
            found.unknown_criteria[f"{prompt_id} (line {place.line}): {text[:SHOWN]}"] += 1
        else:
            said.setdefault((prompt_id, text), []).append(outcome)
    if not found.rows:
        raise BadRow(f"{path.name}: no verdicts in this file. Fix: write one JSON object a line.")
    return found


def rubrics(examples: Mapping[str, Conversation], said: Mapping[tuple[str, str], list[str]]) -> Rubrics:
    """Return the outcome of every criterion by one judge.

    A text that a rubric holds several times has as many places: as many verdicts belong to them in order, and a single
    one decides them all.
    """
    found = Rubrics()
    for name, example in examples.items():
        places = Counter(one.text for one in example.rubric)
        waiting = {text: _by_place(said.get((name, text), []), count) for text, count in places.items()}
        for text, count in places.items():
            if more := len(said.get((name, text), [])) - count:
                found.duplicates[f"{name}: {text[:SHOWN]}"] += max(more, 0)
        found.outcomes[name] = [
            _noted(waiting[one.text].pop(0), f"{name}, criterion {at}", found)
            for at, one in enumerate(example.rubric, 1)
        ]
    found.duplicates = +found.duplicates  # only what is above 0
    return found


def _by_place(given: list[str], places: int) -> list[str]:
    """Return one outcome, `MISSING` or `CONFLICTING` for each place of a text."""
    if len(given) == places:
        return list(given)
    if len(set(given)) > 1:
        return [CONFLICTING] * places
    return (given[:1] or [MISSING]) * places


def _noted(outcome: str, label: str, found: Rubrics) -> str:
    """Return the outcome of one criterion, after noting why it is unjudged."""
    why = {MISSING: found.missing, CONFLICTING: found.conflicting, UNJUDGED: found.null}.get(outcome)
    if why is None:
        return outcome
    why.append(label)
    return UNJUDGED


def _text(place: Place, row: dict[str, Any], name: str) -> str:
    value = field_of(place, row, name)
    if not isinstance(value, str) or not value.strip():
        raise place.bad(f"{value!r} is not text", field=name, fix="write the criterion as it stands in the rubric")
    return value.strip()


def _outcome(place: Place, row: dict[str, Any]) -> str:
    value = field_of(place, row, "criteria_met")
    if value is not None and not isinstance(value, bool):
        fix = "write true, false, or null where there is no verdict; no text, no number"
        raise place.bad(f"{value!r} is no verdict", field="criteria_met", fix=fix)
    return OUTCOME[value]


def _judge(place: Place, row: dict[str, Any]) -> str:
    value = row.get("judge")
    if value is None:
        return UNNAMED
    if not isinstance(value, str) or not value.strip():
        raise place.bad(f"{value!r} is no name", field="judge", fix="write a text, or leave it out")
    return value.strip()
