"""What is asked in the open: a conversation and the rubric its response is judged by.

The record holds no verdict and no prompt of ours; scores are computed in `medpsy.grading.rubric`.
"""

from dataclasses import dataclass

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric.

    Args:
        text: what has to be true of the response; for negative points, the bad thing that must not happen.
        points: -10 to 10, never 0; negative points are taken off where the criterion is met.
        axis: e.g. ``"completeness"``.
        tags: all tags of the row as they stand in the file, the axis included.
    """

    text: str
    points: float
    axis: str
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("criterion without text")
        if not -10 <= self.points <= 10 or self.points == 0:
            raise ValueError(f"points {self.points} of criterion {self.text[:40]!r}; -10 to 10 without 0 are allowed")


@dataclass(frozen=True)
class Conversation:
    """One open-ended task: messages that end with the user's turn, and what a response is judged by.

    Args:
        id: unique within its suite; HealthBench's ``prompt_id``.
        suite: key of the suite in `medpsy.benchmarks.OPEN_SUITES`, e.g. ``"healthbench"``.
        messages: chat messages as (role, content) mappings.
        rubric: at least one criterion with positive points.
        theme: the one ``theme:`` tag of the example, without its prefix.
        tags: all example tags as they stand in the file, the theme included.
    """

    id: str
    suite: str
    messages: tuple[dict[str, str], ...]
    rubric: tuple[Criterion, ...]
    theme: str
    tags: tuple[str, ...] = ()

    @property
    def weight_group(self) -> str:
        """All conversations of a suite count equally, so a sample draws from them as from one group."""
        return self.suite

    def __post_init__(self) -> None:
        where = f"{self.suite}/{self.id}"
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError(f"{where}: the last turn must be the user's")
        if strange := {turn["role"] for turn in self.messages} - set(ROLES):
            raise ValueError(f"{where}: role {sorted(strange)[0]!r}; known are {', '.join(ROLES)}")
        if not any(one.points > 0 for one in self.rubric):
            raise ValueError(f"{where}: no criterion has positive points, so there is nothing to score against")
