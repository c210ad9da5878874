"""How a model of the miniature writes: reasoning of a given verbosity, then an answer in one of many wordings.

The wordings of the answers are those that real models use and that rule readers trip over: a bare letter, a boxed one,
the option's text alone, another option ruled out first, two options, none. Which model uses which is in its `Voice`.
"""

import random
from dataclasses import dataclass, field

from medpsy.benchmarks.question import LETTERS
from medpsy.mini.cases import Case
from medpsy.mini.language import recall
from medpsy.mini.world import RELATIONS, Fact, World

ANSWERS: dict[str, str] = {  # wording -> template: letter and text of the choice; letter and text of another option
    "stated": "The answer is {letter}.",
    "line": "Answer: {letter}",
    "bold": "**{letter}**",
    "boxed": "\\boxed{{{letter}}}",
    "option": "{letter}. {text}",
    "text": "I would choose {text}.",
    "ruled_out": "{other_letter} is wrong. The answer is {letter}.",
    "reason": "The answer is {letter}, because {other_letter} does not fit.",
    "corrected": "First I took {other}, but it is {letter}.",
    "several": "It could be {letter} or {other_letter}.",
    "none": "I cannot tell.",
}
CHOOSING = tuple(wording for wording in ANSWERS if wording not in ("several", "none"))
OPENINGS = ("Let me think about this question.", "First I look at what is asked.", "I go through this step by step.")
AGAIN = ("Wait, let me check that again.", "I want to be sure, so once more.")
MOST_AGAIN = 4


@dataclass(frozen=True)
class Voice:
    """How one model writes.

    Args:
        opening: chance of an opening sentence.
        to_the_end: chance of walking through the options that come after the one that fits.
        again: chance, after each check, of checking once more, at most `MOST_AGAIN` times.
        undecided: chance of naming two options or none when nothing fits.
        wordings: weight of each choosing wording of `ANSWERS`.
        care: in a dialogue, chance of each thing that a good response says.
        rash: in a dialogue, chance of each thing that a response should not say.
    """

    opening: float = 0.9
    to_the_end: float = 0.7
    again: float = 0.3
    undecided: float = 0.3
    wordings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CHOOSING, 1.0))
    care: float = 0.5
    rash: float = 0.2


def remembered(fact: Fact, knowledge: frozenset[str], world: World, rng: random.Random) -> Fact:
    """Return `fact`, or one with an invented object if it is not in `knowledge` (a set of fact ids)."""
    if fact.id in knowledge:
        return fact
    if fact.relation == "signs":  # the signs are given; what is invented is the condition
        return Fact("signs", rng.choice(world.names["condition"]), fact.objects)
    return Fact(fact.relation, fact.subject, (rng.choice(world.names[RELATIONS[fact.relation][1]]),))


def work_out(case: Case, knowledge: frozenset[str], world: World, rng: random.Random) -> tuple[list[str], str]:
    """Return the steps of reasoning and the name they arrive at, as somebody with `knowledge` would."""
    if case.form == "trial":
        return [case.working], case.answer
    if case.form == "drill":
        return [f"Look for {case.answer}."], case.answer
    if case.form == "reverse":
        fact = case.facts[0]
        known = fact.id in knowledge
        found = fact if known else Fact(fact.relation, rng.choice(world.names["condition"]), fact.objects)
        return [recall(found)], found.subject
    if case.form not in ("vignette", "contraindication"):
        fact = remembered(case.facts[0], knowledge, world, rng)
        return [recall(fact)], fact.objects[0]
    signs = remembered(case.facts[0], knowledge, world, rng)
    if case.form == "vignette":
        fact = remembered(world.get(case.relation, signs.subject), knowledge, world, rng)
        return [recall(signs), recall(fact)], fact.objects[0]
    first = remembered(world.get("first_drug", signs.subject), knowledge, world, rng)
    harms = remembered(world.get("harms", first.objects[0]), knowledge, world, rng)
    organ = case.working
    steps = [f"With a weak {organ}: avoid.", recall(signs), recall(first)]
    if harms.objects[0] != organ:
        return [*steps, recall(harms)[:-1] + ": safe."], first.objects[0]
    second = remembered(world.get("second_drug", signs.subject), knowledge, world, rng)
    return [*steps, recall(harms)[:-1] + ": avoid.", recall(second)], second.objects[0]


def walk(options: tuple[str, ...], choice: str, to_the_end: bool) -> str:
    """Return a walk through the options: ``Option A: x fails. Option B: y fits, so B.``"""
    parts = []
    for letter, text in zip(LETTERS, options, strict=False):
        parts.append(f"Option {letter}: {text} " + (f"fits, so {letter}." if text == choice else "fails."))
        if text == choice and not to_the_end:
            break
    return " ".join(parts)


def check(steps: list[str], options: tuple[str, ...], choice: str, voice: Voice, rng: random.Random) -> list[str]:
    return [" ".join(steps), f"So {choice} fits.", walk(options, choice, rng.random() < voice.to_the_end)]


def visible(wording: str, options: tuple[str, ...], letter: str, rng: random.Random) -> str:
    """Return the answer that names option `letter` in `wording`."""
    other = rng.choice([other for other in LETTERS[: len(options)] if other != letter])
    text, other_text = (options[LETTERS.index(name)] for name in (letter, other))
    return ANSWERS[wording].format(letter=letter, text=text, other=other_text, other_letter=other)


def respond(
    case: Case, options: tuple[str, ...], voice: Voice, rng: random.Random, *, world: World, knowledge: frozenset[str]
) -> str:
    """Return reasoning, `</think>` and an answer, as a model with `voice` and `knowledge` would write them.

    The opening tag is not part of it: whether the template or the model writes it differs between models.
    """
    steps, choice = work_out(case, knowledge, world, rng)
    lines = [rng.choice(OPENINGS)] if rng.random() < voice.opening else []
    lines += check(steps, options, choice, voice, rng)
    for _ in range(MOST_AGAIN):
        if rng.random() >= voice.again:
            break
        lines += [rng.choice(AGAIN), *check(steps[-2:], options, choice, voice, rng)]
    wording = rng.choices(list(voice.wordings), weights=list(voice.wordings.values()))[0]
    if choice in options:
        letter = LETTERS[options.index(choice)]
    else:
        letter = rng.choice(LETTERS[: len(options)])
        lines.append(f"No option fits, so I guess {letter}.")
        if rng.random() < voice.undecided:
            wording = rng.choice(("several", "none"))
    return "\n".join(lines) + "\n</think>\n\n" + visible(wording, options, letter, rng)
