"""Pairs of responses to one prompt, one of them better: what preference training reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.engines.base import Message
from medpsy.files import write_whole
from medpsy.training.open_questions import TURN

TEXTS = ("chosen", "rejected", "prompt_tools")
SCHEMA = pa.schema(
    [("id", pa.string()), ("messages", pa.list_(TURN)), *((name, pa.string()) for name in TEXTS)],
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
    if not pairs:
        raise ValueError(f"{path.name}: no pair to write")
    name, count = Counter(pair.id for pair in pairs).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path.name}: {count} pairs are called {name!r}; give each an id of its own")
    table = pa.Table.from_pylist([asdict(pair) | {"messages": list(pair.messages)} for pair in pairs], schema=SCHEMA)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_pairs(paths: Sequence[Path]) -> list[Pair]:
    """Return the pairs that `write_pairs` wrote.

    Raises:
        ValueError: a file has other columns; names it and the first one that is missing.
    """
    found: list[Pair] = []
    for path in paths:
        if missing := [name for name in SCHEMA.names if name not in pq.read_schema(path).names]:
            raise ValueError(f"{path.name}: no column {missing[0]!r}; write it with write_pairs")
        rows = pq.read_table(path, columns=SCHEMA.names).to_pylist()
        found += [Pair(**{**row, "messages": tuple(row["messages"])}) for row in rows]
    return found
