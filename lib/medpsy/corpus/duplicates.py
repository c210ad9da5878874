"""Exact and near duplicates among any number of texts.

MinHash signatures with locality-sensitive hashing: Broder, "On the resemblance and containment of documents", 1997;
Indyk and Motwani, 1998. The index lies on the disk, so memory does not grow with the texts: an index in memory takes
several KB a row, more than many a row itself.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasketch import MinHash

from medpsy.corpus.rows import EXACT, NEAR
from medpsy.corpus.words import digest, runs, words

PERMUTATIONS = 128  # the estimate of a similarity s then has the standard error sqrt(s (1 - s) / 128), 0.02 at 0.95
SHINGLE = 5  # words; ours: long enough that a shared template alone does not make two texts alike
RECALL = 0.9  # least chance that a pair at the threshold is compared at all
CACHE = 32 * 1024  # KiB of the index that sqlite keeps in memory
TABLES = """
CREATE TABLE exact (text BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE signature (id INTEGER PRIMARY KEY, numbers BLOB);
CREATE TABLE band (numbers BLOB, id INTEGER, PRIMARY KEY (numbers, id)) WITHOUT ROWID;
"""


def signature(text: str, shingle: int = SHINGLE) -> np.ndarray:
    """Return the MinHash signature of the word runs of `text`, [PERMUTATIONS] of unsigned 32-bit numbers."""
    sketch = MinHash(PERMUTATIONS, seed=1, scheme="affine32")
    sketch.update_batch([run.encode("utf-8", "replace") for run in runs(words(text), shingle)])
    return sketch.hashvalues


def band_rows(near: float) -> int:
    """Return how many numbers of a signature a band holds: the most at which pairs at `near` are compared surely."""
    sizes = (size for size in (64, 32, 16, 8, 4, 2) if 1 - (1 - near**size) ** (PERMUTATIONS // size) >= RECALL)
    return next(sizes, 1)


@dataclass(frozen=True)
class Mark:
    """What the index needs to know of a text; the signature is None where only exact duplicates count."""

    exact: bytes
    signature: np.ndarray | None


class Duplicates:
    """The texts seen so far, in a file at `path`.

    Args:
        near: estimated Jaccard similarity of word runs from which two texts are near duplicates; 1 finds exact ones
            alone. "Exact" disregards case and punctuation.
    """

    def __init__(self, path: Path, near: float) -> None:
        self._near, self._rows = near, band_rows(near)
        self._index = sqlite3.connect(path, isolation_level=None)
        self._index.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{CACHE}")
        self._index.executescript(TABLES)
        self._index.execute("BEGIN")  # never committed: the file is thrown away, and what the cache cannot hold spills

    def mark(self, text: str) -> Mark:
        """Return the mark of `text`, to be asked about and added."""
        exact = digest(" ".join(words(text)))
        return Mark(exact, signature(text) if self._near < 1 else None)

    def like(self, mark: Mark) -> str | None:
        """Return whether the text is an exact or a near duplicate of one that was added, or None."""
        if self._index.execute("SELECT 1 FROM exact WHERE text = ?", (mark.exact,)).fetchone():
            return EXACT
        return NEAR if mark.signature is not None and self._is_near(mark.signature) else None

    def add(self, mark: Mark) -> None:
        """Remember the text."""
        self._index.execute("INSERT OR IGNORE INTO exact VALUES (?)", (mark.exact,))
        if mark.signature is not None:
            put = "INSERT INTO signature (numbers) VALUES (?)"
            ident = self._index.execute(put, (mark.signature.tobytes(),)).lastrowid
            bands = [(band, ident) for band in self._bands(mark.signature)]
            self._index.executemany("INSERT INTO band VALUES (?, ?)", bands)

    def close(self) -> None:
        self._index.close()

    def _bands(self, numbers: np.ndarray) -> list[bytes]:
        """Return a digest per band; its place is part of it."""
        starts = range(0, PERMUTATIONS, self._rows)
        return [digest(f"{start} {numbers[start : start + self._rows].tobytes().hex()}") for start in starts]

    def _is_near(self, numbers: np.ndarray) -> bool:
        bands = self._bands(numbers)
        marks = ",".join("?" * len(bands))
        found = f"SELECT numbers FROM signature WHERE id IN (SELECT id FROM band WHERE numbers IN ({marks}))"
        others = (np.frombuffer(other, numbers.dtype) for (other,) in self._index.execute(found, bands))
        return any(np.mean(other == numbers) >= self._near for other in others)
