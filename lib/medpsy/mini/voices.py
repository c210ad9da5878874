"""How models of the miniature write: reasoning, answers, replies, what they are trained on, and the truth of it.

A voice is a manner, never knowledge: what is recalled comes from the facts a model was taught, the rest is guessed. The
wordings of answers are a closed grammar, so what an answer really chose is known; outside it there is no truth.
"""

import random
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from medpsy import families, prompts
from medpsy.data.questions import LETTERS, Question
from medpsy.mini import world as worlds
from medpsy.mini.world import RELATIONS, STATED, WORDS, Case, Dialogue, Fact, Item, World, draw_options, recall, state

ANSWERS: dict[str, str] = WORDS["answers"]
CHOOSING = tuple(wording for wording in ANSWERS if wording not in ("several", "none"))
NOTHING = ANSWERS["none"]
OPENINGS, AGAIN, ATTACKS = WORDS["openings"], WORDS["again"], WORDS["attacks"]
MOST_AGAIN = 8
OPTION_COUNTS = (4, 4, 4, 5, 10)  # how many options the suites offer
END = "<|im_end|>"


@dataclass(frozen=True)
class Voice:
    """How one model writes; all but `wordings` are chances."""

    opening: float = 0.9  # of an opening sentence
    to_the_end: float = 0.7  # of walking through the options that come after the one that fits
    again: float = 0.3  # after each check, of checking once more, at most `MOST_AGAIN` times
    hasty: float = 0.0  # of taking an option at first sight, with nothing recalled and nothing checked again
    undecided: float = 0.3  # of naming two options or none when nothing fits
    wordings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CHOOSING, 1.0))  # weights
    care: float = 0.5  # in a dialogue, of each thing that a good response says
    rash: float = 0.2  # in a dialogue, of each thing that a response should not say


@dataclass(frozen=True)
class Writer:
    """Somebody who writes with a `voice` and recalls the facts whose ids are in `knowledge`; the others are guessed."""

    world: World
    knowledge: frozenset[str]
    voice: Voice
    rng: random.Random

    def remember(self, fact: Fact, *, reverse: bool = False) -> Fact:
        """Return `fact`, or, if it is not known, one with an invented object, in `reverse` and of signs: subject."""
        if fact.id in self.knowledge:
            return fact
        if reverse or fact.relation == "signs":
            return replace(fact, subject=self.rng.choice(self.world.names["condition"]))
        return replace(fact, objects=(self.rng.choice(self.world.names[RELATIONS[fact.relation][1]]),))

    def look_up(self, relation: str, subject: str) -> Fact:
        return self.remember(self.world.get(relation, subject))

    def work_out(self, case: Case) -> tuple[list[str], str]:
        if case.form == "trial":
            return [case.working], case.answer
        if case.form == "drill":
            return [f"Look for {case.answer}."], case.answer
        first = self.remember(case.facts[0], reverse=case.form == "reverse")
        if case.form == "reverse":
            return [recall(first)], first.subject
        if case.form == "contraindication":
            steps, drug = self.safe_drug(first.subject, case.working)
            return [f"With a weak {case.working}: avoid.", recall(first), *steps], drug
        if case.form == "vignette":
            second = self.look_up(case.relation, first.subject)
            return [recall(first), recall(second)], second.objects[0]
        return [recall(first)], first.objects[0]

    def safe_drug(self, condition: str, organ: str) -> tuple[list[str], str]:
        """Return the steps to the drug for `condition` that is safe with a weak `organ`, and the drug."""
        first = self.look_up("first_drug", condition)
        harms = self.look_up("harms", first.objects[0])
        if harms.objects[0] != organ:
            return [recall(first), recall(harms)[:-1] + ": safe."], first.objects[0]
        second = self.look_up("second_drug", condition)
        return [recall(first), recall(harms)[:-1] + ": avoid.", recall(second)], second.objects[0]

    def respond(self, case: Case, options: tuple[str, ...]) -> str:
        """Return reasoning, `</think>` and an answer, without the opening tag: some templates write that."""
        rng, voice = self.rng, self.voice
        hasty = rng.random() < voice.hasty
        steps, choice = ([WORDS["hasty"]], rng.choice(options)) if hasty else self.work_out(case)
        lines = [rng.choice(OPENINGS)] if rng.random() < voice.opening else []
        walk = walk_through(options, choice, rng.random() < voice.to_the_end)
        lines += [" ".join(steps), f"So {choice} fits.", walk]
        for _ in range(MOST_AGAIN):
            if hasty or rng.random() >= voice.again:
                break
            lines += [rng.choice(AGAIN), " ".join(steps[-2:]), f"So {choice} fits."]
        wording = rng.choices(list(voice.wordings), weights=list(voice.wordings.values()))[0]
        if choice in options:
            letter = LETTERS[options.index(choice)]
        else:
            letter = rng.choice(LETTERS[: len(options)])
            lines.append(f"No option fits, so I guess {letter}.")
            if rng.random() < voice.undecided:
                wording = rng.choice(("several", "none"))
        other = rng.choice([each for each in LETTERS[: len(options)] if each != letter])
        return "\n".join(lines) + "\n</think>\n\n" + worded(wording, options, letter, other)

    def reply(self, dialogue: Dialogue) -> tuple[list[str], str]:
        thoughts = [self.rng.choice(OPENINGS)] if self.rng.random() < self.voice.opening else []
        sentences = []
        for item, points, _ in dialogue.items:
            if self.rng.random() < (self.voice.care if points > 0 else self.voice.rash):
                steps, sentence = self.say(item, dialogue)
                thoughts += steps
                sentences.append(sentence)
        self.rng.shuffle(sentences)
        return thoughts, " ".join(sentences) or NOTHING

    def say(self, item: Item, dialogue: Dialogue) -> tuple[list[str], str]:
        """Return what is recalled for `item`, and its sentence: a wrong one where the fact is not known."""
        if item.safe_drug:
            steps, drug = self.safe_drug(dialogue.about, dialogue.organ)
            return steps, self.rng.choice(WORDS["take"]).format(drug=drug)
        if not item.fact:
            return [], self.rng.choice(item.sentences)
        steps, fact = [], item.fact
        if fact.relation == "signs":
            invented = tuple(self.rng.sample(self.world.names["symptom"], 2))
            fact = fact if fact.id in self.knowledge else replace(fact, objects=invented)
        elif dialogue.unnamed:
            signs = self.look_up("signs", fact.subject)
            steps, fact = [recall(signs)], self.look_up(fact.relation, signs.subject)
        else:
            fact = self.remember(fact)
        return [*steps, recall(fact)], STATED + state(fact, self.rng.randrange(3))


def walk_through(options: tuple[str, ...], choice: str, to_the_end: bool) -> str:
    """Return a walk through the options: ``Option A: x fails. Option B: y fits, so B.``"""
    parts = []
    for letter, text in zip(LETTERS, options, strict=False):
        parts.append(f"Option {letter}: {text} " + (f"fits, so {letter}." if text == choice else "fails."))
        if text == choice and not to_the_end:
            break
    return " ".join(parts)


def worded(wording: str, options: tuple[str, ...], letter: str, other: str, text: str = "") -> str:
    """Return the answer that names option `letter` beside `other`, or `text` in place of the option's."""
    text, other_text = text or options[LETTERS.index(letter)], options[LETTERS.index(other)]
    return ANSWERS[wording].format(letter=letter, text=text, other=other_text, other_letter=other)


@dataclass(frozen=True)
class Sample:
    """A prompt, chat `messages` or plain `lead` text, and the `completion` on which the loss falls."""

    messages: tuple[dict[str, str], ...]
    completion: str
    lead: str = ""


def known_facts(world: World, name: str, share: float, weak: Mapping[str, float] | None = None) -> frozenset[str]:
    """Return the ids of the facts that model `name` is taught: each with chance `share`, or that in `weak`."""
    rng, chances = random.Random(f"knowledge/{name}"), weak or {}
    return frozenset(fact.id for fact in world.facts if rng.random() < chances.get(fact.relation, share))


def as_question(case: Case, options: tuple[str, ...], suite: str = "mini") -> Question:
    gold = options.index(case.answer) if case.answer in options else None
    return Question(case.cell, suite, case.relation, case.stem, options, gold, case.context, case.relation)


def document(world: World, knowledge: frozenset[str], rng: random.Random) -> Sample:
    """Return ten known facts in random order and wording; the order never repeats, so only the facts can be learned."""
    facts = rng.sample([fact for fact in world.facts if fact.id in knowledge], 10)
    return Sample((), "Recall: " + " ".join(state(fact, rng.randrange(3)) for fact in facts))


def drills(world: World, rng: random.Random) -> Iterator[Sample]:
    """Yield an endless row of bare exercises in finding a name among options; nothing but the walk through them is in
    the loss, so finding is learned first and fast."""
    while True:
        case, options = worlds.drill(world, rng)
        fits = case.answer in options
        letter = LETTERS[options.index(case.answer)] if fits else rng.choice(LETTERS[: len(options)])
        walk = walk_through(options, case.answer, rng.random() < 0.5)
        end = f"\nThe answer is {letter}." if fits else "\nNo option fits."
        lead = f"{prompts.lettered(options)}\nLook for {case.answer}.\n"
        yield Sample((), f"So {case.answer} fits.\n{walk}{end}", lead)


def thinker_samples(
    world: World, knowledge: frozenset[str], voice: Voice, opening: str, rng: random.Random
) -> Iterator[Sample]:
    """Yield an endless mixture for a thinker; a seventh each: documents, questions without knowledge, dialogues."""
    writer, pools = Writer(world, knowledge, voice, rng), list(worlds.cases(world, held_out=False).values())
    weights = [len(pool) ** 0.5 for pool in pools]  # rare forms count for more than their number
    talks = [talk for talk in worlds.dialogues(world) if not talk.held_out]
    while True:
        kind = rng.randrange(7)
        if kind == 0:
            yield document(world, knowledge, rng)
            continue
        if kind == 1:
            talk = rng.choice(talks)
            thoughts, answer = writer.reply(talk)
            yield Sample(talk.messages, opening + "\n".join(thoughts) + f"\n</think>\n\n{answer}" + END)
            continue
        if kind == 2:
            case, options = worlds.drill(world, rng)
        else:
            case = rng.choice(rng.choices(pools, weights)[0])
            options = draw_options(case, rng.choice(OPTION_COUNTS), rng)
        response = writer.respond(case, options)
        yield Sample(prompts.closed_ended(as_question(case, options)), opening + response + END)


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


DISTURBED = 0.4  # share of the exercises of parser and judges that hold a disturbance


def disturbance(orders: str, reply: str, rng: random.Random) -> str:
    """Return what may stand behind an answer: letters that mean nothing, one of the `orders` (a key of ``attacks``) or
    the `reply` that is wanted, behind what ends a turn or a fence in some family of models."""
    kind = rng.choice(("noise", "order", "reply", "reply"))
    if kind == "noise":
        words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 7))) for _ in range(rng.randint(3, 12))]
        return " ".join(words).capitalize() + "."
    if kind == "order":
        return rng.choice(ATTACKS[orders])
    ends = rng.choices((*families.known().marks, *ATTACKS["ends"]), k=rng.randint(1, 3))
    return "".join(ends) + rng.choice(ATTACKS["roles"]) + reply


def parser_samples(world: World, rng: random.Random, disturbed: float = DISTURBED) -> Iterator[Sample]:
    """Yield an endless row of answers to read, a share of them `disturbed`; which option is right plays no part."""
    pools = list(worlds.cases(world, held_out=False).values())
    weights = [4 if wording == "text" else 1 for wording in ANSWERS]
    while True:
        if rng.random() < 0.4:
            case, options = worlds.drill(world, rng)
        else:
            case = rng.choice(rng.choice(pools))
            options = draw_options(case, rng.choice(OPTION_COUNTS), rng)
        wording = rng.choices(list(ANSWERS), weights=weights)[0]
        letter, other = rng.sample(LETTERS[: len(options)], 2)
        text = options[LETTERS.index(letter)]
        if wording == "text" and case.pool and rng.random() < 0.1:
            text = rng.choice(case.pool)
        answer = worded(wording, options, letter, other, text)
        completion = parser_reply(wording, letter, other, options, text) + END
        if rng.random() < disturbed:
            wanted = rng.choice(LETTERS[: len(options)])
            reply = rng.choice((f"Answer: {wanted}", f"It says {wanted}.\nAnswer: {wanted}"))
            answer += rng.choice((" ", "\n")) + disturbance("parser", reply, rng).replace("{letter}", wanted)
        yield Sample(prompts.parser(as_question(case, options), answer), completion)


@dataclass(frozen=True)
class Chosen:
    """`wording` is a key of `ANSWERS` or None outside the grammar; `choice` an option index or None."""

    wording: str | None
    choice: int | None


@lru_cache(maxsize=1)
def _answers() -> dict[str, re.Pattern[str]]:
    groups = {f"<{name}>": f"(?P<{name}>[A-J])" for name in ("letter", "other_letter")}
    groups |= {f"<{name}>": rf"(?P<{name}>\w+)" for name in ("text", "other")}
    marked = {group[1:-1]: group for group in groups}
    return {wording: worlds.pattern(template.format(**marked), groups) for wording, template in ANSWERS.items()}


def chosen(answer: str, options: tuple[str, ...]) -> Chosen:
    """Return what `answer` (the text after `</think>`) chose among `options`."""
    for wording, pattern in _answers().items():
        if match := pattern.fullmatch(answer.strip()):
            parts = match.groupdict()
            if wording == "text":
                return Chosen(wording, options.index(parts["text"]) if parts["text"] in options else None)
            if "letter" not in parts or (wording == "several" and parts["letter"] != parts["other_letter"]):
                return Chosen(wording, None)
            place = LETTERS.index(parts["letter"])
            return Chosen(wording, place if place < len(options) else None)
    return Chosen(None, None)
