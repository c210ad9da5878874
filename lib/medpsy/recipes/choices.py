"""Multiple-choice questions with a known answer, for training alone: MedMCQA's training split, and MedReason.

Preference pairs and verifiable rewards are made of them. The miniature has the questions of its RL set for both. What
comes too near a suite's question is left out and counted: MedReason was made, among others, of splits that suites ask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from medpsy import strict
from medpsy.benchmarks import medmcqa
from medpsy.benchmarks.alphamed import plain
from medpsy.benchmarks.fields import Row
from medpsy.benchmarks.lettered import split_options
from medpsy.benchmarks.question import LETTERS, Question
from medpsy.recipes.sources import copy
from medpsy.study import Study
from medpsy.training.rl_questions import RlSet, rl_set

EXPLAINED = "Explanation:"  # in MedReason the answer goes on with its explanation


@dataclass(frozen=True)
class ChoiceSet:
    """One public set: its file of training rows, and what reads them; `revision` is empty where we know none."""

    hub_id: str
    licence: str
    file: str
    read: Callable[[list[Row]], list[Question | None]]
    revision: str = ""


def choice_questions(
    study: Study, name: str, *, size: int, held_out: int, seed: int, origin: Mapping[str, str] | None = None
) -> RlSet:
    """Return questions of set `name`, a key of `SETS`, to train on and held-out ones.

    Args:
        size: questions to train on, drawn by seed; 0 means all.
        held_out: held-out questions; at least one.
        origin: fields of `medpsy.corpus.recipe.HubCopy`; none for the miniature.

    Raises:
        ValueError: an unknown set, or no question is left.
        DataError: the set is not to be had, or a row is malformed.
    """
    if name not in SETS:
        raise ValueError(f"set {name!r} is unknown; {strict.nearest(name, SETS)}")
    settings = {"size": size, "held_out": held_out, "seed": seed}
    if study.source == "mini":
        if origin:
            raise ValueError(f"{name}: origin {dict(origin)} belongs to a real study; the miniature makes its own")
        return rl_set(study, **settings)
    known, given = SETS[name], dict(origin or {})
    if "hub_id" not in given and known.revision:
        given = {"revision": known.revision} | given
    found = copy(study, name, known.hub_id, known.licence, given).read(known.file)
    loaded = [question for question in known.read(found) if question is not None]
    chosen = rl_set(study, **settings, loaded=loaded)
    return replace(chosen, counts=chosen.counts | {"without options or a known answer": len(found) - len(loaded)})


def read_medmcqa(found: list[Row]) -> list[Question | None]:
    """Return the questions of MedMCQA's training split; which number stands for the first option is read off."""
    medmcqa.refuse_withheld(found)
    base = medmcqa.numbering(found)
    return [medmcqa.to_question(row, base) for row in found]


def read_medreason(found: list[Row]) -> list[Question | None]:
    """Return the questions of MedReason; None for a row without options, or whose answer is no single one of them."""
    return [medreason_question(row) for row in found]


def medreason_question(row: Row) -> Question | None:
    parts = split_options(row.optional("options"))
    if parts is None or len(parts.options) > len(LETTERS):
        return None
    answer = plain(row.text("answer").partition(EXPLAINED)[0])
    fitting = [place for place, option in enumerate(parts.options) if plain(option) == answer]
    if len(fitting) != 1:
        return None
    name = f"{row.text('dataset_name')}/{row.number}"
    return Question(name, "medreason", "", row.text("question"), parts.options, fitting[0], None, "medreason")


SETS: dict[str, ChoiceSet] = {
    "medmcqa": ChoiceSet(medmcqa.SPEC.hub_id, medmcqa.SPEC.licence, "data/train*", read_medmcqa, medmcqa.SPEC.revision),
    "medreason": ChoiceSet("UCSC-VLAA/MedReason", "Apache-2.0", "ours_quality_33000.jsonl", read_medreason),
}
