"""Responses as script files that a page opened from disk can load on demand.

A browser refuses to read files beside a page (`fetch`) when the page comes from disk, but it runs scripts from
there; so every file is one function call with data. Text is data only: nothing in it can end the script.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medpsy.report.files import write_text

CHUNK = 400_000  # bytes; loads from disk in a few milliseconds, and 50,000 short responses make some hundred files
HEAD = 90  # characters of a question shown in a list
KEY = 12  # hexadecimal digits of a key in the index, as long as they tell all keys apart
TEXTS = ("reasoning", "answer", "finish_reason", "completion_tokens")
UNREAD = -1  # stands for "no option" among option indexes


def script_json(value: object) -> str:
    """Return `value` as JSON that is safe inside a script and inside HTML: ASCII only, no ``<``, ``>`` or ``&``."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Names:
    """Names numbered in the order they are met."""

    def __init__(self) -> None:
        self.places: dict[tuple, int] = {}

    def place(self, *name: object) -> int:
        return self.places.setdefault(name, len(self.places))

    def listed(self) -> list[list]:
        return [list(name) for name in self.places]


@dataclass
class Index:
    """What the page knows of every response before it loads any: enough to filter and to find the chunk."""

    models: Names = field(default_factory=Names)
    suites: Names = field(default_factory=Names)
    readers: Names = field(default_factory=Names)
    outcomes: Names = field(default_factory=Names)
    questions: Names = field(default_factory=Names)
    keys: list[str] = field(default_factory=list)
    model: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    run: list[int] = field(default_factory=list)
    readings: list[list[list[int]]] = field(default_factory=list)  # row -> [reader, outcome, chosen option]
    starts: list[int] = field(default_factory=list)  # first row of every chunk

    def add(self, row: dict) -> int:
        """Take in one response; return the number of its question."""
        suite = self.suites.place(row["suite"], row["suite_title"])
        head = " ".join(row["stem"].split())[:HEAD]
        question = self.questions.place(suite, row["question_id"], head, _option(row["gold"]))
        self.keys.append(row["key"])
        self.model.append(self.models.place(row["model"], row["label"]))
        self.question.append(question)
        self.run.append(row["run"])
        self.readings.append([self._reading(reading) for reading in row["readings"]])
        return question

    def _reading(self, reading: dict) -> list[int]:
        who, outcome = self.readers.place(reading["reader"]), self.outcomes.place(reading["outcome"])
        return [who, outcome, _option(reading["chosen"])]

    def as_data(self) -> dict:
        """Return the index as plain lists."""
        names = ("models", "suites", "readers", "outcomes", "questions")
        columns = ("model", "question", "run", "readings", "starts")
        listed = {name: getattr(self, name).listed() for name in names}
        return listed | {name: getattr(self, name) for name in columns} | {"keys": short_keys(self.keys)}


def write_chunks(rows: Iterable[dict], folder: Path) -> int:
    """Write ``index.js`` and ``0000.js``, ``0001.js`` ... into `folder`; return how many responses they hold.

    Args:
        rows: as `medpsy.report.reading.read` yields them: answers to the same question stand together.
    """
    index = Index()
    for number, (texts, questions) in enumerate(_chunks(rows, index)):
        call = f"medpsyResponses.chunk({number},[{','.join(texts)}],{script_json(questions)});\n"
        write_text(folder / f"{number:04d}.js", call)
    write_text(folder / "index.js", f"medpsyResponses.index({script_json(index.as_data())});\n")
    return len(index.keys)


def short_keys(keys: list[str]) -> list[str]:
    """Return the shortest common prefixes, of `KEY` characters or more, that tell `keys` apart."""
    different = len(set(keys))
    for length in (KEY, 2 * KEY):
        short = [key[:length] for key in keys]
        if len(set(short)) == different:
            return short
    return keys


def _chunks(rows: Iterable[dict], index: Index) -> Iterator[tuple[list[str], dict[int, list]]]:
    """Yield the texts of some responses and the questions they answer, cut between questions if possible."""
    texts, questions, size = [], {}, 0
    for row in rows:
        question = index.add(row)
        if texts and (size > 4 * CHUNK or (size > CHUNK and question not in questions)):
            yield texts, questions
            texts, questions, size = [], {}, 0
        if not texts:
            index.starts.append(len(index.keys) - 1)
        if question not in questions:
            questions[question] = [row["subject"], row["stem"], row["context"], row["options"]]
        texts.append(script_json([row[name] for name in TEXTS] + [[one["how"] for one in row["readings"]]]))
        size += len(texts[-1])
    if texts:
        yield texts, questions


def _option(value: int | None) -> int:
    return UNREAD if value is None else value
