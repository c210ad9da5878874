"""The stages of a study as jobs: which parent, which data, which settings; and what they are expected to cost.

Trains nothing. Every path comes from the study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import strict
from medpsy.engines.weights import model_folder, text_config, weight_files
from medpsy.generation import replaying
from medpsy.noted import noted
from medpsy.study import STAGES, ModelSpec, Study
from medpsy.training.effort import ceiling, flops_per_token, memory, shape
from medpsy.training.job import Job
from medpsy.training.sft_settings import SftSettings

CORPUS = {"sft1": "corpus1", "sft2": "corpus2"}  # report 3.2


def parent(study: Study, size: str, stage: str, seed: int) -> ModelSpec:
    """Return the model that `stage` starts from: the backbone, or the checkpoint of the stage before."""
    place = STAGES.index(stage)
    return study.checkpoint(size, STAGES[place - 1], seed) if place else study.model(study.targets[size])


def sft_jobs(study: Study, settings: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> list[list[Job]]:
    """Return the SFT stages of every target and seed, a sequence each.

    Args:
        settings: stage -> the fields of `SftSettings` but for the seed.

    Raises:
        strict.SettingsError: an unknown stage or field, or a value that cannot be meant.
    """
    file = f"params/{study.profile}/04_sft.yaml"
    if list(settings) != list(CORPUS):
        raise strict.SettingsError(f"{file}: stages {list(settings)} must be {list(CORPUS)}, in this order")
    return [
        [
            job(study, size, stage, "sft", checked(SftSettings, settings[stage], strict.Place(file, (stage,)), seed))
            for stage in CORPUS
        ]
        for size, seed in targets(study, seeds)
    ]


def targets(study: Study, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return every size class with every seed.

    Raises:
        ValueError: the profile trains nothing, or `seeds` names none or one twice.
    """
    if not study.targets:
        raise ValueError(f"targets: params/{study.profile}/study.yaml names none; nothing is trained in this profile")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {list(seeds)} must name each seed once, and at least one")
    return [(size, seed) for size in study.targets for seed in seeds]


def checked(cls: type, given: Mapping[str, Any], place: strict.Place, seed: int) -> dict[str, Any]:
    """Return the fields of `cls` as `given`, checked, with `seed`."""
    return asdict(strict.build(cls, dict(given), place, seed=seed))


def job(
    study: Study, size: str, stage: str, method: str, settings: Mapping[str, Any], data: Sequence[Path] = ()
) -> Job:
    """Return the job of one stage; an SFT stage reads the corpus of `CORPUS`."""
    seed = settings["seed"]
    start, spec = parent(study, size, stage, seed), study.checkpoint(size, stage, seed)
    files = data or sorted((study.corpora_dir / CORPUS[stage]).glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{spec.name}: corpus {CORPUS[stage]} is not there; run 03_training_data first")
    return placed(study, spec, start, study.model(study.targets[size]), method, settings, files)


def placed(
    study: Study,
    spec: ModelSpec,
    start: ModelSpec,
    backbone: ModelSpec,
    method: str,
    settings: Mapping[str, Any],
    files: Sequence[Path],
    judge: Mapping[str, Any] | None = None,
) -> Job:
    """Return the job that makes the model `spec` of `start`, with every path of it from the study.

    Raises:
        ValueError: `start` is of another architecture than `backbone`.
    """
    if replaying():  # no model is here, and none is needed
        folder = Path(start.path)
    else:
        folder = start.local_dir or model_folder(start)
        same_architecture(folder, backbone, spec.name)
    return Job(
        spec.name,
        method,
        parent=str(folder),
        folder=str(study.models_dir / spec.name),
        work=str(study.outputs / "training" / spec.name),
        data=tuple(map(str, files)),
        store=str(study.store_dir),
        settings=settings,
        opens_thinking=spec.opens_thinking,
        switches=dict(spec.chat_template_kwargs),
        judge=judge or {},
    )


def same_architecture(folder: Path, backbone: ModelSpec, name: str) -> None:
    """Raise ValueError if the parent in `folder` is there and not of the architecture of `backbone`."""
    found = text_config(folder).get("architectures")
    wanted = text_config(backbone.local_dir or model_folder(backbone)).get("architectures")
    if found and found != wanted:
        shown = "/".join(folder.parts[-2:])
        raise ValueError(
            f"{name}: {shown} is a {', '.join(found)}, its backbone {backbone.name} a {', '.join(wanted)}; "
            "delete the folder and run the section that leaves it"
        )


def sft_forecast(study: Study, sequences: Sequence[Sequence[Job]], *, mfu: float, processes: int = 1) -> pd.DataFrame:
    """Return what every job is expected to take here.

    Args:
        mfu: share of the machine's ceiling that the model's own operations are expected to reach, 0 to 1.

    Returns:
        Columns ``name``, ``rows``, ``tokens`` (over all epochs), ``steps``, ``seconds``, ``memory_gib``.
    """
    columns = ["name", "rows", "tokens", "steps", "seconds", "memory_gib"]
    rows = noted(study.store_dir, "forecast-sft", lambda: _expected(sequences, mfu, processes))
    return pd.DataFrame(rows, columns=columns)


def _expected(sequences: Sequence[Sequence[Job]], mfu: float, processes: int) -> list[list]:
    most = {name: ceiling(name) for name in {job.settings["precision"] for jobs in sequences for job in jobs}}
    rows = []
    for jobs in sequences:
        own = model_shape(Path(jobs[0].parent))
        for one in jobs:
            settings = one.read(SftSettings)
            sizes = pd.concat([pd.read_parquet(file, columns=["tokens"]) for file in one.data])["tokens"]
            tokens, packs = sizes.sum() * settings.epochs, sizes.sum() / settings.packed_length
            flops = flops_per_token(own, float(sizes.mean()))
            held = settings.micro_batch * settings.packed_length
            peak = memory(own, held, checkpointing=settings.checkpointing, processes=processes)
            seconds = tokens * flops / (most[settings.precision] * mfu * processes)
            steps = max(1, round(packs * settings.epochs / settings.global_batch))
            rows.append([one.name, len(sizes), int(tokens), steps, seconds, peak])
    return rows


def model_shape(folder: Path):
    """Return the shape of the model in `folder`, its parameters counted from the sizes of its files."""
    config = text_config(folder)
    width = 4 if config.get("dtype") == "float32" else 2
    return shape(config, sum(path.stat().st_size for path in weight_files(folder)) // width)
