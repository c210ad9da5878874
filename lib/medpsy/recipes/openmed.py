"""The steps of the OpenMed recipe: what they are called, and what makes each what it is, whatever its size.

The card prints no setting of any stage; those that can be chosen are in ``params/``. Trains nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from medpsy.recipes.preferences import Pairs
from medpsy.study import RECIPE, ModelSpec, Study
from medpsy.training.job import Job
from medpsy.training.recipes import SETTINGS, recipe_job
from medpsy.training.rl_questions import RlSet, question_files

NAME = "openmed"
MERGES = {"merged": "arcee_fusion", "linear": "linear", "slerp": "slerp"}  # card: Arcee Fusion; ours: to compare with
STEPS = {"sft": "sft", "dpo": "dpo", "rl": "grpo"} | {part: part for part in MERGES}  # part -> step in its name
OPENMED: dict[str, dict[str, Any]] = {  # part, which is a method's name too -> what makes its stage
    "sft": {},
    "dpo": {},
    "rl": {  # the card names GRPO: none of the parts that DAPO added, and a KL term (DeepSeekMath, equation 3)
        "token_level_loss": False,
        "no_kl": False,
        "clip_higher": False,
        "dynamic_sampling": False,
        "overlong_penalty": True,  # card: short rationales encouraged; ours: by this penalty
        "keep": "last",  # ours: what the stage does is to be seen, good or bad
        "held_out_batch": 1,  # asks nothing, since the last checkpoint is kept
    },
}


def openmed_stages(*shared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return part -> what makes its stage, and those of the `shared` settings that its method has.

    Raises:
        ValueError: a setting that no stage has.
    """
    given = {name: value for some in shared for name, value in some.items()}
    known = {part: {field.name for field in fields(SETTINGS[part])} for part in OPENMED}
    if unknown := sorted(set(given) - set().union(*known.values())):
        raise ValueError(f"common: no stage has a setting {unknown[0]!r}; known are those of {', '.join(known)}")
    return {part: own | {name: given[name] for name in given if name in known[part]} for part, own in OPENMED.items()}


def openmed_parts(study: Study, merged: str) -> dict[str, str]:
    """Return part -> model: ``"base"``, ``"sft"``, ``"dpo"``, ``"rl"``, ``"merged"``, ``"linear"``, ``"slerp"``.

    Args:
        merged: what the recipe ends in: ``"<size or model>-openmed-merged"``.

    Raises:
        ValueError: it is none of this recipe's, or the study knows neither such a size nor such a model.
    """
    made = RECIPE.fullmatch(merged)
    if not made or made["recipe"] != NAME:
        raise ValueError(f"{merged!r} is none of this recipe's; name <size or model>-{NAME}-merged")
    base = made["base"]
    backbone = study.model(study.targets.get(base, base)).name
    return {"base": backbone} | {part: f"{base}-{NAME}-{step}" for part, step in STEPS.items()}


def openmed_trainings(study: Study, methods: Iterable[str]) -> list[dict[str, str]]:
    """Return the parts (as `openmed_parts`) of every backbone to be trained.

    Args:
        methods: last checkpoints of several methods, one of them this recipe's; of several, the last is the card's.

    Raises:
        ValueError: as `openmed_parts`, or no method is this recipe's.
    """
    own = [name for name in methods if (made := RECIPE.fullmatch(name)) and made["recipe"] == NAME]
    if not own:
        raise ValueError(f"methods: none is this recipe's; name <size>-{NAME}-merged among them")
    return [openmed_parts(study, merged) for merged in own]


def openmed_jobs(
    study: Study, parts: Mapping[str, str], pairs: Pairs, chosen: RlSet, settings: Mapping[str, Mapping[str, Any]]
) -> list[Job]:
    """Return stage 2 on `pairs` and stage 3 on the questions `chosen`; `settings` are those of ``"dpo"``, ``"rl"``."""
    second = {"settings": settings["dpo"], "data": sorted(pairs.folder.glob("*.parquet"))}
    third = {"settings": settings["rl"], "data": question_files(study, parts["rl"], chosen.train, chosen.held_out)}
    return [
        recipe_job(study, parts["dpo"], parent=parts["sft"], method="dpo", **second),
        recipe_job(study, parts["rl"], parent=parts["dpo"], method="rl", **third),
    ]


def openmed_pair(study: Study, parts: Mapping[str, str]) -> dict[str, ModelSpec]:
    """Return the two checkpoints that the last step merges, as arguments of `medpsy.merging.merge`."""
    return {"base": study.model(parts["dpo"]), "other": study.model(parts["rl"])}
