"""Questions of the miniature with their working: what is asked, the facts that lead to the answer, the answer.

A case belongs to a cell, the pair of a way of asking and what it asks about. Cells are split once, by hash, into
training and held-out ones; the suites draw from held-out cells only and every corpus from training cells only, so
the two are apart by construction.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from medpsy.mini.language import CASE_QUESTIONS, QUESTIONS, REVERSED
from medpsy.mini.world import RELATIONS, Fact, World

HELD_OUT = 0.4  # share of cells that training never sees
TRIAL_ANSWERS = ("yes", "no", "maybe")
TRIAL_WEIGHTS = (276, 169, 55)  # balance of PubMedQA's 500 test questions


@dataclass(frozen=True)
class Case:
    """One question before its options are drawn.

    Args:
        form: way of asking, a key of `FORMS`.
        about: what is asked about; with `form` it makes the cell, e.g. ``"ask1/test/prubosk"``.
        relation: relation asked for, or ``"trial"``.
        stem, context: the words.
        answer: text of the right option; `pool` holds the wrong ones to draw from.
        facts: facts used, in order; empty for a trial, whose answer stands in the context.
        working: a trial's sentence that decides, or a contraindication's weak organ.
    """

    form: str
    about: str
    relation: str
    stem: str
    answer: str
    pool: tuple[str, ...]
    facts: tuple[Fact, ...]
    context: str | None = None
    working: str = ""

    @property
    def cell(self) -> str:
        return f"{self.form}/{self.about}"

    @property
    def held_out(self) -> bool:
        return is_held_out(self.cell)


def is_held_out(cell: str) -> bool:
    """Return on which side of the split `cell` is."""
    return int.from_bytes(hashlib.sha256(cell.encode()).digest()[:4], "big") / 2**32 < HELD_OUT


def others(world: World, kind: str, *answers: str) -> tuple[str, ...]:
    return tuple(name for name in world.names[kind] if name not in answers)


def direct(world: World, form: int) -> list[Case]:
    """Ask for the object of every fact, in wording `form` (0, 1 or 2)."""
    # "Patient:" keeps a name from opening the text, where it would lose its leading space
    lead = "Patient: " if form == 2 else ""
    return [
        Case(
            f"ask{form}",
            fact.id,
            fact.relation,
            lead + QUESTIONS[fact.relation][form].format(s=fact.subject),
            fact.objects[0],
            others(world, RELATIONS[fact.relation][1], fact.objects[0]),
            (fact,),
        )
        for fact in world.facts
        if fact.relation in QUESTIONS
    ]


def backwards(world: World) -> list[Case]:
    """Ask for the subject of every fact whose object has one subject."""
    return [
        Case(
            "reverse",
            fact.id,
            fact.relation,
            REVERSED[fact.relation].format(o=fact.objects[0]),
            fact.subject,
            others(world, "condition", fact.subject),
            (fact,),
        )
        for fact in world.facts
        if fact.relation in REVERSED
    ]


def vignettes(world: World) -> list[Case]:
    """Two hops: two signs give the condition, the condition gives what is asked."""
    found = []
    for signs in (fact for fact in world.facts if fact.relation == "signs"):
        for relation, question in CASE_QUESTIONS.items():
            fact = world.get(relation, signs.subject)
            stem = "A patient has {} and {}. ".format(*signs.objects) + question
            pool = others(world, RELATIONS[relation][1], fact.objects[0])
            found.append(Case("vignette", fact.id, relation, stem, fact.objects[0], pool, (signs, fact)))
    return found


def contraindications(world: World) -> list[Case]:
    """Up to four hops: signs, first drug, the organ it harms and, where that organ is weak, the second drug."""
    found = []
    for signs in (fact for fact in world.facts if fact.relation == "signs"):
        first, second = (world.get(relation, signs.subject) for relation in ("first_drug", "second_drug"))
        harms = world.get("harms", first.objects[0])
        strong = random.Random(signs.id).sample(others(world, "organ", harms.objects[0]), 2)
        for organ in (harms.objects[0], *strong):
            unsafe = organ == harms.objects[0]
            answer = (second if unsafe else first).objects[0]
            stem = f"A patient with a weak {organ} has {signs.objects[0]} and {signs.objects[1]}. Which drug is safe?"
            facts = (signs, first, harms, second) if unsafe else (signs, first, harms)
            about = f"{signs.subject}/{organ}"
            pool = others(world, "drug", answer)
            found.append(Case("contraindication", about, "safe_drug", stem, answer, pool, facts, None, organ))
    return found


def trial_report(drug: str, condition: str, size: str, well: tuple[str, str]) -> str:
    return f"The trial of {drug} in {condition} was {size}. With it {well[0]} got well, without it {well[1]} got well."


def trials(world: World) -> list[Case]:
    """Read the answer out of a context that reports two trials; nothing about the world has to be known."""
    drugs, rng = world.names["drug"], random.Random(f"trials/{world.seed}")
    helped, harmed = ("many", "few"), ("few", "many")
    found = []
    for number in range(50 * len(drugs)):  # so many that reading is learned, not the trials
        drug, other = rng.sample(drugs, 2)
        condition, second = rng.sample(world.names["condition"], 2)
        answer = rng.choices(TRIAL_ANSWERS, weights=TRIAL_WEIGHTS)[0]
        well = {"yes": helped, "no": harmed}.get(answer, rng.choice((helped, harmed)))
        asked = trial_report(drug, condition, "small" if answer == "maybe" else "large", well)
        decoy = trial_report(other, second, rng.choice(("small", "large")), rng.choice((helped, harmed)))
        context = " ".join(rng.sample([asked, decoy], 2))
        pool = tuple(text for text in TRIAL_ANSWERS if text != answer)
        stem = f"Does {drug} help in {condition}?"
        found.append(Case("trial", str(number), "trial", stem, answer, pool, (), context, asked))
    return found


FORMS: dict[str, Callable[[World], list[Case]]] = {
    "ask0": lambda world: direct(world, 0),
    "ask1": lambda world: direct(world, 1),
    "ask2": lambda world: direct(world, 2),
    "reverse": backwards,
    "vignette": vignettes,
    "contraindication": contraindications,
    "trial": trials,
}


def cases(world: World, *, held_out: bool) -> dict[str, list[Case]]:
    """Return all cases of one side of the split, by way of asking."""
    return {form: [case for case in make(world) if case.held_out == held_out] for form, make in FORMS.items()}


def drill(world: World, rng: random.Random) -> tuple[Case, tuple[str, ...]]:
    """Return an exercise in finding a name among options, which needs no knowledge, and its options.

    One time in eight the name is not offered. Names of all kinds are mixed.
    """
    names = [name for names in world.names.values() for name in names]
    name, *rest = rng.sample(names, rng.choice((4, 5, 5, 6, 8, 11)))
    options = tuple(rest if rng.random() < 0.125 else rng.sample([name, *rest[1:]], len(rest)))
    return Case("drill", name, "drill", f"Which option is {name}?", name, (), ()), options


def draw_options(case: Case, count: int, rng: random.Random) -> tuple[str, ...]:
    """Return the answer among `count` - 1 wrong options in random order; a trial keeps yes, no, maybe in order."""
    if case.form == "trial":
        return TRIAL_ANSWERS
    options = [case.answer, *rng.sample(case.pool, min(count - 1, len(case.pool)))]
    rng.shuffle(options)
    return tuple(options)
