"""What the recipe of SFT, DPO, GRPO and a merge did on its way: stages, calls of tools, pairs, fused parameters.

Arranges what `medpsy.training`, `medpsy.recipes` and `medpsy.merging` found; runs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure as Canvas

from medpsy.merging.shares import WHOLE
from medpsy.recipes.tool_calls import FORMS, WELL_FORMED
from medpsy.report.display import Figure, Table, table
from medpsy.report.figures import STYLE, finished
from medpsy.statistics import PairedDifference, paired_difference, proportion_margin
from medpsy.study import Study

SMALL = 14  # rows; in a heat map of more, numbers would not fit their cells
OUTSIDE = "none"  # of the layers: embeddings and the last norm
TRAINED_ON = {"pairs": "pairs", "questions": "questions"}  # what a record counts -> its word; packs have no count


def recipe_table(records: Mapping[str, Mapping], merged: Mapping[str, Mapping]) -> Table:
    """Return one row per checkpoint: parent, method, what it was trained on, steps, tokens, seconds.

    Args:
        records: as `medpsy.training.launch` returns them.
        merged: name -> record of a merge.
    """
    rows = []
    for name, one in records.items():
        amount = next((f"{one[key]:,} {word}" for key, word in TRAINED_ON.items() if key in one), "")
        row = [name, one["parent"], one["method"], amount, one["steps"], one["tokens"], one["seconds"]]
        rows.append([*row, one["memory_gib"]])
    for name, one in merged.items():
        parents = " + ".join(entry["model"] for entry in one["configuration"]["models"])
        rows.append([name, parents, one["configuration"]["merge_method"], "", 0, 0, one["seconds"], None])
    columns = ["Checkpoint", "Parent", "Method", "Trained on", "Steps", "Tokens", "Seconds", "Memory (GiB)"]
    note = "Tokens of reinforcement learning are those of prompts and responses; attempts for pairs are not in them."
    return Table(columns, rows, "The recipe's checkpoints", note, decimals=1)


def calls_table(study: Study, calls: pd.DataFrame) -> Table:
    """Return one row per model: the share of well-formed calls, and how many of its responses had which form.

    Args:
        calls: as `medpsy.recipes.call_forms` returns them.
    """
    rows = []
    for name, own in calls.dropna(subset="form").groupby("model", sort=False):
        counts = own["form"].value_counts().reindex(list(FORMS), fill_value=0)
        good, total = int(counts[WELL_FORMED]), len(own)
        share = [100 * good / total, proportion_margin(good, total)]
        rows.append([study.model(str(name)).label, total, *share, *map(int, counts)])
    columns = ["Model", "Prompts", "Well-formed (%)", "Well-formed (%) ±", *(form.capitalize() for form in FORMS)]
    note = "Held-out traces up to their first call. Well-formed: JSON that names an offered tool and fits its schema."
    return Table(columns, rows, "Calls of tools", note, decimals=1)


def calls_gain(calls: pd.DataFrame, before: str, after: str) -> PairedDifference:
    """Return by how many points the share of well-formed calls rises, on prompts that both models answered."""
    wide = calls.assign(good=(calls["form"] == WELL_FORMED).astype(float).where(calls["form"].notna()))
    wide = wide.pivot(index="prompt", columns="model", values="good")[[after, before]].dropna()
    return paired_difference(wide[[after]].to_numpy(), wide[[before]].to_numpy())


def pairs_table(made: Mapping[str, Any]) -> Table:
    """Return what became of the questions and attempts that preference pairs are made of.

    Args:
        made: model that wrote them -> as `medpsy.recipes.preference_pairs` returns them.
    """
    rows = [
        [model, *name.split(" ", 1), number]
        for model, pairs in made.items()
        for name, number in [*sorted(pairs.counts.items()), ("pairs written", len(pairs.rows))]
    ]
    return Table(["By", "Of", "That are", "Number"], rows, "Pairs for DPO")


def fused_table(shares: pd.DataFrame) -> Table:
    """Return one row per layer: which share of the elements of each kind of tensor was taken from the RL checkpoint.

    Args:
        shares: as `medpsy.merging.fused_shares` returns them.
    """
    wide = _by_layer(shares)
    totals = shares[shares["kind"] != WHOLE].groupby("layer", sort=False)[["elements", "taken"]].sum()
    totals = (100 * totals["taken"] / totals["elements"]).rename(index={"": OUTSIDE})
    wide.insert(0, "all", totals.reindex(wide.index))
    whole = shares[shares["kind"] == WHOLE].iloc[0]
    entire = int(shares.loc[shares["kind"] != WHOLE, "everything"].sum())
    note = (
        f"Percent of all elements. Of the whole model {whole['share']:.1f} % were taken, {whole['of_changed']:.1f} % "
        f"of those that differ; of {entire} kinds of tensors all that differs. The rest is the predecessor's."
    )
    frame = wide.rename_axis("Layer").reset_index()
    return table(frame, "Fused parameters", note=note, decimals=1)


def fused_figure(shares: pd.DataFrame, *, title: str = "Parameters taken from the RL checkpoint") -> Figure:
    """Return a map of layers (downwards) and kinds of tensors: the darker, the fewer elements were taken."""
    wide = _by_layer(shares)
    labels = np.where(wide.isna(), "", wide.map("{:.1f}".format)) if len(wide) <= SMALL else False
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 1.8 + 0.36 * min(len(wide), 2 * SMALL)), layout="constrained")
        axes = canvas.subplots()
        bar = {"label": "taken of all elements (%)"}
        look = {"cmap": "cividis", "linewidths": 0.5, "vmin": 0, "annot_kws": {"fontsize": 7.5}}
        sns.heatmap(wide, ax=axes, annot=labels, fmt="", cbar_kws=bar, **look)
        axes.set(title=title, xlabel="kind of tensor", ylabel="layer")
        axes.tick_params(axis="y", rotation=0)
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    parts = shares[shares["kind"] != WHOLE]
    said = [f"layer {row.layer or OUTSIDE}, {row.kind}: {row.share:.0f} %" for row in parts.itertuples()]
    return finished(canvas, title, said)


def _by_layer(shares: pd.DataFrame) -> pd.DataFrame:
    """Return shares of taken elements (%), layers by kinds, in the order of the model."""
    parts = shares[shares["kind"] != WHOLE]
    layers = sorted(set(parts["layer"]), key=lambda name: (not name, int(name or 0)))
    wide = parts.pivot(index="layer", columns="kind", values="share").reindex(index=layers)
    return wide[list(dict.fromkeys(_inner_first(parts)))].rename(index={"": OUTSIDE})


def _inner_first(parts: pd.DataFrame) -> Sequence[Any]:
    inside = parts["layer"] != ""
    return [*parts.loc[inside, "kind"], *parts.loc[~inside, "kind"]]
