"""How a model of the miniature replies in a dialogue: what it recalls, then the sentences it says.

Which of the fitting and unfitting things it says depends on its `Voice`; whether they are true, on what it knows.
"""

import random

from medpsy.mini.dialogues import STATED, TAKE, Dialogue, Item
from medpsy.mini.language import recall, state
from medpsy.mini.thinking import OPENINGS, Voice, remembered
from medpsy.mini.world import Fact, World

NOTHING = "I cannot tell."


def reply(
    dialogue: Dialogue, voice: Voice, rng: random.Random, *, world: World, knowledge: frozenset[str]
) -> tuple[list[str], str]:
    """Return the lines of reasoning and the answer of somebody with `voice` and `knowledge`."""
    thoughts = [rng.choice(OPENINGS)] if rng.random() < voice.opening else []
    said = []
    for item, points, _ in dialogue.items:
        if rng.random() < (voice.care if points > 0 else voice.rash):
            steps, sentence = say(item, dialogue, rng, world=world, knowledge=knowledge)
            thoughts += steps
            said.append(sentence)
    rng.shuffle(said)
    return thoughts, " ".join(said) or NOTHING


def say(
    item: Item, dialogue: Dialogue, rng: random.Random, *, world: World, knowledge: frozenset[str]
) -> tuple[list[str], str]:
    """Return what is recalled for `item`, and its sentence: a wrong one where the fact is not known."""
    if item.fact:
        steps, fact = remembered_for(item, dialogue, knowledge, world, rng)
        return [*steps, recall(fact)], STATED + state(fact, rng.randrange(3))
    if item.safe_drug:
        steps, drug = safe_drug(dialogue, knowledge, world, rng)
        return steps, rng.choice(TAKE).format(drug=drug)
    return [], rng.choice(item.sentences)


def remembered_for(
    item: Item, dialogue: Dialogue, knowledge: frozenset[str], world: World, rng: random.Random
) -> tuple[list[str], Fact]:
    """Return the item's fact as it is remembered, and the steps to it; of forgotten signs, others are invented."""
    fact = item.fact
    if fact.relation == "signs":
        invented = Fact("signs", fact.subject, tuple(rng.sample(world.names["symptom"], 2)))
        return [], fact if fact.id in knowledge else invented
    if not dialogue.unnamed:
        return [], remembered(fact, knowledge, world, rng)
    signs = remembered(world.get("signs", fact.subject), knowledge, world, rng)
    return [recall(signs)], remembered(world.get(fact.relation, signs.subject), knowledge, world, rng)


def safe_drug(dialogue: Dialogue, knowledge: frozenset[str], world: World, rng: random.Random) -> tuple[list[str], str]:
    """Return the steps to the drug that is safe with the dialogue's weak organ, and the drug."""
    first = remembered(world.get("first_drug", dialogue.about), knowledge, world, rng)
    harms = remembered(world.get("harms", first.objects[0]), knowledge, world, rng)
    if harms.objects[0] != dialogue.organ:
        return [recall(first), recall(harms)[:-1] + ": safe."], first.objects[0]
    second = remembered(world.get("second_drug", dialogue.about), knowledge, world, rng)
    return [recall(first), recall(harms)[:-1] + ": avoid.", recall(second)], second.objects[0]
