"""Rows with an id and a conversation in a Parquet file: written whole or not at all, columns checked when read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.files import write_whole


def write_rows(path: Path, rows: Sequence[Any], schema: pa.Schema, word: str) -> Path:
    """Write `rows`, dataclasses with ``id`` and ``messages``, to a file with the columns of `schema`; return `path`.

    Args:
        word: what one of them is called in messages.

    Raises:
        ValueError: there are none, or two have one id.
    """
    if not rows:
        raise ValueError(f"{path.name}: no {word} to write")
    name, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path.name}: {count} {word}s are called {name!r}; give each an id of its own")
    table = pa.Table.from_pylist([asdict(row) | {"messages": list(row.messages)} for row in rows], schema=schema)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_rows(path: Path, schema: pa.Schema, writer: str) -> list[dict[str, Any]]:
    """Return the fields of the rows that `write_rows` wrote.

    Args:
        writer: function that writes such files, for the message.

    Raises:
        ValueError: the file has other columns; names the first one that is missing.
    """
    if missing := [name for name in schema.names if name not in pq.read_schema(path).names]:
        raise ValueError(f"{path.name}: no column {missing[0]!r}; write it with {writer}")
    rows = pq.read_table(path, columns=schema.names).to_pylist()
    return [{**row, "messages": tuple(row["messages"])} for row in rows]
