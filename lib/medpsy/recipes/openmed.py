"""AFM-4.5B-OpenMed: multiple-choice questions, pairs of right and wrong responses, its checkpoints, and merging.

The responses of a pair are a model's own, as they were written. The card prints no setting of any stage; those that can
be chosen are in ``params/``. Merging is mergekit's, on the CPU: two models of one architecture become one, without
training; a merge is made anew only if models, method or versions change.
"""

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import licences, prompts, size_classes, strict
from medpsy.corpus import filters
from medpsy.corpus.building import folder
from medpsy.corpus.rows import marked, without_opening
from medpsy.corpus.seeds import SOURCES, Given, PublicSet, copy
from medpsy.data.questions import LETTERS, Question
from medpsy.data.rows import Row
from medpsy.data.suites import medmcqa_numbering, medmcqa_question, plain, refuse_withheld, split_options
from medpsy.engines.models import digest, file_digest, model_folder, papers, read_json, weight_files, weights_digest
from medpsy.files import whole_folder
from medpsy.grading.readers import split
from medpsy.store import noted
from medpsy.study import RECIPE, ModelSpec, Study
from medpsy.training.data import NEAR, NGRAM, Pair, RlSet, rl_set, write
from medpsy.training.jobs import SUMMARY
from medpsy.training.stages import annotate_model

NAME = "openmed"
LISTED = strict.read(Path(__file__).with_name("openmed.yaml"))
MERGES, GRPO, CARD, CARD_OF_PAIRS = (LISTED[name] for name in ("merges", "grpo", "card", "card_of_pairs"))


def choice_questions(study: Study, name: str, *, size: int, held_out: int, seed: int, origin: Given = None) -> RlSet:
    """Return questions of set `name`, a key of `SETS`, as `medpsy.training.rl_set` does; `origin`: as of `copy`."""
    if name not in SETS:
        raise ValueError(f"set {name!r} is unknown; {strict.nearest(name, SETS)}")
    known, read = SETS[name]
    settings, source = {"size": size, "held_out": held_out, "seed": seed}, copy(study, name, known, origin)
    if source.fiction:
        return rl_set(study, **settings)
    rows = source.read(known.data_file)
    questions = [question for question in read(rows) if question is not None]
    chosen = rl_set(study, **settings, questions=questions)
    counts = chosen.counts | {"without options or a known answer": len(rows) - len(questions)}
    return replace(chosen, counts=counts, made_of={f"{name} ({source.described})": source.licence})


def read_medmcqa(rows: list[Row]) -> list[Question | None]:
    """Return the questions of MedMCQA's training split; which number stands for the first option is read off."""
    refuse_withheld(rows)
    base = medmcqa_numbering(rows)
    return [medmcqa_question(row, base) for row in rows]


def medreason_question(row: Row) -> Question | None:
    """Return the question of a row of MedReason; None without options, or if its answer is no single one of them."""
    parts = split_options(row.optional("options"))
    if parts is None or len(parts.options) > len(LETTERS):
        return None
    answer = plain(row.text("answer").partition("Explanation:")[0])  # it goes on with its explanation
    fitting = [place for place, option in enumerate(parts.options) if plain(option) == answer]
    if len(fitting) != 1:
        return None
    name = f"{row.text('dataset_name')}/{row.number}"
    return Question(name, "medreason", "", row.text("question"), parts.options, fitting[0], None, "medreason")


MEDREASON = PublicSet("UCSC-VLAA/MedReason", None, "Apache-2.0", data_file="ours_quality_33000.jsonl")
SETS: dict[str, tuple[PublicSet, Callable[[list[Row]], list[Question | None]]]] = {  # each with what reads its rows
    "medmcqa": (replace(SOURCES["medmcqa"], data_file="data/train*"), read_medmcqa),
    "medreason": (MEDREASON, lambda rows: [medreason_question(row) for row in rows]),
}

PAIRS = "openmed-pairs"


@dataclass(frozen=True)
class Pairs:
    """Pairs on the disk; `counts`: what became of questions and attempts, `inputs`: digests of what went in."""

    rows: tuple[Pair, ...]
    counts: dict[str, int]
    inputs: dict[str, str]
    folder: Path


def preference_pairs(
    study: Study, model: str, questions: Sequence[Question], made_of: Mapping[str, str] | None = None, **how: Any
) -> Pairs:
    """Let `model` attempt questions, pair right with wrong responses, and write ``"openmed-pairs/<model>"``. A question
    gives one pair at most. One that a suite asks, or no pair at all, is a ValueError; nothing is written. `questions`
    and `made_of` are those to train on and their licences, of an `RlSet`; `how` as of `annotate_model`."""
    index = refuse_suites(study, questions)
    tried = annotate_model(study, model, questions, **how)
    spec, pairs = study.model(model), []
    tried = tried.assign(side=[_side(row, spec) for row in tried.itertuples()], text=tried["text"].str.strip())
    counts, by_question = Counter("attempts " + tried["side"]), dict(list(tried.groupby("question_id")))
    for question in questions:
        sides = by_question[question.id].groupby("side")["text"].unique()
        right, wrong = (list(sides.get(side, ())) for side in ("right", "wrong"))
        kind = ("paired" if wrong else "only right") if right else ("only wrong" if wrong else "neither")
        counts[f"questions {kind}"] += 1
        if kind == "paired":
            name = f"{question.suite}/{question.id}"
            rng = random.Random(f"{study.seed}/{name}")
            chosen, rejected = (rng.sample(side, len(side))[0] for side in (right, wrong))
            pairs.append(Pair(f"{name}#0", prompts.closed_ended(question), chosen, rejected))
    if not pairs:
        raise ValueError(f"{PAIRS}: no question has a right and a wrong response ({dict(counts)}); try more often")
    name = f"{PAIRS}/{model}"
    with whole_folder(folder(study, name)) as scratch:
        file = write(scratch / "part-00000.parquet", pairs)
        inputs = {f"suite/{suite}": stated for suite, stated in index.digests.items()}
        inputs |= {f"{name}/{file.name}": file_digest(file)}
        card = CARD_OF_PAIRS.format(name=name, profile=study.profile, rows=len(pairs), model=model)
        licences.write_card(scratch, dict(made_of or {}) | licences.of_model(spec), card)
    return Pairs(tuple(pairs), dict(counts), inputs, folder(study, name))


def refuse_suites(study: Study, questions: Sequence[Question]) -> filters.Contamination:
    """Return the index of the study's suites; a question that is in it is a ValueError, with the suites and why."""
    index = filters.Contamination(filters.stems(study), near=NEAR, ngram=NGRAM)
    for question in questions:
        stem = filters.stem(question)
        if hit := index.hit(stem, stem):
            asked = f"one of {', '.join(sorted(hit.suites))} ({hit.rule})"
            raise ValueError(f"question {question.id!r} is {asked}; pairs are made of training ones")
    return index


def _side(row: Any, model: ModelSpec) -> str:
    """Return what an attempt (a row of `annotate_model`) is: right, wrong, failed, or without a single option."""
    if row.finish_reason == "failed":
        return "failed"
    parts = split(row.text, opens_thinking=model.opens_thinking, finish_reason=row.finish_reason)
    several = marked(without_opening(parts.reasoning)) or marked(parts.answer or "")
    if row.finish_reason != "stop" or pd.isna(row.chosen) or several:
        return "without a single option"
    return "right" if row.right else "wrong"


STEPS = {"sft": "sft", "dpo": "dpo", "rl": "grpo"} | {part: part for part in MERGES}  # part -> step in its name


def openmed_trainings(study: Study, methods: Iterable[str]) -> list[dict[str, str]]:
    """Return part -> model of every backbone that this recipe trains; parts are ``"base"`` and those of `STEPS`.
    `methods`: last checkpoints of several methods, one of them at least this recipe's, whose name is ``"<size or
    model>-openmed-merged"``; of several, the last is the card's."""
    bases = [made["base"] for name in methods if (made := RECIPE.fullmatch(name)) and made["recipe"] == NAME]
    if not bases:
        raise ValueError(f"methods: none is this recipe's; name <size>-{NAME}-merged among them")
    backbones = [study.model(study.targets.get(base, base)).name for base in bases]
    made = [{part: f"{base}-{NAME}-{step}" for part, step in STEPS.items()} for base in bases]
    return [{"base": backbone} | parts for backbone, parts in zip(backbones, made, strict=True)]


def require_methods(study: Study, methods: Iterable[str]) -> None:
    """Raise FileNotFoundError, with the section to run, unless what other sections leave of `methods` is there."""
    for name in methods:
        made = RECIPE.fullmatch(name)
        if not made or made["recipe"] != NAME:
            size_classes.require(study, name)


TIED = "lm_head.weight"  # a model that shares its embedding may store it or not
RECORD = "merging.json"
RECIPE_VERSION = 1  # raised by hand when the same parts begin to give another merge
DECIDING = ("mergekit", "torch", "transformers")  # packages whose version can change a merged model


def merge(study: Study, name: str, *, base: ModelSpec, other: ModelSpec, method: str) -> dict[str, Any]:
    """Merge `other` into `base` by `method`, a value of `MERGES`, as the checkpoint `name`; a replay tells the record.
    Returns ``{key, name, configuration, digests, versions, seconds}``, with names instead of paths."""
    return noted(study.store_dir, f"merging-{name}", partial(_merged, study.models_dir / name, base, other, method))


def _merged(place: Path, base: ModelSpec, other: ModelSpec, method: str) -> dict[str, Any]:
    folders = fitting_folders(base, other)
    if place.resolve() in [folder.resolve() for folder in folders]:
        raise ValueError(f"a merge called {place.name!r} would take the place of one of its parts; rename it")
    config = read_json(folders[0] / "config.json")
    dtype = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    digests = dict(zip(("base", "other"), map(weights_digest, folders), strict=True))
    record = {"configuration": configuration(method, (base.name, other.name), dtype), "digests": digests}
    record |= {"versions": {package: metadata.version(package) for package in DECIDING}}
    key = digest([place.name, record, RECIPE_VERSION])
    if (stands := read_json(place / RECORD)).get("key") == key:
        return stands
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    begun = time.monotonic()
    with whole_folder(place) as scratch:
        # Arcee Fusion finds its threshold on a sample where a tensor has more than a million elements: hence the seed
        options = MergeOptions(device="cpu", random_seed=0, copy_tokenizer=False, write_model_card=False, quiet=True)
        with tempfile.TemporaryDirectory(dir=scratch.parent) as made:
            wanted = configuration(method, tuple(map(str, folders)), dtype)
            run_merge(MergeConfiguration.model_validate(wanted), made, options)
            for file in Path(made).glob("*.safetensors*"):  # and its index
                shutil.move(file, scratch / file.name)
        for file, path in papers(folders[0]).items():  # configuration, tokenizer and template byte by byte
            if file not in (RECORD, SUMMARY):
                shutil.copy(path, scratch / file)
        record = {"key": key, "name": place.name, **record, "seconds": time.monotonic() - begun}
        (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        card = CARD.format(name=place.name, method=method, dtype=dtype, base=base.name, other=other.name)
        made_of = licences.of_model(base) | licences.of_model(other)
        licences.write_card(scratch, made_of, card, library_name="transformers")
    return record


def fitting_folders(base: ModelSpec, other: ModelSpec) -> list[Path]:
    """Return the folders of two models; if they do not fit, a ValueError names the first difference."""
    from medpsy.training.save import shapes  # takes seconds, and a plan needs none of it

    folders = [model_folder(model) for model in (base, other)]
    kinds = [read_json(folder / "config.json").get("architectures") for folder in folders]
    differ = [f"architectures {kinds[0]} and {kinds[1]}"] if kinds[0] != kinds[1] else []
    sizes = [shapes(weight_files(folder)) for folder in folders]
    for name in sorted(sizes[0].keys() | sizes[1].keys()):
        first, second = (known.get(name) for known in sizes)
        if first != second and (name != TIED or None not in (first, second)):
            differ.append(f"tensor {name} has shapes {first} and {second}")
    if differ:
        why = f"{differ[0]}; merge checkpoints of one backbone"
        raise ValueError(f"{base.name} and {other.name} cannot be merged: {why}")
    return folders


def configuration(method: str, models: tuple[str, str], dtype: str) -> dict[str, Any]:
    """Return mergekit's configuration: computed in float32, since small differences drown in fewer bits. `models`: base
    and other, as paths for mergekit or as names for a record; `dtype`: of what is written."""
    if method not in MERGES.values():
        raise ValueError(f"{method!r} is unknown to a merge; {strict.nearest(method, MERGES.values())}")
    told = {"merge_method": method, "dtype": "float32", "out_dtype": dtype}
    if method == "linear":
        return told | {"models": [{"model": name, "parameters": {"weight": 0.5}} for name in models]}
    told |= {"models": [{"model": name} for name in models], "base_model": models[0]}
    return told | ({"parameters": {"t": 0.5}} if method == "slerp" else {})
