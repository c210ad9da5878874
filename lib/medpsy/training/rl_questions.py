"""The questions of reinforcement learning: those to train on, and held-out ones that choose the best checkpoint.

No question is one of a suite, and the held-out ones are apart from those to train on and from both corpora: in the
miniature by construction, in the real set because what comes too near is left out and counted. Every question has a
gold.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy import benchmarks
from medpsy import study as studies
from medpsy.benchmarks import RL_SET, SUITES
from medpsy.benchmarks.question import Question
from medpsy.corpus import contamination
from medpsy.files import write_whole
from medpsy.mini import world as worlds
from medpsy.mini.cases import Case, cases, draw_options
from medpsy.mini.corpus import OPTION_COUNTS
from medpsy.study import Study
from medpsy.training.stages import CORPUS

NEAR, NGRAM = 0.8, 13  # what counts as a suite's question, as for the corpora of the real study (03_training_data)
UNASKED = ("trial",)  # AlphaMedQA is made of MedQA and MedMCQA: no question about a study's abstract
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "suite", "subject", "stem")]
    + [("options", pa.list_(pa.string())), ("gold", pa.int32())]
    + [(name, pa.string()) for name in ("context", "weight_group")]
)


@dataclass(frozen=True)
class RlSet:
    """Questions to train on and held-out ones, each with a gold; `counts` says what was left out and why."""

    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    counts: dict[str, int]


def rl_set(
    study: Study,
    *,
    size: int,
    held_out: int,
    seed: int,
    revision: str | None = None,
    loaded: Sequence[Question] | None = None,
) -> RlSet:
    """Return the study's questions for reinforcement learning.

    Args:
        size: questions to train on, drawn by seed; 0 means all there are.
        held_out: held-out questions; fewer where the miniature has no more.
        revision: commit of the hub's AlphaMedQA; none is known to us. Not needed where `study.data_dirs` has it.
        loaded: training questions of another real set, in the place of AlphaMedQA.

    Raises:
        ValueError: no question is left to train on, or none to hold out.
    """
    if study.source == "mini":
        train, apart, counts = miniature()
    else:
        train, apart, counts = parted(study, alphamed(study, revision) if loaded is None else loaded, held_out, seed)
    known = list(unknown_to_corpora(apart, study))
    counts |= {"in a corpus": len(apart) - len(known)}
    train, apart = list(train), known
    golden = [question for question in train if question.gold is not None]
    chosen = RlSet(
        benchmarks.sample(golden, size, seed),
        benchmarks.sample([question for question in apart if question.gold is not None], held_out, seed),
        counts | {"without gold": len(train) - len(golden)},
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
    used = {question.id for key in SUITES for question in benchmarks.load_suite(key, source="mini").questions}
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


def alphamed(study: Study, revision: str | None) -> Sequence[Question]:
    """Return the real set as it is."""
    folder = study.data_dirs.get(RL_SET.key)
    data_dir = studies.ROOT / Path(folder).expanduser() if folder else None
    options = {"revision": revision} if revision else {}
    return benchmarks.load_suite(RL_SET.key, source=study.source, data_dir=data_dir, **options).questions


def parted(
    study: Study, loaded: Sequence[Question], held_out: int, seed: int
) -> tuple[list[Question], tuple[Question, ...], dict[str, int]]:
    """Return a real set in two: held-out questions by seed, and the rest without copies of them."""
    index = contamination.Contamination(contamination.stems(study), near=NEAR, ngram=NGRAM)
    every = [one for one in loaded if index.hit(contamination.stem(one), contamination.stem(one)) is None]
    apart = benchmarks.sample(every, max(1, held_out), seed)
    ids, stems = {question.id for question in apart}, {plain(question.stem) for question in apart}
    rest = [question for question in every if question.id not in ids]
    train = [question for question in rest if plain(question.stem) not in stems]
    counts = {
        "like a suite's question": len(loaded) - len(every),
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
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return write_whole(path, lambda temporary: pq.write_table(table, temporary))


def question_files(study: Study, name: str, train: Sequence[Question], held_out: Sequence[Question]) -> list[Path]:
    """Write what the checkpoint `name` is trained on, and what is held out; they stay for a stage that is resumed."""
    folder = study.outputs / "training" / "questions" / name
    parts = {"train.parquet": train, "held_out.parquet": held_out}
    return [write_questions(folder / file, questions) for file, questions in parts.items()]


def read_questions(path: Path) -> tuple[Question, ...]:
    """Return the questions that `write_questions` wrote.

    Raises:
        ValueError: the file holds none.
    """
    rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    if not rows:
        raise ValueError(f"{path.name}: it holds no question; run the cell of 05_rl that writes it again")
    return tuple(Question(**{**row, "options": tuple(row["options"])}) for row in rows)
