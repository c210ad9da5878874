"""The stages of reinforcement learning as jobs: how hard the questions are, which of them a stage takes, its settings.

Trains nothing. What a stage trains on lies beside its work folder, so that a resumed stage has the same questions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import strict
from medpsy.engines.base import Sampling
from medpsy.noted import noted
from medpsy.study import Study
from medpsy.training import difficulty
from medpsy.training.effort import memory
from medpsy.training.job import Job, summary
from medpsy.training.rl_questions import RlSet, question_files
from medpsy.training.rl_settings import RlSettings
from medpsy.training.stages import checked, job, model_shape, targets

CHOOSING: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "rl1": lambda frame, seed: difficulty.stage1(frame),
    "rl2": lambda frame, seed: difficulty.stage2(frame, seed=seed),
}


def annotate(
    study: Study,
    stage: str,
    questions: RlSet,
    seeds: Sequence[int],
    *,
    attempts: int,
    sampling: Mapping[str, Any],
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Let the checkpoints of `stage` attempt all training questions.

    Args:
        sampling: fields of `medpsy.engines.base.Sampling` but for the seed, which is the study's.

    Returns:
        The rows of `medpsy.training.difficulty.annotate` of every checkpoint, with ``model``, ``label``, ``size`` and
        ``seed`` before them.
    """
    place = strict.Place(f"params/{study.profile}/05_rl.yaml", ("sampling",))
    how = strict.build(Sampling, dict(sampling), place, seed=study.seed)
    frames = []
    for size, seed in targets(study, seeds):
        spec = study.checkpoint(size, stage, seed)
        settings = {"attempts": attempts, "sampling": how, "progress": progress}
        frame = difficulty.annotate(study, spec.name, questions.train, **settings)
        frames.append(frame.assign(model=spec.name, label=spec.label, size=size, seed=seed))
    return pd.concat(frames, ignore_index=True)


def rl_jobs(
    study: Study, stage: str, settings: Mapping[str, Any], annotated: pd.DataFrame, questions: RlSet
) -> list[list[Job]]:
    """Return the job of `stage` for every checkpoint that was `annotated`, each with the questions that it takes.

    Args:
        stage: ``"rl1"`` (easy and moderate questions) or ``"rl2"`` (those still wrong, and half as many right ones).
        settings: the fields of `RlSettings` but for the seed.

    Raises:
        strict.SettingsError: an unknown field, or a value that cannot be meant.
        ValueError: a checkpoint leaves a stage without questions.
    """
    place, jobs = strict.Place(f"params/{study.profile}/05_rl.yaml", (stage,)), []
    known = {one.id: one for one in questions.train}
    for (size, seed), rows in annotated.groupby(["size", "seed"], sort=False):
        name = study.checkpoint(size, stage, seed).name
        chosen = CHOOSING[stage](rows, seed)["question_id"]
        files = question_files(study, name, [known[one] for one in chosen], questions.held_out)
        jobs.append([job(study, size, stage, "rl", checked(RlSettings, settings, place, seed), files)])
    return jobs


def rl_forecast(
    study: Study, sequences: Sequence[Sequence[Job]], annotated: pd.DataFrame, *, sampled_per_second: float
) -> pd.DataFrame:
    """Return what every job is expected to take here; columns as of `medpsy.training.stages.sft_forecast`.

    The updates are counted at the speed that the parent's own training had on this machine.

    Args:
        annotated: how the parents did, by which the length of responses is known.
        sampled_per_second: tokens that one process samples per second.
    """
    tokens = float(annotated["prompt_tokens"].mean() + annotated["completion_tokens"].mean())
    jobs = list(chain.from_iterable(sequences))
    make = partial(_expected, jobs, tokens, sampled_per_second)
    rows = noted(study.store_dir, f"forecast-{jobs[0].name}", make)
    return pd.DataFrame(rows, columns=["name", "rows", "tokens", "steps", "seconds", "memory_gib"])


def _expected(jobs: Sequence[Job], tokens: float, sampled_per_second: float) -> list[list]:
    rows = []
    for one in jobs:
        settings = one.read(RlSettings)
        asked = pd.read_parquet(one.data[0], columns=["id"])
        rollouts = len(settings.schedule(len(asked))) // settings.prompts_per_rollout
        whole = rollouts * settings.responses * tokens
        before = summary(Path(one.parent)) or {}
        seconds = whole / sampled_per_second + whole / before.get("tokens_per_second", sampled_per_second)
        own, held = model_shape(Path(one.parent)), settings.micro_batch * tokens
        peak = memory(own, int(held), checkpointing=settings.checkpointing)
        steps = rollouts * settings.updates_per_rollout
        rows.append([one.name, len(asked), int(whole), steps, seconds, peak])
    return rows
