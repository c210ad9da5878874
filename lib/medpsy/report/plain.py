"""From numpy and pandas to plain JSON values.

Refuses what JSON cannot say: an infinite number anywhere, and a missing number outside a table, where `None` must be
written on purpose.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import PurePath

import numpy as np
import pandas as pd

Plain = None | bool | int | float | str | list | dict


def plain(value: object, where: str, *, missing: bool = False) -> Plain:
    """Return `value` with every number, name and container as JSON has them.

    Args:
        where: name of the value, for the error message.
        missing: write NaN as null (a cell that was not measured) instead of refusing it.

    Raises:
        ValueError: a number is infinite, or NaN where `missing` is false.
        TypeError: JSON has no counterpart.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return writable(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _number(value, where, missing)
    if value is pd.NA or value is pd.NaT:
        return _number(math.nan, where, missing)
    if isinstance(value, PurePath | date):
        return value.as_posix() if isinstance(value, PurePath) else value.isoformat()
    return _container(value, where, missing)


def writable(text: str) -> str:
    """Return `text` with a question mark for each half of a surrogate pair, which no file or column can hold."""
    return text.encode("utf-8", "replace").decode()


def cells(frame: pd.DataFrame, where: str) -> list[list[Plain]]:
    """Return the rows of `frame` as lists of plain values; a missing cell is null."""
    columns = [
        [plain(value, f"{where}, column {name!r}, row {row}", missing=True) for row, value in enumerate(frame[name])]
        for name in frame.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _number(value: float, where: str, missing: bool) -> float | None:
    if math.isfinite(value):
        return value
    if missing and math.isnan(value):
        return None
    raise ValueError(f"{where} is {value}: write None where nothing was measured; an infinite number is an error")


def _container(value: object, where: str, missing: bool) -> list | dict:
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}", missing=missing) for key, item in value.items()}
    if isinstance(value, np.ndarray | Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{where}[{i}]", missing=missing) for i, item in enumerate(items)]
    raise TypeError(f"{where} is a {type(value).__name__}; a result holds only numbers, text, lists and mappings")
