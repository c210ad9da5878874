"""What a trainer logged, as tables: the curves of reinforcement learning, and whether a loss fell."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medpsy import claims
from medpsy.stats import Z
from medpsy.training.rewards import TIER, TIERS, UNJUDGED_SHARE

HELD_OUT = "eval_rewards/accuracy/mean"
SHARE_CURVES = {"accuracy": "rewards/accuracy/mean", "held_out": HELD_OUT}  # become points
CURVES = {
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
        of `CURVES`, ``reward_variance``, and a share for each tier of the reward: `TIERS`, or those of a judge. Shares
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
        | {name: 100 * row[key] if key in row else None for name, key in SHARE_CURVES.items()}
        | {name: row.get(key) for name, key in (CURVES | tiers).items()}
        for step, row in sorted(merged.items())
    ]
    frame = pd.DataFrame(rows, columns=["step", *SHARE_CURVES, *CURVES, *tiers])
    frame = frame.astype({name: float for name in frame.columns if name != "step"})
    return frame.assign(reward_variance=frame["reward_std"] ** 2)


def tier_keys(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the shares of tiers are logged under: those of `TIERS`, or of a judge where one gave the reward."""
    ruled = [f"{TIER}{tier}" for tier in TIERS.values()]
    found = dict.fromkeys(key for row in log for key in row if key.startswith(TIER))
    return ruled if set(found) <= set(ruled) else list(found)


TENTH = 10  # a tenth of the steps at either end tells whether the loss fell


def loss_findings(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a finding for each checkpoint: did its loss fall from the first tenth of its steps to the last?

    Args:
        records: name -> record of its training, as `medpsy.training.launch` returns them.
    """
    return [_fell(name, [row["loss"] for row in one["log"] if "loss" in row]) for name, one in records.items()]


def _fell(name: str, losses: Sequence[float]) -> dict[str, str]:
    count = max(2, len(losses) // TENTH)
    if len(losses) < 2 * count:
        text = f"{name}: {len(losses)} steps are too few to see the loss fall"
        return {"text": text, "verdict": "too few to tell", "note": ""}
    first, last = np.array(losses[:count]), np.array(losses[-count:])
    fell = float(first.mean() - last.mean())
    margin = Z * float(np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / count))
    text = f"{name}: the loss falls from {first.mean():.3f} to {last.mean():.3f} nats per token"
    return {"text": text, "verdict": claims.sign_status(fell, margin), "note": f"by {fell:.3f} ± {margin:.3f}"}
