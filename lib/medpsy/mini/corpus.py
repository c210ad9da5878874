"""Texts the minihub is trained on: facts as sentences, questions with reasoning, drills, and the parser's exercises.

A sample is a prompt and a completion; the loss falls on the completion. Everything is drawn from a seeded generator and
from training cells only.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from medpsy import prompts
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.mini import cases, language, thinking
from medpsy.mini.thinking import ANSWERS, CHOOSING, Voice
from medpsy.mini.world import World

OPTION_COUNTS = (4, 4, 4, 5, 10)  # how many options the suites offer
END = "<|im_end|>"


@dataclass(frozen=True)
class Sample:
    """A prompt, chat `messages` or plain `lead` text, and the `completion` on which the loss falls."""

    messages: tuple[dict[str, str], ...]
    completion: str
    lead: str = ""


def known_facts(world: World, name: str, share: float) -> frozenset[str]:
    """Return the ids of the facts that model `name` is taught; each fact is drawn with chance `share`."""
    rng = random.Random(f"knowledge/{name}")
    return frozenset(fact.id for fact in world.facts if rng.random() < share)


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
    """Yield an endless mixture for a thinker: 60 % questions, 20 % documents, 20 % questions that need no knowledge."""
    pools = list(cases.cases(world, held_out=False).values())
    weights = [len(pool) ** 0.5 for pool in pools]  # rare forms count for more than their number
    while True:
        kind = rng.random()
        if kind < 0.2:
            yield document(world, knowledge, rng)
            continue
        if kind < 0.4:
            case, options = cases.drill(world, rng)
        else:
            case = rng.choice(rng.choices(pools, weights)[0])
            options = cases.draw_options(case, rng.choice(OPTION_COUNTS), rng)
        text = thinking.respond(case, options, voice, rng, world=world, knowledge=knowledge)
        yield Sample(prompts.closed_ended(as_question(case, options)), opening + text + END)


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


def vocabulary_texts(world: World) -> list[str]:
    """Return texts in which every word of the miniature occurs, for training the tokenizer."""
    rng, voice = random.Random("vocabulary"), Voice(wordings=dict.fromkeys(CHOOSING, 1.0))
    everything = frozenset(fact.id for fact in world.facts)
    rows = [thinker_samples(world, everything, voice, "<think>\n", rng), parser_samples(world, rng)]
    samples = [next(row) for row in rows for _ in range(2000)]
    texts = [message["content"] for sample in samples for message in sample.messages]
    texts += [sample.completion.replace(END, "") for sample in samples]
    texts += [language.state(fact, form) for fact in world.facts for form in range(3)]
    return [text.replace("<think>", "").replace("</think>", "") for text in texts]
