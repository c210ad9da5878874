"""Choose some questions, or conversations, of a suite by seed.

The choice depends on seed and ids alone, not on row order, library version or the number asked for: a sample of 40
contains the sample of 20, so answers already in the store are used again. It never takes the first rows.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from medpsy.benchmarks.conversation import Conversation
from medpsy.benchmarks.question import Question

Item = TypeVar("Item", Question, Conversation)


def sample(questions: Sequence[Item], n: int, seed: int) -> tuple[Item, ...]:
    """Return `n` of `questions` in their own order; 0 returns all.

    Every weight group gets an equal share as far as it has questions, because groups count equally in the score,
    and at least one question, even if that makes more than `n`.

    Raises:
        ValueError: if `n` is negative.
    """
    if n < 0:
        raise ValueError(f"cannot choose {n} questions; give a number of at least 0 (0 means all)")
    if n == 0 or n >= len(questions):
        return tuple(questions)
    groups = grouped(sorted(questions, key=lambda question: rank(question, seed)))
    taken = shares({name: len(members) for name, members in groups.items()}, n)
    chosen = {question.id for name, members in groups.items() for question in members[: taken[name]]}
    return tuple(question for question in questions if question.id in chosen)


def rank(question: Item, seed: int) -> bytes:
    """Return the place of a question in the random order that `seed` stands for."""
    return hashlib.sha256(f"{seed}/{question.suite}/{question.id}".encode()).digest()


def grouped(questions: Iterable[Item]) -> dict[str, list[Item]]:
    """Return the questions of each weight group, groups in order of name."""
    groups: dict[str, list[Item]] = {}
    for question in questions:
        groups.setdefault(question.weight_group, []).append(question)
    return dict(sorted(groups.items()))


def shares(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Return how many to take of each group: one round after another until `n` are taken, first round complete."""
    taken = dict.fromkeys(sizes, 1)
    while sum(taken.values()) < n:
        open_groups = [name for name in sizes if taken[name] < sizes[name]]
        for name in open_groups[: n - sum(taken.values())]:
            taken[name] += 1
    return taken
