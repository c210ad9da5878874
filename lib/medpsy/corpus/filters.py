"""What drops a row: its length, duplicates, and what a suite asks. No row is dropped for being wrong.

Near duplicates by MinHash signatures with locality-sensitive hashing (Broder, "On the resemblance and containment of
documents", 1997; Indyk and Motwani, 1998). The index lies on the disk: in memory it takes several KB a row, more than
many a row itself. A row is contaminated by three rules, of which the first that fits counts: ``same stem`` (the whole
stem, with its context or its turns), ``n-gram`` (a run of words of the suite anywhere in the row, the teacher's words
included; 13 is common practice since Brown et al., "Language Models are Few-Shot Learners", appendix C), ``near stem``
(Jaccard similarity of word runs). An n-gram that stands in many questions is a turn of phrase and identifies none.
"""

import hashlib
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH
from pydantic import Field

from medpsy import evaluate, judge
from medpsy.corpus.rows import EXACT, NEAR
from medpsy.corpus.seeds import user_words
from medpsy.data.questions import Conversation, Question
from medpsy.study import Study


@dataclass(frozen=True)
class Filters:
    """Which rows are dropped."""

    packed_length: Annotated[int, Field(ge=1)]  # tokens of a packed training sequence; a longer row is never cut
    near: Annotated[float, Field(ge=0.5, le=1)]  # Jaccard similarity of near duplicates; 1 leaves only exact ones
    ngram: Annotated[int, Field(ge=0)]  # words shared with a suite that contaminate; 0 compares whole stems alone


WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of `text`, in lower case and compatibility form."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs(text: Sequence[str], length: int) -> list[str]:
    """Return every run of `length` neighbouring words of `text`; a shorter text is one run."""
    return [" ".join(text[at : at + length]) for at in range(max(1, len(text) - length + 1))]


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for `text`."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


PERMUTATIONS = 128  # the estimate of a similarity s then has the standard error sqrt(s (1 - s) / 128), 0.02 at 0.95
ROW_SHINGLE = 5  # words; ours: long enough that a shared template alone does not make two texts alike
RECALL = 0.9  # least chance that a pair at the threshold is compared at all
CACHE = 32 * 1024  # KiB of the index that sqlite keeps in memory
TABLES = """
CREATE TABLE exact (text BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE signature (id INTEGER PRIMARY KEY, numbers BLOB);
CREATE TABLE band (numbers BLOB, id INTEGER, PRIMARY KEY (numbers, id)) WITHOUT ROWID;
"""


def sketch(text: Sequence[str], length: int) -> MinHash:
    """Return the MinHash signature of the runs of `length` words of `text`: `PERMUTATIONS` unsigned 32-bit numbers."""
    minhash = MinHash(PERMUTATIONS, seed=1, scheme="affine32")
    minhash.update_batch([run.encode("utf-8", "replace") for run in runs(text, length)])
    return minhash


def band_rows(near: float) -> int:
    """Return how many numbers of a signature a band holds: the most at which pairs at `near` are compared surely."""
    sizes = (size for size in (64, 32, 16, 8, 4, 2) if 1 - (1 - near**size) ** (PERMUTATIONS // size) >= RECALL)
    return next(sizes, 1)


Mark = tuple[bytes, np.ndarray | None]  # of a text: its digest, and its signature where near duplicates count


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
        split = words(text)
        return digest(" ".join(split)), sketch(split, ROW_SHINGLE).hashvalues if self._near < 1 else None

    def like(self, mark: Mark) -> str | None:
        """Return whether the text is an exact or a near duplicate of one that was added, or None."""
        exact, signature = mark
        if self._index.execute("SELECT 1 FROM exact WHERE text = ?", (exact,)).fetchone():
            return EXACT
        return NEAR if signature is not None and self._is_near(signature) else None

    def add(self, mark: Mark) -> None:
        """Remember the text."""
        exact, signature = mark
        self._index.execute("INSERT OR IGNORE INTO exact VALUES (?)", (exact,))
        if signature is not None:
            put = "INSERT INTO signature (numbers) VALUES (?)"
            ident = self._index.execute(put, (signature.tobytes(),)).lastrowid
            bands = ((band, ident) for band in self._bands(signature))
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
        alike = f"SELECT numbers FROM signature WHERE id IN (SELECT id FROM band WHERE numbers IN ({marks}))"
        others = (np.frombuffer(other, numbers.dtype) for (other,) in self._index.execute(alike, bands))
        return any(np.mean(other == numbers) >= self._near for other in others)


SAME, NGRAM, NEAR_STEM = "same stem", "n-gram", "near stem"
RULES = (SAME, NGRAM, NEAR_STEM)
STEM_SHINGLE = 3  # words; stems are short
MOST = 3  # questions in which an n-gram may stand and still identify them; ours: suites repeat each other's questions


class Hit(NamedTuple):
    """Why a row is contaminated, and by which suites."""

    rule: str
    suites: frozenset[str]


def stems(study: Study) -> dict[str, list[str]]:
    """Return the stems of every suite of the study, all questions and conversations of it."""
    asked: dict[str, dict] = dict(evaluate.questions(study, every=True))
    asked |= judge.conversations(replace(study, conversations_per_suite=0)) if study.open_suites else {}
    return {suite: [stem(item) for item in items.values()] for suite, items in asked.items()}


def stem(item: Question | Conversation) -> str:
    """Return the words by which `item` is known: context and stem, or the user's turns."""
    if isinstance(item, Conversation):
        return user_words(item.messages)
    return f"{item.context} {item.stem}" if item.context else item.stem


class Contamination:
    """An index of `stems` (suite -> texts); `near` and `ngram` as in `Filters`."""

    def __init__(self, stems: dict[str, list[str]], *, near: float, ngram: int) -> None:
        self.sizes = {suite: len(texts) for suite, texts in stems.items()}
        whole = {suite: "\n".join(sorted(texts)) for suite, texts in stems.items()}
        self.digests = {suite: hashlib.sha256(text.encode()).hexdigest() for suite, text in whole.items()}
        self._near, self._ngram = near, ngram
        self._suites: dict[str, frozenset[str]] = {}  # stem as words -> suites that have it
        for suite, texts in stems.items():
            for asked in (" ".join(words(text)) for text in texts):
                self._suites[asked] = self._suites.get(asked, frozenset()) | {suite}
        self._runs = self._identifying_runs() if ngram else {}
        self._likely = MinHashLSH(threshold=near, num_perm=PERMUTATIONS) if near < 1 else None
        for asked in self._suites if self._likely is not None else ():
            self._likely.insert(asked, sketch(asked.split(), STEM_SHINGLE))

    def hit(self, stem: str, text: str) -> Hit | None:
        """Return why the row with the question `stem` and all the words `text` is contaminated, or None."""
        asked = " ".join(words(stem))
        if asked in self._suites:
            return Hit(SAME, self._suites[asked])
        if self._runs and (suites := frozenset().union(*(self._runs.get(run, ()) for run in self._grams(words(text))))):
            return Hit(NGRAM, suites)
        likely = self._likely.query(sketch(asked.split(), STEM_SHINGLE)) if self._likely is not None else ()
        if alike := [other for other in likely if jaccard(asked, other) >= self._near]:
            return Hit(NEAR_STEM, frozenset().union(*(self._suites[other] for other in alike)))
        return None

    def _identifying_runs(self) -> dict[int, frozenset[str]]:
        """Return the hash of every n-gram that stands in few stems, with the suites of those stems."""
        grams = {asked: self._grams(asked.split()) for asked in self._suites}
        often = Counter(run for each in grams.values() for run in each)
        shared: dict[int, frozenset[str]] = {}
        for asked, each in grams.items():
            for run in (run for run in each if often[run] <= MOST):
                shared[run] = shared.get(run, frozenset()) | self._suites[asked]
        return shared

    def _grams(self, text: list[str]) -> set[int]:
        return {hash(run) for run in runs(text, self._ngram)} if len(text) >= self._ngram else set()


def jaccard(one: str, other: str, length: int = STEM_SHINGLE) -> float:
    """Return the share of runs of `length` words that two texts have in common, 0 to 1."""
    first, second = (set(runs(words(text), length)) for text in (one, other))
    return len(first & second) / len(first | second)
