"""How far the judges of a panel agree on the same criteria of the same responses.

Works on the frame of criteria (`medpsy.grading.rubric_points`) with a column ``judge``. A criterion that a judge left
unjudged is missing for that judge, never a "not met".
"""

from itertools import combinations

import numpy as np
import pandas as pd

from medpsy.grading.verdicts import UNJUDGED
from medpsy.statistics.agreement import cohen_kappa, fleiss_kappa

RESPONSE = ("model", "suite", "run", "conversation_id", "criterion")


def by_judge(frame: pd.DataFrame) -> pd.DataFrame:
    """Return outcomes with one row per criterion of a response and one column per judge, missing where unjudged."""
    unit = [name for name in RESPONSE if name in frame]
    wide = frame.pivot(index=unit, columns="judge", values="outcome")[list(frame["judge"].unique())]
    return wide.astype(object).mask(wide.isna() | (wide == UNJUDGED), None)


def pairwise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the agreement of each pair of judges on the criteria that both judged.

    Returns:
        Columns ``first``, ``second``, ``criteria`` (judged by both), ``same`` (per cent with one outcome), ``kappa``
        (Cohen's; missing where chance alone explains all).
    """
    wide, rows = by_judge(frame), []
    for first, second in combinations(wide.columns, 2):
        pair = wide[[first, second]].dropna()
        same = 100 * float((pair[first] == pair[second]).mean()) if len(pair) else np.nan
        kappa = cohen_kappa(pair[first].to_list(), pair[second].to_list())
        rows.append((first, second, len(pair), same, np.nan if kappa is None else kappa))
    return pd.DataFrame(rows, columns=["first", "second", "criteria", "same", "kappa"])


def panel_kappa(frame: pd.DataFrame) -> float | None:
    """Return Fleiss' kappa of all judges, over the criteria that all of them judged."""
    return fleiss_kappa(by_judge(frame).to_numpy().tolist())
