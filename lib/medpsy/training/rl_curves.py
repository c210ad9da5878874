"""What a stage of reinforcement learning looked like, rollout by rollout, from the log its checkpoint keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medpsy.training.rewards import TIERS

HELD_OUT = "eval_rewards/accuracy/mean"
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
        of `NAMES`, and a share for each of `TIERS`. Shares of clipped tokens are means over the updates of a rollout,
        of which the first is never clipped. Step 0 holds the evaluation of the parent alone.
    """
    merged: dict[int, dict[str, Any]] = {}
    for row in log:
        if HELD_OUT in row or "reward" in row:
            merged.setdefault(int(row["step"]), {}).update(row)
    tiers = {f"tier: {tier}": f"tier/{tier}" for tier in TIERS.values()}
    rows = [
        {"step": step}
        | {name: 100 * row[key] if key in row else None for name, key in SHARES.items()}
        | {name: row.get(key) for name, key in (NAMES | tiers).items()}
        for step, row in sorted(merged.items())
    ]
    frame = pd.DataFrame(rows, columns=["step", *SHARES, *NAMES, *tiers])
    return frame.astype({name: float for name in frame.columns if name != "step"})
