"""Whether a row repeats what a suite asks: every question and conversation of the study's suites, asked or not.

Three rules, the first that fits counts: ``same stem`` (the whole stem, with its context or its turns), ``n-gram`` (a
run of words of the suite anywhere in the row, the teacher's words included; 13 is common practice since Brown et al.,
"Language Models are Few-Shot Learners", appendix C), ``near stem`` (Jaccard similarity of word runs). An n-gram that
stands in many questions is a turn of phrase and identifies none of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from datasketch import MinHash, MinHashLSH

from medpsy import evaluate, open_ended
from medpsy.benchmarks.conversation import Conversation
from medpsy.benchmarks.question import Question
from medpsy.corpus.duplicates import PERMUTATIONS
from medpsy.corpus.words import runs, words
from medpsy.study import Study

SAME, NGRAM, NEAR_STEM = "same stem", "n-gram", "near stem"
RULES = (SAME, NGRAM, NEAR_STEM)
SHINGLE = 3  # words; stems are short
MOST = 3  # questions in which an n-gram may stand and still identify them; ours: suites repeat each other's questions


@dataclass(frozen=True)
class Hit:
    """Why a row is contaminated, and by which suites."""

    rule: str
    suites: frozenset[str]


def stems(study: Study) -> dict[str, list[str]]:
    """Return the stems of every suite of the study, all questions and conversations of it."""
    whole = replace(study, conversations_per_suite=0)
    asked: dict[str, dict] = dict(evaluate.questions(study, every=True))
    asked |= open_ended.conversations(whole) if study.open_suites else {}
    return {suite: [stem(one) for one in group.values()] for suite, group in asked.items()}


def stem(one: Question | Conversation) -> str:
    """Return the words by which `one` is known: context and stem, or the user's turns."""
    if isinstance(one, Conversation):
        return " ".join(turn["content"] for turn in one.messages if turn["role"] == "user")
    return f"{one.context} {one.stem}" if one.context else one.stem


class Contamination:
    """An index of `stems` (suite -> texts); `near` and `ngram` as in `medpsy.corpus.recipe.Filters`."""

    def __init__(self, stems: dict[str, list[str]], *, near: float, ngram: int) -> None:
        self.sizes = {suite: len(texts) for suite, texts in stems.items()}
        self.digests = {suite: _digest(texts) for suite, texts in stems.items()}
        self._near, self._ngram = near, ngram
        self._suites: dict[str, set[str]] = {}  # stem as words -> suites that have it
        for suite, texts in stems.items():
            for text in texts:
                self._suites.setdefault(" ".join(words(text)), set()).add(suite)
        self._runs = self._identifying_runs() if ngram else {}
        self._likely = MinHashLSH(threshold=near, num_perm=PERMUTATIONS) if near < 1 else None
        if self._likely is not None:
            for known in self._suites:
                self._likely.insert(known, _sketch(known))

    def hit(self, stem: str, text: str) -> Hit | None:
        """Return why the row with the question `stem` and all the words `text` is contaminated, or None."""
        known = " ".join(words(stem))
        if known in self._suites:
            return Hit(SAME, frozenset(self._suites[known]))
        if suites := self._shared(text):
            return Hit(NGRAM, suites)
        if suites := self._alike(known):
            return Hit(NEAR_STEM, suites)
        return None

    def _identifying_runs(self) -> dict[int, frozenset[str]]:
        """Return the hash of every n-gram that stands in few stems, with the suites of those stems."""
        found = [(run, suites) for known, suites in self._suites.items() for run in self._grams(known.split())]
        often = Counter(run for run, _ in found)
        shared: dict[int, frozenset[str]] = {}
        for run, suites in found:
            if often[run] <= MOST:
                shared[run] = shared.get(run, frozenset()) | suites
        return shared

    def _grams(self, found: list[str]) -> set[int]:
        return {hash(run) for run in runs(found, self._ngram)} if len(found) >= self._ngram else set()

    def _shared(self, text: str) -> frozenset[str]:
        if not self._runs:
            return frozenset()
        return frozenset().union(*(self._runs.get(run, ()) for run in self._grams(words(text))))

    def _alike(self, known: str) -> frozenset[str]:
        if self._likely is None:
            return frozenset()
        own = set(runs(known.split(), SHINGLE))
        near = [other for other in self._likely.query(_sketch(known)) if _jaccard(own, other) >= self._near]
        return frozenset().union(*(self._suites[other] for other in near))


def _sketch(known: str) -> MinHash:
    sketch = MinHash(PERMUTATIONS, seed=1, scheme="affine32")
    sketch.update_batch([run.encode() for run in runs(known.split(), SHINGLE)])
    return sketch


def _jaccard(own: set[str], other: str) -> float:
    others = set(runs(other.split(), SHINGLE))
    return len(own & others) / len(own | others)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()
