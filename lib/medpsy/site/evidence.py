"""Evidence as script files that a page opened from disk loads on demand, behind an index of what to filter by.

A browser refuses to read files beside a page (`fetch`) when the page comes from disk, but it runs scripts from there;
so every file is one function call with packed data. Packed text cannot end the script, and no row stands in plain text
in any file. Shows nothing; see ``static/evidence.js``.
"""

import base64
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from medpsy.evidence import CONVERSATIONS, RESPONSES, Evidence, judges_differ
from medpsy.files import write_text
from medpsy.grading import rubric

CHUNK = 1_000_000  # characters before packing; opens from disk in some 20 milliseconds
HEAD = 90  # characters of a question shown in a list
KEY = 16  # hexadecimal digits of a key in the index; among a million keys, two share them with a chance of 3e-8
UNREAD = -1  # stands for "no option" among option indexes
TEXTS = ("reasoning", "answer", "finish_reason", "completion_tokens")
SHOW_ROWS = "MEDPSY_SHOW_ROWS"  # environment variable; 1 says that what is built stays at home
NOTE = (
    "Not shown: the authors of this benchmark ask that its rows not be published. "
    f"With {SHOW_ROWS}=1 they are shown; keep what is built then at home."
)


def published(row: dict) -> dict:
    """Return `row` of the evidence as a page may show it. Of a guarded row, messages and criteria are withheld, and
    what quotes them: a judge's explanation and a model's reasoning. Ids, points, axes, verdicts, scores and answers
    stay; files keep such rows compressed in any case."""
    if not row.get("guarded") or os.environ.get(SHOW_ROWS) == "1":
        return row
    criteria = []
    for criterion in row["criteria"]:
        verdicts = [verdict | {"explanation": None} for verdict in criterion["verdicts"]]
        criteria.append(criterion | {"criterion": None, "verdicts": verdicts})
    return row | {"messages": None, "reasoning": None, "criteria": criteria}


class Index:
    """What a page knows of every response before it loads any: names, numbered as they are met, and columns of numbers.
    A row's task is the question or conversation it answers, shared by several responses; `keys` name responses in an
    address, where only suites that share a response need a name."""

    def __init__(self) -> None:
        self.names: dict[str, dict[tuple, int]] = defaultdict(dict)
        self.columns: dict[str, list] = defaultdict(list)
        self.keys: list[str] = []
        self._seen: set[str] = set()

    def number(self, kind: str, *name: object) -> int:
        return self.names[kind].setdefault(name, len(self.names[kind]))

    def add(self, row: dict, task: tuple, **columns: object) -> int:
        key = row["key"]
        self.keys.append(f"{key[:KEY]}.{row['suite']}" if key in self._seen else key[:KEY])
        self._seen.add(key)
        number = self.number("tasks", self.number("suites", row["suite"], row["suite_title"]), *task)
        columns |= {"model": self.number("models", row["model"], row["label"]), "task": number, "run": row["run"]}
        for name, value in columns.items():
            self.columns[name].append(value)
        return number

    def as_data(self) -> dict:
        named = {kind: [list(name) for name in names] for kind, names in self.names.items()}
        return named | self.columns | {"keys": self.keys}


def _question(row: dict, index: Index) -> tuple[int, list, list]:
    """Take a response to a question into `index`; return its task's number and text, and what it has to read."""
    readings = [
        [index.number("readers", given["reader"]), index.number("outcomes", given["outcome"]), _option(given["chosen"])]
        for given in row["readings"]
    ]
    differ = int(len({chosen for _, _, chosen in readings}) > 1)  # reading no option is a choice of its own
    task = row["question_id"], " ".join(row["stem"].split())[:HEAD], _option(row["gold"])
    number = index.add(row, task, readings=readings, differ=differ)
    about = [row[name] for name in ("subject", "stem", "context", "options")]
    return number, about, [given["how"] for given in row["readings"]]


def _conversation(row: dict, index: Index) -> tuple[int, list, list]:
    """Take a response in a conversation into `index`, as `_question` does; every verdict on a criterion is read."""
    outcome, judge = rubric.OUTCOMES.index, partial(index.number, "judges")
    verdicts = [
        [[judge(given["judge"]), outcome(given["outcome"]), given["explanation"]] for given in each["verdicts"]]
        for each in row["criteria"]
    ]
    counts = {judge(each["judge"]): [0, 0, 0, each["score"] and round(each["score"], 2)] for each in row["scores"]}
    for number, place, _ in chain.from_iterable(verdicts):
        counts.setdefault(number, [0, 0, 0, None])[place] += 1
    turns = row["messages"] and [[turn["role"], turn["content"]] for turn in row["messages"]]
    first_words = " ".join((turns[-1][1] if turns else "").split())[:HEAD]
    number = index.add(
        row,
        (row["conversation_id"], first_words, index.number("themes", row["theme"], row["theme_title"])),
        judged=[[number, *count] for number, count in sorted(counts.items())],
        differ=sum(map(judges_differ, row["criteria"])),
        finish=index.number("finishes", row["finish_reason"]),
    )
    criteria = [[criterion["criterion"], criterion["points"], criterion["axis"]] for criterion in row["criteria"]]
    return number, [turns, criteria], verdicts


READ = {RESPONSES: _question, CONVERSATIONS: _conversation}


def write(rows: Iterable[dict], folder: Path, kind: Evidence) -> int:
    """Write ``index.js`` and ``0000.js``, ``0001.js`` ... into `folder`; return how many responses they hold. `rows`
    are as `kind` reads them: responses to the same task stand together."""
    index = Index()
    for number, content in enumerate(_chunks(rows, index, READ[kind])):
        write_text(folder / f"{number:04d}.js", f'medpsyEvidence.chunk({number},"{packed(content)}");\n')
    write_text(folder / "index.js", f'medpsyEvidence.index("{packed(_json(index.as_data()))}");\n')
    return len(index.keys)


def packed(content: str) -> str:
    """Return `content` deflated and in base64: letters, digits, ``+``, ``/`` and ``=`` alone."""
    return base64.b64encode(zlib.compress(content.encode())).decode()


def _chunks(rows: Iterable[dict], index: Index, read: Callable) -> Iterator[str]:
    """Yield JSON of the texts of some responses and of the tasks they answer, cut between tasks if possible."""
    texts, tasks, size = [], {}, 0
    for row in rows:
        task, about, more = read(row, index)
        if texts and (size > 4 * CHUNK or (size > CHUNK and task not in tasks)):
            yield _json([texts, tasks])
            texts, tasks, size = [], {}, 0
        if not texts:
            index.columns["starts"].append(len(index.keys) - 1)
        if task not in tasks:
            tasks[task] = about
            size += len(_json(about))
        texts.append([*(row[name] for name in TEXTS), more])
        size += len(_json(texts[-1]))
    if texts:
        yield _json([texts, tasks])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _option(value: int | None) -> int:
    return UNREAD if value is None else value
