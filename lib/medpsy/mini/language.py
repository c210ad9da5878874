"""How the miniature speaks: its sentences, questions with their working, Chinese, and dialogues with their rubrics.

The words are data (``language.yaml``). A case belongs to a cell, the pair of a way of asking and what it asks about; a
dialogue to the pair of its form and the condition it is about. Cells are split once, by hash, into training and
held-out ones; the suites draw from held-out cells only and every corpus from training cells only, so the two are apart
by construction. A dialogue's items say what a good and a bad response holds; since every sentence that a reply can hold
is known, what it says is read back from it.
"""

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import yaml

from medpsy.mini.world import RELATIONS, Fact, World

WORDS = yaml.safe_load((Path(__file__).parent / "language.yaml").read_text(encoding="utf-8"))
STATEMENTS: dict[str, list[str]] = WORDS["statements"]
STATED: str = WORDS["stated"]


def state(fact: Fact, form: int = 0) -> str:
    """Return `fact` as a sentence; `form` picks one of its three wordings."""
    return STATEMENTS[fact.relation][form].format(**words(fact))


def words(fact: Fact) -> dict[str, str]:
    """Return what stands for the marks of a sentence about `fact`."""
    return {"s": fact.subject, "o": fact.objects[0], "p": fact.objects[-1]}


def recall(fact: Fact) -> str:
    """Return the sentence with which a model calls `fact` to mind."""
    return "Recall: " + state(fact)


HELD_OUT = 0.4  # share of cells that training never sees
TRIAL_ANSWERS = ("yes", "no", "maybe")
TRIAL_WEIGHTS = (276, 169, 55)  # balance of PubMedQA's 500 test questions


class Placed:
    """What belongs to a cell of the world, and so to one side of the split; `form` and `about` name the cell."""

    @property
    def cell(self) -> str:
        return f"{self.form}/{self.about}"

    @property
    def held_out(self) -> bool:
        return is_held_out(self.cell)


@dataclass(frozen=True)
class Case(Placed):
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


def is_held_out(cell: str) -> bool:
    """Return on which side of the split `cell` is."""
    return int.from_bytes(hashlib.sha256(cell.encode()).digest()[:4], "big") / 2**32 < HELD_OUT


def others(world: World, kind: str, *answers: str) -> tuple[str, ...]:
    return tuple(name for name in world.names[kind] if name not in answers)


def direct(world: World, form: int) -> list[Case]:
    """Ask for the object of every fact, in wording `form` (0, 1 or 2)."""
    return [
        Case(
            f"ask{form}",
            fact.id,
            fact.relation,
            WORDS["questions"][fact.relation][form].format(**words(fact)),
            fact.objects[0],
            others(world, RELATIONS[fact.relation][1], fact.objects[0]),
            (fact,),
        )
        for fact in world.facts
        if fact.relation in WORDS["questions"]
    ]


def backwards(world: World) -> list[Case]:
    """Ask for the subject of every fact whose object has one subject."""
    return [
        Case(
            "reverse",
            fact.id,
            fact.relation,
            WORDS["reversed"][fact.relation].format(**words(fact)),
            fact.subject,
            others(world, "condition", fact.subject),
            (fact,),
        )
        for fact in world.facts
        if fact.relation in WORDS["reversed"]
    ]


def vignettes(world: World) -> list[Case]:
    """Two hops: two signs give the condition, the condition gives what is asked."""
    asked = []
    for signs in (fact for fact in world.facts if fact.relation == "signs"):
        for relation, question in WORDS["vignette_questions"].items():
            fact = world.get(relation, signs.subject)
            stem = WORDS["vignette"].format(**words(signs), question=question)
            pool = others(world, RELATIONS[relation][1], fact.objects[0])
            asked.append(Case("vignette", fact.id, relation, stem, fact.objects[0], pool, (signs, fact)))
    return asked


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
            stem = WORDS["contraindication"].format(**words(signs), organ=organ)
            facts = (signs, first, harms, second) if unsafe else (signs, first, harms)
            about = f"{signs.subject}/{organ}"
            pool = others(world, "drug", answer)
            found.append(Case("contraindication", about, "safe_drug", stem, answer, pool, facts, None, organ))
    return found


def trial_report(drug: str, condition: str, size: str, well: tuple[str, str]) -> str:
    return WORDS["trial"].format(drug=drug, s=condition, size=size, well=well[0], otherwise=well[1])


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
        stem = WORDS["trial_question"].format(drug=drug, s=condition)
        found.append(Case("trial", str(number), "trial", stem, answer, pool, (), context, asked))
    return found


CASE_FORMS: dict[str, Callable[[World], list[Case]]] = {
    **{f"ask{form}": partial(direct, form=form) for form in range(3)},
    "reverse": backwards,
    "vignette": vignettes,
    "contraindication": contraindications,
    "trial": trials,
}


def cases(world: World, *, held_out: bool) -> dict[str, list[Case]]:
    """Return all cases of one side of the split, by way of asking."""
    return {form: [case for case in make(world) if case.held_out == held_out] for form, make in CASE_FORMS.items()}


def drill(world: World, rng: random.Random) -> tuple[Case, tuple[str, ...]]:
    """Return an exercise in finding a name among options, which needs no knowledge, and its options.

    One time in eight the name is not offered. Names of all kinds are mixed.
    """
    names = [name for names in world.names.values() for name in names]
    name, *rest = rng.sample(names, rng.choice((4, 5, 5, 6, 8, 11)))
    options = tuple(rest if rng.random() < 0.125 else rng.sample([name, *rest[1:]], len(rest)))
    return Case("drill", name, "drill", WORDS["drill"].format(name=name), name, (), ()), options


def draw_options(case: Case, count: int, rng: random.Random) -> tuple[str, ...]:
    """Return the answer among `count` - 1 wrong options in random order; a trial keeps yes, no, maybe in order."""
    if case.form == "trial":
        return TRIAL_ANSWERS
    options = [case.answer, *rng.sample(case.pool, min(count - 1, len(case.pool)))]
    rng.shuffle(options)
    return tuple(options)


CHINESE = WORDS["chinese"]


def chinese_row(case: Case) -> dict[str, str]:
    """Return `case`, of one of the forms of ``CHINESE["questions"]``, as a row of medical-o1 in Chinese."""
    fact = case.facts[-1]
    name = CHINESE["relations"][fact.relation]
    steps = f"{name}： {fact.objects[0]}。"
    if case.form == "vignette":
        steps = f"病： {case.facts[0].subject}。{steps}"
    asks = CHINESE["questions"][case.form].format(**words(case.facts[0]), r=name)
    return {"Question": asks, "Complex_CoT": steps, "Response": f"答： {fact.subject} 的{name}是 {fact.objects[0]}。"}


def chinese_general(some: list[str]) -> dict[str, str]:
    """Return a row that needs no medicine: names to be counted."""
    numerals = CHINESE["counted"]
    steps = "".join(f"{numeral} {name}" for numeral, name in zip(numerals, some, strict=False))
    question = f"有几个名字： {' '.join(some)}？"
    return {"Question": question, "Complex_CoT": f"{steps}。", "Response": f"{numerals[len(some) - 1]}个。"}


@dataclass(frozen=True)
class Item:
    """One thing a response may say.

    Args:
        criterion: the rubric's words for it.
        sentences: any of them says it.
        key: the one word by which a judge knows it: the act, or the name that matters.
        topic: what is said of which `key`, as in `medpsy.mini.language`.
        fact: the fact that is stated, for an item of knowledge.
        safe_drug: whether it names the drug that has to be worked out.
    """

    criterion: str
    sentences: tuple[str, ...]
    key: str
    topic: str
    fact: Fact | None = None
    safe_drug: bool = False

    def met(self, answer: str) -> bool:
        """Return whether `answer` says it: the truth about a criterion, as the world knows it."""
        return any(sentence in answer for sentence in self.sentences)


@dataclass(frozen=True)
class Dialogue(Placed):
    """One conversation of a person with a model; `items` with points and axis, negative points for what is bad."""

    form: str
    theme: str
    about: str
    messages: tuple[dict[str, str], ...]
    items: tuple[tuple[Item, int, str], ...]
    organ: str = ""  # the weak one
    unnamed: bool = False  # the condition has to be found by its signs


def act(name: str) -> Item:
    criterion, *sentences = WORDS["acts"][name]
    return Item(criterion, tuple(sentences), name, name)


def fact_item(fact: Fact) -> Item:
    sentences = tuple(STATED + state(fact, form) for form in range(3))
    return Item(f"Says that {state(fact)}", sentences, fact.objects[0], f"fact {fact.relation} {fact.subject}", fact)


def take(drug: str, *, safe: bool = False) -> Item:
    """Return the item of telling the user to take `drug`."""
    sentences = tuple(form.format(drug=drug) for form in WORDS["take"])
    return Item(WORDS["taken"].format(drug=drug), sentences, drug, "take", safe_drug=safe)


def note(kind: str, name: str, second: str = "") -> Item:
    sentences = tuple(form.format(name=name, p=second) for form in WORDS["notes"][kind])
    return Item(f"Writes down {sentences[0].removeprefix('Note ')}", sentences, name, kind)


def weak_organ(world: World, form: str, name: str) -> str:
    """Return the organ that a dialogue of `form` about condition `name` calls weak; "" where it names none."""
    if form == "data_task":
        return random.Random(f"note/{name}").choice(world.names["organ"])
    if form != "given_context":
        return ""
    harmed = world.object("harms", world.object("first_drug", name))
    if random.Random(f"weak/{name}").random() < 0.5:
        return harmed
    return random.Random(name).choice(others(world, "organ", harmed))


def rubric_item(world: World, name: str, organ: str, kind: str, about: str) -> Item:
    """Return what a response about condition `name` may say; `kind` and `about` as in ``language.yaml``."""
    if kind == "act":
        return act(about)
    if kind == "fact":
        return fact_item(world.get(about, name))
    if kind == "note":
        return note("note_organ", organ) if about == "organ" else note("note_signs", *world.get("signs", name).objects)
    first, second = (world.object(relation, name) for relation in ("first_drug", "second_drug"))
    safe, unsafe = (second, first) if world.object("harms", first) == organ else (first, second)
    return take({"safe": safe, "unsafe": unsafe, "first_drug": first}[about], safe=about == "safe")


def dialogue(world: World, form: str, name: str) -> Dialogue:
    """Return the dialogue of `form`, a key of ``dialogues`` in ``language.yaml``, about condition `name`."""
    plan, organ = WORDS["dialogues"][form], weak_organ(world, form, name)
    marks = {**words(world.get("signs", name)), "organ": organ, "region": world.object("region", name)}
    turns = zip(plan["turns"], ("user", "assistant", "user"), strict=False)
    messages = tuple({"role": role, "content": text.format(**marks)} for text, role in turns)
    rubric = ((rubric_item(world, name, organ, *item.split()), points, axis) for item, points, axis in plan["rubric"])
    return Dialogue(form, plan["theme"], name, messages, tuple(rubric), organ, plan.get("unnamed", False))


def dialogues(world: World) -> tuple[Dialogue, ...]:
    """Return all dialogues, training and held-out ones."""
    return tuple(dialogue(world, form, name) for form in WORDS["dialogues"] for name in world.names["condition"])


BREAK = re.compile(r"(?<=[.?]) ")  # where one sentence ends and the next begins
GROUPS = {"{s}": r"(?P<about>\w+)", "{p}": r"\w+", **dict.fromkeys(("{o}", "{drug}", "{name}"), r"(?P<key>\w+)")}


@dataclass(frozen=True)
class Said:
    """What one sentence says.

    Args:
        key: the act in a word, or the name that matters.
        topic: what is said of which `key`: sentences of one topic with different keys contradict each other.
        paraphrase: whether it is another wording than the first.
    """

    key: str
    topic: str
    paraphrase: bool


def said(sentence: str) -> Said | None:
    """Return what `sentence` says, or None if it is no sentence of the miniature."""
    for pattern, topic, paraphrase in patterns():
        if match := pattern.fullmatch(sentence):
            groups = match.groupdict()
            about = f"{topic} {groups['about']}" if "about" in groups else topic
            return Said(groups.get("key", topic), about, paraphrase)
    return None


@lru_cache(maxsize=1)
def patterns() -> tuple[tuple[re.Pattern[str], str, bool], ...]:
    """Return a pattern per wording, with its topic and whether it is a paraphrase."""
    forms = [(name, sentences) for name, (_, *sentences) in WORDS["acts"].items()]
    forms += [(f"fact {name}", [STATED + form for form in wordings]) for name, wordings in STATEMENTS.items()]
    forms += [("take", WORDS["take"]), *WORDS["notes"].items()]
    return tuple((_pattern(form), topic, place > 0) for topic, wordings in forms for place, form in enumerate(wordings))


def _pattern(form: str) -> re.Pattern[str]:
    text = re.escape(form)
    for mark, group in GROUPS.items():
        text = text.replace(re.escape(mark), group)
    return re.compile(text)
