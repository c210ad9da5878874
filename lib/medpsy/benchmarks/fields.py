"""Checked access to the fields of one row of a data set.

Nothing here repairs a value: a field that is missing, of another type or empty stops the load, and the message
names file, row, field, value and fix.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medpsy.benchmarks.question import LETTERS

LONGEST_SHOWN = 100  # characters of a value in a message


class DataError(ValueError):
    """A data set is not what its loader was written for."""


@dataclass(frozen=True)
class Row:
    """One row as it was read.

    Args:
        values: field name to value, nested values included.
        source: file or hub split, for messages.
        number: counted from 1 within `source`; a record of several lines is one row.
        key: the key under which a JSON object holds the row (PubMedQA: the PMID), or None.
    """

    values: Mapping[str, object]
    source: str
    number: int
    key: str | None = None

    def error(self, field: str, fix: str) -> DataError:
        """Return the error that says where `field` is, what it holds and what to do (`fix`)."""
        value = repr(self.values[field]) if field in self.values else "missing"
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
        return DataError(f"{self.source}, row {self.number}, field {field!r} is {shown}: {fix}")

    def text(self, field: str) -> str:
        """Return a text that is not empty, without the white space around it."""
        text = self.option(field)
        if not text:
            raise self.error(field, "a text that is not empty is expected")
        return text

    def option(self, field: str) -> str:
        """Return a text that may be empty: real options are, now and then, and dropping one would shift letters."""
        value = self.values.get(field)
        if not isinstance(value, str):
            raise self.error(field, "text is expected")
        return value.strip()

    def optional(self, field: str) -> str:
        """Return a text, or ``""`` where the field is absent, null, ``n/a`` or ``nan``."""
        value = self.values.get(field)
        text = "" if value is None or value != value else str(value).strip()
        return "" if text.casefold() in ("n/a", "nan") else text

    def integer(self, field: str) -> int:
        """Return a whole number, given as one or (csv) as its digits."""
        value = self.values.get(field)
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(field, "a whole number is expected")
        return value

    def structure(self, field: str) -> list | dict:
        """Return a list or an object, given as one or as JSON text (csv; AfriMed-QA everywhere)."""
        value = self.values.get(field)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise self.error(field, f"JSON is expected ({error.msg} at character {error.pos})") from error
        if not isinstance(value, list | dict):
            raise self.error(field, "a list or an object is expected, or JSON text of one")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """Return a list of texts; single ones may be empty."""
        values = self.structure(field)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.error(field, "a list of texts is expected")
        return tuple(value.strip() for value in values)

    def letter(self, field: str, options: int) -> int:
        """Return the index that a capital letter names among the first `options` letters."""
        value = self.option(field)
        if len(value) != 1 or value not in LETTERS[:options]:
            raise self.error(field, f"a letter from A to {LETTERS[options - 1]} is expected")
        return LETTERS.index(value)
