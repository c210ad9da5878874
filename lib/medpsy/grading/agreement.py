"""Measure a parser (or any reader) against what the answers really chose.

Needs a truth that was known beforehand; says nothing about whether the chosen option is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from medpsy.grading.reading import NO_OPTION, NONE_FITS, PARSER_UNREADABLE, SEVERAL, Reading

SAME, OTHER, ONE = "same option", "other option", "one option"


@dataclass(frozen=True)
class Agreement:
    """How often a reader read what was there.

    Args:
        rows: answers compared.
        accuracy: share read rightly, 0 to 100; an answer with several options or none is read rightly when it says so.
        confusion: counts by kind of truth (``"one option"``, ``"several options"``, ``"no option"``) and then by
            kind of reading (``"same option"``, ``"other option"``, ``"several options"``, ``"no option"``,
            ``"parser unreadable"``).
    """

    rows: int
    accuracy: float
    confusion: dict[str, dict[str, int]]

    def accuracy_of(self, truth: str) -> float | None:
        """Return the share read rightly among answers of kind `truth`, 0 to 100; None where there are none."""
        counts = self.confusion.get(truth, {})
        total = sum(counts.values())
        return 100 * counts.get(SAME if truth == ONE else truth, 0) / total if total else None


def agreement(readings: Sequence[Reading], truth: Sequence[int | str]) -> Agreement:
    """Compare `readings` with `truth`: an option's index, ``"several options"`` or ``"no option"`` per answer.

    Raises:
        ValueError: the two differ in length, are empty, or a truth is none of the three.
    """
    if len(readings) != len(truth) or not readings:
        raise ValueError(
            f"{len(readings)} readings and {len(truth)} truths; both must be the same number, at least one"
        )
    confusion: dict[str, dict[str, int]] = {}
    for reading, true in zip(readings, truth, strict=True):
        counts = confusion.setdefault(_truth_kind(true), {})
        kind = _reading_kind(reading, true)
        counts[kind] = counts.get(kind, 0) + 1
    right = sum(counts.get(SAME if kind == ONE else kind, 0) for kind, counts in confusion.items())
    return Agreement(len(readings), 100 * right / len(readings), confusion)


def _truth_kind(true: int | str) -> str:
    if isinstance(true, int):
        return ONE
    if true not in (SEVERAL, NO_OPTION):
        raise ValueError(f"truth {true!r} is neither an option's index nor {SEVERAL!r} nor {NO_OPTION!r}")
    return true


def _reading_kind(reading: Reading, true: int | str) -> str:
    if reading.choice is not None:
        return SAME if reading.choice == true else OTHER
    if reading.how in (SEVERAL, PARSER_UNREADABLE):
        return reading.how
    return NO_OPTION if reading.how in (NO_OPTION, NONE_FITS) else PARSER_UNREADABLE
