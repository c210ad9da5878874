"""What stages train on: questions, open questions with a reference, and pairs.

No question is one of a suite, and the held-out ones, which choose the best checkpoint, are apart from those to train on
and from both corpora: in the miniature by construction, in the real set because what comes too near is left out and
counted.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy import evaluate, licences
from medpsy.corpus import filters
from medpsy.corpus.rows import MESSAGE
from medpsy.corpus.seeds import MINI_LICENCES, is_held_out, plain
from medpsy.data.questions import ROLES, Question, sample
from medpsy.data.suites import RL_SET, SUITES
from medpsy.engines.base import Message
from medpsy.files import write_whole
from medpsy.mini import suites, voices
from medpsy.mini import world as worlds
from medpsy.mini.voices import OPTION_COUNTS
from medpsy.mini.world import Case, cases, draw_options
from medpsy.study import Study

CORPUS = {"sft1": "corpus1", "sft2": "corpus2"}  # stage -> what it reads; report 3.2
MESSAGES, TEXT = ("messages", pa.list_(MESSAGE)), pa.string()


@dataclass(frozen=True)
class OpenQuestion:
    id: str  # unique among the questions of a stage
    messages: tuple[Message, ...]  # the user's last; the policy and the judge see them
    reference: str  # the judge's alone

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].get("role") != "user":
            raise ValueError(f"question {self.id!r}: the last turn must be the user's")
        if strange := sorted({str(turn.get("role")) for turn in self.messages} - set(ROLES)):
            raise ValueError(f"question {self.id!r}: role {strange[0]!r}; known are {', '.join(ROLES)}")
        if not self.reference.strip():
            raise ValueError(f"question {self.id!r}: its reference is empty; leave the question out")


@dataclass(frozen=True)
class Pair:
    """Two responses to `messages`: raw texts as a model wrote them, the end of the turn is written behind both."""

    id: str  # unique among the pairs of a stage
    messages: tuple[Message, ...]  # up to where the model goes on
    chosen: str
    rejected: str
    prompt_tools: str = ""  # functions the model may call, a JSON list; empty for none

    def __post_init__(self) -> None:
        if not (self.messages and self.chosen.strip() and self.rejected.strip()):
            raise ValueError(f"pair {self.id!r}: messages, chosen or rejected is empty; leave the pair out")
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError(f"pair {self.id!r}: chosen and rejected are the same; leave the pair out")


SCHEMAS = {
    OpenQuestion: pa.schema([("id", TEXT), MESSAGES, ("reference", TEXT)]),
    Pair: pa.schema([("id", TEXT), MESSAGES, ("chosen", TEXT), ("rejected", TEXT), ("prompt_tools", TEXT)]),
    Question: pa.schema(
        [("id", TEXT), ("suite", TEXT), ("subject", TEXT), ("stem", TEXT), ("options", pa.list_(TEXT))]
        + [("gold", pa.int32()), ("context", TEXT), ("weight_group", TEXT)]
    ),
}
Kind = TypeVar("Kind", OpenQuestion, Pair, Question)


def write(path: Path, rows: Sequence[Kind]) -> Path:
    """Write `rows` of one kind of `SCHEMAS` to a Parquet file; none, or two of one id, are a ValueError."""
    if not rows:
        raise ValueError(f"{path.name}: no question or pair to write")
    name, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path.name}: {count} rows are called {name!r}; give each an id of its own")
    table = pa.Table.from_pylist(list(map(asdict, rows)), schema=SCHEMAS[type(rows[0])])
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read(path: Path | str, kind: type[Kind]) -> tuple[Kind, ...]:
    """Return the rows of `kind` that `write` wrote."""
    rows = pq.read_table(path, columns=SCHEMAS[kind].names).to_pylist()
    listed = [name for name in SCHEMAS[kind].names if pa.types.is_list(SCHEMAS[kind].field(name).type)]
    return tuple(kind(**row | {name: tuple(row[name]) for name in listed}) for row in rows)


@dataclass(frozen=True)
class RlSet:
    train: tuple[Question | OpenQuestion, ...]
    held_out: tuple[Question | OpenQuestion, ...]
    counts: dict[str, int]  # what was left out and why
    made_of: dict[str, str]  # where they come from -> licence


NEAR, NGRAM = 0.8, 13  # what counts as a suite's question, as for the corpora of the real study (03_training_data)
UNASKED = ("trial",)  # AlphaMedQA is made of MedQA and MedMCQA: no question about a study's abstract


def rl_set(study: Study, *, size: int, held_out: int, seed: int, questions: Sequence[Question] | None = None) -> RlSet:
    """Return the study's questions for reinforcement learning; none to train on or to hold out is a ValueError.

    Args:
        size: questions to train on, drawn by seed; 0 means all there are.
        held_out: held-out questions; fewer where the miniature has no more.
        questions: training questions of another real set, in the place of AlphaMedQA.
    """
    if study.source == "mini":
        train, apart, counts = miniature()
    else:
        given = evaluate.suite(study, RL_SET.key).items if questions is None else questions
        train, apart, counts = parted(study, given, held_out, seed)
    free = unknown_to_corpora(apart, study)
    golden = [question for question in train if question.gold is not None]
    chosen = sample(golden, size, seed)
    kept = sample([question for question in free if question.gold is not None], held_out, seed)
    if not chosen or not kept or held_out < 1:
        raise ValueError(
            f"RL set: {len(chosen)} questions to train on and {len(kept)} held out; both are needed "
            "(size, held_out, and the questions of the source)"
        )
    counts |= {"in a corpus": len(apart) - len(free), "without gold": len(train) - len(golden)}
    counts |= {"train": len(chosen), "held_out": len(kept)}
    made_of = MINI_LICENCES if study.source == "mini" else {RL_SET.hub_id: RL_SET.licence}
    return RlSet(chosen, kept, counts, made_of)


def miniature() -> tuple[list[Question], list[Question], dict[str, int]]:
    """Return all questions of training cells, and those of held-out cells that no suite uses."""
    world = worlds.build()
    used = {question.id for key in SUITES for question in suites.suite(key).items}
    train, apart = (
        [as_question(case) for form, drawn in sides.items() if form not in UNASKED for case in drawn]
        for sides in (cases(world, held_out=False), cases(world, held_out=True))
    )
    free = [question for question in apart if question.id not in used]
    return train, free, {"asked by a suite": len(apart) - len(free)}


def as_question(case: Case) -> Question:
    """Return `case` with options that depend on its cell alone; its form is its weight group."""
    rng = random.Random(f"rl/{case.cell}")
    options = draw_options(case, rng.choice(OPTION_COUNTS), rng)
    return replace(voices.as_question(case, options, RL_SET.key), weight_group=case.form)


def parted(
    study: Study, questions: Sequence[Question], held_out: int, seed: int
) -> tuple[list[Question], tuple[Question, ...], dict[str, int]]:
    """Return a real set in two: the rest without copies of the held-out questions, and those, drawn by seed. Held out
    are first those that no corpus holds, then, of a small set, others."""
    index = filters.Contamination(filters.stems(study), near=NEAR, ngram=NGRAM)
    stems = map(filters.stem, questions)
    clean = [question for question, stem in zip(questions, stems, strict=True) if index.hit(stem, stem) is None]
    wanted = max(1, held_out)
    apart = sample([question for question in clean if is_held_out(question.stem)], wanted, seed)
    if len(apart) < wanted:
        others = [question for question in clean if not is_held_out(question.stem)]
        apart += sample(others, wanted - len(apart), seed)
    ids, stems = {question.id for question in apart}, {plain(question.stem) for question in apart}
    rest = [question for question in clean if question.id not in ids]
    train = [question for question in rest if plain(question.stem) not in stems]
    counts = {"like a suite's question": len(questions) - len(clean)}
    return train, apart, counts | {"copies of held-out questions": len(rest) - len(train)}


def unknown_to_corpora(questions: Sequence[Question], study: Study) -> list[Question]:
    """Return those of `questions` whose stem stands in no prompt of what SFT is trained on. Corpora of other recipes do
    not count: they come later, and questions must not depend on whether they are there."""
    waiting = {plain(question.stem) for question in questions}
    for file in sorted(file for corpus in CORPUS.values() for file in (study.corpora_dir / corpus).glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1000, columns=["messages"]):
            for messages in batch.column("messages").to_pylist():
                text = plain(" ".join(turn["content"] for turn in messages))
                waiting = {stem for stem in waiting if stem not in text}
    return [question for question in questions if plain(question.stem) in waiting]


def question_files(study: Study, name: str, train: Sequence[Question], chosen: RlSet) -> list[Path]:
    """Write what `name` is trained on, and what `chosen` holds out; they stay for a stage that is resumed."""
    folder = study.outputs / "training" / "questions" / name
    files = [write(folder / "train.parquet", train), write(folder / "held_out.parquet", chosen.held_out)]
    licences.write(folder, chosen.made_of)
    return files
