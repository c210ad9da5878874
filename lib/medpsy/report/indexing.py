"""What a page of evidence knows of every response before it loads any: enough to filter and to find its chunk.

One index per kind of evidence; what both have is in `Index`. Shows nothing; see ``static/evidence.js``.
"""

from dataclasses import dataclass, field

from medpsy.grading.verdicts import OUTCOMES
from medpsy.report.conversing import CONVERSATIONS, judges_differ
from medpsy.report.evidence import Evidence
from medpsy.report.reading import RESPONSES, readers_differ

HEAD = 90  # characters of a question shown in a list
KEY = 12  # hexadecimal digits of a key in the index, as long as they tell all keys apart
UNREAD = -1  # stands for "no option" among option indexes
TEXTS = ("reasoning", "answer", "finish_reason", "completion_tokens")


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
    """What all kinds have; a row's task is the question or conversation it answers, shared by several responses.

    A kind adds `names` (columns of distinct values), `columns` (one value per row), and the methods `head`, `note`,
    `task_text` and `text`.
    """

    models: Names = field(default_factory=Names)
    suites: Names = field(default_factory=Names)
    tasks: Names = field(default_factory=Names)
    keys: list[tuple[str, str]] = field(default_factory=list)  # row -> key and suite
    model: list[int] = field(default_factory=list)
    task: list[int] = field(default_factory=list)
    run: list[int] = field(default_factory=list)
    differ: list[int] = field(default_factory=list)  # row -> on how much its readers or judges differ
    starts: list[int] = field(default_factory=list)  # first row of every chunk

    names = ("models", "suites", "tasks")
    columns = ("model", "task", "run", "differ", "starts")

    def add(self, row: dict) -> int:
        """Take in one response; return the number of its task."""
        task = self.tasks.place(self.suites.place(row["suite"], row["suite_title"]), *self.head(row))
        self.keys.append((row["key"], row["suite"]))
        self.model.append(self.models.place(row["model"], row["label"]))
        self.task.append(task)
        self.run.append(row["run"])
        self.note(row)
        return task

    def as_data(self) -> dict:
        """Return the index as plain lists."""
        listed = {name: getattr(self, name).listed() for name in self.names}
        return listed | {name: getattr(self, name) for name in self.columns} | {"keys": links(self.keys)}


@dataclass
class QuestionIndex(Index):
    """Responses to questions: what each reader read in them."""

    readers: Names = field(default_factory=Names)
    outcomes: Names = field(default_factory=Names)
    readings: list[list[list[int]]] = field(default_factory=list)  # row -> [reader, outcome, chosen option]

    names = (*Index.names, "readers", "outcomes")
    columns = (*Index.columns, "readings")

    def head(self, row: dict) -> tuple:
        return row["question_id"], _first_words(row["stem"]), _option(row["gold"])

    def note(self, row: dict) -> None:
        self.readings.append([self._reading(reading) for reading in row["readings"]])
        self.differ.append(int(readers_differ(row["readings"])))

    def task_text(self, row: dict) -> list:
        return [row["subject"], row["stem"], row["context"], row["options"]]

    def text(self, row: dict) -> list:
        return [*(row[name] for name in TEXTS), [reading["how"] for reading in row["readings"]]]

    def _reading(self, reading: dict) -> list[int]:
        who, outcome = self.readers.place(reading["reader"]), self.outcomes.place(reading["outcome"])
        return [who, outcome, _option(reading["chosen"])]


@dataclass
class ConversationIndex(Index):
    """Responses in conversations: what each judge decided, in sum."""

    themes: Names = field(default_factory=Names)
    judges: Names = field(default_factory=Names)
    finishes: Names = field(default_factory=Names)
    finish: list[int] = field(default_factory=list)
    judged: list[list[list]] = field(default_factory=list)  # row -> [judge, met, not met, unjudged, score or null]

    names = (*Index.names, "themes", "judges", "finishes")
    columns = (*Index.columns, "finish", "judged")

    def head(self, row: dict) -> tuple:
        last = row["messages"][-1]["content"] if row["messages"] else ""
        return row["conversation_id"], _first_words(last), self.themes.place(row["theme"], row["theme_title"])

    def note(self, row: dict) -> None:
        self.finish.append(self.finishes.place(row["finish_reason"]))
        self.differ.append(sum(map(judges_differ, row["criteria"])))
        counts = {self.judges.place(one["judge"]): [0, 0, 0, _rounded(one["score"])] for one in row["scores"]}
        for judge, outcome, _ in (verdict for one in self._said(row) for verdict in one):
            counts.setdefault(judge, [0, 0, 0, None])[outcome] += 1
        self.judged.append([[judge, *count] for judge, count in sorted(counts.items())])

    def task_text(self, row: dict) -> list:
        turns = row["messages"] and [[turn["role"], turn["content"]] for turn in row["messages"]]
        return [turns, [[one["criterion"], one["points"], one["axis"]] for one in row["criteria"]]]

    def text(self, row: dict) -> list:
        return [*(row[name] for name in TEXTS), self._said(row)]

    def _said(self, row: dict) -> list[list[list]]:
        """Return criterion -> [judge, outcome, explanation] of every verdict on it."""
        return [
            [
                [self.judges.place(verdict["judge"]), OUTCOMES.index(verdict["outcome"]), verdict["explanation"]]
                for verdict in one["verdicts"]
            ]
            for one in row["criteria"]
        ]


INDEXES: dict[Evidence, type[Index]] = {RESPONSES: QuestionIndex, CONVERSATIONS: ConversationIndex}


def short_keys(keys: list[str]) -> list[str]:
    """Return the shortest common prefixes, of `KEY` characters or more, that tell `keys` apart."""
    different = len(set(keys))
    for length in (KEY, 2 * KEY):
        short = [key[:length] for key in keys]
        if len(set(short)) == different:
            return short
    return keys


def links(keys: list[tuple[str, str]]) -> list[str]:
    """Return what names each of `keys` (key and suite) in an address; only suites that share a response need a name."""
    short, first = short_keys([key for key, _ in keys]), {}
    for row, key in enumerate(short):
        first.setdefault(key, row)
    return [key if first[key] == row else f"{key}.{keys[row][1]}" for row, key in enumerate(short)]


def _first_words(text: str) -> str:
    return " ".join(text.split())[:HEAD]


def _option(value: int | None) -> int:
    return UNREAD if value is None else value


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 2)
