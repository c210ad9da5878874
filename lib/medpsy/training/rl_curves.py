"""What a stage of reinforcement learning looked like, rollout by rollout, from the log its checkpoint keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medpsy.training.rewards import TIERS

HELD_OUT = "eval_rewards/accuracy/mean"
TIER = "tier/"  # what the shares of a reward's tiers are logged under
UNJUDGED_SHARE = "judge/unjudged"
SHARES = {"accuracy": "rewards/accuracy/mean", "held_out": HELD_OUT}  # become points
NAMES = {
    "reward": "reward",
    "reward_std": "reward_std",
    "penalty": "rewards/soft_overlong_punishment_reward/mean",
    "length": "completions/mean_length",
    "cut_off": "completions/clipped_ratio",
    "entropy": "entropy",
    "kl": "kl",
    "clipped_low": "clip_ratio/low_mean",
    "clipped_high": "clip_ratio/high_mean",
    "clipped": "clip_ratio/region_mean",
    "grad_norm": "grad_norm",
    "unjudged": UNJUDGED_SHARE,
    "equal_groups": "frac_reward_zero_std",
    "rounds": "dynamic/rounds",
    "drawn_equal": "dynamic/equal",
    "useful": "dynamic/useful",
    "loss": "loss",
    "learning_rate": "learning_rate",
    "step_seconds": "step_time",
    "seconds": "seconds",
}


def curves(log: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per logged step, with the evaluation at that step in the same row.

    Args:
        log: of the trainer, as a checkpoint's record keeps it.

    Returns:
        ``step``, ``accuracy`` and ``held_out`` (points; the latter missing where nothing was evaluated), the columns
        of `NAMES`, ``reward_variance``, and a share for each tier of the reward: `TIERS`, or those of a judge. Shares
        of what is clipped (tokens, or whole sequences under a sequence ratio) are means over the updates of a rollout,
        of which the first is never clipped; ``grad_norm`` is that of the last update, before it is cut. Responses
        without a verdict are in ``unjudged`` and in no mean of rewards. Step 0 holds the parent's evaluation alone.
    """
    merged: dict[int, dict[str, Any]] = {}
    for row in log:
        if HELD_OUT in row or "reward" in row:
            merged.setdefault(int(row["step"]), {}).update(row)
    tiers = {f"tier: {key.removeprefix(TIER)}": key for key in tier_keys(log)}
    rows = [
        {"step": step}
        | {name: 100 * row[key] if key in row else None for name, key in SHARES.items()}
        | {name: row.get(key) for name, key in (NAMES | tiers).items()}
        for step, row in sorted(merged.items())
    ]
    frame = pd.DataFrame(rows, columns=["step", *SHARES, *NAMES, *tiers])
    frame = frame.astype({name: float for name in frame.columns if name != "step"})
    return frame.assign(reward_variance=frame["reward_std"] ** 2)


def tier_keys(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the shares of tiers are logged under: those of `TIERS`, or of a judge where one gave the reward."""
    ruled = [f"{TIER}{tier}" for tier in TIERS.values()]
    found = dict.fromkeys(key for row in log for key in row if key.startswith(TIER))
    return ruled if set(found) <= set(ruled) else list(found)
