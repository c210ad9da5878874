"""Tables of stored responses: which of several rows of one key counts, in which order, and how many there are.

Reads and writes no file.
"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def best(table: pa.Table) -> pa.Table:
    """Return one row per key: a response before a failure, then the oldest, so that what was once read stays.

    Args:
        table: has the columns ``key``, ``finish_reason`` and ``created``.
    """
    if pc.count_distinct(table["key"]).as_py() == len(table):
        return table
    rows = table.select(["key", "created"]).to_pandas()
    rows["failed"] = pc.equal(table["finish_reason"], "failed").to_numpy()
    keep = rows.sort_values(["failed", "created"], kind="stable").drop_duplicates("key").index
    return table.take(pa.array(np.sort(keep)))


def ordered(table: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """Return the best row of each of `keys`, in their order, and for each key whether there is one."""
    table = best(table)
    positions = pc.index_in(pa.array(keys, pa.string()), value_set=table["key"].combine_chunks())
    return table.take(positions.drop_null()), positions.is_valid().to_numpy(zero_copy_only=False)


def answered(table: pa.Table, tried: Collection[str], *, failed_too: bool) -> pa.Array:
    """Return the keys of `table` that have a response; a failed row counts if it is among `tried`, or `failed_too`."""
    again = pc.is_in(table["key"], value_set=pa.array(tried, pa.string()))
    done = pc.or_(pc.or_(again, failed_too), pc.not_equal(table["finish_reason"], "failed"))
    return table["key"].filter(done).combine_chunks()


def model_counts(rows: pd.DataFrame) -> dict[str, object]:
    """Return rows, failed rows and tokens of one model, and rows by suite (the part of a prompt id before ``/``)."""
    return {
        "rows": len(rows),
        "failed": int((rows["finish_reason"] == "failed").sum()),
        "prompt_tokens": int(rows["prompt_tokens"].sum()),
        "completion_tokens": int(rows["completion_tokens"].sum()),
        "suites": {
            suite: int(n) for suite, n in rows["prompt_id"].str.split("/").str[0].value_counts(sort=False).items()
        },
    }
