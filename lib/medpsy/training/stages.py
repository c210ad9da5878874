"""The stages of a study and the steps of the sister recipes as jobs: parent, data, settings and costs.

Trains nothing. Every path comes from the study.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import licences, strict
from medpsy.engines import fingerprint
from medpsy.engines.models import model_folder, text_config, weight_files
from medpsy.store import noted, replaying
from medpsy.study import CHECKPOINT, RECIPE, RECIPES, STAGES, ModelSpec, Study
from medpsy.training.data import CORPUS
from medpsy.training.flops import Shape, ceiling, flops_per_token, memory, shape
from medpsy.training.jobs import Job, summary
from medpsy.training.rewards import Judge


def parent(study: Study, size: str, stage: str, seed: int) -> ModelSpec:
    """Return the model that `stage` starts from: the backbone, or the checkpoint of the stage before."""
    place = STAGES.index(stage)
    return study.checkpoint(size, STAGES[place - 1], seed) if place else study.model(study.targets[size])


def recorded(study: Study, name: str) -> dict[str, Any] | None:
    """Return what was recorded of the training of the checkpoint `name`, or None of a model that is no checkpoint.

    Raises:
        FileNotFoundError: a checkpoint has no record.
    """
    if not (CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)):
        return None
    record = noted(study.store_dir, f"training-{name}", partial(summary, study.models_dir / name))
    if record is None:
        raise FileNotFoundError(f"checkpoint {name!r} has no record of its training; run its section again")
    return record


def sft_jobs(study: Study, configs: Mapping[str, Any], seeds: Sequence[int]) -> list[list[Job]]:
    """Return the SFT stages of every target and seed, a sequence each.

    Args:
        configs: stage -> its `trl.SFTConfig`; the seed is that of the checkpoint.

    Raises:
        ValueError: other stages than those of `CORPUS`, or in another order.
    """
    if list(configs) != list(CORPUS):
        raise ValueError(f"stages {list(configs)} must be {list(CORPUS)}, in this order")
    return [
        [job(study, size, stage, "sft", configs[stage], seed) for stage in CORPUS]
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


def job(study: Study, size: str, stage: str, method: str, config: Any, seed: int, data: Sequence[Path] = ()) -> Job:
    """Return the job of one stage; an SFT stage reads the corpus of `CORPUS`."""
    from medpsy.training.config import given  # takes seconds, and a plan needs none of it

    start, spec = parent(study, size, stage, seed), study.checkpoint(size, stage, seed)
    files = data or sorted((study.corpora_dir / CORPUS[stage]).glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{spec.name}: corpus {CORPUS[stage]} is not there; run 03_training_data first")
    told = given(config) | {"seed": seed}
    return placed(study, spec, start, study.model(study.targets[size]), method, told, files)


def placed(
    study: Study,
    spec: ModelSpec,
    start: ModelSpec,
    backbone: ModelSpec,
    method: str,
    config: Mapping[str, Any],
    files: Sequence[Path],
    *,
    lora: Mapping[str, Any] | None = None,
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
        config=config,
        lora=lora or {},
        opens_thinking=spec.opens_thinking,
        switches=dict(spec.chat_template_kwargs),
        judge=judge or {},
        made_of=licences.of_model(backbone),
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
    from medpsy.training.config import arguments  # takes seconds, and a replay needs none of it

    configs = {one.name: arguments(one) for jobs in sequences for one in jobs}
    fastest = {bf16: ceiling("bfloat16" if bf16 else "float32") for bf16 in {told.bf16 for told in configs.values()}}
    rows = []
    for jobs in sequences:
        shape = model_shape(Path(jobs[0].parent))
        for one in jobs:
            told = configs[one.name]
            sizes = pd.concat([pd.read_parquet(file, columns=["tokens"]) for file in one.data])["tokens"]
            tokens, packs = sizes.sum() * told.num_train_epochs, sizes.sum() / told.max_length
            flops = flops_per_token(shape, float(sizes.mean()))
            held = told.per_device_train_batch_size * told.max_length
            peak = memory(shape, held, checkpointing=told.gradient_checkpointing, processes=processes)
            seconds = tokens * flops / (fastest[told.bf16] * mfu * processes)
            batch = told.per_device_train_batch_size * told.gradient_accumulation_steps
            steps = max(1, round(packs * told.num_train_epochs / batch))
            rows.append([one.name, len(sizes), int(tokens), steps, seconds, peak])
    return rows


def model_shape(folder: Path) -> Shape:
    """Return the shape of the model in `folder`, its parameters counted from the sizes of its files."""
    config = text_config(folder)
    width = 4 if config.get("dtype") == "float32" else 2
    return shape(config, sum(path.stat().st_size for path in weight_files(folder)) // width)


def recipe_job(
    study: Study,
    name: str,
    *,
    parent: ModelSpec | str,
    method: str,
    config: Mapping[str, Any],
    data: Sequence[Path],
    lora: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
) -> Job:
    """Return the job that leaves the checkpoint `name`, which `study.model` then finds.

    Args:
        name: size or model, recipe, step, and seed where it is not the study's: ``"small-o1-gspo-s8"``.
        parent: what it starts from; a name is one that `study.model` knows.
        method: ``"sft"``, ``"rl"`` or ``"dpo"``.
        config: arguments of the method's configuration in `medpsy.training.config.CONFIGS`, but for the seed.
        data: files: a corpus (sft), pairs (dpo), questions to train on and held-out ones (rl), or, where a judge gives
            the reward, open questions.
        lora: arguments of `peft.LoraConfig`, where an adapter is trained.
        judge: who gives the reward, instead of rules.

    Raises:
        strict.SettingsError: an unknown method or argument.
        ValueError: a name that the study would not find, an unknown model, or a parent of another architecture.
        FileNotFoundError: a file of `data` is not there.
    """
    import torch  # these take seconds, and a plan needs none of it
    from peft import LoraConfig

    from medpsy.training.config import CONFIGS, check, given

    made = RECIPE.fullmatch(name)
    if not made or name in study.models:
        raise ValueError(
            f"name {name!r}: it must be <size>-<recipe>-<step>[-s<seed>], with recipe one of {', '.join(RECIPES)}"
        )
    spec, base = study.model(name), study.targets.get(made["base"], made["base"])
    start = study.model(parent) if isinstance(parent, str) else parent
    file = f"params/{study.profile}/{RECIPES[made['recipe']]}.yaml"
    if method not in CONFIGS:
        raise strict.Place(file, (made["step"],)).error(
            f"method {method!r} is unknown; {strict.nearest(method, CONFIGS)}"
        )
    check(CONFIGS[method], file, **{made["step"]: config})
    check(LoraConfig, file, lora=lora or {})
    built = CONFIGS[method](output_dir="", use_cpu=not torch.cuda.is_available(), **config)
    if judge and built.load_best_model_at_end:
        raise ValueError("load_best_model_at_end: it needs held-out questions with a gold; with a judge it is false")
    files = [Path(one) for one in data]
    check_files(files, name, method, judge)
    told = given(built) | {"seed": int(made["seed"] or study.seed)}
    return placed(study, spec, start, study.model(base), method, told, files, lora=lora, judge=asked(study, judge))


def check_files(files: Sequence[Path], name: str, method: str, judge: Judge | None) -> None:
    """Raise unless the `files` are there, and as many as the method reads."""
    wanted = (1 if judge else 2) if method == "rl" else None
    if not files or wanted not in (None, len(files)):
        raise ValueError(f"{name}: {len(files)} files of data; {method} reads {wanted or 'at least one'} here")
    for file in files:
        if not replaying() and not file.is_file():
            raise FileNotFoundError(f"{name}: {file.parent.name}/{file.name} is not there; run the cell that writes it")


def asked(study: Study, judge: Judge | None) -> dict[str, Any]:
    """Return what a job says of its judge; nothing where there is none.

    Raises:
        ValueError: the study does not know the judge, or does not say how judges reply.
    """
    if judge is None:
        return {}
    spec = study.model(judge.model)
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    known = {} if replaying() else {"fingerprint": fingerprint(spec)}
    sampling = {"sampling": asdict(study.judge_sampling), "attempts": study.judge_attempts}
    return known | sampling | {"profile": study.profile, "judge": json.loads(json.dumps(asdict(judge)))}
