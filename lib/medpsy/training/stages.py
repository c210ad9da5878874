"""The stages of a study and the steps of the sister recipes as jobs, how hard questions are, and what is told of both.

Attempts are read by the reader of the reward (`medpsy.training.rewards`), so what counts as right here is what earns
its reward there; a request that failed is no attempt.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCard

from medpsy import claims, licences, prompts, strict
from medpsy.data.questions import Question
from medpsy.engines import fingerprint
from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.models import model_folder, text_config
from medpsy.files import write_text
from medpsy.stats import Z
from medpsy.store import Progress, ResponseStore, Session, noted, replaying
from medpsy.study import CHECKPOINT, RECIPE, RECIPES, STAGES, ModelSpec, Study
from medpsy.training.data import CORPUS, RlSet, question_files
from medpsy.training.jobs import Job, summary
from medpsy.training.rewards import CURVES, HELD_OUT, LISTED, TIER, Judge, grade


def recorded(study: Study, name: str) -> dict[str, Any] | None:
    """Return what was recorded of the training of the checkpoint `name`, or None of a model that is no checkpoint."""
    if not (CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)):
        return None
    record = noted(study.store_dir, f"training-{name}", partial(summary, study.models_dir / name))
    if record is None:
        raise FileNotFoundError(f"checkpoint {name!r} has no record of its training; run its section again")
    return record


def targets(study: Study, seeds: Sequence[int]) -> list[tuple[str, int]]:
    if not study.targets:
        raise ValueError(f"targets: params/{study.profile}/study.yaml names none; nothing is trained in this profile")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {list(seeds)} must name each seed once, and at least one")
    return [(size, seed) for size in study.targets for seed in seeds]


def sft_jobs(study: Study, configs: Mapping[str, Any], seeds: Sequence[int]) -> list[list[Job]]:
    """Return the SFT stages of every target and seed; `configs`: stage -> its `trl.SFTConfig`."""
    files = {stage: sorted((study.corpora_dir / CORPUS[stage]).glob("*.parquet")) for stage in configs}
    for stage, there in files.items():
        if not there:
            raise FileNotFoundError(f"{stage}: corpus {CORPUS[stage]} is not there; run 03_training_data first")
    return [
        [stage_job(study, size, stage, "sft", config, seed, files[stage]) for stage, config in configs.items()]
        for size, seed in targets(study, seeds)
    ]


def rl_jobs(
    study: Study, stage: str, config: Any, chosen: pd.DataFrame, questions: RlSet, seeds: Sequence[int]
) -> list[list[Job]]:
    """Return the job of `stage`, ``"rl1"`` or ``"rl2"``, of every target and seed, by a `DapoConfig`. `chosen`: rows of
    `annotate` whose questions the stage asks; none for a checkpoint is a ValueError."""
    jobs = []
    for size, seed in targets(study, seeds):
        name = study.checkpoint(size, stage, seed).name
        wanted = set(chosen.loc[(chosen["size"] == size) & (chosen["seed"] == seed), "question_id"])
        asked = [question for question in questions.train if question.id in wanted]
        if not asked:
            raise ValueError(
                f"{name}: none of {len(questions.train)} questions is chosen; rl1 wants some that are right at times "
                "(train SFT further, or raise max_tokens), rl2 some that are still wrong"
            )
        files = question_files(study, name, asked, questions)
        jobs.append([stage_job(study, size, stage, "rl", config, seed, files)])
    return jobs


def stage_job(study: Study, size: str, stage: str, method: str, config: Any, seed: int, data: Sequence[Path]) -> Job:
    """Return the job of a stage of the study; it starts from the backbone, or the checkpoint of the stage before."""
    from medpsy.training.config import given  # takes seconds, and a plan needs none of it

    base, place = study.targets[size], STAGES.index(stage)
    start = study.checkpoint(size, STAGES[place - 1], seed) if place else study.model(base)
    spec = study.checkpoint(size, stage, seed)
    return placed(study, spec, base, start, method=method, config=given(config) | {"seed": seed}, data=data)


def placed(study: Study, spec: ModelSpec, base: str, start: ModelSpec, *, data: Sequence[Path], **parts: Any) -> Job:
    """Return the job that makes the model `spec` of `start`; `base`: its backbone; `parts`: further fields of the job.
    A start of another architecture than the backbone's is a ValueError."""
    backbone, folder = study.model(base), Path(start.path)
    if not replaying():  # then no model is here, and none is needed
        folder = start.local_dir or model_folder(start)
        given = text_config(folder).get("architectures")
        wanted = text_config(backbone.local_dir or model_folder(backbone)).get("architectures")
        if given and given != wanted:
            raise ValueError(
                f"{spec.name}: {'/'.join(folder.parts[-2:])} is a {', '.join(given)}, its backbone {backbone.name} a "
                f"{', '.join(wanted)}; delete the folder and run the section that leaves it"
            )
    return Job(
        spec.name,
        parent=str(folder),
        folder=str(study.models_dir / spec.name),
        work=str(study.outputs / "training" / spec.name),
        data=tuple(map(str, data)),
        store=str(study.store_dir),
        opens_thinking=spec.opens_thinking,
        switches=dict(spec.chat_template_kwargs),
        made_of=licences.of_model(backbone),
        **parts,
    )


PARTS: dict[str, dict[str, Any]] = LISTED["parts"]


def switch_jobs(study: Study, config: Any, stage: Job) -> dict[str, Job]:
    """Return short stages by what is left out: ``"all"`` parts on first, then each of `PARTS` off, in their order. They
    share parent, questions and seed with the job `stage`. `config` is a `DapoConfig` with all parts on that keeps the
    last checkpoint: to choose the best would hide a part without which training goes astray."""
    from medpsy.training.config import given  # takes seconds, and a plan needs none of it

    told = given(config) | {"seed": stage.config["seed"]}
    folder, jobs = study.outputs / "training" / "switches", {}
    for part, changed in {"all": {}, **PARTS}.items():
        if any(getattr(config, name) == value for name, value in changed.items()):
            raise ValueError(f"switches: {part} is off already; nothing could be compared with all parts on")
        name = f"{stage.name}-{f'without-{part}' if changed else part}"
        paths = {"folder": str(folder / name), "work": str(folder / f"{name}.work")}
        jobs[part] = replace(stage, name=name, config=told | changed, **paths)
    return jobs


def annotate(study: Study, stage: str, questions: RlSet, seeds: Sequence[int], **how: Any) -> pd.DataFrame:
    """Let the checkpoints of `stage` attempt all training questions; `how` as of `annotate_model`. Returns the rows of
    `annotate_model`, with ``model``, ``label``, ``size`` and ``seed`` beside them."""
    frames = []
    for size, seed in targets(study, seeds):
        spec = study.checkpoint(size, stage, seed)
        frame = annotate_model(study, spec.name, questions.train, **how)
        frames.append(frame.assign(model=spec.name, label=spec.label, size=size, seed=seed))
    return pd.concat(frames, ignore_index=True)


def annotate_job(study: Study, job: Job, questions: Sequence[Question], **how: Any) -> pd.DataFrame:
    """Let the checkpoint of a job of `switch_jobs`, which is none of the study's, attempt `questions`."""
    path = Path(job.folder).relative_to(study.outputs.parents[1]).as_posix()
    spec = replace(study.checkpoint(job.name.partition("-")[0], "rl1"), name=job.name, path=path, label=job.name)
    return annotate_model(replace(study, models={**study.models, job.name: spec}), job.name, questions, **how)


EARNED = ["value", "right", "chosen"]
ANSWER = ["text", "finish_reason", "prompt_tokens", "completion_tokens"]


def annotate_model(
    study: Study,
    model: str,
    questions: Sequence[Question],
    *,
    attempts: int,
    sampling: Mapping[str, Any] | Sampling,
    progress: Progress = None,
) -> pd.DataFrame:
    """Let `model` attempt every question `attempts` times, as runs 0, 1, ... of the study's store.

    Args:
        sampling: fields of `medpsy.engines.base.Sampling` but for the seed, which is the study's; or a whole one.

    Returns:
        One row per run and question, in their order: ``question_id``, ``run``, `ANSWER`, and `EARNED` as of
        `medpsy.training.rewards.Reward`, missing where the request failed.
    """
    spec, frames = study.model(model), []
    if attempts < 1 or not questions:
        raise ValueError(f"{attempts} attempts at {len(questions)} questions; give at least one of each")
    if not isinstance(sampling, Sampling):
        place = strict.Place(f"params/{study.profile}", ("sampling",))
        sampling = strict.build(Sampling, dict(sampling), place, seed=study.seed)
    asked = [Prompt(f"{question.suite}/{question.id}", prompts.closed_ended(question)) for question in questions]
    session, names = Session(study, ResponseStore(study.store_dir), progress), [question.id for question in questions]
    for run, answers in enumerate(session.ask(model, asked, range(attempts), sampling)):
        frame = answers[ANSWER].reset_index(drop=True).assign(question_id=names, run=run)
        earned: list[Mapping[str, Any]] = []
        for question, text, reason in zip(questions, frame["text"], frame["finish_reason"], strict=True):
            how = {"opens_thinking": spec.opens_thinking, "finished": reason == "stop"}
            earned.append({} if reason == "failed" else vars(grade(text, question, **how)))
        frames.append(frame.join(pd.DataFrame(earned, columns=EARNED).astype(float)))
    return pd.concat(frames, ignore_index=True)


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
    """Return the job that leaves the checkpoint `name`, which `study.model` then finds; what does not fit is refused.

    Args:
        name: size or model, recipe, step, and seed where it is not the study's: ``"small-o1-gspo-s8"``.
        method: ``"sft"``, ``"rl"`` or ``"dpo"``; `config` holds arguments of its configuration.
        data: files: a corpus (sft), pairs (dpo), questions to train on and held-out ones (rl), or, where a judge gives
            the reward instead of rules, open questions.
        lora: arguments of `peft.LoraConfig`, where an adapter is trained.
    """
    import torch  # these take seconds, and a plan needs none of it
    from peft import LoraConfig

    from medpsy.training.config import CONFIGS, check, given

    made, lora, judging = RECIPE.fullmatch(name), lora or {}, {}
    if not made or name in study.models:
        raise ValueError(f"name {name!r} must be <size>-<recipe>-<step>[-s<seed>], recipe one of {', '.join(RECIPES)}")
    file = f"params/{study.profile}/{RECIPES[made['recipe']]}.yaml"
    check(CONFIGS[method], file, **{made["step"]: config})
    check(LoraConfig, file, lora=lora)
    if method == "rl" and lora.get("lora_dropout"):
        place = strict.Place(file, ("lora", "lora_dropout"))
        raise place.error(f"{lora['lora_dropout']} would change the ratios that are clipped; set it to 0")
    built = CONFIGS[method](output_dir="", use_cpu=not torch.cuda.is_available(), **config)
    if judge:
        if built.load_best_model_at_end:
            raise ValueError("load_best_model_at_end: it needs held-out questions with gold; with a judge it is false")
        judging = {} if replaying() else {"fingerprint": fingerprint(study.model(judge.model))}
        judging |= {"sampling": asdict(study.judging()), "attempts": study.judge_attempts}
        judging |= {"profile": study.profile, "judge": json.loads(json.dumps(asdict(judge)))}
    parts = {"config": given(built) | {"seed": int(made["seed"] or study.seed)}, "lora": lora, "judge": judging}
    start = study.model(parent) if isinstance(parent, str) else parent
    base = study.targets.get(made["base"], made["base"])
    return placed(study, study.model(name), base, start, method=method, data=data, **parts)


Scores = Mapping[str, tuple[float, float | None]]  # title of a suite -> points (0 to 100) and 95 % margin


def fill_cards(study: Study, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> None:
    """Write the scores of every checkpoint of the study into its card, for readers and for the hub. `scores`, `rubric`:
    as of `medpsy.scoring`; HealthBench's are those by `judge`."""
    judged = rubric.query("kind == 'overall' and suite == 'healthbench' and judge == @judge").set_index("model")
    for name, rows in scores.groupby("model", sort=False):
        path = study.models_dir / str(name) / "README.md"
        if not path.is_file():
            continue
        points = {row.title: (row.score, row.margin) for row in rows.itertuples()}
        if name in judged.index:
            points[judged.at[name, "suite_title"]] = tuple(judged.loc[name, ["score", "margin"]])
        write_text(path, scored(ModelCard.load(path), str(name), points))


def scored(card: ModelCard, name: str, scores: Scores) -> str:
    """Return the text of `card` with `scores` in the place of those that it has."""
    card.data.model_name, card.data.eval_results = name, evaluations(scores)
    parts = re.split(r"(?<=## Scores\n\n).*?(?=\n\n## Licences)", card.text, maxsplit=1, flags=re.DOTALL)
    card.text = score_table(scores).join(parts)  # a card without the two headings keeps its text
    return str(card)


def evaluations(scores: Scores) -> list[EvalResult] | None:
    """Return `scores` as the hub lists them, None where there are none."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=re.sub(r"\W+", "-", title.lower()),
            dataset_name=title,
            metric_type="points",
            metric_name="Points (0 to 100)",
            metric_value=round(float(points), 1),
            metric_args=None if margin is None else {"margin_95": round(float(margin), 1)},
        )
        for title, (points, margin) in scores.items()
    ] or None


def score_table(scores: Scores) -> str:
    ends = {title: "" if margin is None else f" ± {margin:.1f}" for title, (_, margin) in scores.items()}
    rows = [f"| {title} | {points:.1f}{ends[title]} |" for title, (points, _) in scores.items()]
    return "\n".join(["| Suite | Points (0 to 100), 95 % margin |", "| --- | --- |", *rows])


def curves(log: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per logged step of a trainer's `log`, with the evaluation at that step in the same row.

    Returns:
        ``step``, the columns of `CURVES` (``accuracy`` and ``held_out`` in points, the latter missing where nothing was
        evaluated), the share of each tier of the reward, ``"tier: ..."``, and ``reward_variance``. Shares of what is
        clipped (tokens, or whole sequences under a sequence ratio) are means over the updates of a rollout, of which
        the first is never clipped; ``grad_norm`` is that of the last update, before it is cut. ``drawn_equal``
        is the share of all groups drawn in which every response answered alike well. Responses without a verdict are in
        ``unjudged`` and in no mean of rewards. Step 0 holds the parent's evaluation alone.
    """
    rows = pd.DataFrame([row for row in log if HELD_OUT in row or "reward" in row])
    names = CURVES | {f"tier: {name.removeprefix(TIER)}": name for name in rows.columns if name.startswith(TIER)}
    frame = rows.groupby("step").last().reindex(columns=list(names.values())).astype(float)
    frame = frame.set_axis(list(names), axis=1)
    frame[["accuracy", "held_out"]] *= 100
    return frame.assign(reward_variance=frame["reward_std"] ** 2).reset_index()


def loss_findings(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a finding for each record of `launch`: did the loss fall from the first tenth of the steps to the last?"""
    findings = []
    for name, record in records.items():
        losses = np.array([row["loss"] for row in record["log"] if "loss" in row])
        count = max(2, len(losses) // 10)
        if len(losses) < 2 * count:
            text = f"{name}: {len(losses)} steps are too few to see the loss fall"
            findings.append({"text": text, "verdict": "too few to tell", "note": ""})
            continue
        first, last = losses[:count], losses[-count:]
        fell, margin = first.mean() - last.mean(), Z * np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / count)
        text = f"{name}: the loss falls from {first.mean():.3f} to {last.mean():.3f} nats per token"
        note = f"by {fell:.3f} ± {margin:.3f}"
        findings.append({"text": text, "verdict": claims.sign_status(float(fell), float(margin)), "note": note})
    return findings
