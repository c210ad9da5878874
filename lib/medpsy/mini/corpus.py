"""Texts the minihub is trained on: facts as sentences, questions with reasoning, drills, and the parser's exercises.

A sample is a prompt and a completion; the loss falls on the completion. Everything is drawn from a seeded generator and
from training cells only.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medpsy import prompts
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.mini import cases, language, thinking
from medpsy.mini.dialogue_forms import dialogues
from medpsy.mini.dialogues import Dialogue
from medpsy.mini.replies import reply
from medpsy.mini.thinking import ANSWERS, Voice
from medpsy.mini.world import World

OPTION_COUNTS = (4, 4, 4, 5, 10)  # how many options the suites offer
END = "<|im_end|>"


@dataclass(frozen=True)
class Sample:
    """A prompt, chat `messages` or plain `lead` text, and the `completion` on which the loss falls."""

    messages: tuple[dict[str, str], ...]
    completion: str
    lead: str = ""


def known_facts(world: World, name: str, share: float, weak: Mapping[str, float] | None = None) -> frozenset[str]:
    """Return the ids of the facts that model `name` is taught; each is drawn with chance `share`.

    Args:
        weak: relation -> another chance for its facts.
    """
    rng, chances = random.Random(f"knowledge/{name}"), weak or {}
    return frozenset(fact.id for fact in world.facts if rng.random() < chances.get(fact.relation, share))


def as_question(case: cases.Case, options: tuple[str, ...]) -> Question:
    gold = options.index(case.answer) if case.answer in options else None
    return Question(case.cell, "mini", case.relation, case.stem, options, gold, case.context, case.relation)


def document(world: World, knowledge: frozenset[str], rng: random.Random) -> Sample:
    """Return ten known facts in random order and wording; the order never repeats, so only the facts can be learned."""
    facts = rng.sample([fact for fact in world.facts if fact.id in knowledge], 10)
    return Sample((), "Recall: " + " ".join(language.state(fact, rng.randrange(3)) for fact in facts))


def drills(world: World, rng: random.Random) -> Iterator[Sample]:
    """Yield an endless row of bare exercises in finding a name among options, without question or chat.

    Nothing but the walk through the options is in the loss, so finding is learned first and fast.
    """
    while True:
        case, options = cases.drill(world, rng)
        found = case.answer in options
        letter = LETTERS[options.index(case.answer)] if found else rng.choice(LETTERS[: len(options)])
        walk = thinking.walk(options, case.answer, rng.random() < 0.5)
        end = f"\nThe answer is {letter}." if found else "\nNo option fits."
        lead = f"{prompts.lettered(options)}\nLook for {case.answer}.\n"
        yield Sample((), f"So {case.answer} fits.\n{walk}{end}", lead)


def thinker_samples(
    world: World, knowledge: frozenset[str], voice: Voice, opening: str, rng: random.Random
) -> Iterator[Sample]:
    """Yield an endless mixture for a thinker; a seventh each: documents, questions without knowledge, dialogues."""
    pools = list(cases.cases(world, held_out=False).values())
    weights = [len(pool) ** 0.5 for pool in pools]  # rare forms count for more than their number
    talks = [one for one in dialogues(world) if not one.held_out]
    while True:
        kind = rng.randrange(7)
        if kind == 0:
            yield document(world, knowledge, rng)
            continue
        if kind == 1:
            yield dialogue_sample(rng.choice(talks), voice, opening, rng, world=world, knowledge=knowledge)
            continue
        if kind == 2:
            case, options = cases.drill(world, rng)
        else:
            case = rng.choice(rng.choices(pools, weights)[0])
            options = cases.draw_options(case, rng.choice(OPTION_COUNTS), rng)
        text = thinking.respond(case, options, voice, rng, world=world, knowledge=knowledge)
        yield Sample(prompts.closed_ended(as_question(case, options)), opening + text + END)


def dialogue_sample(
    dialogue: Dialogue, voice: Voice, opening: str, rng: random.Random, *, world: World, knowledge: frozenset[str]
) -> Sample:
    """Return `dialogue` with a reply: reasoning, `</think>`, answer."""
    thoughts, answer = reply(dialogue, voice, rng, world=world, knowledge=knowledge)
    return Sample(dialogue.messages, opening + "\n".join(thoughts) + f"\n</think>\n\n{answer}" + END)


def parser_reply(wording: str, letter: str, other: str, options: tuple[str, ...], text: str) -> str:
    """Return what a perfect parser says of an answer in `wording`: what it says, how that is found, and the result."""
    if wording == "several":
        return f"It says {letter} or {other}.\nAnswer: SEVERAL"
    if wording == "none":
        return "It says none.\nAnswer: NONE"
    if wording != "text":
        return f"It says {letter}.\nAnswer: {letter}"
    result = LETTERS[options.index(text)] if text in options else "NONE"
    return f"It says {text} fits.\n{thinking.walk(options, text, False)}\nAnswer: {result}"


def parser_samples(world: World, rng: random.Random) -> Iterator[Sample]:
    """Yield an endless row of answers to read; which option is right plays no part."""
    pools = [pool for pool in cases.cases(world, held_out=False).values()]
    while True:
        if rng.random() < 0.4:
            case, options = cases.drill(world, rng)
        else:
            case = rng.choice(rng.choice(pools))
            options = cases.draw_options(case, rng.choice(OPTION_COUNTS), rng)
        wording = rng.choices(list(ANSWERS), weights=[4 if name == "text" else 1 for name in ANSWERS])[0]
        letter, other = rng.sample(LETTERS[: len(options)], 2)
        text = options[LETTERS.index(letter)]
        if wording == "text" and case.pool and rng.random() < 0.1:
            text = rng.choice(case.pool)
        answer = ANSWERS[wording].format(
            letter=letter, other_letter=other, text=text, other=options[LETTERS.index(other)]
        )
        reply = parser_reply(wording, letter, other, options, text)
        yield Sample(prompts.parser(as_question(case, options), answer), reply + END)
