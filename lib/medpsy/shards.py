"""One folder of Parquet shards: each is written whole or not at all, and read with its checksums verified.

Several processes may write to one folder at once. Refuses to skip a shard it cannot read: it is named in a warning and
set aside, so that whoever needs its rows makes them again. What the rows mean is not its business.
"""

import errno
import fcntl
import os
import time
import uuid
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

STALE = (
    60.0  # seconds; writing one shard takes less than one, so an older temporary file nobody holds is a killed run's
)
FULL = (errno.ENOSPC, errno.EDQUOT)
VERIFY = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
CHECKED = ds.ParquetFileFormat(default_fragment_scan_options=VERIFY)


class DamagedShardWarning(UserWarning):
    """A shard could not be read and was set aside; its rows are made again."""


@dataclass(frozen=True)
class ShardFolder:
    """The shards in `path`, all of one `schema` (which has a column ``key``); unreadable ones go to `damaged`."""

    path: Path
    schema: pa.Schema
    damaged: Path

    def paths(self) -> list[Path]:
        """Return the complete shards, oldest first."""
        return sorted(self.path.glob("[!.]*.parquet"))

    def write(self, rows: Sequence[dict]) -> Path:
        """Write `rows` as one new shard; it appears under its name only when it is complete and on the disk.

        Raises:
            OSError: with what to do, when the disk is full; complete shards stay as they are.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, self.schema), sink, compression="zstd", write_page_checksum=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
        try:
            return publish(self.path / name, sink.getvalue())
        except OSError as error:
            if error.errno not in FULL:
                raise
            kept = len(self.paths())
            fix = (
                f"{len(rows)} rows were not saved, {kept} complete shards are kept; free space and run again to resume"
            )
            raise OSError(error.errno, f"the disk is full: {fix}", name) from error

    def read(self, columns: Sequence[str], keys: Iterable[str] | None = None) -> pa.Table:
        """Return `columns` of all rows, or of those with one of `keys`; damaged shards are set aside with a warning."""
        wanted = None if keys is None else set(keys)
        while paths := self.paths():
            try:
                table = self._scan(paths, columns, wanted)
            except FileNotFoundError:
                continue  # another process set it aside between our listing and our reading
            except (pa.ArrowException, OSError):
                if not self.set_aside():
                    raise
                continue
            if table is not None:
                return table.select(columns)
            self.set_aside()
        return self.schema.empty_table().select(columns)

    def _scan(self, paths: list[Path], columns: Sequence[str], wanted: set[str] | None) -> pa.Table | None:
        """Return the wanted rows, or None where a shard has no keys: a file with other columns reads as nulls.

        Batch by batch, so that no more is held than is wanted.
        """
        names = list(dict.fromkeys(["key", *columns]))
        files = [str(path) for path in paths]
        if wanted is not None and (files := self._holding(files, wanted)) is None:
            return None
        picked = []
        for batch in self._data(files).to_batches(columns=names):
            if batch["key"].null_count:
                return None
            picked.append(batch if wanted is None else batch.filter(among(batch["key"], wanted)))
        return pa.Table.from_batches(picked, self.schema.empty_table().select(names).schema)

    def _holding(self, files: list[str], wanted: set[str]) -> list[str] | None:
        """Return those of `files` that hold one of `wanted`: reading the texts of all takes ten times as long."""
        found = set()
        for tagged in self._data(files).scanner(columns=["key"]).scan_batches():
            keys = tagged.record_batch["key"]
            if keys.null_count:
                return None
            if pc.any(among(keys, wanted)).as_py():
                found.add(tagged.fragment.path)
        return sorted(found)  # oldest first, as they came

    def _data(self, files: list[str]) -> ds.Dataset:
        return ds.dataset(files, schema=self.schema, format=CHECKED)

    def set_aside(self) -> int:
        """Move every unreadable shard to `damaged` with a warning; return how many there were."""
        found = [(path, problem) for path in self.paths() if (problem := unreadable(path, self.schema))]
        for path, problem in found:
            self.damaged.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(path, self.damaged / f"{self.path.name}-{path.name}")
            except FileNotFoundError:
                continue  # another process was faster
            shown = f"shard {self.path.name}/{path.name} is damaged ({problem})"
            fate = f"moved to {self.damaged.name}/, its rows are made again"
            warnings.warn(f"{shown}; {fate}", DamagedShardWarning, stacklevel=2)
        return len(found)

    def clean(self) -> None:
        """Remove temporary files that killed runs left behind; one that a live writer holds is left alone."""
        for path in self.path.glob(".*.tmp"):
            try:
                with path.open("r+b") as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - path.stat().st_mtime > STALE:
                        path.unlink()
            except OSError:
                continue  # held, gone, or a file system without locks: no harm, nobody reads it


def unreadable(path: Path, schema: pa.Schema) -> str | None:
    """Return what is wrong with the shard `path`, or None.

    Raises:
        OSError: the file itself could not be opened or read; that says nothing about its content.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        return str(error).splitlines()[0][:120]
    return None if table.schema.equals(schema) and not table["key"].null_count else "its columns are not ours"


def among(keys: pa.Array, wanted: set[str]) -> pa.Array:
    """Return of each of `keys` whether it is wanted; Arrow's own filter hashes all wanted keys anew for every batch."""
    return pa.array([key in wanted for key in keys.to_pylist()], pa.bool_())


def publish(path: Path, data: bytes) -> Path:
    """Write `data` to `path` by way of a temporary file beside it, locked while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as sink:
            lock(sink)
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def lock(file) -> None:
    """Hold `file` until it is closed; on a file system without locks (some cluster disks) go on without."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
