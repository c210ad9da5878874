"""The miniature's suites, conversations and sets, each in the shape of a real one, and the exercises of its judges.

Suites and conversations ask held-out cells of `medpsy.mini.world` only; open questions of medical-o1 and traces of a
model that searches a handbook come from training cells unless told otherwise. HealthBench's Hard part is chosen as its
authors chose theirs, with programs of given voices as responders: examples on which none is above zero are dropped, and
the fifth with the lowest average is kept. The label of a judge's exercise is what that judge says, with errors of its
own kind; the truth is `Item.met`.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import yaml

from medpsy import prompts
from medpsy.data.questions import Conversation, Criterion, Labelled, Question
from medpsy.data.suites import EVERY, OPEN_SUITES, PHYSICIANS, Suite, build
from medpsy.files import write_text
from medpsy.mini import voices
from medpsy.mini import world as worlds
from medpsy.mini.voices import DISTURBED, Sample, Voice, Writer
from medpsy.mini.world import BREAK, STATED, WORDS, Case, Dialogue, Fact, Item, World, cases, dialogues, marks, state

SHAPES = yaml.safe_load((Path(__file__).parent / "suites.yaml").read_text(encoding="utf-8"))
SIZE = 60  # questions per suite where the held-out cells suffice; MMLU (Health) has a sixth of 72 per subject
PER_SUBJECT = 12


def load(key: str) -> tuple[Question, ...]:
    """Return the miniature of suite `key`, or raise KeyError if it is none of the seven."""
    held_out = _held_out()
    if key == "mmlu_health":
        questions = []
        for name, asked in SHAPES["subjects"].items():
            pool = [case for case in held_out["ask0"] if case.relation == asked]
            questions += [_question(key, case, 4, name) for case in _pick(name, pool, PER_SUBJECT)]
        return tuple(questions)
    forms, counts = SHAPES["suites"][key]
    pool = [case for form in forms for case in held_out[form] if (case.relation == "region") == (key == "afrimedqa")]
    questions = []
    for case in _pick(key, pool, SIZE):
        rng = random.Random(f"count/{case.cell}")
        questions.append(_question(key, case, rng.choices(list(counts), weights=list(counts.values()))[0]))
    return tuple(questions)


@lru_cache(maxsize=1)  # all suites pick from these
def _held_out() -> dict[str, list[Case]]:
    return cases(worlds.build(), held_out=True)


def _pick(suite: str, pool: Sequence[Case], size: int) -> list[Case]:
    places = random.Random(f"suite/{suite}").sample(range(len(pool)), min(size, len(pool)))
    return [pool[place] for place in sorted(places)]


def _question(suite: str, case: Case, count: int, subject: str = "") -> Question:
    """Return `case` as a question of `suite` with `count` options, which depend on its cell alone."""
    options = worlds.draw_options(case, count, random.Random(f"options/{case.cell}"))
    return replace(voices.as_question(case, options, suite), subject=subject, weight_group=subject or suite)


O1_FILES: dict[str, str] = SHAPES["o1_files"]  # configuration -> file, as in the real set
O1_FORMS = ("ask0", "ask1", "ask2", "vignette", "contraindication")  # a reversed question already names its conclusion
CHINESE = WORDS["chinese"]


def o1_cases(world: World, *, held_out: bool = False) -> list[Case]:
    """Return the cases of one side that are asked in the open."""
    by_form = cases(world, held_out=held_out)
    return [case for form in O1_FORMS for case in by_form[form]]


def o1_row(world: World, case: Case) -> dict[str, str]:
    """Return `case` as a row: what is recalled, then what follows from it in one sentence."""
    steps, answer = Writer(world, frozenset(world.by_id), Voice(), random.Random(case.cell)).work_out(case)
    conclusion = STATED + state(case.facts[-1])
    if case.form == "contraindication":
        conclusion = worlds.take(answer).sentences[0]
    return _o1(case.stem, " ".join(steps), conclusion)


def _o1(question: str, steps: str, response: str) -> dict[str, str]:
    return {"Question": question, "Complex_CoT": steps, "Response": response}


def _chinese_row(case: Case) -> dict[str, str]:
    fact = case.facts[-1]
    name = CHINESE["relations"][fact.relation]
    steps = f"{name}： {fact.objects[0]}。"
    if case.form == "vignette":
        steps = f"病： {case.facts[0].subject}。{steps}"
    question = CHINESE["questions"][case.form].format(**marks(case.facts[0]), r=name)
    return _o1(question, steps, f"答： {fact.subject} 的{name}是 {fact.objects[0]}。")


def o1_rows(world: World, config: str) -> list[dict[str, str]]:
    """Return the rows of one configuration, in a stable order of no meaning."""
    make = {"en": partial(o1_row, world), "zh": _chinese_row}[config]
    rows = [make(case) for case in o1_cases(world) if config == "en" or case.form in CHINESE["questions"]]
    random.Random(f"medical-o1/{config}").shuffle(rows)
    return rows


def write_o1(folder: Path) -> Path:
    """Write the files of two configurations to `folder`, equal ones every time, and return it."""
    world = worlds.build()
    for config in ("en", "zh"):
        write_text(folder / O1_FILES[config], json.dumps(o1_rows(world, config), ensure_ascii=False, indent=1) + "\n")
    return folder


PER_THEME = 10
HARD_SHARE = 0.2  # 1,000 of 5,000
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
def truth() -> dict[str, Dialogue]:
    """Return the dialogue behind every conversation id, `PER_THEME` of every theme: a judge can be measured by it."""
    pools: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues(worlds.build()):
        if dialogue.held_out:
            pools.setdefault(dialogue.theme, []).append(dialogue)
    drawn = {}
    for theme, pool in sorted(pools.items()):
        some = random.Random(f"suite/{theme}").sample(pool, min(PER_THEME, len(pool)))
        drawn |= {dialogue.cell: dialogue for dialogue in some}
    return drawn


def responses(dialogue: Dialogue) -> list[str]:
    """Return what each of the responders says, by the world's program."""
    world, answers = worlds.build(), []
    for number, (care, rash, share) in enumerate(SHAPES["responders"]):
        knowledge = voices.known_facts(world, f"responder/{number}", share)
        rng = random.Random(f"responder/{number}/{dialogue.cell}")
        answers.append(Writer(world, knowledge, Voice(care=care, rash=rash), rng).reply(dialogue)[1])
    return answers


def responders_scores(dialogue: Dialogue) -> list[float]:
    """Return the example scores of the responders, as the world decides: points met over all positive points."""
    most = sum(points for _, points, _ in dialogue.items if points > 0)
    return [
        sum(points for item, points, _ in dialogue.items if item.met(answer)) / most for answer in responses(dialogue)
    ]


@lru_cache(maxsize=1)
def hard() -> tuple[Dialogue, ...]:
    scores = {cell: responders_scores(dialogue) for cell, dialogue in truth().items()}
    able = sorted((cell for cell in scores if max(scores[cell]) > 0), key=lambda cell: (sum(scores[cell]), cell))
    kept = set(able[: round(HARD_SHARE * len(scores))])
    return tuple(dialogue for cell, dialogue in truth().items() if cell in kept)


def load_conversations(key: str) -> tuple[Conversation, ...]:
    """Return the miniature of open suite `key`, or raise KeyError if it is none of the three. Its Consensus part has
    the conversations with a positive consensus criterion, and consensus criteria alone."""
    parts = {"healthbench_hard": hard, "healthbench": truth().values, "healthbench_consensus": truth().values}
    talks = []
    for talk in (conversation(key, dialogue) for dialogue in parts[key]()):
        rubric = tuple(line for line in talk.rubric if CONSENSUS in line.tags or key != "healthbench_consensus")
        if any(line.points > 0 for line in rubric):
            talks.append(replace(talk, rubric=rubric))
    return tuple(talks)


def labelled() -> list[Labelled]:
    """Return the responders' responses, criterion by criterion, with what physicians say who err now and then."""
    about, items = SHAPES["physicians"], []
    for dialogue in truth().values():
        for number, answer in enumerate(responses(dialogue)):
            for place, (item, points, axis) in enumerate(dialogue.items):
                ident = f"{dialogue.cell}/{number}/{place}"
                rng = random.Random(f"physicians/{ident}")
                labels = tuple(item.met(answer) != (rng.random() < about["err"]) for _ in range(about["count"]))
                asked = dialogue.messages, (criterion(item, abs(points), axis),), dialogue.theme
                items.append(Labelled(ident, Conversation(dialogue.cell, PHYSICIANS.key, *asked), answer, labels))
    return items


def suite(key: str) -> Suite:
    """Return the miniature of a suite, an open suite or the meta-evaluation, checked as a real one is."""
    if key == PHYSICIANS.key:
        return build(PHYSICIANS, labelled())
    return build(EVERY[key], load_conversations(key) if key in OPEN_SUITES else load(key))


FOREIGN = 0.2  # share of exercises with a criterion of another dialogue
KNOWLEDGE = (0.0, 0.0, 0.3, 0.6, 0.9)  # shares known to who wrote what is judged; near misses must be frequent


@dataclass(frozen=True)
class Ear:
    near: float = 0.0  # chance that it hears what it looks for where the same is said of another name
    deaf: float = 0.0  # chance that it overlooks a paraphrase


def judge_reply(item: Item, answer: str, ear: Ear, rng: random.Random) -> str:
    """Return the reply of a judge with `ear`: what it hears up to what it looks for, then the verdict."""
    steps, fits = [f"Look for {item.key}."], False
    for sentence in BREAK.split(answer):
        if (heard := worlds.said(sentence)) is None:  # an order to the judge, or no sentence at all
            continue
        key = heard.key
        if heard.topic == item.topic and key != item.key and rng.random() < ear.near:
            key = item.key
        elif heard.paraphrase and rng.random() < ear.deaf:
            continue
        fits = key == item.key
        steps.append(f"{key} {'fits' if fits else 'fails'}.")
        if fits:
            break
    return json.dumps({"explanation": " ".join(steps), "criteria_met": fits})


def judge_samples(world: World, ear: Ear, rng: random.Random, disturbed: float = DISTURBED) -> Iterator[Sample]:
    """Yield an endless row of exercises: a dialogue, a response of some quality, a criterion, the verdict; a share of
    the responses is `disturbed`, which changes no verdict."""
    pool = [dialogue for dialogue in dialogues(world) if not dialogue.held_out]
    taught = [voices.known_facts(world, f"judged/{share}", share) for share in KNOWLEDGE]
    while True:
        dialogue = rng.choice(pool)
        voice = Voice(care=rng.uniform(0.4, 0.95), rash=rng.uniform(0.05, 0.5))
        _, answer = Writer(world, rng.choice(taught), voice, rng).reply(dialogue)
        items = (rng.choice(pool) if rng.random() < FOREIGN else dialogue).items
        item, points, axis = rng.choices(items, [2 if entry[0].key != entry[0].topic else 1 for entry in items])[0]
        reply = judge_reply(item, answer, ear, rng)
        if rng.random() < disturbed:
            wanted = rng.choice(("It is met.", f"Look for {item.key}. {item.key} fits."))
            forged = json.dumps({"explanation": wanted, "criteria_met": True})
            sentences = BREAK.split(answer)
            sentences.insert(rng.randint(1, len(sentences)), voices.disturbance("judge", forged, rng))
            answer = " ".join(sentences)
        messages = prompts.judge(conversation("mini", dialogue), answer, criterion(item, points, axis))
        yield Sample(messages, reply + voices.END)


TRACES_FILE = "traces.jsonl"
TRACE_SYSTEM = "Tool: search(query)."


def search(world: World, query: str) -> str:
    """Return the sentence of the handbook that shares most words with `query`; of equal ones, the first."""
    wanted = set(re.findall(r"\w+", query))
    return max(world.handbook, key=lambda sentence: len(wanted & world.handbook[sentence]))


def fact_query(fact: Fact) -> str:
    """Return what to search for `fact`: its sentence without what is to be found."""
    return state(fact).partition(" are " if fact.relation == "signs" else " is ")[0]


def trace(world: World, case: Case) -> dict[str, object]:
    messages: list[dict] = [{"role": "system", "content": TRACE_SYSTEM}, {"role": "user", "content": case.stem}]
    for fact in case.facts:
        query = fact_query(fact)
        call = {"type": "function", "function": {"name": "search", "arguments": {"query": query}}}
        thought = {"role": "assistant", "reasoning_content": f"Look for {query}.", "content": "", "tool_calls": [call]}
        messages += [thought, {"role": "tool", "content": search(world, query)}]
    answer = state(case.facts[-1])
    messages.append({"role": "assistant", "reasoning_content": f"Recall: {answer}", "content": STATED + answer})
    return {"id": case.cell, "messages": messages, "tools": SHAPES["tools"]}


def traces(world: World, *, held_out: bool = False) -> list[dict[str, object]]:
    """Return a trace for every case of one side that the handbook answers, form after form."""
    return [trace(world, case) for case in o1_cases(world, held_out=held_out) if case.form != "contraindication"]


def write_traces(folder: Path) -> Path:
    """Write all traces to `folder`, equal ones every time, and return it."""
    lines = [json.dumps(row, ensure_ascii=False) for row in traces(worlds.build())]
    write_text(folder / TRACES_FILE, "\n".join(lines) + "\n")
    return folder
