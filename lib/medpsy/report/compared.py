"""Ways of training one backbone, side by side: what each cost, what each scores.

Costs are those that the records of the checkpoints state. Trains nothing and asks nothing.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from medpsy.generation import replaying
from medpsy.noted import noted
from medpsy.planning.sizes import backbone_of
from medpsy.report import compare
from medpsy.report.display import MARGIN, Figure, Table, said_score, table
from medpsy.report.figures import AVERAGE, MARKERS, PALETTE, STYLE, finished, legend_below
from medpsy.report.progression import HEALTHBENCH
from medpsy.report.rubric_scores import overall
from medpsy.report.scores import TITLES, gaps
from medpsy.report.stages import require_whole
from medpsy.scoring import AVERAGE as MEAN
from medpsy.study import CHECKPOINT, RECIPE, Study
from medpsy.training.job import summary

Records = Mapping[str, Mapping[str, Any]]  # checkpoint -> what is recorded of it


def require_methods(study: Study, methods: Mapping[str, str], *, made: str) -> list[str]:
    """Return the last checkpoint of each of `methods` and the backbones, after looking for the checkpoints.

    Args:
        methods: name of a method -> its last checkpoint.
        made: recipe whose checkpoints are still to be made.

    Raises:
        FileNotFoundError: a checkpoint is not there; names the section to run first.
        ValueError: a name that the study does not know.
    """
    for name in methods.values():
        model, stage, recipe = study.model(name), CHECKPOINT.fullmatch(name), RECIPE.fullmatch(name)
        maker = stage["stage"] if stage else recipe["recipe"] if recipe else made
        if maker != made and not replaying():  # a replay reads responses whose weights may be gone
            require_whole(model, maker, study.profile)
    return [*methods.values(), *_backbones(study, methods)]


def lineage(study: Study, name: str, merged: Records) -> dict[str, Mapping]:
    """Return the records of all checkpoints on the way to `name`, in the order of training; none of a backbone.

    Args:
        merged: name -> record of a merge, whose parents are both on the way.

    Raises:
        FileNotFoundError: a checkpoint has no record.
    """
    if name in merged:
        record = merged[name]
        parents = [one["model"] for one in record["configuration"]["models"]]
    elif CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name):
        record = noted(study.store_dir, f"training-{name}", partial(summary, study.models_dir / name))
        if record is None:
            raise FileNotFoundError(f"checkpoint {name!r} has no record of its training; run its section again")
        parents = [record["parent"]]
    else:
        return {}
    before = {key: one for parent in parents for key, one in lineage(study, parent, merged).items()}
    return before | {name: record}


def compared_costs(study: Study, methods: Mapping[str, str], merged: Records) -> pd.DataFrame:
    """Return what every method took, the backbones first, which are called by their label.

    Returns:
        Columns method, model, backbone, label, steps (names of the checkpoints on the way), tokens, seconds.
    """
    bare = {"steps": "", "tokens": 0, "seconds": 0.0}
    rows = [{"method": study.model(name).label, "model": name} | bare for name in _backbones(study, methods)]
    for method, name in methods.items():
        way = lineage(study, name, merged)
        spent = {key: sum(one.get(key, 0) for one in way.values()) for key in ("tokens", "seconds")}
        rows.append({"method": method, "model": name, "steps": ", ".join(map(_step, way))} | spent)
    found = pd.DataFrame(rows)
    found["backbone"] = [backbone_of(study, name) for name in found["model"]]
    return found.assign(label=[study.model(name).label for name in found["model"]])


def compared_table(costs: pd.DataFrame, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> Table:
    """Return one row per method: its budget, its scores on all suites and HealthBench, with margins.

    Args:
        costs: as `compared_costs` returns them.
        scores, rubric: as `medpsy.report.scored` and `medpsy.report.rubric_scored` return them.
        judge: whose HealthBench scores are taken.
    """
    known, rows = _measured(scores, rubric, judge), []
    for one in costs.itertuples():
        row = {"Method": one.method, "Checkpoint": one.label, "Trained": one.steps}
        row |= {"Tokens": one.tokens, "Seconds": one.seconds}
        for title in [TITLES[MEAN], HEALTHBENCH, *(name for name in TITLES.values() if name != TITLES[MEAN])]:
            if (one.model, title) in known.index:
                row |= {title: known.at[(one.model, title), "score"]}
                row |= {title + MARGIN: known.at[(one.model, title), "margin"]}
        rows.append(row)
    note = (
        "Points, 95 % margins. Tokens and seconds of training on this machine; those of reinforcement learning hold "
        "its rollouts, and no column the writing of corpora, attempts to tell difficulty or to make pairs, or judging."
    )
    return table(pd.DataFrame(rows), "Methods side by side", note=note, decimals=1)


def compared_figure(
    costs: pd.DataFrame, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str, *, title: str = "Score against budget"
) -> Figure:
    """Return score against tokens of training: closed-ended average and HealthBench, a marker per method."""
    known, said = _measured(scores, rubric, judge), []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 3.8), layout="constrained")
        panels = canvas.subplots(1, 2)
        for axes, measure in zip(panels, (AVERAGE, HEALTHBENCH), strict=True):
            for place, one in enumerate(costs.itertuples()):
                point = known.loc[(one.model, measure)]
                _point(axes, one, point, place)
                score = said_score(point.score, point.margin)
                said.append(f"{measure}, {one.method}: {score} at {one.tokens:,} tokens")
            axes.set(title=measure, xlabel="tokens of training (thousands)", ylabel="score; bars: 95 % margin")
            axes.grid(color="#e3e3e3", linewidth=0.6)
            axes.margins(0.16)
            sns.despine(ax=axes)
        legend_below(panels[0], panels[0].get_legend_handles_labels()[0])
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, said)


def compared_verdicts(study: Study, graded: pd.DataFrame, costs: pd.DataFrame) -> list[dict]:
    """Return for every method whether it gains on its backbone, closed-ended average, paired by question."""
    found = []
    for one in costs[costs["model"] != costs["backbone"]].itertuples():
        gain = _gain(study, graded, one.model, one.backbone)
        margin = ", no margin" if pd.isna(gain.margin) else f" ± {gain.margin:.2f} points"
        text = f"{one.method} gains on {gain.label}: {gain.difference:+.2f}{margin}"
        verdict = compare.pattern_verdict(gain.difference, gain.margin)
        note = f"closed-ended average, {one.tokens:,} tokens of training, paired by question"
        found.append({"text": text, "verdict": verdict, "note": note})
    return found


def _gain(study: Study, graded: pd.DataFrame, model: str, base: str) -> Any:
    leads = gaps(study, graded[graded["model"].isin((model, base))], reference=model)
    return leads[leads["suite"] == MEAN].iloc[0]


def _backbones(study: Study, methods: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(backbone_of(study, name) for name in methods.values()))


def _point(axes: Axes, one: Any, point: pd.Series, place: int) -> None:
    look = {"color": sns.color_palette(PALETTE)[place % 10], "marker": MARKERS[place % len(MARKERS)], "markersize": 7}
    bars = {"yerr": point.margin, "linestyle": "none", "capsize": 3, "label": one.method}
    axes.errorbar(one.tokens / 1000, point.score, **bars, **look)


def _measured(scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> pd.DataFrame:
    """Return score and margin by model and measure."""
    opened = overall(rubric)
    opened = opened[opened["judge"] == judge].assign(title=HEALTHBENCH)
    return pd.concat([scores, opened])[["model", "title", "score", "margin"]].set_index(["model", "title"])


def _step(name: str) -> str:
    """Return the stage of a checkpoint, with the recipe where it has one: ``"sft1"``, ``"o1 gspo"``."""
    made = RECIPE.fullmatch(name)
    return f"{made['recipe']} {made['step']}" if made else CHECKPOINT.fullmatch(name)["stage"]
