"""What reinforcement learning did: levels of difficulty, curves, the best checkpoint, and the worth of DAPO's parts."""

from collections.abc import Mapping
from math import hypot

import matplotlib as mpl
import pandas as pd

from medpsy.report import compare
from medpsy.report.display import Figure, Table, table
from medpsy.report.figures import STYLE, finished, legend_below, rows_canvas
from medpsy.statistics import proportion_margin
from medpsy.training.difficulty import LEVELS, UNKNOWN
from medpsy.training.rl_curves import curves

COLOURS = dict(zip(LEVELS, ("#009e73", "#f0c05a", "#d55e00"), strict=True))  # of Okabe and Ito
ENDS = 4  # rollouts at either end that are compared
PANELS = {
    "reward": "reward",
    "held_out": "held-out accuracy (points)",
    "length": "tokens per response",
    "entropy": "entropy (nats per token)",
    "clipped_high": "share of tokens clipped above",
    "drawn_equal": "share of groups drawn in vain",
}


def levels_table(annotated: pd.DataFrame, records: Mapping[str, Mapping]) -> Table:
    """Return how many questions every annotated checkpoint found easy, moderate or difficult.

    Args:
        annotated: rows of `medpsy.training.annotate`, of one or several stages.
        records: of the checkpoints that were trained next; the last column counts the questions these took.
    """
    counts = annotated.groupby(["model", "label"], sort=False)["level"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=[*LEVELS, UNKNOWN], fill_value=0)
    taken = {one["parent"]: one["questions"] for one in records.values()}
    frame = counts.rename(columns=str.capitalize).reset_index(level="label").rename(columns={"label": "Checkpoint"})
    frame["Taken by the next stage"] = [taken.get(model) for model in frame.index]
    note = "Easy: right in all attempts; moderate: in some; difficult: in none. Read by the rule that reads the reward."
    return table(frame.reset_index(drop=True), "How hard the questions are", note=note)


def levels_figure(annotated: pd.DataFrame, *, title: str = "How hard the questions are") -> Figure:
    """Return one bar per annotated checkpoint: the shares of easy, moderate and difficult questions."""
    counts = annotated.groupby("label", sort=False)["level"].value_counts().unstack(fill_value=0)
    shares = 100 * counts.reindex(columns=list(LEVELS), fill_value=0).div(counts.sum(axis=1), axis=0)
    rows = [str(name) for name in shares.index]
    with mpl.rc_context(STYLE):
        canvas, axes = rows_canvas(title, rows, 1.3 + 0.36 * len(rows))
        for level, left in zip(LEVELS, (shares.cumsum(axis=1) - shares).T.to_numpy(), strict=True):
            bars = axes.barh(range(len(rows)), shares[level], left=left, color=COLOURS[level], label=level, height=0.7)
            axes.bar_label(bars, [f"{share:.0f}" for share in shares[level]], label_type="center", fontsize=8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("questions (%)")
        legend_below(axes, axes.get_legend_handles_labels()[0])
    said = [f"{row}: " + ", ".join(f"{level} {shares.loc[row, level]:.0f} %" for level in LEVELS) for row in rows]
    return finished(canvas, title, said)


def rl_journal(records: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return the curves of every checkpoint, a row per rollout, with ``name``; accuracies in points."""
    return pd.concat([curves(one["log"]).assign(name=name) for name, one in records.items()], ignore_index=True)


def rl_table(records: Mapping[str, Mapping]) -> Table:
    """Return what every stage started from and came to on the held-out questions, and how long its responses were."""
    rows = []
    for name, one in records.items():
        log = curves(one["log"])
        before, best = one["held_out_before"], one["held_out_best"]
        margins = [_margin(score, one["held_out"]) for score in (before, best)]
        rollouts = log.dropna(subset="reward")
        length = [rollouts["length"].head(ENDS).mean(), rollouts["length"].tail(ENDS).mean()]
        clipped = 100 * rollouts["clipped_high"].max()
        rows.append([name, one["questions"], before, margins[0], best, margins[1], one["best_step"], *length, clipped])
    columns = [
        "Checkpoint",
        "Questions",
        "Held out, parent",
        "Held out, parent ±",
        "Held out, best",
        "Held out, best ±",
    ]
    columns += ["Best step", "Tokens, first rollouts", "Tokens, last rollouts", "Most clipped above (%)"]
    note = "Step 0 is the parent. The best of several evaluations is too good by selection; section 4.5 measures anew."
    return Table(columns, rows, "Reinforcement learning", note, decimals=1)


def rl_verdicts(records: Mapping[str, Mapping]) -> list[dict]:
    """Return the verdict on whether each stage's best checkpoint beats its parent on the held-out questions."""
    found = []
    for name, one in records.items():
        gain = one["held_out_best"] - one["held_out_before"]
        margin = hypot(*(_margin(one[key], one["held_out"]) for key in ("held_out_before", "held_out_best")))
        text = (
            f"{name}: its best checkpoint (step {one['best_step']}) gains {gain:.1f} points on the held-out questions"
        )
        note = f"± {margin:.1f}, the two taken as independent; chosen as the best of several evaluations"
        found.append({"text": text, "verdict": compare.pattern_verdict(gain, margin), "note": note})
    return found


def switch_table(outcomes: pd.DataFrame) -> Table:
    """Return what switching one part of DAPO off does; `outcomes` as of `medpsy.training.switch_outcomes`."""
    names = {"part": "Switched off", "accuracy": "Accuracy", "accuracy_margin": "Accuracy ±", "tokens": "Tokens"}
    names |= {"tokens_margin": "Tokens ±", "difference": "Accuracy, change", "difference_margin": "Accuracy, change ±"}
    names |= {"longer": "Tokens, change", "longer_margin": "Tokens, change ±"}
    frame = outcomes[list(names)].rename(columns=names)
    frame["Switched off"] = ["nothing", *frame["Switched off"].iloc[1:]]
    note = "Held-out questions, several attempts each; changes against all parts on, paired by question. 95 % margins."
    return table(frame, "DAPO without one of its parts", note=note, decimals=1)


def switch_verdicts(outcomes: pd.DataFrame) -> list[dict]:
    """Return for every part the verdict on whether accuracy falls without it."""
    found = []
    for row in outcomes.iloc[1:].itertuples():
        change = f"{abs(row.difference):.1f} points {'higher' if round(row.difference, 1) > 0 else 'lower'}"
        text = f"{row.part} switched off: a short stage ends {change} on the held-out questions"
        note = f"± {row.difference_margin:.1f}, paired; responses {row.longer:+.1f} ± {row.longer_margin:.1f} tokens"
        verdict = compare.pattern_verdict(-row.difference, row.difference_margin)
        found.append({"text": text, "verdict": verdict, "note": note})
    return found


def _margin(score: float, questions: int) -> float:
    return proportion_margin(round(score / 100 * questions), questions)
