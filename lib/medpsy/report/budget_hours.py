"""GPU hours of section 3.5 from tokens, parameters and shares of the peak, and what the printed hours imply."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy import planning
from medpsy.planning import formulas
from medpsy.planning.costs import costs
from medpsy.planning.sizes import known, printed
from medpsy.report.budget import DATA, HOURS, LEARNING, MODELS, PIPELINE, SFT, TUNING, Assumed, number
from medpsy.report.display import Table, table

COLUMN = "H100 GPU hours"
POINTS = 60  # of a line of the figure
RECIPE, RL_SECTION = "paper", "05_rl"
FACTOR = 2.0  # ours: how far off an estimate may be that rests on guesses of lengths and utilization


@dataclass(frozen=True)
class Hours:
    """GPU hours of one phase as printed, and the least and most of first principles."""

    phase: str
    published: float
    least: float
    most: float
    basis: str


def printed_hours(phase: str) -> float:
    """Return the GPU hours of `phase` as printed."""
    return number(HOURS, phase, COLUMN)


def data_hours(about: Assumed) -> Hours:
    """Return the hours of writing all rows, over the shares of the peak that writing may reach."""
    tokens, active = about.rows * about.row, about.teacher.active
    ends = [
        formulas.writing_hours(tokens, active, about.sheet, share) for share in (about.writing[-1], about.writing[0])
    ]
    basis = (
        f"{about.rows / 1e6:.0f} million rows of {about.row:,.0f} tokens, {active / 1e9:.0f} billion active "
        f"parameters, {100 * about.writing[0]:.0f} to {100 * about.writing[-1]:.0f} % of the peak"
    )
    return Hours(DATA, printed_hours(DATA), *ends, basis)


def tuning_hours(about: Assumed, share: float) -> Hours:
    """Return the hours of training both models on `share` of all rows, for all epochs of the report."""
    epochs = number(SFT, "Epochs", "Value")
    tokens = about.rows * share * (about.row + about.prompt) * epochs
    ends = [_both(about, tokens, reached) for reached in (about.training[-1], about.training[0])]
    basis = (
        f"{100 * share:.0f} % of the rows, {epochs:.0f} epochs, both models, "
        f"{100 * about.training[0]:.0f} to {100 * about.training[-1]:.0f} % of the peak"
    )
    return Hours(TUNING, printed_hours(TUNING), *ends, basis)


def learning_hours(about: Assumed) -> Hours:
    """Return the hours of the stages of profile `paper`, whose settings are ours; a factor of two either way."""
    hours = planning.stage_hours(RECIPE, RL_SECTION, about.gpu)
    basis = f"both stages and models with the settings of profile {RECIPE}, a factor of {FACTOR:.0f} either way"
    return Hours(LEARNING, printed_hours(LEARNING), hours / FACTOR, FACTOR * hours, basis)


def hours_table(about: Assumed) -> Table:
    """Return the printed hours of every phase beside those of first principles."""
    phases = [
        data_hours(about),
        tuning_hours(about, 1.0),
        tuning_hours(about, used_share(about)),
        learning_hours(about),
    ]
    frame = pd.DataFrame([vars(one) for one in phases])
    frame = frame[["phase", "published", "least", "most", "basis"]]
    names = ["Phase", "Published (GPU hours)", "At least", "At most", "Rests on"]
    whole, third = printed_hours(PIPELINE), sum(printed_hours(one) for one in (DATA, TUNING, LEARNING))
    note = (
        f"Published total {whole:,.0f}, sum of its parts {third:,.0f}. Rows: those of all experiments (section 2.1); "
        "how many the final corpora hold, and how long a row is, the report does not say: the second line of SFT takes "
        "the share that the printed hours pay for."
    )
    return table(frame.set_axis(names, axis=1), "GPU hours", note=note, decimals=0)


def used_share(about: Assumed) -> float:
    """Return the share of all rows that the printed SFT hours pay for, at the middle of the training shares."""
    middle = about.training[len(about.training) // 2]
    epochs = number(SFT, "Epochs", "Value")
    whole = _both(about, about.rows * (about.row + about.prompt) * epochs, middle)
    return printed_hours(TUNING) / whole


def roofline(about: Assumed, name: str) -> tuple[float, float]:
    """Return share of the peak and GPU hours of all rows if the teacher `name` writes as fast as memory allows."""
    size = known()[about.teachers[name]]
    rate = formulas.writing_rate(size, about.sheet, costs().serving, about.prompt + about.row / 2)
    return formulas.utilization(size, about.sheet, rate), about.rows * about.row / rate / formulas.HOUR


def implied_share(about: Assumed) -> float:
    """Return the share of the peak at which the printed hours of data generation write all rows."""
    one = formulas.writing_hours(about.rows * about.row, about.teacher.active, about.sheet, 1.0)
    return one / printed_hours(DATA)


def sensitivity(about: Assumed) -> pd.DataFrame:
    """Return hours against utilization for every teacher.

    Returns:
        Columns ``teacher``, ``active`` (billions), ``share`` (of the peak, %), ``hours``, ``place`` (``"line"``, or
        ``"memory"`` for the point that memory bandwidth allows).
    """
    rows = []
    for name, path in about.teachers.items():
        active = known()[path].active
        for share in np.geomspace(about.writing[0], about.writing[-1], POINTS):
            hours = formulas.writing_hours(about.rows * about.row, active, about.sheet, share)
            rows.append([name, active / 1e9, 100 * share, hours, "line"])
        share, hours = roofline(about, name)
        rows.append([name, active / 1e9, 100 * share, hours, "memory"])
    return pd.DataFrame(rows, columns=["teacher", "active", "share", "hours", "place"])


def teacher_table(about: Assumed) -> Table:
    """Return what every teacher costs if it writes as fast as memory allows."""
    rows = [
        [name, known()[path].shape.parameters / 1e9, known()[path].active / 1e9]
        for name, path in about.teachers.items()
    ]
    frame = pd.DataFrame(rows, columns=["Teacher", "Parameters (billions)", "Active (billions)"])
    found = [roofline(about, name) for name in about.teachers]
    frame["Share of the peak (%)"], frame["GPU hours"] = [100 * one[0] for one in found], [one[1] for one in found]
    serving = costs().serving
    note = (
        f"Decoding reads weights and caches at every step: {100 * serving.bandwidth:.0f} % of the bandwidth of an "
        f"{about.gpu}, {serving.slots} responses at a time, as few GPUs as hold the weights. Prompts are left out."
    )
    return table(frame, "Writing all rows, by teacher", note=note, decimals=1)


def _both(about: Assumed, tokens: float, share: float) -> float:
    """Return the GPU hours of training both published models on `tokens` each."""
    document = about.row + about.prompt
    rates: Mapping[str, float] = {
        size: formulas.training_rate(printed(model), about.sheet, share, document) for size, model in MODELS.items()
    }
    return sum(tokens / rate for rate in rates.values()) / formulas.HOUR
