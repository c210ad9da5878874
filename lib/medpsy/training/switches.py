"""What each part of DAPO is worth: the same short stage with all parts on, and with one of them off at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import statistics, strict
from medpsy.engines.base import Sampling
from medpsy.study import Study
from medpsy.training import difficulty
from medpsy.training.job import Job
from medpsy.training.rl_questions import RlSet
from medpsy.training.rl_stages import rl_jobs

PARTS = {  # switch of `RlSettings` -> what it is called
    "token_level_loss": "token-level loss",
    "no_kl": "no KL term",
    "clip_higher": "clip-higher",
    "overlong_penalty": "overlong penalty",
    "dynamic_sampling": "dynamic sampling",
}
ALL = "all parts"


def switch_jobs(
    study: Study, settings: Mapping[str, Any], annotated: pd.DataFrame, questions: RlSet, *, beside: int
) -> list[list[Job]]:
    """Return the short stages, `beside` sequences of them: all parts on first, then each part off.

    The last checkpoint of each is kept: to choose the best would hide a part without which training goes astray.

    Args:
        settings: the fields of `RlSettings` but for the seed, all switches on.
        annotated: the attempts of the one checkpoint that they start from.

    Raises:
        ValueError: several checkpoints were annotated, or a switch is off already.
    """
    if annotated["model"].nunique() != 1:
        raise ValueError(f"switches: give the attempts of one checkpoint, not of {annotated['model'].nunique()}")
    if off := [part for part in PARTS if not settings.get(part, True)]:
        raise ValueError(f"switches: {off[0]} is off already; nothing could be compared with all parts on")
    jobs = [_job(study, None, settings, annotated, questions)]
    jobs += [_job(study, part, settings, annotated, questions) for part in PARTS]
    return [jobs[start::beside] for start in range(beside)]


def _job(study: Study, part: str | None, settings: Mapping[str, Any], annotated: pd.DataFrame, questions: RlSet) -> Job:
    whole = {**settings, "keep": "last"} | ({part: False} if part else {})
    one = rl_jobs(study, "rl1", whole, annotated, questions)[0][0]
    name = f"{one.name}-{f'without-{part}' if part else 'all'}"
    folder = study.outputs / "training" / "switches"
    return replace(one, name=name, folder=str(folder / name), work=str(folder / f"{name}.work"))


def switch_outcomes(
    study: Study,
    sequences: Sequence[Sequence[Job]],
    questions: RlSet,
    *,
    attempts: int,
    sampling: Mapping[str, Any],
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Ask every checkpoint of `switch_jobs` the held-out questions and compare it with the one that has all parts.

    Returns:
        One row per checkpoint, that with all parts first: ``part`` that is off, ``accuracy`` (points) and ``tokens``
        of a response, with ``..._margin``; ``difference`` and ``difference_margin`` (points, paired by question),
        and the same of the tokens, ``longer`` and ``longer_margin``; missing in the first row.
    """
    place = strict.Place(f"params/{study.profile}/05_rl.yaml", ("sampling",))
    how = strict.build(Sampling, dict(sampling), place, seed=study.seed)
    jobs = sorted((job for jobs in sequences for job in jobs), key=lambda job: _part(job) != ALL)
    asking = {"attempts": attempts, "sampling": how, "progress": progress}
    ask = partial(difficulty.annotate, questions=questions.held_out, **asking)
    frames = {_part(job): ask(_with(study, job), job.name) for job in jobs}
    return pd.DataFrame([_row(part, frame, frames[ALL]) for part, frame in frames.items()])


def _part(job: Job) -> str:
    return next((words for part, words in PARTS.items() if not job.settings[part]), ALL)


def _with(study: Study, job: Job) -> Study:
    """Return `study` with the checkpoint of `job` among its models."""
    size = job.name.partition("-")[0]
    path = Path(job.folder).relative_to(study.outputs.parents[1]).as_posix()
    spec = replace(study.checkpoint(size, "rl1"), name=job.name, path=path, label=_part(job))
    return replace(study, models={**study.models, job.name: spec})


def _row(part: str, frame: pd.DataFrame, whole: pd.DataFrame) -> dict[str, Any]:
    accuracy, tokens = _shares(frame), frame["completion_tokens"]
    known = statistics.suite_score(accuracy.to_numpy()[:, None])
    row = {"part": part, "accuracy": known.score, "accuracy_margin": known.margin, "tokens": tokens.mean()}
    row["tokens_margin"] = statistics.Z * tokens.std() / len(tokens) ** 0.5
    if frame is whole:
        return row
    gap = statistics.paired_difference(accuracy, _shares(whole))
    longer = tokens - whole["completion_tokens"]
    row |= {"difference": gap.difference, "difference_margin": gap.margin}
    return row | {"longer": longer.mean(), "longer_margin": statistics.Z * longer.std() / len(longer) ** 0.5}


def _shares(frame: pd.DataFrame) -> pd.Series:
    return frame["right"] / frame["attempts"].clip(lower=1)
