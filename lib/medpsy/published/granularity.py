"""Which sample sizes and run counts can produce the printed decimals.

A score of n questions averaged over R runs can only take certain values. A size under which a printed value is
impossible is ruled out; a size under which all are possible is supported only as far as chance would not do the same,
so the chance rate stands beside every fit. It reads scores, not questions, and names no size as certain.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil, floor

import numpy as np
import pandas as pd

from medpsy.published.cells import cells, read_data
from medpsy.published.vocabulary import CLOSED_ENDED_TABLES, HEALTHBENCH_TABLES

STEPS = 10_001  # printed values 0.00, 0.01, ... 100.00
RARE = 0.001  # a fit that chance would give less often than this counts as support; ours


@dataclass(frozen=True)
class SampleSize:
    """A candidate: `sizes` has one number of questions, or one per subject when the score is the mean of subjects."""

    suite: str
    sizes: tuple[int, ...]
    selection: str
    used: bool

    @property
    def questions(self) -> int:
        return sum(self.sizes)

    @property
    def effective(self) -> float:
        """Questions of a pooled score with the same sampling noise; fewer than asked when subjects weigh alike."""
        return len(self.sizes) ** 2 / sum(1 / size for size in self.sizes)


@cache
def sample_sizes() -> tuple[SampleSize, ...]:
    """Return the candidates of ``sample_sizes.csv``; the report prints none of them."""
    return tuple(
        SampleSize(row["suite"], tuple(map(int, row["sizes"].split())), row["selection"], row["used"] == "yes")
        for row in read_data("sample_sizes.csv")
    )


def printed_values(suite: str) -> list[int]:
    """Return the distinct printed scores of a suite in hundredths of a point; missing trailing zeros are assumed."""
    if suite == "HealthBench":
        chosen = (cell for cell in cells() if cell.table in HEALTHBENCH_TABLES)
    else:
        chosen = (cell for cell in cells() if cell.table in CLOSED_ENDED_TABLES and cell.measure == suite)
    return sorted({int(cell.number * 100) for cell in chosen})


def granularity(runs: tuple[int, ...] = (1, 2, 3)) -> pd.DataFrame:
    """Return one row per candidate size and run count.

    Columns: suite, selection, questions, runs, values (distinct printed scores); `fit` and `chance` when the mean of
    unrounded runs was rounded once; `fit rounded` and `chance rounded` when every run was rounded to two decimals
    before averaging. By the better of the two: `luck`, the probability that arbitrary values would fit too, and
    reading: ``"fits"``, ``"fits by chance too"`` or ``"does not fit"``.
    """
    return pd.DataFrame([_row(candidate, count) for candidate in sample_sizes() for count in runs])


@cache
def possible(sizes: tuple[int, ...], runs: int, *, rounded_runs: bool = False) -> np.ndarray:
    """Return, for each printed value 0.00 to 100.00, whether `sizes` questions and `runs` runs can produce it.

    Exact for one size. For a mean of subjects every True is proven, a False is not; it then ignores `rounded_runs`.
    The array is shared between calls and cannot be written to.
    """
    if len(sizes) > 1:
        found = _possible_means(tuple(size * runs for size in sizes))
    elif rounded_runs:
        found = _possible_rounded_runs(sizes[0], runs)
    else:
        found = _possible_scores(sizes[0] * runs)
    found.flags.writeable = False
    return found


def _possible_scores(total: int) -> np.ndarray:
    """Return which printed values are a number of right answers out of `total`."""
    printed = np.arange(STEPS, dtype=np.int64)
    count = (2 * printed * total + 10_000) // 20_000  # nearest number of right answers
    return np.abs(20_000 * count - 2 * printed * total) <= total  # within half of 0.01 point; a tie rounds either way


def _row(candidate: SampleSize, runs: int) -> dict:
    values = printed_values(candidate.suite)
    once = possible(candidate.sizes, runs)
    twice = possible(candidate.sizes, runs, rounded_runs=True)
    complete = [float(found.mean()) ** len(values) for found in (once, twice) if found[values].all()]
    return {
        "suite": candidate.suite,
        "selection": candidate.selection,
        "questions": candidate.questions,
        "runs": runs,
        "values": len(values),
        "fit": int(once[values].sum()),
        "chance": float(once.mean()),
        "fit rounded": int(twice[values].sum()),
        "chance rounded": float(twice.mean()),
        "luck": min(complete, default=None),
        "reading": _reading(complete),
    }


def _reading(complete: list[float]) -> str:
    """Return what the fits say; `complete` has the luck of each way of rounding under which every value is possible."""
    if not complete:
        return "does not fit"
    return "fits" if min(complete) < RARE else "fits by chance too"


def _possible_rounded_runs(size: int, runs: int) -> np.ndarray:
    """Return which printed values are a mean of `runs` scores that were each rounded to 0.01 point.

    Sets of whole hundredths are kept as bits of one long integer: bit s is set when the sum s can occur.
    """
    single = {rounded for right in range(size + 1) for rounded in _rounded(Fraction(10_000 * right, size))}
    sums = 1
    for _ in range(runs):
        sums = _shifted_union(sums, single)
    found = np.zeros(STEPS, dtype=bool)
    bits = np.frombuffer(sums.to_bytes(runs * STEPS // 8 + 1, "little"), dtype=np.uint8)
    totals = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    found[(2 * totals + runs) // (2 * runs)] = True
    found[(2 * totals + runs - 1) // (2 * runs)] = True  # ties, the other way
    return found


def _shifted_union(bits: int, shifts: set[int]) -> int:
    union = 0
    for shift in shifts:
        union |= bits << shift
    return union


def _rounded(value: Fraction) -> set[int]:
    """Return the whole numbers nearest to `value`: two of them at a tie."""
    half = Fraction(1, 2)
    return {floor(value + half), ceil(value - half)}


def _possible_means(sizes: tuple[int, ...]) -> np.ndarray:
    """Return printed values that a mean over subjects of `sizes` questions certainly reaches.

    One exact sum is kept per printed value while subjects are added, which keeps the search small and every hit real.
    """
    sums = np.zeros(1)
    for size in sizes:
        added = (sums[:, None] + np.arange(size + 1) * (100 / len(sizes) / size)).ravel()
        kept = np.full(STEPS, np.nan)
        kept[np.rint(added * 100).astype(int)] = added
        sums = kept[~np.isnan(kept)]
    found = np.zeros(STEPS, dtype=bool)
    found[np.rint(sums * 100).astype(int)] = True
    return found
