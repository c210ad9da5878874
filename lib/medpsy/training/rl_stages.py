"""Stages of reinforcement learning as jobs: how hard the questions are, and what each part of DAPO is worth.

Attempts come from the response store and are read by the reader of the reward (`medpsy.training.rewards`), so what
counts as right here is what earns its reward there; a request that failed is no attempt. What a stage trains on lies
beside its work folder, so that a resumed stage has the same questions. Trains nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import prompts, strict
from medpsy.data.questions import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.store import ResponseStore, Session, noted
from medpsy.study import Study
from medpsy.training.data import RlSet, question_files
from medpsy.training.flops import memory
from medpsy.training.jobs import Job, summary
from medpsy.training.rewards import Reward, grade
from medpsy.training.stages import job, model_shape, targets

EASY, MODERATE, DIFFICULT = "easy", "moderate", "difficult"
LEVELS = (EASY, MODERATE, DIFFICULT)  # report, table of difficulty levels in section 3.4
UNKNOWN = "unknown"  # every attempt failed; such a question is in no stage
WRONG_PER_RIGHT = 2  # report, RL stage 2: right-to-wrong ratio 1:2


def annotate_model(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Sampling,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Let `model` attempt every question `attempts` times, as runs 0, 1, ... of the study's store.

    Returns:
        One row per question, in order: ``question_id``, ``right``, ``attempts`` (those with a response), ``level``
        (one of `LEVELS` or `UNKNOWN`), ``prompt_tokens``, ``completion_tokens``: the mean of its attempts, and
        ``text``: the first attempt.

    Raises:
        ValueError: no questions or attempts, a question without gold, or an unknown model.
    """
    frame = pd.DataFrame({"question_id": [question.id for question in questions], "right": 0, "attempts": 0})
    frame["prompt_tokens"], frame["completion_tokens"] = 0, 0.0
    for answers, found in graded(study, model, questions, attempts=attempts, sampling=sampling, progress=progress):
        frame["right"] += pd.Series([one is not None and one.right for one in found], dtype=int)
        frame["prompt_tokens"] = answers["prompt_tokens"].to_numpy()
        if "text" not in frame:
            frame["text"] = answers["text"].to_numpy()
        frame["completion_tokens"] += answers["completion_tokens"].to_numpy() / attempts
        frame["attempts"] += (answers["finish_reason"] != "failed").to_numpy().astype(int)
    frame["level"] = [level(*counts) for counts in zip(frame["right"], frame["attempts"], strict=True)]
    return frame


def graded(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Sampling,
    progress: Callable[[str], None] | None = None,
) -> Iterator[tuple[pd.DataFrame, list[Reward | None]]]:
    """Yield every attempt at `questions`, a run at a time: its rows of the store and what each earned, in their order.

    A request that failed has no reward. Arguments and errors as those of `annotate`.
    """
    spec = study.model(model)
    if attempts < 1 or not questions:
        raise ValueError(f"{attempts} attempts at {len(questions)} questions; give at least one of each")
    asked = [Prompt(f"{question.suite}/{question.id}", prompts.closed_ended(question)) for question in questions]
    session = Session(study, ResponseStore(study.store_dir), progress)
    session.fill(model, asked, range(attempts), sampling)
    for run in range(attempts):
        answers = session.answer(model, asked, run, sampling)
        cells = zip(answers["text"], answers["finish_reason"], questions, strict=True)
        yield answers, [_earned(*cell, opens_thinking=spec.opens_thinking) for cell in cells]


def _earned(text: str, reason: str, question: Question, *, opens_thinking: bool) -> Reward | None:
    if reason == "failed":
        return None
    return grade(text, question, opens_thinking=opens_thinking, finished=reason == "stop")


def level(right: int, attempts: int) -> str:
    """Return the level of a question that was answered right in `right` of `attempts` attempts."""
    if not attempts:
        return UNKNOWN
    return EASY if right == attempts else MODERATE if right else DIFFICULT


def stage1(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of stage 1: easy and moderate questions (report, RL stage 1).

    Raises:
        ValueError: there are none.
    """
    chosen = frame[frame["level"].isin([EASY, MODERATE])]
    if chosen.empty:
        raise ValueError(
            f"stage 1: none of {len(frame)} questions was ever answered right; train SFT further, or raise max_tokens"
        )
    return chosen.reset_index(drop=True)


def stage2(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the rows of stage 2: every question that is still wrong, and half as many that are right, drawn by seed.

    Wrong means that no attempt was right, the report's "difficult"; right means all others. The report does not say
    so, but with N = 5 that is the reading that gives its 2K to 4K of 18K questions. Where fewer are right than asked
    for, all of them are taken; the counts of the levels tell.

    Raises:
        ValueError: nothing is wrong any more.
    """
    wrong = frame[frame["level"] == DIFFICULT]
    right = frame[frame["level"].isin([EASY, MODERATE])]
    if wrong.empty:
        raise ValueError(
            f"stage 2: none of {len(frame)} questions is still wrong in every attempt; there is nothing to enrich with"
        )
    taken = right.sample(n=min(len(right), len(wrong) // WRONG_PER_RIGHT), random_state=seed)
    return pd.concat([wrong, taken]).sort_index().reset_index(drop=True)


CHOOSING: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "rl1": lambda frame, seed: stage1(frame),
    "rl2": lambda frame, seed: stage2(frame, seed=seed),
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
        The rows of `annotate_model` of every checkpoint, with ``model``, ``label``, ``size`` and ``seed`` before them.
    """
    how, frames = _sampling(study, sampling), []
    for size, seed in targets(study, seeds):
        spec = study.checkpoint(size, stage, seed)
        settings = {"attempts": attempts, "sampling": how, "progress": progress}
        frame = annotate_model(study, spec.name, questions.train, **settings)
        frames.append(frame.assign(model=spec.name, label=spec.label, size=size, seed=seed))
    return pd.concat(frames, ignore_index=True)


def _sampling(study: Study, sampling: Mapping[str, Any]) -> Sampling:
    place = strict.Place(f"params/{study.profile}/05_rl.yaml", ("sampling",))
    return strict.build(Sampling, dict(sampling), place, seed=study.seed)


def rl_jobs(study: Study, stage: str, config: Any, annotated: pd.DataFrame, questions: RlSet) -> list[list[Job]]:
    """Return the job of `stage` for every checkpoint that was `annotated`, each with the questions that it takes.

    Args:
        stage: ``"rl1"`` (easy and moderate questions) or ``"rl2"`` (those still wrong, and half as many right ones).
        config: a `medpsy.training.config.DapoConfig`; the seed is that of the checkpoint.

    Raises:
        ValueError: a checkpoint leaves a stage without questions.
    """
    known = {one.id: one for one in questions.train}
    jobs = []
    for (size, seed), rows in annotated.groupby(["size", "seed"], sort=False):
        name = study.checkpoint(size, stage, seed).name
        chosen = CHOOSING[stage](rows, seed)["question_id"]
        files = question_files(study, name, [known[one] for one in chosen], questions)
        jobs.append([job(study, size, stage, "rl", config, seed, files)])
    return jobs


def rl_forecast(
    study: Study,
    sequences: Sequence[Sequence[Job]],
    annotated: pd.DataFrame,
    *,
    sampled_per_second: float,
    processes: int = 1,
) -> pd.DataFrame:
    """Return what every job is expected to take here; columns as of `medpsy.training.stages.sft_forecast`.

    The updates are counted at the speed that the parent's own training had on this machine.

    Args:
        annotated: how the parents did, by which the length of responses is known.
        sampled_per_second: tokens that one process samples per second.
        processes: that share a job.
    """
    tokens = float(annotated["prompt_tokens"].mean() + annotated["completion_tokens"].mean())
    jobs = list(chain.from_iterable(sequences))
    make = partial(_rl_expected, jobs, tokens, sampled_per_second, processes)
    rows = noted(study.store_dir, f"forecast-{jobs[0].name}", make)
    return pd.DataFrame(rows, columns=["name", "rows", "tokens", "steps", "seconds", "memory_gib"])


def _rl_expected(jobs: Sequence[Job], tokens: float, sampled_per_second: float, processes: int) -> list[list]:
    from medpsy.training.config import arguments  # takes seconds, and a replay needs none of it

    rows = []
    for one in jobs:
        config, asked = arguments(one), pd.read_parquet(one.data[0], columns=["id"])
        rollouts = config.rollouts(len(asked))
        whole = rollouts * config.generation_batch_size * tokens
        before = summary(Path(one.parent)) or {"tokens_per_second": sampled_per_second, "processes": 1}
        trained = before["tokens_per_second"] / before["processes"]
        seconds = whole / processes * (1 / sampled_per_second + 1 / trained)
        shape, held = model_shape(Path(one.parent)), config.per_device_train_batch_size * tokens
        peak = memory(shape, int(held), checkpointing=config.gradient_checkpointing, processes=processes)
        rows.append([one.name, len(asked), int(whole), rollouts * config.updates, seconds, peak])
    return rows


PARTS: dict[str, dict[str, Any]] = {  # part of DAPO -> the arguments that leave it out
    "token_level_loss": {"loss_type": "grpo"},
    "no_kl": {"beta": 0.04},  # GRPO: DeepSeekMath, section 4.2
    "clip_higher": {"epsilon_high": 0.2},
    "overlong_penalty": {"reward_weights": [1.0, 0.0, 0.0]},
    "dynamic_sampling": {"sampling_rounds": 0},
}
ALL = "all"


def switch_jobs(study: Study, config: Any, annotated: pd.DataFrame, questions: RlSet) -> dict[str, Job]:
    """Return the short stages by what is left out: `ALL` parts on first, then each of `PARTS` off, in their order.

    Args:
        config: a `medpsy.training.config.DapoConfig` with all parts on. It keeps the last checkpoint: to choose the
            best would hide a part without which training goes astray.
        annotated: the attempts of the one checkpoint that they start from.

    Raises:
        ValueError: several checkpoints were annotated, or a part is off already.
    """
    if annotated["model"].nunique() != 1:
        raise ValueError(f"switches: give the attempts of one checkpoint, not of {annotated['model'].nunique()}")
    for part, changed in PARTS.items():
        if any(getattr(config, name) == value for name, value in changed.items()):
            raise ValueError(f"switches: {part} is off already; nothing could be compared with all parts on")
    stage = rl_jobs(study, "rl1", config, annotated, questions)[0][0]
    folder, jobs = study.outputs / "training" / "switches", {}
    for part, changed in {ALL: {}, **PARTS}.items():
        name = f"{stage.name}-{f'without-{part}' if changed else part}"
        paths = {"folder": str(folder / name), "work": str(folder / f"{name}.work")}
        jobs[part] = replace(stage, name=name, config={**stage.config, **changed}, **paths)
    return jobs


def annotate_switch(
    study: Study,
    job: Job,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Mapping[str, Any],
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Let the checkpoint of a job of `switch_jobs`, which is none of the study's, attempt `questions`.

    Returns:
        As `annotate_model`.
    """
    path = Path(job.folder).relative_to(study.outputs.parents[1]).as_posix()
    spec = replace(study.checkpoint(job.name.partition("-")[0], "rl1"), name=job.name, path=path, label=job.name)
    beside = replace(study, models={**study.models, job.name: spec})
    how = _sampling(study, sampling)
    return annotate_model(beside, job.name, questions, attempts=attempts, sampling=how, progress=progress)
