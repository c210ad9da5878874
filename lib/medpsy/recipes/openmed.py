"""The steps of the OpenMed recipe: what they are called, and what makes each what it is, whatever its size.

The card prints no setting of any stage; those that can be chosen are in ``params/``. Trains nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from medpsy.study import RECIPE, Study
from medpsy.training.recipes import SETTINGS

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


def openmed_parts(study: Study, methods: Iterable[str]) -> dict[str, str]:
    """Return part -> model: ``"base"``, ``"sft"``, ``"dpo"``, ``"rl"``, ``"merged"``, ``"linear"``, ``"slerp"``.

    Args:
        methods: last checkpoints of several methods, one of them this recipe's: ``"<size or model>-openmed-merged"``.

    Raises:
        ValueError: none of them is, or the study knows neither such a size nor such a model.
    """
    made = [one for name in methods if (one := RECIPE.fullmatch(name)) and one["recipe"] == NAME]
    if not made:
        raise ValueError(f"methods: none is this recipe's; name <size>-{NAME}-merged among them")
    base = made[0]["base"]
    backbone = study.model(study.targets.get(base, base)).name
    return {"base": backbone} | {part: f"{base}-{NAME}-{step}" for part, step in STEPS.items()}
