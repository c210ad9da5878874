"""Open questions with a reference, for a reward that a judge gives: the questions of medical-o1, and what must be said.

Held-out questions are in no corpus of a sister recipe. A suite's question is left out. The reference is the text of a
criterion (`medpsy.benchmarks.conversation.Criterion`); the tiers of a reward are set elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy.benchmarks.fields import Row
from medpsy.corpus.contamination import Contamination, stems
from medpsy.corpus.rows import TrainingRow
from medpsy.mini import medical_o1 as miniature
from medpsy.mini import world as worlds
from medpsy.mini.dialogues import STATED, take
from medpsy.mini.sentences import said
from medpsy.recipes import medical_o1
from medpsy.recipes.medical_o1 import question
from medpsy.recipes.sources import Copy, drawn, is_held_out
from medpsy.study import Study
from medpsy.training.rl_questions import NEAR, NGRAM

REFERENCE = "Gives the same conclusion as this reference: {response}"
UNHEARD = ("enzyme", "harms")  # relations of which the miniature's judges were taught nothing; there they guess
OpenQuestion = dict[str, Any]  # "id": text, "prompt": messages, "reference": text of a criterion


@dataclass(frozen=True)
class OpenSet:
    """Open questions to train on and held-out ones; `counts` says what was left out and why."""

    train: tuple[OpenQuestion, ...]
    held_out: tuple[OpenQuestion, ...]
    counts: dict[str, int]


def open_questions(
    study: Study, *, config: str, rows: int, held_out: int, seed: int, origin: Mapping[str, str] | None = None
) -> OpenSet:
    """Return questions of `config` for reinforcement learning with a judge.

    Args:
        rows: questions to train on, drawn by seed; 0 means all there are.
        held_out: held-out questions, likewise.
        origin: fields of `medpsy.corpus.recipe.HubCopy`; none for the miniature.

    Raises:
        ValueError: fewer questions than asked for, or none.
        DataError: the set is not to be had, or a row is malformed.
    """
    source = medical_o1.origin(study, origin or {})
    index, counts, chosen = Contamination(stems(study), near=NEAR, ngram=NGRAM), {}, []
    for name, part, count in zip(("train", "held out"), parted(source, config), (rows, held_out), strict=True):
        asked = {row.id: (row, reference(row, source)) for row in part}
        readable = [(row, wanted) for row, wanted in asked.values() if wanted]
        free = [(row, wanted) for row, wanted in readable if index.hit(question(row), question(row)) is None]
        counts[f"{name}: no conclusion that the judges can read"] = len(part) - len(readable)
        counts[f"{name}: a suite's question"] = len(readable) - len(free)
        if not free:
            raise ValueError(f"{config}: no question is left to choose from ({counts}); take another configuration")
        some = drawn(free, count, f"open questions/{config}/{name}/{seed}")
        chosen.append(tuple({"id": row.id, "prompt": list(row.messages), "reference": wanted} for row, wanted in some))
    return OpenSet(*chosen, counts)


def unseen(
    study: Study, corpus: Path, config: str, *, rows: int, origin: Mapping[str, str] | None = None
) -> tuple[OpenQuestion, ...]:
    """Return questions of `config` that the corpus in the folder `corpus` does not hold, drawn by the study's seed.

    They are no held-out questions: what they ask about may be in the corpus in other words. The reference is the row's
    own response, which the miniature's judges read in English alone.

    Raises:
        ValueError: fewer questions than asked for.
    """
    source, held = medical_o1.origin(study, origin or {}), set()
    for file in corpus.glob("*.parquet"):
        held |= {turns[0]["content"] for turns in pd.read_parquet(file, columns=["messages"])["messages"]}
    free = [row for row in medical_o1.read(source, config) if question(row) not in held]
    chosen = drawn(free, rows, f"unseen/{config}/{study.seed}")
    references = [REFERENCE.format(response=row.answer) for row in chosen]
    return tuple(
        {"id": row.id, "prompt": list(row.messages), "reference": wanted}
        for row, wanted in zip(chosen, references, strict=True)
    )


def parted(source: Copy, config: str) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Return the rows of `config` to train on, and those that no corpus holds: in the miniature of held-out cells."""
    found = medical_o1.read(source, config)
    if source.fiction:
        return found, list(_of_held_out_cells(source, config))
    apart = [row for row in found if is_held_out(question(row))]
    return [row for row in found if not is_held_out(question(row))], apart


def _of_held_out_cells(source: Copy, config: str) -> Iterator[TrainingRow]:
    world = worlds.build()
    for number, case in enumerate(miniature.asked(world, held_out=True), 1):
        row = Row(miniature.english(world, case), "held-out cells", number)
        yield medical_o1.training_row(row, f"{config}/held-out", source)


def reference(row: TrainingRow, source: Copy) -> str | None:
    """Return the criterion that a conclusion like the row's meets; None for one that the miniature's judges misread."""
    if not source.fiction:
        return REFERENCE.format(response=row.answer)
    found = said(row.answer)
    if found is None or any(found.topic.startswith(f"fact {relation} ") for relation in UNHEARD):
        return None
    return take(found.key).criterion if found.topic == "take" else f"Says that {row.answer.removeprefix(STATED)}"
