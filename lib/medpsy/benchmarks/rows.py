"""Read the rows of a data set: from the hub at a pinned revision, or from local files of the same content.

Nothing here knows a suite. No code that comes with a data set is ever run, and "main" is not a revision.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medpsy.benchmarks.fields import DataError, Row

KINDS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class Origin:
    """Where a suite is read from.

    Args:
        hub_id, config, split, revision: of the copy on the hub.
        data_dir: a folder with local files, which then take the place of the hub.
        partial: accept fewer rows than were published (a part of a split, for tests).
    """

    hub_id: str
    config: str | None
    split: str
    revision: str | None
    data_dir: Path | None = None
    partial: bool = False

    def expect(self, found: Sequence[Row], published: int, what: str) -> None:
        """Stop unless `found` holds exactly the `published` number of rows.

        Raises:
            DataError: naming file, expected and found. Never for an origin that is said to be partial.
        """
        if self.partial or len(found) == published:
            return
        fix = "pass partial=True if only a part is meant" if self.data_dir else "pass the pinned revision"
        where = sources(found) or self.data_dir or self.hub_id
        raise DataError(f"{where}: {len(found):,} {what}, {published:,} expected; use the complete copy, or {fix}")


def read(origin: Origin, patterns: Iterable[str]) -> list[Row]:
    """Return all rows of `origin`: of the hub, or of the files in its folder that match the first fitting pattern."""
    if origin.data_dir is None:
        return from_hub(origin, origin.config)
    return from_files(find(origin.data_dir, patterns))


def from_hub(origin: Origin, config: str | None, data_file: str | None = None) -> list[Row]:
    """Return the rows of one config of the hub copy, or of one file where its files have different columns.

    Raises:
        DataError: without a full commit hash as revision, or when the hub does not hand the data over.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", origin.revision or ""):
        raise DataError(
            f"{origin.hub_id}: revision {origin.revision!r} is not a commit; "
            "pass revision=<40 hex digits> from the history of the data set's page, so that the rows cannot change"
        )
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        choice = {"data_files": data_file} if data_file else {"name": config}
        data = datasets.load_dataset(origin.hub_id, **choice, split=origin.split, revision=origin.revision)
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:  # no network, gated, a script, no such config
        raise DataError(hub_message(origin.hub_id, error)) from error
    name = f"{origin.hub_id} {data_file or config or 'default'} {origin.split}"
    return [Row(values, name, number) for number, values in enumerate(data, 1)]


def hub_message(hub_id: str, error: Exception) -> str:
    """Return what to do about a hub set that could not be read."""
    fix = "check the connection, or give a folder with the files as data_dir"
    if any(word in str(error).lower() for word in ("gated", "cannot be accessed")):
        fix = "accept its terms on its page and set HF_TOKEN to a token of that account, or give the files as data_dir"
    return f"{hub_id}: not readable from the hub; {fix}. The hub said: {str(error).strip()[:300]}"


def find(folder: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """Return the data files of the first pattern that matches any, in order of name (shards of one split).

    Raises:
        DataError: when nothing matches, or when the matches are of several kinds and so perhaps the same rows twice.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        found = tuple(sorted(path for path in folder.glob(pattern) if path.is_file() and kind(path)))
        if len({kind(path) for path in found}) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"{folder}: {names} are of several kinds, perhaps the same rows twice; keep one kind")
        if found:
            return found
    kinds = ", ".join(KINDS)
    raise DataError(f"{folder}: no file named like {' or '.join(patterns)} (ending in one of {kinds}); put it there")


def has(folder: Path, patterns: Iterable[str]) -> bool:
    """Return whether `folder` holds a data file that matches one of `patterns`."""
    return any(path.is_file() and kind(path) for pattern in patterns for path in folder.glob(pattern))


def kind(path: Path) -> str | None:
    """Return the ending by which `path` is read, or None if it is no data file."""
    return next((ending for ending in KINDS if path.name.endswith(ending)), None)


def from_files(paths: Iterable[Path], header: tuple[str, ...] | None = None) -> list[Row]:
    """Return the rows of `paths` one after another; `header` names the columns of a csv that has no header row."""
    return [row for path in paths for row in from_file(path, header)]


def from_file(path: Path, header: tuple[str, ...] | None = None) -> list[Row]:
    """Return the rows of one file, every csv field as text ("None" and "NA" are words here, not gaps)."""
    if kind(path) == ".parquet":
        import pyarrow.parquet

        return numbered(pyarrow.parquet.read_table(path).to_pylist(), path)
    text = read_text(path)
    if ".csv" in kind(path):
        return csv_rows(text, path, header)
    value = read_json(text, path)
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return [Row(row, path.name, number, key) for number, (key, row) in enumerate(value.items(), 1)]
    return numbered(value if isinstance(value, list) else [value], path)


def read_text(path: Path) -> str:
    """Return the text of a file, unpacked if its name ends in ``.gz``."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        return raw.decode("utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path.name}: not readable as UTF-8 text ({error}); fetch the file again") from error


def read_json(text: str, path: Path) -> object:
    """Return one JSON value, or the list of them if every line holds one (MedMCQA's dev.json does)."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = enumerate(text.split("\n"), 1)
        return [json_line(line, number, path) for number, line in lines if line.strip()]


def json_line(line: str, number: int, path: Path) -> object:
    """Return the JSON value of one line."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}, line {number}: no JSON ({error.msg}); fetch the file again") from error


def csv_rows(text: str, path: Path, header: tuple[str, ...] | None) -> list[Row]:
    """Return the rows of a csv; each must have as many columns as the header."""
    try:
        records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    except csv.Error as error:
        raise DataError(f"{path.name}: no csv ({error}); fetch the file again") from error
    names, body = (header, records) if header else (tuple(records[0]), records[1:]) if records else ((), [])
    for number, record in enumerate(body, 1):
        if len(record) != len(names):
            raise DataError(f"{path.name}, row {number}: {len(record)} columns, {len(names)} expected {names}")
    return numbered([dict(zip(names, record, strict=True)) for record in body], path)


def numbered(values: Iterable[object], path: Path) -> list[Row]:
    """Return one `Row` per object in `values`."""
    rows = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, Mapping):
            raise DataError(f"{path.name}, row {number}: {str(value)[:80]!r} is no object with named fields")
        rows.append(Row(value, path.name, number))
    return rows


def sources(rows: Iterable[Row]) -> str:
    """Return the names of the files or hub splits that `rows` come from."""
    return ", ".join(dict.fromkeys(row.source for row in rows))
