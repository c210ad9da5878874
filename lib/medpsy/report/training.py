"""What training was expected to cost and what it did, what a target is trained on, and whether it learned: tables.

Reads the records that `medpsy.training.launch` returns; trains nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medpsy.report import compare
from medpsy.report.display import Table, table
from medpsy.statistics import Z

TENTH = 10  # a tenth of the steps at either end tells whether the loss fell


def forecast_table(forecast: pd.DataFrame, records: Mapping[str, Mapping] | None = None) -> Table:
    """Return what every stage is expected to take; with `records`, what it took beside it.

    Args:
        forecast: as `medpsy.training.sft_forecast` or `rl_forecast` returns it.
    """
    names = {"name": "Checkpoint", "rows": "Rows", "tokens": "Tokens", "steps": "Steps", "seconds": "Seconds"}
    names["memory_gib"] = "Memory (GiB)"
    frame = forecast[list(names)].rename(columns=names)
    if records is None:
        return table(frame, "Forecast", note="Tokens over all epochs; memory of one process.", decimals=1)
    frame = frame.rename(columns={name: f"{name}, expected" for name in list(names.values())[2:]})
    actual = pd.DataFrame([records[name] for name in forecast["name"]])
    for name in ("tokens", "steps", "seconds", "memory_gib"):
        frame[f"{names[name]}, actual"] = actual[name].to_list()
    frame["Tokens/s"] = actual["tokens_per_second"].to_list()
    note = "Tokens of reinforcement learning are those of prompts and responses."
    if "mfu" in actual:
        frame["MFU (%)"] = (100 * actual["mfu"]).to_list()
        note = "MFU: the model's own operations as a share of what matrix products reach on this machine."
    return table(frame, "Forecast and what came", note=note, decimals=1)


def settings_table(records: Mapping[str, Mapping]) -> Table:
    """Return the settings of every checkpoint, a row per setting."""
    columns = {name: {key: _words(value) for key, value in one["settings"].items()} for name, one in records.items()}
    frame = pd.DataFrame(columns).rename_axis("Setting").reset_index()
    return table(frame, "Settings", decimals=6)


def template_table(seen: Sequence[Mapping[str, str]]) -> Table:
    """Return how every target is written to; `seen` as `medpsy.training.seen` returns it."""
    frame = pd.DataFrame(seen)
    note = "The loss falls on the completion alone, from its first token to the end of the turn."
    return table(frame, "What the targets see", note=note)


def journal(records: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return one row per logged step of every checkpoint: ``name`` and whatever the trainer logged."""
    frames = [pd.DataFrame(one["log"]).assign(name=name) for name, one in records.items()]
    return pd.concat(frames, ignore_index=True)


def loss_verdicts(records: Mapping[str, Mapping]) -> list[dict]:
    """Return the verdict on whether each loss fell from the first tenth of the steps to the last."""
    return [_fell(name, [row["loss"] for row in one["log"] if "loss" in row]) for name, one in records.items()]


def _fell(name: str, losses: Sequence[float]) -> dict:
    count = max(2, len(losses) // TENTH)
    if len(losses) < 2 * count:
        text = f"{name}: {len(losses)} steps are too few to see the loss fall"
        return {"text": text, "verdict": "too few to tell", "note": ""}
    first, last = np.array(losses[:count]), np.array(losses[-count:])
    fell = float(first.mean() - last.mean())
    margin = Z * float(np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / count))
    text = f"{name}: the loss falls from {first.mean():.3f} to {last.mean():.3f} nats per token"
    return {"text": text, "verdict": compare.pattern_verdict(fell, margin), "note": f"by {fell:.3f} ± {margin:.3f}"}


def _words(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
