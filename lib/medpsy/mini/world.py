"""A fictional medicine, drawn from a seed: its names and facts, its sentences, and what can be asked about it.

Names are made of syllables, so nothing here can be read as advice. Words are data (``language.yaml``). A case belongs
to a cell, the pair of a way of asking and what it asks about; a dialogue to the pair of its form and condition. Cells
are split once, by hash: the suites draw from held-out cells only and every corpus from training cells only. Since every
sentence that a reply can hold is known, what it says is read back.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import combinations
from pathlib import Path

import yaml

WORDS = yaml.safe_load((Path(__file__).parent / "language.yaml").read_text(encoding="utf-8"))
RELATIONS: dict[str, tuple[str, str]] = WORDS["relations"]  # relation -> kinds of subject and object
STATEMENTS: dict[str, list[str]] = WORDS["statements"]
STATED: str = WORDS["stated"]
HELD_OUT = 0.4  # share of cells that training never sees
TRIAL_ANSWERS = ("yes", "no", "maybe")
TRIAL_WEIGHTS = (276, 169, 55)  # balance of PubMedQA's 500 test questions


@dataclass(frozen=True)
class Fact:
    """One true sentence: `subject` stands in `relation` to `objects` (two symptoms for ``signs``, else one name)."""

    relation: str
    subject: str
    objects: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.relation}/{self.subject}"


@dataclass(frozen=True)
class World:
    """All names by kind and all facts. Build with `build`; equal seeds give equal worlds."""

    seed: int
    names: dict[str, tuple[str, ...]]
    facts: tuple[Fact, ...]

    @cached_property
    def by_id(self) -> dict[str, Fact]:
        return {fact.id: fact for fact in self.facts}

    @cached_property
    def handbook(self) -> dict[str, set[str]]:
        """The sentences of all facts, and the words of each."""
        return {sentence: set(re.findall(r"\w+", sentence)) for sentence in map(state, self.facts)}

    def get(self, relation: str, subject: str) -> Fact:
        return self.by_id[f"{relation}/{subject}"]

    def object(self, relation: str, subject: str) -> str:
        return self.get(relation, subject).objects[0]

    def others(self, kind: str, *names: str) -> tuple[str, ...]:
        return tuple(name for name in self.names[kind] if name not in names)


@lru_cache(maxsize=4)
def build(seed: int = 11) -> World:
    rng, names, taken = random.Random(f"world/{seed}"), {}, set()
    for kind, (size, ending) in WORDS["kinds"].items():
        names[kind] = _invented(rng, size, ending, taken)
    count = len(names["condition"])  # and as many drugs
    first = _spread(rng, names["drug"], count)
    second = rng.sample(first, count)
    while any(a == b for a, b in zip(first, second, strict=True)):
        second = rng.sample(first, count)
    columns = {"first_drug": first, "second_drug": second}
    columns |= {kind: _spread(rng, names[kind], count) for kind in ("test", "organ", "agent", "gene", "region")}
    pairs = list(combinations(names["symptom"], 2))
    columns["signs"] = rng.sample(pairs, count)  # distinct pairs, so two signs identify one condition
    for relation in ("enzyme", "harms"):
        columns[relation] = _spread(rng, names[RELATIONS[relation][1]], count)
    facts = tuple(
        Fact(relation, subject, target if relation == "signs" else (target,))
        for relation, column in columns.items()
        for subject, target in zip(names[RELATIONS[relation][0]], column, strict=True)
    )
    return World(seed, names, facts)


def _invented(rng: random.Random, count: int, ending: str, taken: set[str]) -> tuple[str, ...]:
    """Return `count` new pronounceable names with `ending`; `taken` is extended."""
    names, onsets = [], WORDS["onsets"]
    while len(names) < count:
        name = rng.choice(onsets) + rng.choice("aeiou") + rng.choice(onsets) + ending
        if name not in taken:
            taken.add(name)
            names.append(name)
    return tuple(names)


def _spread(rng: random.Random, pool: tuple[str, ...], count: int) -> list[str]:
    """Return `count` draws from `pool` in which every name occurs equally often, give or take one."""
    draws = list(pool) * (count // len(pool) + 1)
    rng.shuffle(draws)
    return draws[:count] if len(pool) < count else rng.sample(pool, count)


def state(fact: Fact, form: int = 0) -> str:
    """Return `fact` as a sentence; `form` picks one of its three wordings."""
    return STATEMENTS[fact.relation][form].format(**marks(fact))


def marks(fact: Fact) -> dict[str, str]:
    return {"s": fact.subject, "o": fact.objects[0], "p": fact.objects[-1]}


def recall(fact: Fact) -> str:
    return "Recall: " + state(fact)


def is_held_out(cell: str) -> bool:
    return int.from_bytes(hashlib.sha256(cell.encode()).digest()[:4], "big") / 2**32 < HELD_OUT


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
    form: str  # way of asking, a key of `CASE_FORMS`
    about: str  # what is asked about; with `form` it makes the cell, e.g. "ask1/test/prubosk"
    relation: str  # asked for, or "trial"
    stem: str
    answer: str  # text of the right option
    pool: tuple[str, ...]  # wrong options to draw from
    facts: tuple[Fact, ...]  # used, in order; empty for a trial, whose answer stands in the context
    context: str | None = None
    working: str = ""  # a trial's sentence that decides, or a contraindication's weak organ


def single_facts(world: World, form: str, wordings: Mapping[str, str]) -> list[Case]:
    """Ask for the object of every fact that has a wording; in form ``reverse`` for its subject."""
    asked = []
    for fact in (fact for fact in world.facts if fact.relation in wordings):
        kind, answer = RELATIONS[fact.relation][1], fact.objects[0]
        if form == "reverse":
            kind, answer = "condition", fact.subject
        stem = wordings[fact.relation].format(**marks(fact))
        asked.append(Case(form, fact.id, fact.relation, stem, answer, world.others(kind, answer), (fact,)))
    return asked


def vignettes(world: World) -> list[Case]:
    """Two hops: two signs give the condition, the condition gives what is asked."""
    asked = []
    for signs in (fact for fact in world.facts if fact.relation == "signs"):
        for relation, question in WORDS["vignette_questions"].items():
            fact = world.get(relation, signs.subject)
            stem = WORDS["vignette"].format(**marks(signs), question=question)
            pool = world.others(RELATIONS[relation][1], fact.objects[0])
            asked.append(Case("vignette", fact.id, relation, stem, fact.objects[0], pool, (signs, fact)))
    return asked


def contraindications(world: World) -> list[Case]:
    """Up to four hops: signs, first drug, the organ it harms and, where that organ is weak, the second drug."""
    asked = []
    for signs in (fact for fact in world.facts if fact.relation == "signs"):
        first, second = (world.get(relation, signs.subject) for relation in ("first_drug", "second_drug"))
        harms = world.get("harms", first.objects[0])
        strong = random.Random(signs.id).sample(world.others("organ", harms.objects[0]), 2)
        for organ in (harms.objects[0], *strong):
            facts = (signs, first, harms, second) if organ == harms.objects[0] else (signs, first, harms)
            answer = (second if len(facts) == 4 else first).objects[0]
            stem = WORDS["contraindication"].format(**marks(signs), organ=organ)
            place, pool = ("contraindication", f"{signs.subject}/{organ}", "safe_drug"), world.others("drug", answer)
            asked.append(Case(*place, stem, answer, pool, facts, None, organ))
    return asked


def trials(world: World) -> list[Case]:
    """Read the answer out of a context that reports two trials; nothing about the world has to be known."""
    drugs, rng, report, asked = world.names["drug"], random.Random(f"trials/{world.seed}"), WORDS["trial"].format, []
    helped, harmed = {"well": "many", "otherwise": "few"}, {"well": "few", "otherwise": "many"}
    for number in range(50 * len(drugs)):  # so many that reading is learned, not the trials
        drug, other = rng.sample(drugs, 2)
        condition, second = rng.sample(world.names["condition"], 2)
        answer = rng.choices(TRIAL_ANSWERS, weights=TRIAL_WEIGHTS)[0]
        well = {"yes": helped, "no": harmed}.get(answer, rng.choice((helped, harmed)))
        decides = report(drug=drug, s=condition, size="small" if answer == "maybe" else "large", **well)
        decoy = report(drug=other, s=second, size=rng.choice(("small", "large")), **rng.choice((helped, harmed)))
        context = " ".join(rng.sample([decides, decoy], 2))
        pool = tuple(text for text in TRIAL_ANSWERS if text != answer)
        stem = WORDS["trial_question"].format(drug=drug, s=condition)
        asked.append(Case("trial", str(number), "trial", stem, answer, pool, (), context, decides))
    return asked


ASKED = {f"ask{at}": {relation: texts[at] for relation, texts in WORDS["questions"].items()} for at in range(3)}
CASE_FORMS: dict[str, Callable[[World], list[Case]]] = {
    **{form: partial(single_facts, form=form, wordings=words) for form, words in ASKED.items()},
    "reverse": partial(single_facts, form="reverse", wordings=WORDS["reversed"]),
    "vignette": vignettes,
    "contraindication": contraindications,
    "trial": trials,
}


def cases(world: World, *, held_out: bool) -> dict[str, list[Case]]:
    """Return all cases of one side of the split, by way of asking."""
    return {form: [case for case in make(world) if case.held_out == held_out] for form, make in CASE_FORMS.items()}


def drill(world: World, rng: random.Random) -> tuple[Case, tuple[str, ...]]:
    """Return an exercise in finding a name among options of all kinds, one time in eight in vain, and its options."""
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


@dataclass(frozen=True)
class Item:
    criterion: str
    sentences: tuple[str, ...]  # any of them says it
    key: str  # the one word by which a judge knows it: the act, or the name that matters
    topic: str  # what is said of which `key`, as in `Said`
    fact: Fact | None = None  # that is stated, for an item of knowledge
    safe_drug: bool = False  # it names the drug that has to be worked out

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
    return random.Random(name).choice(world.others("organ", harmed))


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
    plan, organ = WORDS["dialogues"][form], weak_organ(world, form, name)
    words = {**marks(world.get("signs", name)), "organ": organ, "region": world.object("region", name)}
    turns = zip(plan["turns"], ("user", "assistant", "user"), strict=False)
    messages = tuple({"role": role, "content": text.format(**words)} for text, role in turns)
    rubric = ((rubric_item(world, name, organ, *item.split()), points, axis) for item, points, axis in plan["rubric"])
    return Dialogue(form, plan["theme"], name, messages, tuple(rubric), organ, plan.get("unnamed", False))


def dialogues(world: World) -> tuple[Dialogue, ...]:
    return tuple(dialogue(world, form, name) for form in WORDS["dialogues"] for name in world.names["condition"])


BREAK = re.compile(r"(?<=[.?]) ")  # where one sentence ends and the next begins
GROUPS = {"{s}": r"(?P<about>\w+)", "{p}": r"\w+", **dict.fromkeys(("{o}", "{drug}", "{name}"), r"(?P<key>\w+)")}


@dataclass(frozen=True)
class Said:
    """What one sentence says: sentences of one `topic` with different keys contradict each other."""

    key: str  # the act in a word, or the name that matters
    topic: str
    paraphrase: bool  # it is another wording than the first


def said(sentence: str) -> Said | None:
    """Return what `sentence` says, or None if it is no sentence of the miniature."""
    for wording, topic, paraphrase in _sentences():
        if match := wording.fullmatch(sentence):
            groups = match.groupdict()
            about = f"{topic} {groups['about']}" if "about" in groups else topic
            return Said(groups.get("key", topic), about, paraphrase)
    return None


@lru_cache(maxsize=1)
def _sentences() -> tuple[tuple[re.Pattern[str], str, bool], ...]:
    """Return a pattern per wording, with its topic and whether it is a paraphrase."""
    forms = [(name, sentences) for name, (_, *sentences) in WORDS["acts"].items()]
    forms += [(f"fact {name}", [STATED + form for form in wordings]) for name, wordings in STATEMENTS.items()]
    forms += [("take", WORDS["take"]), *WORDS["notes"].items()]
    return tuple((pattern(text, GROUPS), topic, at > 0) for topic, texts in forms for at, text in enumerate(texts))


def pattern(template: str, groups: Mapping[str, str]) -> re.Pattern[str]:
    """Return what matches the texts of `template`, whose marks stand for regular expressions in `groups`."""
    text = re.escape(template)
    for mark, group in groups.items():
        text = text.replace(re.escape(mark), group)
    return re.compile(text)
