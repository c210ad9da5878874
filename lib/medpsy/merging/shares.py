"""How much of which tensor Arcee Fusion took from the other model, counted on the three checkpoints themselves.

An element counts as taken where the merged value lies nearer to the other model's than to the base's; elements that
are equal in both cannot be told apart and are counted by themselves. Reads weights, changes none.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy.engines.weights import model_folder, weight_files
from medpsy.merging.merge import Merged
from medpsy.noted import noted
from medpsy.study import ModelSpec, Study

LAYER = re.compile(r"\.layers\.(\d+)\.(?:.*\.)?(\w+)\.(?:weight|bias)$")
WHOLE = "whole"
COUNTS = ["elements", "changed", "taken"]


def fused_shares(study: Study, merged: Merged, *, base: ModelSpec, other: ModelSpec) -> pd.DataFrame:
    """Return one row per layer and kind of tensor, and one for the whole; a replay tells what was noted.

    Returns:
        Columns layer (text; empty outside the layers), kind, elements, changed (differ between the two models), taken
        (of those), share (taken of all elements, %), of_changed (taken of those changed, %), and everything (whether
        all that differs was taken, as happens when three quarters of a tensor are equal: its threshold is then 0).

    Raises:
        ValueError: the model was not merged by Arcee Fusion: elements of other methods come from no single model.
    """
    method = merged.record["configuration"]["merge_method"]
    if method != "arcee_fusion":
        raise ValueError(f"{merged.model.name} was merged by {method}; shares are counted for arcee_fusion only")
    rows = noted(study.store_dir, f"fused-{merged.model.name}", partial(_counted, base, other, merged.model))
    parts = pd.DataFrame(rows).groupby(["layer", "kind"], sort=False, as_index=False)[COUNTS].sum()
    whole = pd.DataFrame([{"layer": "", "kind": WHOLE} | parts[COUNTS].sum().to_dict()])
    found = pd.concat([parts, whole], ignore_index=True)
    found["share"] = 100 * found["taken"] / found["elements"]
    found["of_changed"] = 100 * found["taken"] / found["changed"].where(found["changed"] > 0)
    return found.assign(everything=(found["taken"] == found["changed"]) & (found["changed"] > 0))


def _counted(*models: ModelSpec) -> list[dict[str, Any]]:
    """Return the counts of every tensor; `models` are base, other and merged."""
    rows = []
    for name, (base, other, merged) in _tensors(*(model_folder(model) for model in models)):
        changed = base != other
        taken = changed & ((merged - other).abs() < (merged - base).abs())
        found = LAYER.search(name)
        place = {"layer": found[1], "kind": found[2]} if found else {"layer": "", "kind": name.split(".")[-2]}
        rows.append(place | {"elements": base.numel(), "changed": int(changed.sum()), "taken": int(taken.sum())})
    return rows


def _tensors(*folders: Path) -> Iterator[tuple[str, list[Any]]]:
    """Yield every tensor that all `folders` hold, one name at a time, in float32 on the CPU."""
    from safetensors import safe_open

    with ExitStack() as stack:
        opened: list[dict[str, Any]] = []
        for folder in folders:
            files = [stack.enter_context(safe_open(path, framework="pt")) for path in weight_files(folder)]
            opened.append({name: file for file in files for name in file.keys()})  # noqa: SIM118  # no mapping
        shared = set.intersection(*(set(one) for one in opened))
        for name in (name for name in opened[0] if name in shared):
            yield name, [one[name].get_tensor(name).float() for one in opened]
