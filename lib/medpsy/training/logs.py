"""What a trainer logged, as tables: the curves of reinforcement learning, and whether a loss fell."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medpsy import claims
from medpsy.stats import Z
from medpsy.training.rewards import HELD_OUT, TIER, UNJUDGED_SHARE

CURVES = {
    "accuracy": "rewards/accuracy/mean",
    "held_out": HELD_OUT,
    "reward": "reward",
    "reward_std": "reward_std",
    "penalty": "rewards/soft_overlong_punishment_reward/mean",
    "length": "completions/mean_length",
    "longest": "completions/max_length",
    "entropy": "entropy",
    "kl": "kl",
    "clipped_low": "clip_ratio/low_mean",
    "clipped_high": "clip_ratio/high_mean",
    "clipped": "clip_ratio/region_mean",
    "grad_norm": "grad_norm",
    "unjudged": UNJUDGED_SHARE,
    "rounds": "dynamic/rounds",
    "drawn_equal": "dynamic/equal",
    "useful": "dynamic/useful",
    "loss": "loss",
}


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
