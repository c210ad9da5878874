"""The steps of the OpenMed recipe: what they are called, and what makes each what it is, whatever its size.

The card prints no setting of any stage. What depends on model and machine is in ``params/``. Trains nothing.
"""

from typing import Any

from medpsy.study import Study

MERGES = {"merged": "arcee_fusion", "linear": "linear", "slerp": "slerp"}  # card: Arcee Fusion; ours: to compare with
STEPS = {"sft": "sft", "dpo": "dpo", "rl": "grpo"} | {part: part for part in MERGES}  # part -> step in its name
OPENMED: dict[str, dict[str, Any]] = {  # part -> settings of its stage
    "sft": {
        "floor": 0.1,  # ours: not stated; as in 04_sft
        "weight_decay": 0.01,  # ours: not stated
        "beta2": 0.98,  # ours: not stated
        "clip": 1.0,  # ours: not stated
        "micro_batch": 1,  # ours: packs at a time
        "save_every": 50,  # ours: steps
    },
    "dpo": {
        "beta": 0.1,  # ours: not stated; TRL's default
        "clip": 1.0,  # ours: not stated
        "save_every": 50,  # ours: steps
    },
    "rl": {  # the card names GRPO: none of the parts that DAPO added, and a KL term (DeepSeekMath, equation 3)
        "token_level_loss": False,
        "no_kl": False,
        "clip_higher": False,
        "dynamic_sampling": False,
        "overlong_penalty": True,  # card: short rationales encouraged; ours: by this penalty
        "keep": "last",  # ours: not stated
        "weight_decay": 0.0,  # ours: not stated
        "clip": 1.0,  # ours: not stated
        "evaluate_every": 20,  # ours: rollouts between two resume points
        "held_out_batch": 1,  # ours: not used, since the last checkpoint is kept
    },
}


def openmed_parts(study: Study, base: str) -> dict[str, str]:
    """Return part -> model: ``"base"``, ``"sft"``, ``"dpo"``, ``"rl"``, ``"merged"``, ``"linear"``, ``"slerp"``.

    Args:
        base: size class of the study, or one of its models.

    Raises:
        ValueError: neither.
    """
    backbone = study.model(study.targets.get(base, base)).name
    return {"base": backbone} | {part: f"{base}-openmed-{step}" for part, step in STEPS.items()}
