"""What is asked: the two records every suite is reduced to.

A loader turns one row of a data set into a `Question`; nothing downstream sees the row again. The record holds
no prompt: wording belongs to `medpsy.prompts`.
"""

from dataclasses import dataclass

LETTERS = "ABCDEFGHIJ"  # MMLU-Pro and MedXpertQA offer up to ten options


@dataclass(frozen=True)
class Question:
    """One closed-ended question.

    Args:
        id: unique within its suite.
        suite: key of the suite in `medpsy.benchmarks.SUITES`, e.g. ``"medqa"``.
        subject: the suite's own sub-domain, e.g. ``"anatomy"``; empty where the suite has none.
        stem: the question as asked, without its options.
        options: 2 to 10 option texts in the order of their letters.
        gold: index into `options`, or None where the key is withheld or names several options.
        context: passage the question is about (PubMedQA), or None.
        weight_group: questions are averaged within a group first, then groups are averaged without weights
            (MMLU (Health): the subject; every other suite: the suite itself).
    """

    id: str
    suite: str
    subject: str
    stem: str
    options: tuple[str, ...]
    gold: int | None
    context: str | None
    weight_group: str

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(f"{self.suite}/{self.id}: {len(self.options)} options; 2 to {len(LETTERS)} are allowed")
        if self.gold is not None and not 0 <= self.gold < len(self.options):
            raise ValueError(
                f"{self.suite}/{self.id}: gold {self.gold} is not an index into {len(self.options)} options"
            )

    @property
    def letters(self) -> str:
        """Letters of the options that are offered, e.g. ``"ABCD"``."""
        return LETTERS[: len(self.options)]
