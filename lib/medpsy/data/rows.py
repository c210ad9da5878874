"""The rows of a data set, from the hub at a pinned revision or from local files, and checked access to their fields.

Nothing here repairs a value: a field that is missing, of another type or empty stops the load, and the message names
file, row, field, value and fix. No code that comes with a data set is ever run, and "main" is not a revision.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medpsy.data.questions import LETTERS, Conversation, Question
from medpsy.files import parsed, storable

KINDS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
LONGEST_SHOWN = 100  # characters of a value in a message

Fields = TypeVar("Fields", bound=BaseModel)


class DataError(ValueError):
    """A data set is not what its loader was written for."""


@dataclass(frozen=True)
class Row:
    values: Mapping[str, object]
    source: str  # file or hub split, for messages
    number: int  # from 1 within `source`; a record of several lines is one row
    key: str | None = None  # under which a JSON object holds the row (PubMedQA: the PMID)

    def error(self, field: str, fix: str, value: object = ...) -> DataError:
        """Return the error that says where `field` is, what it holds (`value`, if nested) and what to do (`fix`)."""
        value = self.values.get(field, ...) if value is ... else value
        shown = "missing" if value is ... else repr(value)
        shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
        return DataError(f"{self.source}, row {self.number}, field {field!r} is {shown}: {fix}")

    def expect(self, holds: object, field: str, fix: str) -> None:
        """Stop the load with `error` unless a condition on `field` `holds`."""
        if not holds:
            raise self.error(field, fix)

    def checked(self, model: type[Fields]) -> Fields:
        """Return the row as a pydantic `model`; the error of a missing field offers the one with a name like it."""
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            first = error.errors()[0]
        field = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"]).removeprefix(".")
        if first["type"] != "missing":
            raise self.error(field, first["msg"].removeprefix("Value error, "), first["input"])
        strange = [name for name in self.values if name not in model.model_fields] if len(first["loc"]) == 1 else []
        near = get_close_matches(field, strange, n=1)
        raise self.error(field, f"rename {near[0]!r} to {field!r}" if near else "add it")

    def text(self, field: str) -> str:
        """Return a text that is not empty, without the white space around it."""
        text = self.option(field)
        self.expect(text, field, "a text that is not empty is expected")
        return text

    def option(self, field: str) -> str:
        """Return a text that may be empty: real options are, now and then, and dropping one would shift letters."""
        self.expect(isinstance(self.values.get(field), str), field, "text is expected")
        return self.values[field].strip()

    def optional(self, field: str) -> str:
        """Return a text, or ``""`` where the field is absent, null, ``n/a`` or ``nan``."""
        value = self.values.get(field)
        text = "" if value is None else str(value).strip()
        return "" if text.casefold() in ("n/a", "nan") else text

    def integer(self, field: str) -> int:
        """Return a whole number, given as one or (csv) as its digits."""
        value = self.values.get(field)
        digits = isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value)
        self.expect(type(value) is int or digits, field, "a whole number is expected")
        return int(value)

    def structure(self, field: str) -> list | dict:
        """Return a list or an object, given as one or as JSON text (csv; AfriMed-QA everywhere)."""
        value = self.values.get(field)
        try:
            value = parsed(value) if isinstance(value, str) else value
        except ValueError as error:
            raise self.error(field, f"JSON is expected ({error})") from error
        self.expect(isinstance(value, list | dict), field, "a list or an object is expected, or JSON text of one")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """Return a list of texts; single ones may be empty."""
        values = self.structure(field)
        whole = isinstance(values, list) and all(isinstance(value, str) for value in values)
        self.expect(whole, field, "a list of texts is expected")
        return tuple(value.strip() for value in values)

    def letter(self, field: str, options: int) -> int:
        """Return the index that a capital letter names among the first `options` letters."""
        value = self.option(field)
        self.expect(value in tuple(LETTERS[:options]), field, f"a letter from A to {LETTERS[options - 1]} is expected")
        return LETTERS.index(value)


@dataclass(frozen=True)
class Origin:
    """Where a set is read from: the hub, or local files in `data_dir`, which then take its place."""

    hub_id: str
    config: str | None
    split: str
    revision: str | None
    data_dir: Path | None = None
    partial: bool = False  # accept fewer rows than were published (a part of a split, for tests)

    def __str__(self) -> str:
        """The place for a record: no absolute path, which would name somebody's machine."""
        place = f"folder {self.data_dir.name}" if self.data_dir else f"{self.hub_id}@{self.revision}"
        return f"{place}, partial" if self.partial else place

    def expect(self, rows: Sequence[Row], published: int, what: str) -> None:
        """Raise a DataError unless there are exactly the `published` number of `rows`, or only a part is meant."""
        if not self.partial and len(rows) != published:
            fix = "pass partial=True if only a part is meant" if self.data_dir else "pass the pinned revision"
            where = sources(rows) or self.data_dir or self.hub_id
            found = f"{len(rows):,} {what}, {published:,} expected"
            raise DataError(f"{where}: {found}; use the complete copy, or {fix}")


@dataclass(frozen=True)
class SuiteSpec:
    """Where a suite comes from and what its complete copy holds, as ``suites.yaml`` says."""

    key: str  # in code and tables of ours
    title: str  # the report's name of its column
    hub_id: str
    split: str
    revision: str | None
    licence: str
    published: int | None
    read: Callable[["Origin"], list[Question] | list[Conversation]]
    config: str | None = None


def read(origin: Origin, patterns: Iterable[str]) -> list[Row]:
    """Return all rows of `origin`: of the hub, or of the files in its folder that match the first fitting pattern."""
    if origin.data_dir is None:
        return from_hub(origin, origin.config)
    return from_files(find(origin.data_dir, patterns))


def from_hub(origin: Origin, config: str | None, data_file: str | None = None) -> list[Row]:
    """Return the rows of one config of the hub copy, or of one file where its files have different columns; refuses a
    revision that is no full commit hash."""
    require_commit(origin.hub_id, origin.revision)
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        choice = {"data_files": data_file} if data_file else {"name": config}
        data = datasets.load_dataset(origin.hub_id, **choice, split=origin.split, revision=origin.revision)
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:  # no network, gated, a script, no such config
        raise DataError(hub_message(origin.hub_id, error)) from error
    return numbered(data, f"{origin.hub_id} {data_file or config or 'default'} {origin.split}")


def require_commit(hub_id: str, revision: str | None) -> None:
    """Raise a DataError unless `revision` is a commit, so that the rows cannot change."""
    if not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise DataError(
            f"{hub_id}: revision {revision!r} is not a commit; write 40 hexadecimal digits from its page's history "
            "under `revisions` of study.yaml (`medpsy pin` writes the newest), or give a folder with its files"
        )


def hub_message(hub_id: str, error: Exception) -> str:
    """Return what to do about a hub set that could not be read."""
    fix = "check the connection, or give a folder with the files as data_dir"
    if any(word in str(error).lower() for word in ("gated", "cannot be accessed")):
        fix = "accept its terms on its page and set HF_TOKEN to a token of that account, or give the files as data_dir"
    return f"{hub_id}: not readable from the hub; {fix}. The hub said: {str(error).strip()[:300]}"


def kind(path: Path) -> str | None:
    """Return the ending by which `path` is read, or None if it is no data file."""
    return next((ending for ending in KINDS if path.name.endswith(ending)), None)


def find(folder: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """Return the data files of the first pattern that matches any (shards of one split), in order of name; refuses
    matches of several kinds, which are perhaps the same rows twice."""
    patterns = tuple(patterns)
    matches = (sorted(path for path in folder.glob(name) if path.is_file() and kind(path)) for name in patterns)
    if not (paths := tuple(next(filter(None, matches), ()))):
        ends = ", ".join(KINDS)
        raise DataError(f"{folder}: no file named like {' or '.join(patterns)} (ending in one of {ends}); put it there")
    if len({kind(path) for path in paths}) > 1:
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{folder}: {names} are of several kinds, perhaps the same rows twice; keep one kind")
    return paths


def from_files(paths: Iterable[Path], header: Sequence[str] = ()) -> list[Row]:
    """Return the rows of `paths` one after another, every csv field as text ("None" and "NA" are words, not gaps);
    `header` names the columns of a csv that has no header row."""
    return [row for path in paths for row in _from_file(path, header)]


def _from_file(path: Path, header: Sequence[str]) -> list[Row]:
    if kind(path) == ".parquet":
        import pyarrow.parquet

        return numbered(pyarrow.parquet.read_table(path).to_pylist(), path.name)
    text = content(path)
    if ".csv" in kind(path):
        return numbered(_csv(text, path.name, header), path.name)
    try:
        value = parsed(text)
    except ValueError:  # MedMCQA's dev.json too holds one object a line
        return json_lines(text, path.name)
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return [Row(row, path.name, number, key) for number, (key, row) in enumerate(value.items(), 1)]
    return numbered(value if isinstance(value, list) else [value], path.name)


def content(path: Path) -> str:
    """Return the text of a file or pipe, without a byte order mark; gzip is recognized by content, not by name."""
    raw = path.read_bytes()
    try:
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not readable as UTF-8 text ({error}); save it as UTF-8") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.name}: the gzip file is damaged ({error}); compress or fetch it again") from error


def json_lines(text: str, name: str) -> list[Row]:
    """Return the object of each line of the file `name` that is not empty; rows are numbered as lines."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [_row(parsed(line), name, number)] if line.strip() else []
        except DataError:
            raise
        except ValueError as error:
            spread = ", not one value over many lines" if number == 1 and line.strip() in ("[", "{") else ""
            problem = f"no JSON ({error}); write one JSON object a line{spread}"
            raise DataError(f"{name}, row {number}: {problem}") from None
    return rows


def written(rows: Iterable[Mapping[str, object]]) -> str:
    """Return `rows` as JSON lines, which `json_lines` reads."""
    return storable("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _csv(text: str, name: str, header: Sequence[str]) -> list[dict[str, str]]:
    """Return the records of a csv, fields as text; each must have as many columns as the header."""
    try:
        records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    except csv.Error as error:
        raise DataError(f"{name}: no csv ({error}); fetch the file again") from error
    names = header or tuple(records.pop(0) if records else ())
    for number, record in enumerate(records, 1):
        if len(record) != len(names):
            raise DataError(f"{name}, row {number}: {len(record)} columns, {len(names)} expected {names}")
    return [dict(zip(names, record, strict=True)) for record in records]


def numbered(values: Iterable[object], source: str) -> list[Row]:
    return [_row(value, source, number) for number, value in enumerate(values, 1)]


def _row(value: object, source: str, number: int) -> Row:
    if not isinstance(value, Mapping):
        raise DataError(f"{source}, row {number}: {str(value)[:80]!r} is no object with named fields")
    return Row(value, source, number)


def sources(rows: Iterable[Row]) -> str:
    """Return the names of the files or hub splits that `rows` come from."""
    return ", ".join(dict.fromkeys(row.source for row in rows))
