"""The evidence behind the scores: rows that people read, in one Parquet file per kind beside the record.

Refuses a row that holds a secret. What a row is, its kind says: `medpsy.report.reading` (questions) and
`medpsy.report.conversing` (conversations).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.files import write_whole
from medpsy.report import leaks

AT_ONCE = 2000  # rows in memory in Arrow's form while a file is written


@dataclass(frozen=True, eq=False)
class Evidence:
    """One kind of evidence; `name` is that of its file, of its entry in a record and of its page."""

    name: str
    title: str
    schema: pa.Schema

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"

    def entry(self, rows: pd.DataFrame | None) -> dict | None:
        """Return what a record says of `rows`; they may hold no secret."""
        if rows is None:
            return None
        leaks.refuse_frame(rows, self.name)
        return {"file": self.file, "rows": len(rows)}

    def write(self, rows: pd.DataFrame | None, folder: Path) -> None:
        """Write `rows`, one per response, into `folder`; None removes what an earlier run left."""
        if rows is None:
            (folder / self.file).unlink(missing_ok=True)
        else:
            write_whole(folder / self.file, lambda path: self._fill(rows, path))

    def read(self, path: Path) -> Iterable[dict]:
        """Yield the rows of a file, a few at a time, so that a large file does not fill memory."""
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=500):
                yield from batch.to_pylist()

    def records(self, rows: pd.DataFrame) -> list[dict]:
        """Return `rows` as `read` would yield them had they been written."""
        return [{name: _stored(row[name]) for name in self.schema.names} for row in rows.to_dict("records")]

    def _fill(self, rows: pd.DataFrame, path: Path) -> None:
        with pq.ParquetWriter(path, self.schema, compression="zstd") as writer:
            for start in range(0, max(len(rows), 1), AT_ONCE):
                part = rows.iloc[start : start + AT_ONCE]
                columns = {name: [_stored(value) for value in part[name]] for name in self.schema.names}
                writer.write_table(pa.Table.from_pydict(columns, schema=self.schema))


def _stored(value: object) -> object:
    """Return `value` as Arrow takes it: NaN is null, and numbers that pandas made fractions are whole again."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value)
    return None if value is pd.NA else value
