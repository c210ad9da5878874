"""Read a user's own questions and responses, one JSON object a line, plain or gzipped.

Refuses a malformed row with file, line, field and fix; never guesses what was meant. Responses are streamed.
"""

import difflib
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpsy.benchmarks.question import LETTERS, Question

FINISH_REASONS = {  # as engines and services call them -> as we do
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "content_filter"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "max_length"), "length"),
    **dict.fromkeys(("failed", "error"), "failed"),
}


NAMED = 5  # identifiers named in a summary


class BadRow(ValueError):
    """A row that cannot be used; the message names file, line, field and fix."""


@dataclass(frozen=True)
class Place:
    """Where a row stands, for messages."""

    path: Path
    line: int

    def bad(self, problem: str, *, field: str | None = None, fix: str) -> BadRow:
        at = f"{self.path.name} line {self.line}" + (f", field {field!r}" if field else "")
        return BadRow(f"{at}: {problem}. Fix: {fix}.")


@dataclass(frozen=True)
class UserResponse:
    """One row of the responses file; `text` None means that there was no response."""

    id: str
    text: str | None
    finish_reason: str | None


def load_questions(path: Path) -> dict[str, Question]:
    """Return the questions of a file by id, in file order."""
    questions: dict[str, Question] = {}
    lines: dict[str, int] = {}
    for place, row in read_rows(path):
        question = _question(place, row)
        if question.id in questions:
            problem = f"id {question.id!r} was used on line {lines[question.id]} already"
            raise place.bad(problem, field="id", fix="give each question its own")
        questions[question.id], lines[question.id] = question, place.line
    if not questions:
        raise BadRow(f"{path.name}: no questions in this file. Fix: write one JSON object a line.")
    return questions


def load_responses(path: Path, name: str = "id") -> Iterator[UserResponse]:
    """Yield the responses of a file in order; `name` is the field that says what they answer."""
    for place, row in read_rows(path):
        text = field_of(place, row, "text")
        if text is not None and not isinstance(text, str):
            raise place.bad(
                f"{text!r} is not text", field="text", fix="write a string, or null where there is no response"
            )
        yield UserResponse(identifier(place, row, name), text, _finish_reason(place, row))


def read_rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield place and object of each non-empty line; gzip is recognized by content, not by name."""
    for number, line in _lines(path):
        place = Place(path, number)
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            spread = number == 1 and line.strip() in ("[", "{")
            fix = "write one JSON object a line" + (", not one value over many lines" if spread else "")
            raise place.bad(f"not JSON ({error.msg} at column {error.colno})", fix=fix) from None
        if not isinstance(row, dict):
            raise place.bad(f"a JSON {type(row).__name__}, not an object", fix="write one JSON object a line")
        yield place, row


def named(identifiers: Iterable[str]) -> dict[str, Any]:
    """Return how many rows there are and the first few identifiers; a Counter counts every repetition."""
    count = identifiers.total() if isinstance(identifiers, Counter) else len(list(identifiers))
    return {"count": count, "first": list(identifiers)[:NAMED]}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Fix: check the path.")
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    number = 0
    try:
        with (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise Place(path, number + 1).bad(f"not UTF-8 ({error.reason})", fix="save the file as UTF-8") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise Place(path, number + 1).bad(
            f"the gzip file is damaged ({error})", fix="compress or copy it again"
        ) from None


def field_of(place: Place, row: dict[str, Any], name: str) -> Any:
    """Return the value called `name`; a missing one is an error that offers the nearest name there is."""
    if name in row:
        return row[name]
    near = difflib.get_close_matches(name, list(row), n=1, cutoff=0.6)
    fix = f"rename {near[0]!r} to {name!r}" if near else f"add {name!r}"
    raise place.bad("missing", field=name, fix=fix)


def identifier(place: Place, row: dict[str, Any], name: str = "id") -> str:
    """Return the text or whole number called `name` as text."""
    value = field_of(place, row, name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise place.bad(f"{value!r} is no identifier", field=name, fix="write a non-empty string or a whole number")
    return str(value)


def _finish_reason(place: Place, row: dict[str, Any]) -> str | None:
    value = row.get("finish_reason")
    if value is None:
        return None
    known = FINISH_REASONS.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise place.bad(
            f"{value!r} is not known", field="finish_reason", fix="write stop, length, failed, or leave it out"
        )
    return known


def _question(place: Place, row: dict[str, Any]) -> Question:
    stem = field_of(place, row, "question")
    if not isinstance(stem, str):
        raise place.bad(f"{stem!r} is not text", field="question", fix="write the question as a string")
    options = _options(place, field_of(place, row, "options"))
    gold = _gold(place, field_of(place, row, "gold"), len(options))
    subject = str(row.get("subject", ""))
    return Question(identifier(place, row), "own", subject, stem, options, gold, None, "own")


def _options(place: Place, value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        value = _by_letter(place, value)
    if not isinstance(value, list):
        fix = 'write ["first", "second"] or {"A": "first", "B": "second"}'
        raise place.bad(f"{value!r} is neither a list nor letters with texts", field="options", fix=fix)
    for option in value:
        if isinstance(option, bool) or not isinstance(option, str | int | float):
            raise place.bad(f"option {option!r} is not text", field="options", fix="write each option as a string")
    if not 2 <= len(value) <= len(LETTERS):
        raise place.bad(f"{len(value)} options", field="options", fix=f"give 2 to {len(LETTERS)}")
    return tuple(str(option) for option in value)


def _by_letter(place: Place, options: dict[str, Any]) -> list[Any]:
    letters = sorted(options)
    if letters != list(LETTERS[: len(letters)]):
        problem = f"letters {', '.join(letters)} leave a gap or do not begin at A"
        raise place.bad(problem, field="options", fix="letter them A, B, C and so on")
    return [options[letter] for letter in letters]


def _gold(place: Place, value: Any, options: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < options:
            return value
        problem = f"index {value} is outside 0 to {options - 1}"
        raise place.bad(problem, field="gold", fix="count from 0, or write the letter")
    if isinstance(value, str) and len(value.strip()) == 1 and value.strip().upper() in LETTERS[:options]:
        return LETTERS.index(value.strip().upper())
    fix = f"write a letter A to {LETTERS[options - 1]}, an index from 0 as a number, or null"
    raise place.bad(f"{value!r} names no option", field="gold", fix=fix)
