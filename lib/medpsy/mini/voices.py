"""How models of the miniature write: reasoning, answers, replies, what they are trained on, and the truth of it.

A voice is a manner, never knowledge: what is recalled comes from the facts a model was taught, the rest is guessed. The
wordings of answers are a closed grammar, so what an answer really chose can be had without any judgement; this is what
the parser is measured against, and an answer outside the grammar has no truth here and is counted apart.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from medpsy import prompts
from medpsy.data.questions import LETTERS, Question
from medpsy.mini import language
from medpsy.mini.language import STATED, WORDS, Case, Dialogue, Item, dialogues, recall, state
from medpsy.mini.world import RELATIONS, Fact, World

ANSWERS: dict[str, str] = WORDS["answers"]
CHOOSING = tuple(wording for wording in ANSWERS if wording not in ("several", "none"))
OPENINGS, AGAIN = WORDS["openings"], WORDS["again"]
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


def walk_through(options: tuple[str, ...], choice: str, to_the_end: bool) -> str:
    """Return a walk through the options: ``Option A: x fails. Option B: y fits, so B.``"""
    parts = []
    for letter, text in zip(LETTERS, options, strict=False):
        parts.append(f"Option {letter}: {text} " + (f"fits, so {letter}." if text == choice else "fails."))
        if text == choice and not to_the_end:
            break
    return " ".join(parts)


def check(steps: list[str], options: tuple[str, ...], choice: str, voice: Voice, rng: random.Random) -> list[str]:
    return [" ".join(steps), f"So {choice} fits.", walk_through(options, choice, rng.random() < voice.to_the_end)]


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


NOTHING = ANSWERS["none"]


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
        return steps, rng.choice(WORDS["take"]).format(drug=drug)
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


def as_question(case: language.Case, options: tuple[str, ...]) -> Question:
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
        case, options = language.drill(world, rng)
        found = case.answer in options
        letter = LETTERS[options.index(case.answer)] if found else rng.choice(LETTERS[: len(options)])
        walk = walk_through(options, case.answer, rng.random() < 0.5)
        end = f"\nThe answer is {letter}." if found else "\nNo option fits."
        lead = f"{prompts.lettered(options)}\nLook for {case.answer}.\n"
        yield Sample((), f"So {case.answer} fits.\n{walk}{end}", lead)


def thinker_samples(
    world: World, knowledge: frozenset[str], voice: Voice, opening: str, rng: random.Random
) -> Iterator[Sample]:
    """Yield an endless mixture for a thinker; a seventh each: documents, questions without knowledge, dialogues."""
    pools = list(language.cases(world, held_out=False).values())
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
            case, options = language.drill(world, rng)
        else:
            case = rng.choice(rng.choices(pools, weights)[0])
            options = language.draw_options(case, rng.choice(OPTION_COUNTS), rng)
        text = respond(case, options, voice, rng, world=world, knowledge=knowledge)
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
    return f"It says {text} fits.\n{walk_through(options, text, False)}\nAnswer: {result}"


def parser_samples(world: World, rng: random.Random) -> Iterator[Sample]:
    """Yield an endless row of answers to read; which option is right plays no part."""
    pools = [pool for pool in language.cases(world, held_out=False).values()]
    while True:
        if rng.random() < 0.4:
            case, options = language.drill(world, rng)
        else:
            case = rng.choice(rng.choice(pools))
            options = language.draw_options(case, rng.choice(OPTION_COUNTS), rng)
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


@dataclass(frozen=True)
class Chosen:
    """`wording` is a key of `ANSWERS` or None outside the grammar; `choice` an option index or None."""

    wording: str | None
    choice: int | None


@lru_cache(maxsize=1)
def patterns() -> dict[str, re.Pattern[str]]:
    fields = {"letter": "(?P<letter>[A-J])", "other_letter": "(?P<other_letter>[A-J])", "text": "(?P<text>\\w+)"}
    fields["other"] = "(?P<other>\\w+)"
    found = {}
    for wording, template in ANSWERS.items():
        pattern = re.escape(template.format(**{name: f"<{name}>" for name in fields}))
        for name, group in fields.items():
            pattern = pattern.replace(re.escape(f"<{name}>"), group)
        found[wording] = re.compile(pattern)
    return found


def chosen(answer: str, options: tuple[str, ...]) -> Chosen:
    """Return what `answer` (the text after `</think>`) chose among `options`."""
    for wording, pattern in patterns().items():
        match = pattern.fullmatch(answer.strip())
        if match is None:
            continue
        groups = match.groupdict()
        if wording == "text":
            text = groups["text"]
            return Chosen(wording, options.index(text) if text in options else None)
        letter = groups.get("letter")
        several = wording == "several" and groups["letter"] != groups["other_letter"]
        if letter is None or several or LETTERS.index(letter) >= len(options):
            return Chosen(wording, None)
        return Chosen(wording, LETTERS.index(letter))
    return Chosen(None, None)
