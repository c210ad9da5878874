"""Open questions of reinforcement learning: a conversation, and the reference that a judge holds its conclusion to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from medpsy.benchmarks.conversation import ROLES
from medpsy.corpus.rows import MESSAGE
from medpsy.engines.base import Message
from medpsy.training.row_files import read_rows, write_rows

SCHEMA = pa.schema([("id", pa.string()), ("messages", pa.list_(MESSAGE)), ("reference", pa.string())])


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
    return write_rows(path, questions, SCHEMA, "question")


def read_open_questions(path: Path) -> tuple[OpenQuestion, ...]:
    """Return the questions that `write_open_questions` wrote.

    Raises:
        ValueError: the file has other columns; names those wanted.
    """
    return tuple(OpenQuestion(**row) for row in read_rows(path, SCHEMA, "write_open_questions"))
