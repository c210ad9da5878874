"""What is asked: questions with options, conversations with a rubric, and samples of either.

A loader turns one row of a data set into one of these records; nothing downstream sees the row again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from string import Formatter
from typing import TypeVar

LETTERS = "ABCDEFGHIJ"  # MMLU-Pro and MedXpertQA offer up to ten options
ROLES = ("system", "user", "assistant")
FIELDS = {"context", "stem", "options"}  # of the template of a closed-ended prompt


@dataclass(frozen=True)
class Question:
    """One closed-ended question. Scores are averaged within a `weight_group` first, then over groups without weights
    (MMLU (Health): the subject; every other suite: the suite itself)."""

    id: str  # unique within its suite
    suite: str  # key of `medpsy.data.suites.SUITES`
    subject: str  # the suite's own sub-domain, e.g. "anatomy"; empty where the suite has none
    stem: str  # without the options
    options: tuple[str, ...]  # 2 to 10 in the order of their letters
    gold: int | None  # index into `options`, or None where the key is withheld or names several options
    context: str | None  # passage the question is about (PubMedQA)
    weight_group: str
    wording: str = field(default="", repr=False)  # template of its prompt; empty: that of the study

    def __post_init__(self) -> None:
        where = f"{self.suite}/{self.id}"
        if self.wording and {name for _, name, *_ in Formatter().parse(self.wording)} - {None} != FIELDS:
            raise ValueError(f"{where}: wording {self.wording!r}; a template has {{context}}, {{stem}} and {{options}}")
        if not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(f"{where}: {len(self.options)} options; 2 to {len(LETTERS)} are allowed")
        if self.gold is not None and not 0 <= self.gold < len(self.options):
            raise ValueError(f"{where}: gold {self.gold} is not an index into {len(self.options)} options")

    @property
    def letters(self) -> str:
        """Letters of the options that are offered, e.g. ``"ABCD"``."""
        return LETTERS[: len(self.options)]


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric: `text` is what has to be true of the response, or for negative points the bad thing that
    must not happen; `points` are -10 to 10, never 0, taken off where negative and met; `axis` is e.g.
    ``"completeness"``, and `tags` are all of the row as they stand in the file."""

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
    """One open-ended task: messages that end with the user's turn, and a rubric with at least one criterion of positive
    points. `id` (HealthBench's ``prompt_id``) is unique within its suite, a key of `medpsy.data.suites.OPEN_SUITES`;
    `theme` is the one ``theme:`` tag without its prefix, `tags` are all as they stand in the file."""

    id: str
    suite: str
    messages: tuple[dict[str, str], ...]
    rubric: tuple[Criterion, ...]
    theme: str
    tags: tuple[str, ...] = ()

    weight_group = property(lambda self: self.suite)  # all count equally: a sample draws from them as from one group

    def __post_init__(self) -> None:
        where = f"{self.suite}/{self.id}"
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError(f"{where}: the last turn must be the user's")
        if unknown := {turn["role"] for turn in self.messages} - set(ROLES):
            raise ValueError(f"{where}: role {sorted(unknown)[0]!r}; known are {', '.join(ROLES)}")
        if not any(criterion.points > 0 for criterion in self.rubric):
            raise ValueError(f"{where}: no criterion has positive points, so there is nothing to score against")


@dataclass(frozen=True)
class Labelled:
    """A response to a conversation with one criterion, and what physicians say: whether it is met, a label each."""

    id: str
    conversation: Conversation
    answer: str
    labels: tuple[bool, ...]

    suite = property(lambda self: self.conversation.suite)
    weight_group = property(lambda self: self.conversation.theme)  # a sample has as many of every theme

    def __post_init__(self) -> None:
        if len(self.conversation.rubric) != 1 or not self.labels:
            raise ValueError(f"{self.suite}/{self.id}: one criterion and a label or more are expected")


Item = TypeVar("Item", Question, Conversation, Labelled)


def sample(items: Sequence[Item], n: int, seed: int) -> tuple[Item, ...]:
    """Return `n` of `items` in their own order, chosen by `seed`; 0 returns all. The choice depends on seed and ids
    alone, not on row order or the number asked for: a sample of 40 contains the sample of 20, so answers already in the
    store are used again. Every weight group gets an equal share as far as it has questions, because groups count
    equally in the score, and at least one, even if that makes more than `n`."""
    if n < 0:
        raise ValueError(f"cannot choose {n} questions; give a number of at least 0 (0 means all)")
    if n == 0 or n >= len(items):
        return tuple(items)
    groups: dict[str, list[Item]] = {name: [] for name in sorted({item.weight_group for item in items})}
    for item in shuffled(items, seed):
        groups[item.weight_group].append(item)
    rounds = zip_longest(*groups.values())  # one question of each group in turn, as long as it has any
    in_turn = [item for members in rounds for item in members if item is not None]
    chosen = {item.id for item in in_turn[: max(n, len(groups))]}
    return tuple(item for item in items if item.id in chosen)


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Return `items` in the random order of `seed`, which depends on their ids alone."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.suite}/{item.id}".encode()).digest())
