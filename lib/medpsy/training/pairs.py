"""Pairs of responses to one prompt, one of them better: what preference training reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from medpsy.corpus.rows import MESSAGE
from medpsy.engines.base import Message
from medpsy.training.row_files import read_rows, write_rows

TEXTS = ("chosen", "rejected", "prompt_tools")
SCHEMA = pa.schema(
    [("id", pa.string()), ("messages", pa.list_(MESSAGE)), *((name, pa.string()) for name in TEXTS)],
)


@dataclass(frozen=True)
class Pair:
    """Two responses to `messages`.

    Args:
        id: unique among the pairs of a stage.
        messages: chat messages as (role, content) mappings, up to where the model goes on.
        chosen, rejected: raw texts as a model wrote them and the store keeps them: reasoning, its end marker and
            answer, without the end of the turn, which is written behind both.
        prompt_tools: functions the model may call, a JSON list; empty for none.

    Raises:
        ValueError: a response is empty, or both are the same.
    """

    id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt_tools: str = ""

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError(f"pair {self.id!r}: it has no messages")
        for name in ("chosen", "rejected"):
            if not getattr(self, name).strip():
                raise ValueError(f"pair {self.id!r}: {name} is empty; leave the pair out")
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError(f"pair {self.id!r}: chosen and rejected are the same; leave the pair out")


def write_pairs(path: Path, pairs: Sequence[Pair]) -> Path:
    """Write `pairs` to a Parquet file with the columns of `SCHEMA`, whole or not at all.

    Raises:
        ValueError: there are none, or two have one id.
    """
    return write_rows(path, pairs, SCHEMA, "pair")


def read_pairs(paths: Sequence[Path]) -> list[Pair]:
    """Return the pairs that `write_pairs` wrote.

    Raises:
        ValueError: a file has other columns; names it and the first one that is missing.
    """
    return [Pair(**row) for path in paths for row in read_rows(path, SCHEMA, "write_pairs")]
