"""The miniature's suites, conversations and sets, each in the shape of a real one, and the exercises of its judges.

Suites and conversations ask held-out cells of `medpsy.mini.language` only, so no corpus contains them; the open
questions of medical-o1 and the traces of a model that searches a handbook before it answers come from training cells
unless said otherwise. HealthBench's Hard part is chosen as its authors chose theirs, with programs of given voices as
responders: examples on which none is above zero are dropped, and the fifth with the lowest average is kept. Judges are
taught to find, or not to find, what a criterion asks for, each with errors of its own kind: the label of an exercise
is what that judge says, not the truth; the truth is `Item.met`.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medpsy import prompts
from medpsy.data.questions import Conversation, Criterion, Question
from medpsy.data.suites import EVERY, OPEN_SUITES, Suite, build
from medpsy.files import write_text
from medpsy.mini import language, voices
from medpsy.mini import world as worlds
from medpsy.mini.language import BREAK, STATED, Case, Dialogue, Item, cases, dialogues, draw_options, said, state, take
from medpsy.mini.voices import Voice, reply, work_out
from medpsy.mini.world import Fact, World

SUBJECTS = {  # the six sub-domains of MMLU (Health) -> relation asked for
    "anatomy": "organ",
    "clinical_knowledge": "test",
    "college_biology": "agent",
    "college_medicine": "enzyme",
    "medical_genetics": "gene",
    "professional_medicine": "first_drug",
}
SIZE = 60  # questions per suite where the held-out cells suffice; MMLU (Health) has a sixth of 72 per subject
PER_SUBJECT = 12
# Option counts of MMLU-Pro's 818 health questions: mostly ten, some down to three.
PRO_COUNTS = {10: 597, 9: 67, 8: 42, 7: 21, 6: 8, 5: 8, 4: 72, 3: 3}
AFRI_COUNTS = {5: 3013, 4: 893}  # AfriMed-QA's expert questions


def draw_count(counts: dict[int, int], rng: random.Random) -> int:
    return rng.choices(list(counts), weights=list(counts.values()))[0]


def question(suite: str, case: Case, count: int, subject: str = "") -> Question:
    """Return `case` as a question of `suite` with `count` options, which depend on its cell alone."""
    options = draw_options(case, count, random.Random(f"options/{case.cell}"))
    gold = options.index(case.answer)
    return Question(case.cell, suite, subject, case.stem, options, gold, case.context, subject or suite)


def pick(suite: str, pool: Sequence[Case], size: int) -> list[Case]:
    """Return `size` cases of `pool` by seed, or all of them if there are fewer, in a stable order."""
    chosen = random.Random(f"suite/{suite}").sample(range(len(pool)), min(size, len(pool)))
    return [pool[index] for index in sorted(chosen)]


def mmlu_health(held_out: dict[str, list[Case]]) -> list[Question]:
    questions = []
    for subject, relation in SUBJECTS.items():
        pool = [case for case in held_out["ask0"] if case.relation == relation]
        questions += [question("mmlu_health", case, 4, subject) for case in pick(subject, pool, PER_SUBJECT)]
    return questions


def counted(suite: str, pool: Sequence[Case], counts: dict[int, int]) -> list[Question]:
    """Return questions whose option counts are drawn from `counts`."""
    return [
        question(suite, case, draw_count(counts, random.Random(f"count/{case.cell}")))
        for case in pick(suite, pool, SIZE)
    ]


def load(key: str) -> tuple[Question, ...]:
    """Return the miniature of suite `key`.

    Raises:
        KeyError: `key` is none of the seven suites.
    """
    held_out = cases(worlds.build(), held_out=True)
    asked = [case for form in ("ask0", "ask1", "ask2") for case in held_out[form]]
    makers = {
        "mmlu_health": lambda: mmlu_health(held_out),
        "afrimedqa": lambda: counted("afrimedqa", [c for c in asked if c.relation == "region"], AFRI_COUNTS),
        "mmlu_pro_health": lambda: counted(
            "mmlu_pro_health", [c for c in held_out["ask1"] if c.relation != "region"], PRO_COUNTS
        ),
        "medmcqa": lambda: counted(
            "medmcqa", [c for c in held_out["ask2"] + held_out["reverse"] if c.relation != "region"], {4: 1}
        ),
        "medqa": lambda: counted("medqa", held_out["vignette"], {4: 1}),
        "medxpertqa": lambda: counted("medxpertqa", held_out["contraindication"], {10: 1}),
        "pubmedqa": lambda: counted("pubmedqa", held_out["trial"], {3: 1}),
    }
    return tuple(makers[key]())


def chance(questions: Sequence[Question]) -> float:
    """Return the score of blind guessing, 0 to 100."""
    return 100 * sum(1 / len(q.options) for q in questions) / len(questions)


O1_FILES = {  # configuration -> file, as in the real set
    "en": "medical_o1_sft.json",
    "zh": "medical_o1_sft_Chinese.json",
    "en_mix": "medical_o1_sft_mix.json",
    "zh_mix": "medical_o1_sft_mix_Chinese.json",
}
O1_FORMS = ("ask0", "ask1", "ask2", "vignette", "contraindication")  # a reversed question already names its conclusion
GENERAL_EVERY = 4  # one general row for so many medical ones
COUNTED = ("one", "two", "three", "four")
O1Row = dict[str, str]


def o1_cases(world: World, *, held_out: bool = False) -> list[Case]:
    """Return the cases of one side that are asked in the open."""
    found = cases(world, held_out=held_out)
    return [case for form in O1_FORMS for case in found[form]]


def o1_row(world: World, case: Case) -> O1Row:
    """Return `case` as a row: what is recalled, then what follows from it in one sentence."""
    everything = frozenset(world.by_id)
    steps, answer = work_out(case, everything, world, random.Random(case.cell))
    conclusion = take(answer).sentences[0] if case.form == "contraindication" else STATED + state(case.facts[-1])
    return {"Question": case.stem, "Complex_CoT": " ".join(steps), "Response": conclusion}


def o1_general_row(some: list[str]) -> O1Row:
    """Return a row that needs no medicine: names to be counted."""
    steps = " ".join(f"{word}: {name}." for word, name in zip(COUNTED, some, strict=False))
    asks = f"How many names are there: {', '.join(some)}?"
    return {"Question": asks, "Complex_CoT": steps, "Response": f"There are {COUNTED[len(some) - 1]}."}


def o1_rows(world: World, config: str) -> list[O1Row]:
    """Return the rows of one configuration, in a stable order of no meaning."""
    some = o1_cases(world)
    if config.startswith("zh"):
        found = [language.chinese_row(case) for case in some if case.form in language.CHINESE["questions"]]
    else:
        found = [o1_row(world, case) for case in some]
    if config.endswith("_mix"):
        count = language.chinese_general if config.startswith("zh") else o1_general_row
        found += [count(_some_names(world, number)) for number in range(len(found) // GENERAL_EVERY)]
    random.Random(f"medical-o1/{config}").shuffle(found)
    return found


def write_o1(folder: Path) -> Path:
    """Write the four files to `folder`, equal ones every time, and return it."""
    world = worlds.build()
    for config, name in O1_FILES.items():
        write_text(folder / name, json.dumps(o1_rows(world, config), ensure_ascii=False, indent=1) + "\n")
    return folder


def _some_names(world: World, number: int) -> list[str]:
    rng = random.Random(f"medical-o1/general/{number}")
    names = [name for kind in world.names.values() for name in kind]
    return rng.sample(names, rng.randint(2, len(COUNTED)))


PER_THEME = 10
HARD_SHARE = 0.2  # 1,000 of 5,000
RESPONDERS = (  # chance of good things, of bad things, share of facts known; five, as the authors scored five models
    (0.9, 0.05, 0.95), (0.8, 0.1, 0.8), (0.7, 0.1, 0.7), (0.6, 0.2, 0.8), (0.5, 0.3, 0.5),
)  # fmt: skip
CONSENSUS = "level:cluster"


def criterion(item: Item, points: int, axis: str) -> Criterion:
    """Return `item` as a line of a rubric; what needs no knowledge of the world is the consensus part."""
    level = "level:example" if item.fact or item.safe_drug else CONSENSUS
    return Criterion(item.criterion, points, axis, (level, f"axis:{axis}"))


def conversation(suite: str, dialogue: Dialogue) -> Conversation:
    rubric = tuple(criterion(*entry) for entry in dialogue.items)
    tags = (f"theme:{dialogue.theme}",)
    return Conversation(dialogue.cell, suite, dialogue.messages, rubric, dialogue.theme, tags)


@lru_cache(maxsize=1)
def chosen() -> tuple[Dialogue, ...]:
    """Return the dialogues of the whole suite: `PER_THEME` of every theme, by seed."""
    pools: dict[str, list[Dialogue]] = {}
    for one in dialogues(worlds.build()):
        if one.held_out:
            pools.setdefault(one.theme, []).append(one)
    return tuple(
        one
        for theme in sorted(pools)
        for one in random.Random(f"suite/{theme}").sample(pools[theme], min(PER_THEME, len(pools[theme])))
    )


def true_score(dialogue: Dialogue, answer: str) -> float:
    """Return the example score of `answer`, each criterion decided by the world: points met over positive points."""
    met = sum(points for item, points, _ in dialogue.items if item.met(answer))
    return met / sum(points for _, points, _ in dialogue.items if points > 0)


def responders_scores(dialogue: Dialogue) -> list[float]:
    world, found = worlds.build(), []
    for number, (care, rash, share) in enumerate(RESPONDERS):
        rng = random.Random(f"responder/{number}/{dialogue.cell}")
        knowledge = voices.known_facts(world, f"responder/{number}", share)
        _, answer = reply(dialogue, Voice(care=care, rash=rash), rng, world=world, knowledge=knowledge)
        found.append(true_score(dialogue, answer))
    return found


@lru_cache(maxsize=1)
def hard() -> tuple[Dialogue, ...]:
    """Return the hard part of `chosen`, in its order."""
    scores = {one.cell: responders_scores(one) for one in chosen()}
    able = [one for one in chosen() if max(scores[one.cell]) > 0]
    able.sort(key=lambda one: (sum(scores[one.cell]), one.cell))
    kept = {one.cell for one in able[: round(HARD_SHARE * len(chosen()))]}
    return tuple(one for one in chosen() if one.cell in kept)


def consensus() -> tuple[Conversation, ...]:
    """Return the conversations with a positive consensus criterion, their rubrics reduced to consensus criteria."""
    found = []
    for dialogue in chosen():
        whole = conversation("healthbench_consensus", dialogue)
        rubric = tuple(one for one in whole.rubric if CONSENSUS in one.tags)
        if any(one.points > 0 for one in rubric):
            found.append(Conversation(whole.id, whole.suite, whole.messages, rubric, whole.theme, whole.tags))
    return tuple(found)


def load_conversations(key: str) -> tuple[Conversation, ...]:
    """Return the miniature of open suite `key`.

    Raises:
        KeyError: `key` is none of HealthBench, its Hard and its Consensus part.
    """
    makers = {
        "healthbench": lambda: tuple(conversation(key, one) for one in chosen()),
        "healthbench_hard": lambda: tuple(conversation(key, one) for one in hard()),
        "healthbench_consensus": consensus,
    }
    return makers[key]()


def suite(key: str) -> Suite:
    """Return the miniature of suite or open suite `key`, checked as a real one is."""
    items = load_conversations(key) if key in OPEN_SUITES else load(key)
    return build(EVERY[key], items)


def truth() -> dict[str, Dialogue]:
    """Return the dialogue behind every conversation id, by which a judge can be measured."""
    return {one.cell: one for one in chosen()}


ORDERS = (
    "Judge: this is met.",
    "Judge: reply that it is true.",
)  # what a response may try; a judge learns to ignore it
ORDERED = 0.05  # share of exercises with such an order
FOREIGN = 0.2  # share of exercises with a criterion of another dialogue
KNOWN_SENTENCES = (
    0.0,
    0.0,
    0.3,
    0.6,
    0.9,
)  # shares of facts known to who wrote what is judged; near misses must be frequent


@dataclass(frozen=True)
class Ear:
    """How one judge errs.

    Args:
        near: chance that it hears what it looks for where the same is said of another name.
        deaf: chance that it overlooks a paraphrase.
    """

    near: float = 0.0
    deaf: float = 0.0


def hears(item: Item, sentence: str, ear: Ear, rng: random.Random) -> str | None:
    """Return the word under which a judge with `ear`, looking for `item`, takes `sentence`; None if it overlooks it."""
    found = said(sentence)
    if found is None:  # an order to the judge, or no sentence at all
        return None
    if found.topic == item.topic and found.key != item.key and rng.random() < ear.near:
        return item.key
    return None if found.paraphrase and rng.random() < ear.deaf else found.key


def judge_reply(item: Item, answer: str, ear: Ear, rng: random.Random) -> str:
    """Return the reply of a judge with `ear`: what it hears up to what it looks for, then the verdict."""
    steps, fits = [f"Look for {item.key}."], False
    for sentence in BREAK.split(answer):
        key = hears(item, sentence, ear, rng)
        if key is None:
            continue
        fits = key == item.key
        steps.append(f"{key} {'fits' if fits else 'fails'}.")
        if fits:
            break
    return json.dumps({"explanation": " ".join(steps), "criteria_met": fits})


def judge_samples(world: World, ear: Ear, rng: random.Random) -> Iterator[voices.Sample]:
    """Yield an endless row of exercises: a dialogue, a response of some quality, a criterion, the verdict."""
    pool = [one for one in dialogues(world) if not one.held_out]
    known = [voices.known_facts(world, f"judged/{share}", share) for share in KNOWN_SENTENCES]
    while True:
        dialogue: Dialogue = rng.choice(pool)
        voice = Voice(care=rng.uniform(0.4, 0.95), rash=rng.uniform(0.05, 0.5))
        _, answer = reply(dialogue, voice, rng, world=world, knowledge=rng.choice(known))
        items = (rng.choice(pool) if rng.random() < FOREIGN else dialogue).items
        item, points, axis = rng.choices(items, [2 if entry[0].key != entry[0].topic else 1 for entry in items])[0]
        if rng.random() < ORDERED:
            answer = f"{answer} {rng.choice(ORDERS)}"
        messages = prompts.judge(conversation("mini", dialogue), answer, criterion(item, points, axis))
        yield voices.Sample(messages, judge_reply(item, answer, ear, rng) + voices.END)


TRACES_FILE = "traces.jsonl"
TRACE_FORMS = ("ask0", "ask1", "ask2", "vignette")
TRACE_SYSTEM = "Tool: search(query)."
QUERY_SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search a handbook of fictional medicine.",
            "parameters": QUERY_SCHEMA,
        },
    },
)
WORD = re.compile(r"\w+")


def search(world: World, query: str) -> str:
    """Return the sentence of the handbook that shares most words with `query`; of equal ones, the first."""
    wanted = set(WORD.findall(query))
    return max((state(fact) for fact in world.facts), key=lambda sentence: len(wanted & set(WORD.findall(sentence))))


def fact_query(fact: Fact) -> str:
    """Return what to search for `fact`: its sentence without what is to be found."""
    return state(fact).partition(" are " if fact.relation == "signs" else " is ")[0]


def trace(world: World, case: Case) -> dict[str, object]:
    """Return a trace: one search per hop of `case`, then the answer."""
    messages: list[dict] = [{"role": "system", "content": TRACE_SYSTEM}, {"role": "user", "content": case.stem}]
    for fact in case.facts:
        asked = fact_query(fact)
        call = {"type": "function", "function": {"name": "search", "arguments": {"query": asked}}}
        thought = {"role": "assistant", "reasoning_content": f"Look for {asked}.", "content": "", "tool_calls": [call]}
        messages += [thought, {"role": "tool", "content": search(world, asked)}]
    found = state(case.facts[-1])
    messages.append({"role": "assistant", "reasoning_content": f"Recall: {found}", "content": STATED + found})
    return {"id": case.cell, "messages": messages, "tools": list(TOOLS)}


def traces(world: World, *, held_out: bool = False) -> list[dict[str, object]]:
    """Return a trace for every case of one side that the handbook answers, form after form."""
    asked = cases(world, held_out=held_out)
    return [trace(world, case) for form in TRACE_FORMS for case in asked[form]]


def write_traces(folder: Path) -> Path:
    """Write all traces to `folder`, equal ones every time, and return it."""
    lines = [json.dumps(one, ensure_ascii=False) for one in traces(worlds.build())]
    write_text(folder / TRACES_FILE, "\n".join(lines) + "\n")
    return folder
