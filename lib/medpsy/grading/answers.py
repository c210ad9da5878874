"""Grade a user's own saved responses: `medpsy grade answers`.

Reads two files and writes one; loads no model. A question without a response has failed; it is never left out.
"""

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from medpsy.benchmarks.question import LETTERS, Question
from medpsy.grading import outcomes
from medpsy.grading.outcomes import NO_GOLD, OUTCOMES
from medpsy.grading.readers import BIASED, READERS
from medpsy.grading.rows import UserResponse, load_questions, load_responses, named
from medpsy.statistics import proportion_margin

DEFAULT_READER = "lenient"
_NOTES = {
    "missing": "questions without a response (counted as failed)",
    "unknown_ids": "responses to questions that are not in the file (left out)",
    "repeated_ids": "further responses to the same question (left out; the first counts)",
}
_ENDING = 200  # characters of an answer's end shown for a case that nobody can read


@dataclass(frozen=True, slots=True)
class GradedRow:
    """One question of the user's file with what became of its response.

    Args:
        chosen, gold: letters, or None.
        outcome: one of `medpsy.grading.outcomes.OUTCOMES`, or ``"no gold"``.
        how: where the choice was found, or why there is none.
        ending: the end of the answer where no choice could be read; else None.
    """

    id: str
    chosen: str | None
    gold: str | None
    outcome: str
    how: str
    ending: str | None


class Grades(NamedTuple):
    """A row per question, in file order, and the summary ``{accuracy, margin, outcomes, rows, ...}``."""

    rows: list[GradedRow]
    summary: dict[str, Any]


def grade(
    questions: Path | str, responses: Path | str, *, reader: str = DEFAULT_READER, opens_thinking: bool = False
) -> Grades:
    """Grade a file of responses to a file of questions, both JSON lines, plain or gzipped.

    Accuracy is 100 x correct / questions with gold (None without any); its margin (95 %) covers the choice of
    questions. `outcomes` counts questions with gold; unknown, repeated and missing responses are counted and named.

    Args:
        reader: a name in `READERS`.
        opens_thinking: the chat template opened the reasoning, so a response without its end marker is no answer.

    Raises:
        BadRow: a row is malformed; the message names file, line, field and fix.
        ValueError: there is no such reader.
    """
    return _grade(questions, responses, [reader], opens_thinking=opens_thinking)[reader]


def readers_table(
    questions: Path | str, responses: Path | str, *, opens_thinking: bool = False
) -> list[dict[str, Any]]:
    """Return one row per reader: accuracy, margin, outcome counts, and whether the reader looks at the gold."""
    graded = _grade(questions, responses, list(READERS), opens_thinking=opens_thinking)
    return [_table_row(grades.summary) for grades in graded.values()]


def unreadable_cases(rows: Iterable[GradedRow]) -> list[GradedRow]:
    """Return the rows whose answer holds no single choice, ordered by the reason and then by id."""
    return sorted((row for row in rows if row.outcome == "unreadable"), key=lambda row: (row.how, row.id))


def write_rows(grades: Grades, path: Path | str) -> None:
    """Write the rows as JSON lines; the file appears only when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in grades.rows)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def printed_summary(grades: Grades) -> str:
    """Return the summary as a few lines of text."""
    summary = grades.summary
    total = sum(summary["outcomes"].values())
    score = "no question has a gold" if total == 0 else f"{summary['accuracy']:.2f} ± {summary['margin']:.2f} (95 %)"
    lines = [f"accuracy {score}, {total:,} questions with gold, reader {summary['reader']}"]
    lines += [f"  {name}: {count:,}" for name, count in summary["outcomes"].items()]
    if summary["without_gold"]:
        lines.append(f"  without gold, not graded: {summary['without_gold']:,}")
    for name, words in _NOTES.items():
        if summary[name]["count"]:
            lines.append(f"{words}: {summary[name]['count']:,}, e.g. {', '.join(summary[name]['first'])}")
    if summary["biased"]:
        lines.append(f"reader {summary['reader']} looks at the gold: this score is biased upwards")
    return "\n".join(lines)


def _grade(
    questions: Path | str, responses: Path | str, readers: Sequence[str], *, opens_thinking: bool
) -> dict[str, Grades]:
    """Grade the responses by each of `readers`, reading the files once."""
    for reader in readers:
        _check_reader(reader)
    known = load_questions(Path(questions))
    rows: dict[str, dict[str, GradedRow]] = {reader: {} for reader in readers}
    unknown: Counter[str] = Counter()
    repeated: Counter[str] = Counter()
    seen: set[str] = set()
    for response in load_responses(Path(responses)):
        if response.id not in known or response.id in seen:
            (repeated if response.id in seen else unknown)[response.id] += 1
            continue
        seen.add(response.id)
        for reader in readers:
            rows[reader][response.id] = _row(known[response.id], response, reader, opens_thinking)
    missing = [identifier for identifier in known if identifier not in seen]
    notes = {"missing": named(missing), "unknown_ids": named(unknown), "repeated_ids": named(repeated)}
    return {reader: _grades(reader, known, found, notes) for reader, found in rows.items()}


def _check_reader(name: str) -> None:
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no reader {name!r}; there are {', '.join(READERS)}.{hint}")


def _row(question: Question, response: UserResponse | None, reader: str, opens_thinking: bool) -> GradedRow:
    """Grade one response; None stands for a response that is missing."""
    graded = outcomes.grade(
        response.text if response else None,
        question,
        reader=READERS[reader],
        opens_thinking=opens_thinking,
        finish_reason=response.finish_reason if response else "failed",
    )
    ending = graded.answer.strip()[-_ENDING:] if graded.choice is None and graded.answer else None
    return GradedRow(question.id, _letter(graded.choice), _letter(question.gold), graded.outcome, graded.how, ending)


def _letter(index: int | None) -> str | None:
    return None if index is None else LETTERS[index]


def _grades(reader: str, questions: dict[str, Question], found: dict[str, GradedRow], notes: dict[str, Any]) -> Grades:
    rows = [found.get(name) or _row(question, None, reader, False) for name, question in questions.items()]
    counts = Counter(row.outcome for row in rows)
    with_gold = {name: counts[name] for name in OUTCOMES}
    total = sum(with_gold.values())
    summary = {
        "accuracy": 100 * with_gold["correct"] / total if total else None,
        "margin": proportion_margin(with_gold["correct"], total) if total else None,
        "outcomes": with_gold,
        "rows": len(rows),
        "without_gold": counts[NO_GOLD],
        "reader": reader,
        "biased": reader in BIASED,
        **notes,
    }
    return Grades(rows, summary)


def _table_row(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("reader", "biased", "accuracy", "margin", "rows", "without_gold")
    return {name: summary[name] for name in kept} | summary["outcomes"]
