"""Open questions of reinforcement learning: a conversation, and the reference that a judge holds its conclusion to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.benchmarks.conversation import ROLES
from medpsy.engines.base import Message
from medpsy.files import write_whole

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema([("id", pa.string()), ("messages", pa.list_(TURN)), ("reference", pa.string())])


@dataclass(frozen=True)
class OpenQuestion:
    """What is asked and what a good conclusion says.

    Args:
        id: unique among the questions of a stage.
        messages: chat messages as (role, content) mappings, the user's last; the policy and the judge see them.
        reference: the judge's alone.

    Raises:
        ValueError: the last turn is not the user's, a role is unknown, or the reference is empty.
    """

    id: str
    messages: tuple[Message, ...]
    reference: str

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError(f"question {self.id!r}: the last turn must be the user's")
        if strange := sorted({turn["role"] for turn in self.messages} - set(ROLES)):
            raise ValueError(f"question {self.id!r}: role {strange[0]!r}; known are {', '.join(ROLES)}")
        if not self.reference.strip():
            raise ValueError(f"question {self.id!r}: its reference is empty; leave the question out")


def write_open_questions(path: Path, questions: Sequence[OpenQuestion]) -> Path:
    """Write `questions` to a Parquet file with the columns of `SCHEMA`, whole or not at all.

    Raises:
        ValueError: there are none, or two have one id.
    """
    if not questions:
        raise ValueError(f"{path.name}: no question to write")
    name, count = Counter(question.id for question in questions).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path.name}: {count} questions are called {name!r}; give each an id of its own")
    rows = [asdict(question) | {"messages": list(question.messages)} for question in questions]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_open_questions(path: Path) -> tuple[OpenQuestion, ...]:
    """Return the questions that `write_open_questions` wrote.

    Raises:
        ValueError: the file has other columns; names those wanted.
    """
    if missing := [name for name in SCHEMA.names if name not in pq.read_schema(path).names]:
        raise ValueError(f"{path.name}: no column {missing[0]!r}; write it with write_open_questions")
    rows = pq.read_table(path, columns=SCHEMA.names).to_pylist()
    return tuple(OpenQuestion(**{**row, "messages": tuple(row["messages"])}) for row in rows)
