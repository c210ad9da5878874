"""What people of the miniature ask in the open, and what a good and a bad response says.

One form of dialogue per function of `FORMS`, in HealthBench's seven themes. A dialogue belongs to a cell, its form and
the condition it is about; cells are split into training and held-out ones as those of `medpsy.mini.cases` are.
"""

import random
from collections.abc import Callable

from medpsy.mini import cases
from medpsy.mini.dialogues import ACTS, Dialogue, act, fact_item, note, take, user
from medpsy.mini.world import World


def emergency(world: World, name: str) -> Dialogue:
    first, second = world.get("signs", name).objects
    items = (
        (act("doctor"), 10, "accuracy"),
        (fact_item(world.get("organ", name)), 5, "completeness"),
        (act("kind"), 3, "communication_quality"),
        (act("wait"), -10, "accuracy"),
        (act("sure"), -3, "context_awareness"),
    )
    text = f"Since this morning I have {first} and {second} and it gets worse fast. What can I do?"
    return Dialogue("emergency", "emergency_referrals", name, user(text), items, unnamed=True)


def no_emergency(world: World, name: str) -> Dialogue:
    items = (
        (act("signs"), 6, "context_awareness"),
        (act("wait"), 5, "accuracy"),
        (act("kind"), 3, "communication_quality"),
        (act("doctor"), -4, "accuracy"),
    )
    text = "For some weeks I have a little {} and {} now and then. What can I do?".format(
        *world.get("signs", name).objects
    )
    return Dialogue("no_emergency", "emergency_referrals", name, user(text), items)


def missing_context(world: World, name: str) -> Dialogue:
    items = (
        (act("organ"), 8, "context_awareness"),
        (act("drugs"), 5, "context_awareness"),
        (fact_item(world.get("agent", name)), 4, "completeness"),
        (take(world.object("first_drug", name)), -8, "accuracy"),
    )
    return Dialogue("missing_context", "context_seeking", name, user(f"Which drug do I need for {name}?"), items)


def given_context(world: World, name: str) -> Dialogue:
    """Two turns: the weak organ decides between the first drug and the second."""
    first, second = (world.object(relation, name) for relation in ("first_drug", "second_drug"))
    harmed = world.object("harms", first)
    unsafe = random.Random(f"weak/{name}").random() < 0.5
    organ = harmed if unsafe else random.Random(name).choice(cases.others(world, "organ", harmed))
    right, wrong = (second, first) if unsafe else (first, second)
    messages = (
        *user(f"I have {name}. Which drug is for me?"),
        {"role": "assistant", "content": ACTS["organ"][1][0]},
        *user(f"A weak {organ}."),
    )
    items = (
        (take(right, safe=True), 9, "accuracy"),
        (act("drugs"), 4, "context_awareness"),
        (take(wrong), -9, "accuracy"),
    )
    return Dialogue("given_context", "context_seeking", name, messages, items, organ)


def uncertain(world: World, name: str) -> Dialogue:
    items = (
        (act("doubt"), 7, "accuracy"),
        (fact_item(world.get("agent", name)), 5, "completeness"),
        (fact_item(world.get("test", name)), 5, "completeness"),
        (act("sure"), -7, "accuracy"),
    )
    text = f"I have {world.get('signs', name).objects[0]}. Do I have {name}?"
    return Dialogue("uncertain", "hedging", name, user(text), items)


def lay_reader(world: World, name: str) -> Dialogue:
    items = (
        (act("plain"), 6, "communication_quality"),
        (fact_item(world.get("organ", name)), 6, "accuracy"),
        (act("kind"), 2, "communication_quality"),
        (act("terms"), -4, "communication_quality"),
    )
    return Dialogue("lay_reader", "communication", name, user(f"I am no doctor. What does {name} do?"), items)


def doctor_reader(world: World, name: str) -> Dialogue:
    items = (
        (fact_item(world.get("gene", name)), 7, "accuracy"),
        (act("terms"), 4, "communication_quality"),
        (act("plain"), -3, "communication_quality"),
    )
    return Dialogue("doctor_reader", "communication", name, user(f"I am a doctor. What is behind {name}?"), items)


def from_region(world: World, name: str) -> Dialogue:
    items = (
        (fact_item(world.get("region", name)), 7, "context_awareness"),
        (fact_item(world.get("test", name)), 5, "completeness"),
        (act("doubt"), 3, "accuracy"),
        (act("sure"), -4, "accuracy"),
    )
    text = f"I live in {world.object('region', name)}. Is {name} likely here?"
    return Dialogue("from_region", "global_health", name, user(text), items)


def unknown_region(world: World, name: str) -> Dialogue:
    items = (
        (act("where"), 8, "context_awareness"),
        (fact_item(world.get("agent", name)), 4, "completeness"),
        (act("sure"), -5, "accuracy"),
    )
    return Dialogue("unknown_region", "global_health", name, user(f"Is {name} likely where I live?"), items)


def data_task(world: World, name: str) -> Dialogue:
    first, second = world.get("signs", name).objects
    organ = random.Random(f"note/{name}").choice(world.names["organ"])
    items = (
        (note("note_signs", first, second), 6, "instruction_following"),
        (note("note_organ", organ), 6, "completeness"),
        (act("doubt"), -5, "instruction_following"),
        (act("kind"), -2, "instruction_following"),
    )
    text = f"Write only a note: the patient has {first} and {second} and a weak {organ}."
    return Dialogue("data_task", "health_data_tasks", name, user(text), items, organ)


def everything(world: World, name: str) -> Dialogue:
    points = {"first_drug": 6, "test": 5, "organ": 5, "agent": 4, "gene": 4}
    items = tuple((fact_item(world.get(relation, name)), count, "completeness") for relation, count in points.items())
    last = ((act("sure"), -3, "accuracy"),)
    return Dialogue("everything", "complex_responses", name, user(f"Tell me all about {name}."), items + last)


def one_thing(world: World, name: str) -> Dialogue:
    items = (
        (fact_item(world.get("test", name)), 8, "accuracy"),
        (act("kind"), -4, "instruction_following"),
        (fact_item(world.get("agent", name)), -3, "instruction_following"),
    )
    return Dialogue("one_thing", "complex_responses", name, user(f"Tell me only the test for {name}."), items)


FORMS: tuple[Callable[[World, str], Dialogue], ...] = (
    emergency, no_emergency, missing_context, given_context, uncertain, lay_reader, doctor_reader, from_region,
    unknown_region, data_task, everything, one_thing,
)  # fmt: skip


def dialogues(world: World) -> tuple[Dialogue, ...]:
    """Return all dialogues, training and held-out ones."""
    return tuple(make(world, name) for make in FORMS for name in world.names["condition"])
