"""GSPO, GRPO and DAPO as jobs of one recipe: the same start, questions, judge, adapter and budget, and several seeds.

What makes a method is here; how long, how fast and within which bounds it is trained is the caller's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from medpsy.recipes.corpora import O1
from medpsy.recipes.open_set import OpenSet
from medpsy.recipes.writing import Written
from medpsy.study import Study
from medpsy.training.job import Job
from medpsy.training.judge_settings import Judge, Tier
from medpsy.training.open_questions import OpenQuestion, write_open_questions
from medpsy.training.recipes import recipe_job

SFT = "sft"  # the step that all methods start from
METHODS: dict[str, dict[str, Any]] = {
    # GSPO, section 4: the likelihood of a whole response by its length is weighed and clipped
    "gspo": {"ratio": "sequence", "token_level_loss": False, "overlong_penalty": False},
    # the baseline of that paper: the same objective with a ratio for every token
    "grpo": {"ratio": "token", "token_level_loss": False, "overlong_penalty": False},
    # DAPO, section 3: the mean over all tokens of a rollout, and a penalty on length
    "dapo": {"ratio": "token", "token_level_loss": True, "overlong_penalty": True},
}
# A KL term is in none of them, and groups of equal rewards are not replaced: each would change what a budget buys.
SHARED = {"no_kl": True, "clip_higher": True, "dynamic_sampling": False, "reward": "judge", "keep": "last"}
SHARED |= {"held_out_batch": 1}  # nothing is held out within a stage whose reward is a judge's
POINTS = 5.0  # shown to the judge beside a criterion, below 0 where its reward is


def checkpoint(study: Study, base: str, step: str, seed: int | None = None) -> str:
    """Return the name of what `step` leaves of `base` (a size class or a model); the study's own seed is not in it."""
    return f"{base}-{O1}-{step}" + ("" if seed in (None, study.seed) else f"-s{seed}")


def seeds(study: Study, trainings: int) -> list[int]:
    """Return the seeds of so many trainings, the study's own first."""
    if trainings < 1:
        raise ValueError(f"trainings: {trainings}; at least one is needed")
    return [study.seed + place for place in range(trainings)]


def greedy(study: Study) -> Study:
    """Return `study` with judges that answer greedily: a reward has to be the same each time.

    Raises:
        ValueError: the study does not say how judges reply.
    """
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    return replace(study, judge_sampling=replace(study.judge_sampling, temperature=0.0))


def tiered(model: str, tiers: Mapping[str, float], *, otherwise: float, no_conclusion: float) -> Judge:
    """Return the judge `model` with `tiers`: criterion -> reward, in the order in which they count."""
    made = [Tier(text, reward, -POINTS if reward < 0 else POINTS) for text, reward in tiers.items()]
    return Judge(model, tuple(made), otherwise, no_conclusion)


def sft_job(study: Study, base: str, corpus: Written, settings: Mapping[str, Any]) -> Job:
    """Return the job that teaches `base` the form of `corpus`; `settings` are fields of `SftSettings`."""
    parent, files = study.targets.get(base, base), sorted(corpus.folder.glob("*.parquet"))
    return recipe_job(study, checkpoint(study, base, SFT), parent=parent, method="sft", settings=settings, data=files)


def method_jobs(
    study: Study,
    base: str,
    questions: OpenSet,
    judge: Judge,
    settings: Mapping[str, Any],
    *,
    clip_ranges: Mapping[str, Sequence[float]],
    trainings: int,
) -> list[list[Job]]:
    """Return a sequence of one job per method and seed, all of which start from the checkpoint of `SFT`.

    Args:
        settings: fields of `RlSettings` that all methods share.
        clip_ranges: method, a key of `METHODS` -> how far below and above 1 its ratio may be.
    """
    if unknown := sorted(set(clip_ranges) - set(METHODS)):
        raise ValueError(f"clip_ranges: {unknown[0]!r} is no method; known are {', '.join(METHODS)}")
    file = study.outputs / "training" / "questions" / O1 / "train.parquet"
    write_open_questions(file, [as_open(one) for one in questions.train])
    return [
        [
            recipe_job(
                study,
                checkpoint(study, base, method, seed),
                parent=checkpoint(study, base, SFT),
                method="rl",
                settings=method_settings(method, judge, settings, clip),
                data=[file],
            )
        ]
        for seed in seeds(study, trainings)
        for method, clip in clip_ranges.items()
    ]


def method_settings(method: str, judge: Judge, shared: Mapping[str, Any], clip: Sequence[float]) -> dict[str, Any]:
    """Return the fields of `RlSettings` but for the seed that make `method`; arguments as those of `method_jobs`."""
    asked = asdict(judge) | {"tiers": [asdict(tier) for tier in judge.tiers]}  # settings have lists, as files do
    low, high = clip
    return {**SHARED, **shared, "judge": asked, **METHODS[method], "epsilon": low, "epsilon_high": high}


def as_open(question: Mapping[str, Any]) -> OpenQuestion:
    """Return a question of an `OpenSet` as training and judges take it."""
    return OpenQuestion(question["id"], tuple(question["prompt"]), question["reference"])
