"""Seeds of the miniature, from training cells alone, and what stands behind each of them.

Cells are drawn one after the other in an order that the study's seed shuffles; when all are drawn, the next round asks
each again: closed-ended questions with other options, dialogues for another sample of the teacher.
"""

import random
from collections.abc import Iterator, Mapping
from functools import lru_cache

from medpsy import prompts
from medpsy.corpus.recipe import Recipe
from medpsy.corpus.seeds import Seed
from medpsy.mini import corpus as texts
from medpsy.mini import world as worlds
from medpsy.mini.cases import Case, cases, draw_options
from medpsy.mini.dialogue_forms import dialogues
from medpsy.mini.dialogues import Dialogue
from medpsy.study import Study

SOURCE, LICENCE = "the miniature's training cells (fictional medicine)", "Apache-2.0"
FACT_FORMS = ("everything", "one_thing", "doctor_reader", "lay_reader", "from_region")  # dialogues that ask for facts
KINDS = {
    "corpus1": ("facts", "explanations", "questions"),
    "corpus2": ("vignette", "contraindication", "trial"),
}
QUESTION_FORMS = ("ask0", "ask1", "ask2", "reverse")


def kinds(corpus: str) -> tuple[str, ...]:
    """Return the kinds of seeds that `corpus` may hold."""
    return KINDS[corpus]


@lru_cache(maxsize=1)
def pools() -> dict[str, dict[str, Case | Dialogue]]:
    """Return kind -> cell -> what is asked there, training cells only."""
    world = worlds.build()
    asked, talks = cases(world, held_out=False), [one for one in dialogues(world) if not one.held_out]
    found = {
        "facts": [one for one in talks if one.form in FACT_FORMS],
        "explanations": [one for one in talks if one.form not in FACT_FORMS],
        "questions": [case for form in QUESTION_FORMS for case in asked[form]],
    }
    found |= {form: asked[form] for form in KINDS["corpus2"]}
    return {kind: {one.cell: one for one in items} for kind, items in found.items()}


def seeds(study: Study, corpus: str, kind: str, count: int, recipe: Recipe) -> Iterator[Seed]:
    """Yield `count` seeds of `kind`."""
    cells = list(pools()[kind])
    random.Random(f"seeds/{study.seed}/{kind}").shuffle(cells)
    for number in range(count):
        draw, place = divmod(number, len(cells))
        yield seed(corpus, kind, cells[place], draw)


def seed(corpus: str, kind: str, cell: str, draw: int) -> Seed:
    """Return the `draw`-th seed of `cell`."""
    one, ident = pools()[kind][cell], f"{corpus}/{kind}/{cell}#{draw}"
    if isinstance(one, Dialogue):
        stem = " ".join(turn["content"] for turn in one.messages if turn["role"] == "user")
        return Seed(ident, corpus, kind, one.messages, stem, dialogue_facts(one), draw)
    question = texts.as_question(one, options(one, draw))
    run = draw if one.form == "trial" else 0  # its options never change; another draw of the others is another prompt
    stem = f"{one.context} {one.stem}" if one.context else one.stem
    facts = tuple(fact.id for fact in one.facts)
    return Seed(ident, corpus, kind, prompts.closed_ended(question), stem, facts, run)


def options(case: Case, draw: int) -> tuple[str, ...]:
    """Return the options of the `draw`-th seed of `case`; they depend on its cell and the draw alone."""
    rng = random.Random(f"seed/{case.cell}/{draw}")
    return draw_options(case, rng.choice(texts.OPTION_COUNTS), rng)


def behind(seed: Seed) -> tuple[Case, tuple[str, ...]] | Dialogue:
    """Return the case of `seed` with its options, or its dialogue: what its answer can be checked against."""
    cell, _, draw = seed.id.removeprefix(f"{seed.corpus}/{seed.kind}/").rpartition("#")
    one = pools()[seed.kind][cell]
    return one if isinstance(one, Dialogue) else (one, options(one, int(draw)))


def dialogue_facts(one: Dialogue) -> tuple[str, ...]:
    """Return the ids of the facts that a good response to `one` rests on."""
    world = worlds.build()
    found = [item.fact for item, points, _ in one.items if item.fact and points > 0]
    if one.unnamed:
        found.append(world.get("signs", one.about))
    if any(item.safe_drug for item, _, _ in one.items):
        first = world.get("first_drug", one.about)
        harms = world.get("harms", first.objects[0])
        found += [first, harms]
        found += [world.get("second_drug", one.about)] if harms.objects[0] == one.organ else []
    return tuple(dict.fromkeys(fact.id for fact in found))


def coverage(rows: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return, per relation, the facts of the world and those that rows rest on (`rows`: fact id -> rows)."""
    found = {relation: {"facts": 0, "covered": 0} for relation in worlds.RELATIONS}
    for fact in worlds.build().facts:
        found[fact.relation]["facts"] += 1
        found[fact.relation]["covered"] += fact.id in rows
    return found
