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
from collections import Counter, defaultdict
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
    packed_length: Annotated[int, Field(ge=1)]  # tokens of a packed training sequence; a longer row is never cut
    near: Annotated[float, Field(ge=0.5, le=1)]  # Jaccard similarity of near duplicates; 1 leaves only exact ones
    ngram: Annotated[int, Field(ge=0)]  # words shared with a suite that contaminate; 0 compares whole stems alone


def words(text: str) -> list[str]:
    """Return the words of `text`, in lower case and compatibility form."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def runs(text: Sequence[str], length: int) -> list[str]:
    """Return every run of `length` neighbouring words; a shorter text is one run."""
    return [" ".join(text[at : at + length]) for at in range(max(1, len(text) - length + 1))]


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


PERMUTATIONS = 128  # the estimate of a similarity s then has the standard error sqrt(s (1 - s) / 128), 0.02 at 0.95
ROW_SHINGLE = 5  # words; ours: long enough that a shared template alone does not make two texts alike
RECALL = 0.9  # least chance that a pair at the threshold is compared at all
INDEX = Path(__file__).with_name("filters.sql").read_text(encoding="utf-8")


def sketch(text: Sequence[str], length: int) -> MinHash:
    """Return the MinHash signature of the runs of `length` words of `text`: `PERMUTATIONS` unsigned 32-bit numbers."""
    minhash = MinHash(PERMUTATIONS, seed=1, scheme="affine32")
    minhash.update_batch([run.encode("utf-8", "replace") for run in runs(text, length)])
    return minhash


class Mark(NamedTuple):
    whole: bytes  # digest of its words
    signature: np.ndarray
    bands: list[bytes]  # a digest per band of the signature; its place is part of it


class Duplicates:
    """The texts seen so far, in a file at `path`; "exact" disregards case and punctuation. From an estimated Jaccard
    similarity `near` of word runs on two texts are near duplicates; 1 finds exact ones alone."""

    def __init__(self, path: Path, near: float) -> None:
        self._near = near
        # numbers of a signature in a band: the most at which pairs at `near` are compared surely
        sizes = (size for size in (64, 32, 16, 8, 4, 2) if 1 - (1 - near**size) ** (PERMUTATIONS // size) >= RECALL)
        self._rows = next(sizes, 1)
        self._index = sqlite3.connect(path, isolation_level=None)
        self._index.executescript(INDEX)

    def mark(self, text: str) -> Mark:
        split = words(text)
        whole, signature = digest(" ".join(split)), np.empty(0, np.uint32)
        if self._near < 1:
            signature = sketch(split, ROW_SHINGLE).hashvalues
        starts = range(0, len(signature), self._rows)
        bands = [digest(f"{start} {signature[start : start + self._rows].tobytes().hex()}") for start in starts]
        return Mark(whole, signature, bands)

    def like(self, mark: Mark) -> str | None:
        """Return whether the text is an exact or a near duplicate of one that was added, or None."""
        if self._alike([mark.whole]):
            return EXACT
        others = (np.frombuffer(other, mark.signature.dtype) for other in self._alike(mark.bands))
        return NEAR if any(np.mean(other == mark.signature) >= self._near for other in others) else None

    def add(self, mark: Mark) -> None:
        put = "INSERT INTO signature (numbers) VALUES (?)"
        ident = self._index.execute(put, (mark.signature.tobytes(),)).lastrowid
        rows = [(band, ident) for band in (mark.whole, *mark.bands)]
        self._index.executemany("INSERT INTO band VALUES (?, ?)", rows)

    def close(self) -> None:
        self._index.close()

    def _alike(self, bands: list[bytes]) -> list[bytes]:
        """Return the signatures of texts that share one of `bands`."""
        marks = ",".join("?" * len(bands))
        alike = f"SELECT numbers FROM signature WHERE id IN (SELECT id FROM band WHERE numbers IN ({marks}))"
        return [numbers for (numbers,) in self._index.execute(alike, bands)]


SAME, NGRAM, NEAR_STEM = "same stem", "n-gram", "near stem"
RULES = (SAME, NGRAM, NEAR_STEM)
STEM_SHINGLE = 3  # words; stems are short
MOST = 3  # questions in which an n-gram may stand and still identify them; ours: suites repeat each other's questions


class Hit(NamedTuple):
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
        self._suites: dict[str, set[str]] = defaultdict(set)  # stem as words -> suites that have it
        for suite, texts in stems.items():
            for text in texts:
                self._suites[" ".join(words(text))].add(suite)
        grams = {asked: self._grams(asked.split()) for asked in self._suites}
        often = Counter(run for each in grams.values() for run in each)
        self._runs: dict[int, set[str]] = defaultdict(set)  # hash of an n-gram in few stems -> their suites
        for asked, each in grams.items():
            for run in (run for run in each if often[run] <= MOST):
                self._runs[run] |= self._suites[asked]
        self._likely = MinHashLSH(threshold=near, num_perm=PERMUTATIONS) if near < 1 else None
        for asked in self._suites if near < 1 else ():
            self._likely.insert(asked, sketch(asked.split(), STEM_SHINGLE))

    def hit(self, stem: str, text: str) -> Hit | None:
        """Return why the row with the question `stem` and all the words `text` is contaminated, or None."""
        asked = " ".join(words(stem))
        if asked in self._suites:
            return Hit(SAME, frozenset(self._suites[asked]))
        if suites := frozenset().union(*(self._runs[run] for run in self._grams(words(text)) & self._runs.keys())):
            return Hit(NGRAM, suites)
        likely = self._likely.query(sketch(asked.split(), STEM_SHINGLE)) if self._likely is not None else ()
        if alike := [other for other in likely if jaccard(asked, other) >= self._near]:
            return Hit(NEAR_STEM, frozenset().union(*(self._suites[other] for other in alike)))
        return None

    def _grams(self, text: list[str]) -> set[int]:
        return {hash(run) for run in runs(text, self._ngram)} if len(text) >= self._ngram > 0 else set()


def jaccard(one: str, other: str) -> float:
    """Return the share of runs of `STEM_SHINGLE` words that two texts have in common, 0 to 1."""
    first, second = (set(runs(words(text), STEM_SHINGLE)) for text in (one, other))
    return len(first & second) / len(first | second)
