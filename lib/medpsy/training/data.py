"""What stages train on, in files written whole or not at all: questions, open questions with a reference, and pairs.

No question is one of a suite, and the held-out ones, which choose the best checkpoint, are apart from those to train on
and from both corpora: in the miniature by construction, in the real set because what comes too near is left out and
counted. Every question has a gold; an open one has the reference that a judge holds its conclusion to.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy import evaluate, licences
from medpsy.corpus import filters
from medpsy.corpus.rows import MESSAGE
from medpsy.corpus.seeds import MINI_LICENCES, is_held_out
from medpsy.data.questions import ROLES, Question, sample
from medpsy.data.suites import RL_SET, SUITES
from medpsy.engines.base import Message
from medpsy.files import write_whole
from medpsy.mini import suites
from medpsy.mini import world as worlds
from medpsy.mini.voices import OPTION_COUNTS
from medpsy.mini.world import Case, cases, draw_options
from medpsy.study import Study

CORPUS = {"sft1": "corpus1", "sft2": "corpus2"}  # stage -> what it reads; report 3.2


def write_rows(path: Path, rows: Sequence[Any], schema: pa.Schema, word: str) -> Path:
    """Write `rows`, dataclasses with ``id`` and ``messages``, to a file with the columns of `schema`; return `path`.

    Args:
        word: what one of them is called in messages.

    Raises:
        ValueError: there are none, or two have one id.
    """
    if not rows:
        raise ValueError(f"{path.name}: no {word} to write")
    name, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path.name}: {count} {word}s are called {name!r}; give each an id of its own")
    table = pa.Table.from_pylist([asdict(row) | {"messages": list(row.messages)} for row in rows], schema=schema)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def read_rows(path: Path, schema: pa.Schema, writer: str) -> list[dict[str, Any]]:
    """Return the fields of the rows that `write_rows` wrote.

    Args:
        writer: function that writes such files, for the message.

    Raises:
        ValueError: the file has other columns; names the first one that is missing.
    """
    if missing := [name for name in schema.names if name not in pq.read_schema(path).names]:
        raise ValueError(f"{path.name}: no column {missing[0]!r}; write it with {writer}")
    rows = pq.read_table(path, columns=schema.names).to_pylist()
    return [{**row, "messages": tuple(row["messages"])} for row in rows]


OPEN_SCHEMA = pa.schema([("id", pa.string()), ("messages", pa.list_(MESSAGE)), ("reference", pa.string())])


@dataclass(frozen=True)
class OpenQuestion:
    """What is asked and what a good conclusion says.

    Args:
        id: unique among the questions of a stage.
        messages: chat messages as (role, content) mappings, the user's last; the policy and the judge see them.
        reference: the judge's alone.

    Raises:
        ValueError: the last turn is not the user's, a role is unknown, or the reference is empty.
    """

    id: str
    messages: tuple[Message, ...]
    reference: str

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1]["role"] != "user":
            raise ValueError(f"question {self.id!r}: the last turn must be the user's")
        if strange := sorted({turn["role"] for turn in self.messages} - set(ROLES)):
            raise ValueError(f"question {self.id!r}: role {strange[0]!r}; known are {', '.join(ROLES)}")
        if not self.reference.strip():
            raise ValueError(f"question {self.id!r}: its reference is empty; leave the question out")


def write_open_questions(path: Path, questions: Sequence[OpenQuestion]) -> Path:
    """Write `questions` to a Parquet file with the columns of `SCHEMA`, whole or not at all.

    Raises:
        ValueError: there are none, or two have one id.
    """
    return write_rows(path, questions, OPEN_SCHEMA, "question")


def read_open_questions(path: Path) -> tuple[OpenQuestion, ...]:
    """Return the questions that `write_open_questions` wrote.

    Raises:
        ValueError: the file has other columns; names those wanted.
    """
    return tuple(OpenQuestion(**row) for row in read_rows(path, OPEN_SCHEMA, "write_open_questions"))


NEAR, NGRAM = 0.8, 13  # what counts as a suite's question, as for the corpora of the real study (03_training_data)
UNASKED = ("trial",)  # AlphaMedQA is made of MedQA and MedMCQA: no question about a study's abstract
QUESTION_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "suite", "subject", "stem")]
    + [("options", pa.list_(pa.string())), ("gold", pa.int32())]
    + [(name, pa.string()) for name in ("context", "weight_group")]
)


@dataclass(frozen=True)
class RlSet:
    """Questions to train on and held-out ones, each with a gold.

    Args:
        counts: what was left out and why.
        made_of: where they come from -> licence.
    """

    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    counts: dict[str, int]
    made_of: dict[str, str]


def rl_set(
    study: Study,
    *,
    size: int,
    held_out: int,
    seed: int,
    questions: Sequence[Question] | None = None,
) -> RlSet:
    """Return the study's questions for reinforcement learning.

    Args:
        size: questions to train on, drawn by seed; 0 means all there are.
        held_out: held-out questions; fewer where the miniature has no more.
        questions: training questions of another real set, in the place of AlphaMedQA.

    Raises:
        DataError: the set is not to be had, or a row is malformed.
        ValueError: no question is left to train on, or none to hold out.
    """
    if study.source == "mini":
        train, apart, counts = miniature()
    else:
        every = evaluate.suite(study, RL_SET.key).items if questions is None else questions
        train, apart, counts = parted(study, every, held_out, seed)
    known = list(unknown_to_corpora(apart, study))
    counts |= {"in a corpus": len(apart) - len(known)}
    train, apart = list(train), known
    golden = [question for question in train if question.gold is not None]
    chosen = RlSet(
        sample(golden, size, seed),
        sample([question for question in apart if question.gold is not None], held_out, seed),
        counts | {"without gold": len(train) - len(golden)},
        MINI_LICENCES if study.source == "mini" else {RL_SET.hub_id: RL_SET.licence},
    )
    if not chosen.train or not chosen.held_out or held_out < 1:
        raise ValueError(
            f"RL set: {len(chosen.train)} questions to train on and {len(chosen.held_out)} held out; both are needed "
            "(size, held_out, and the questions of the source)"
        )
    return replace(chosen, counts=chosen.counts | {"train": len(chosen.train), "held_out": len(chosen.held_out)})


def miniature() -> tuple[list[Question], list[Question], dict[str, int]]:
    """Return all questions of training cells, and those of held-out cells that no suite uses."""
    world = worlds.build()
    used = {question.id for key in SUITES for question in suites.suite(key).items}
    train = [case for form, found in cases(world, held_out=False).items() if form not in UNASKED for case in found]
    apart = [case for form, found in cases(world, held_out=True).items() if form not in UNASKED for case in found]
    free = [case for case in apart if case.cell not in used]
    counts = {"asked by a suite": len(apart) - len(free)}
    return [as_question(case) for case in train], [as_question(case) for case in free], counts


def as_question(case: Case) -> Question:
    """Return `case` with options that depend on its cell alone; its form is its weight group."""
    rng = random.Random(f"rl/{case.cell}")
    options = draw_options(case, rng.choice(OPTION_COUNTS), rng)
    gold = options.index(case.answer)
    return Question(case.cell, RL_SET.key, case.relation, case.stem, options, gold, case.context, case.form)


def parted(
    study: Study, questions: Sequence[Question], held_out: int, seed: int
) -> tuple[list[Question], tuple[Question, ...], dict[str, int]]:
    """Return a real set in two: held-out questions by seed, and the rest without copies of them.

    Held out are first those that no corpus holds, then, of a small set, others.
    """
    index = filters.Contamination(filters.stems(study), near=NEAR, ngram=NGRAM)
    every = [one for one in questions if index.hit(filters.stem(one), filters.stem(one)) is None]
    wanted, free = max(1, held_out), [question for question in every if is_held_out(question.stem)]
    apart = sample(free, wanted, seed)
    if len(apart) < wanted:
        others = [question for question in every if not is_held_out(question.stem)]
        apart += sample(others, wanted - len(apart), seed)
    ids, stems = {question.id for question in apart}, {plain(question.stem) for question in apart}
    rest = [question for question in every if question.id not in ids]
    train = [question for question in rest if plain(question.stem) not in stems]
    counts = {
        "like a suite's question": len(questions) - len(every),
        "copies of held-out questions": len(rest) - len(train),
    }
    return train, apart, counts


def unknown_to_corpora(questions: Sequence[Question], study: Study) -> Iterator[Question]:
    """Return those of `questions` whose stem stands in no prompt of what SFT is trained on.

    Corpora of other recipes do not count: they come later, and questions must not depend on whether they are there.
    """
    waiting = {plain(question.stem) for question in questions}
    for file in sorted(file for corpus in CORPUS.values() for file in (study.corpora_dir / corpus).glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1000, columns=["messages"]):
            for row in batch.column("messages").to_pylist():
                text = plain(" ".join(turn["content"] for turn in row))
                waiting = {one for one in waiting if one not in text}
    return (question for question in questions if plain(question.stem) in waiting)


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


def write_questions(path: Path, questions: Sequence[Question]) -> Path:
    """Write `questions` to a Parquet file, whole or not at all."""
    rows = [asdict(question) | {"options": list(question.options)} for question in questions]
    table = pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def question_files(study: Study, name: str, train: Sequence[Question], chosen: RlSet) -> list[Path]:
    """Write what `name` is trained on, and what `chosen` holds out; they stay for a stage that is resumed."""
    folder = study.outputs / "training" / "questions" / name
    parts = {"train.parquet": train, "held_out.parquet": chosen.held_out}
    files = [write_questions(folder / file, questions) for file, questions in parts.items()]
    licences.write(folder, chosen.made_of)
    return files


def read_questions(path: Path) -> tuple[Question, ...]:
    """Return the questions that `write_questions` wrote.

    Raises:
        ValueError: the file holds none.
    """
    rows = pq.read_table(path, schema=QUESTION_SCHEMA).to_pylist()
    if not rows:
        raise ValueError(f"{path.name}: it holds no question; run the cell of 05_rl that writes it again")
    return tuple(Question(**{**row, "options": tuple(row["options"])}) for row in rows)


TEXTS = ("chosen", "rejected", "prompt_tools")
PAIR_SCHEMA = pa.schema(
    [("id", pa.string()), ("messages", pa.list_(MESSAGE)), *((name, pa.string()) for name in TEXTS)],
)


@dataclass(frozen=True)
class Pair:
    """Two responses to `messages`.

    Args:
        id: unique among the pairs of a stage.
        messages: chat messages as (role, content) mappings, up to where the model goes on.
        chosen, rejected: raw texts as a model wrote them and the store keeps them: reasoning, its end marker and
            answer, without the end of the turn, which is written behind both.
        prompt_tools: functions the model may call, a JSON list; empty for none.

    Raises:
        ValueError: a response is empty, or both are the same.
    """

    id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt_tools: str = ""

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError(f"pair {self.id!r}: it has no messages")
        for name in ("chosen", "rejected"):
            if not getattr(self, name).strip():
                raise ValueError(f"pair {self.id!r}: {name} is empty; leave the pair out")
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError(f"pair {self.id!r}: chosen and rejected are the same; leave the pair out")


def write_pairs(path: Path, pairs: Sequence[Pair]) -> Path:
    """Write `pairs` to a Parquet file with the columns of `SCHEMA`, whole or not at all.

    Raises:
        ValueError: there are none, or two have one id.
    """
    return write_rows(path, pairs, PAIR_SCHEMA, "pair")


def read_pairs(paths: Sequence[Path]) -> list[Pair]:
    """Return the pairs that `write_pairs` wrote.

    Raises:
        ValueError: a file has other columns; names it and the first one that is missing.
    """
    return [Pair(**row) for path in paths for row in read_rows(path, PAIR_SCHEMA, "write_pairs")]
