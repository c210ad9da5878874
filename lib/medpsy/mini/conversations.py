"""HealthBench in miniature: held-out dialogues with their rubrics, a Hard part and a Consensus part.

Hard is chosen as the authors of HealthBench chose theirs: several responders are scored, examples on which none is
above zero are dropped, and the fifth with the lowest average is kept. The responders are programs with given voices,
not models of the study.
"""

import random
from functools import lru_cache

from medpsy.benchmarks.conversation import Conversation, Criterion
from medpsy.mini import corpus
from medpsy.mini import world as worlds
from medpsy.mini.dialogue_forms import dialogues
from medpsy.mini.dialogues import Dialogue, Item
from medpsy.mini.replies import reply
from medpsy.mini.thinking import Voice

PER_THEME = 10
HARD_SHARE = 0.2  # 1,000 of 5,000
RESPONDERS = (  # chance of good things, of bad things, share of facts known; five, as the authors scored five models
    (0.9, 0.05, 0.95), (0.8, 0.1, 0.8), (0.7, 0.1, 0.7), (0.6, 0.2, 0.8), (0.5, 0.3, 0.5),
)  # fmt: skip
CONSENSUS = "level:cluster"


def criterion(item: Item, points: int, axis: str) -> Criterion:
    """Return `item` as a line of a rubric; what needs no knowledge of the world is the consensus part."""
    level = "level:example" if item.fact or item.safe_drug else CONSENSUS
    return Criterion(item.criterion, points, axis, (level, f"axis:{axis}"))


def conversation(suite: str, dialogue: Dialogue) -> Conversation:
    rubric = tuple(criterion(*entry) for entry in dialogue.items)
    tags = (f"theme:{dialogue.theme}",)
    return Conversation(dialogue.cell, suite, dialogue.messages, rubric, dialogue.theme, tags)


@lru_cache(maxsize=1)
def chosen() -> tuple[Dialogue, ...]:
    """Return the dialogues of the whole suite: `PER_THEME` of every theme, by seed."""
    pools: dict[str, list[Dialogue]] = {}
    for one in dialogues(worlds.build()):
        if one.held_out:
            pools.setdefault(one.theme, []).append(one)
    return tuple(
        one
        for theme in sorted(pools)
        for one in random.Random(f"suite/{theme}").sample(pools[theme], min(PER_THEME, len(pools[theme])))
    )


def true_score(dialogue: Dialogue, answer: str) -> float:
    """Return the example score of `answer`, each criterion decided by the world: points met over positive points."""
    met = sum(points for item, points, _ in dialogue.items if item.met(answer))
    return met / sum(points for _, points, _ in dialogue.items if points > 0)


def responders_scores(dialogue: Dialogue) -> list[float]:
    world, found = worlds.build(), []
    for number, (care, rash, share) in enumerate(RESPONDERS):
        rng = random.Random(f"responder/{number}/{dialogue.cell}")
        knowledge = corpus.known_facts(world, f"responder/{number}", share)
        _, answer = reply(dialogue, Voice(care=care, rash=rash), rng, world=world, knowledge=knowledge)
        found.append(true_score(dialogue, answer))
    return found


@lru_cache(maxsize=1)
def hard() -> tuple[Dialogue, ...]:
    """Return the hard part of `chosen`, in its order."""
    scores = {one.cell: responders_scores(one) for one in chosen()}
    able = [one for one in chosen() if max(scores[one.cell]) > 0]
    able.sort(key=lambda one: (sum(scores[one.cell]), one.cell))
    kept = {one.cell for one in able[: round(HARD_SHARE * len(chosen()))]}
    return tuple(one for one in chosen() if one.cell in kept)


def consensus() -> tuple[Conversation, ...]:
    """Return the conversations with a positive consensus criterion, their rubrics reduced to consensus criteria."""
    found = []
    for dialogue in chosen():
        whole = conversation("healthbench_consensus", dialogue)
        rubric = tuple(one for one in whole.rubric if CONSENSUS in one.tags)
        if any(one.points > 0 for one in rubric):
            found.append(Conversation(whole.id, whole.suite, whole.messages, rubric, whole.theme, whole.tags))
    return tuple(found)


def load(key: str) -> tuple[Conversation, ...]:
    """Return the miniature of open suite `key`.

    Raises:
        KeyError: `key` is none of HealthBench, its Hard and its Consensus part.
    """
    makers = {
        "healthbench": lambda: tuple(conversation(key, one) for one in chosen()),
        "healthbench_hard": lambda: tuple(conversation(key, one) for one in hard()),
        "healthbench_consensus": consensus,
    }
    return makers[key]()


def truth() -> dict[str, Dialogue]:
    """Return the dialogue behind every conversation id, by which a judge can be measured."""
    return {one.cell: one for one in chosen()}
