"""How long the responses of the recipe's checkpoints are, and by how much a stage changes that, paired by question.

Every question and conversation weighs alike. Arranges what `medpsy.lengths` counted.
"""

from collections.abc import Mapping

import pandas as pd

from medpsy.report.compare import Measured
from medpsy.report.display import Table, table
from medpsy.report.orders import LEAST
from medpsy.statistics import Z

TOKENS, REASONING = "tokens", "reasoning"
PARTS = {TOKENS: "Tokens", REASONING: "Reasoning", "answer": "Answer"}


def step_lengths(rows: pd.DataFrame, parts: Mapping[str, str]) -> Table:
    """Return one row per checkpoint: tokens of a response and of its parts, and how many were cut off.

    Args:
        rows: as `medpsy.lengths.of_responses` returns them.
        parts: heading -> model, in the order of training.
    """
    found = []
    for heading, model in parts.items():
        own = _per_question(rows)[model]
        row: dict[str, object] = {"Checkpoint": heading, "Questions": len(own)}
        for name, title in PARTS.items():
            row |= {title: own[name].mean(), f"{title} ±": Z * own[name].sem()}
        found.append(row | {"Cut off (%)": 100 * own["cut_off"].mean()})
    note = "Tokens per response to the suites and conversations, each question weighing alike; 95 % margins."
    return table(pd.DataFrame(found), "Length of responses", note=note, decimals=1)


def longer(rows: pd.DataFrame, before: str, after: str, quantity: str = TOKENS) -> Measured:
    """Return by how many tokens the responses of `after` are longer, on questions that both answered.

    Args:
        quantity: of `PARTS`.
    """
    wide = _per_question(rows)
    change = (wide[after][quantity] - wide[before][quantity]).dropna()
    margin = Z * float(change.sem()) if len(change) >= LEAST else None
    return Measured(None, float(change.mean()), margin, difference=True)


def _per_question(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over runs of every quantity: (suite, item) by (model, quantity)."""
    cut = rows.assign(cut_off=rows["cut_off"].astype(float))
    means = cut.groupby(["model", "suite", "item"])[[*PARTS, "cut_off"]].mean()
    return means.unstack("model").swaplevel(axis=1).sort_index(axis=1)
