"""A corpus on the disk: Parquet shards beside its card. Only with its card is it complete."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.corpus.card import FILE, Card, read
from medpsy.corpus.rows import SCHEMA, TrainingRow
from medpsy.study import Study

SHARD_ROWS = 2_000  # ours: at 4,096 tokens a row some 30 MB of text
SECTIONS = {"o1": "12_gspo_judge", "openmed-sft": "13_openmed", "openmed-pairs": "13_openmed"}  # of the sister recipes


class Writer:
    """Writes rows to ``part-00000.parquet``, ``part-00001.parquet`` ... in `folder`; equal rows give equal files."""

    def __init__(self, folder: Path, rows: int = SHARD_ROWS, schema: pa.Schema = SCHEMA) -> None:
        self._folder, self._rows, self._schema = folder, rows, schema
        self._open: list[dict] = []
        self.digests: dict[str, str] = {}

    def add(self, row: TrainingRow) -> None:
        self._open.append(row.as_data())
        if len(self._open) == self._rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are still open."""
        if not self._open:
            return
        name, rows = f"part-{len(self.digests):05d}.parquet", self._open
        pq.write_table(pa.Table.from_pylist(rows, self._schema), self._folder / name, compression="zstd")
        with (self._folder / name).open("rb") as file:
            self.digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        self._open = []


def folder(study: Study, corpus: str) -> Path:
    return study.corpora_dir / corpus


def fix(corpus: str) -> str:
    """Return what makes `corpus`."""
    return f"run {SECTIONS.get(corpus.partition('/')[0], '03_training_data')}"


def card(study: Study, corpus: str) -> Card:
    """Return the card of a complete corpus.

    Raises:
        FileNotFoundError: there is none, or a shard it names is gone.
    """
    where = folder(study, corpus)
    if not (where / FILE).is_file():
        raise FileNotFoundError(f"{corpus} of profile {study.profile} is not complete: it has no {FILE}; {fix(corpus)}")
    found = read(where / FILE)
    for name in found.shards:
        if not (where / name).is_file():
            raise FileNotFoundError(f"{corpus} of profile {study.profile}: {name} is missing; {fix(corpus)} again")
    return found


def load(study: Study, corpus: str):
    """Return the rows of `corpus` as a `datasets.Dataset`; columns as its README.md says.

    Raises:
        FileNotFoundError: the corpus is not complete.
        ValueError: it has no rows, or another number of them than its card says.
    """
    import datasets  # late: takes a second to import

    known = card(study, corpus)
    if not known.rows:
        raise ValueError(
            f"{corpus} of profile {study.profile} has no rows; {fix(corpus)} with more seeds or another teacher"
        )
    files = [str(folder(study, corpus) / name) for name in sorted(known.shards)]
    rows = datasets.load_dataset("parquet", data_files=files, split="train")
    if len(rows) != known.rows:
        raise ValueError(f"{corpus}: {len(rows):,} rows, {known.rows:,} by its {FILE}; {fix(corpus)} again")
    return rows
