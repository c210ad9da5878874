"""Training speeds that others have published, and the share of the peak that follows from them."""

import csv
from pathlib import Path

import pandas as pd

from medpsy.planning.costs import costs
from medpsy.planning.formulas import GIGA, TERA

FILE = Path(__file__).with_name("anchors.csv")
NUMBERS = ("parameters", "operations", "tokens_per_second")


def anchors() -> pd.DataFrame:
    """Return one row per published speed.

    Returns:
        Columns ``source``, ``setup``, ``gpu``, ``parameters`` (billions), ``operations`` (per parameter and token:
        6, or 4 where weights take no gradient), ``tokens_per_second`` (one GPU), ``printed`` (share of the peak, 0 to
        1, or missing) and ``utilization`` (recomputed: the operations of attention are left out).
    """
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = pd.DataFrame(csv.DictReader(file))
    rows = rows.astype(dict.fromkeys(NUMBERS, float)).assign(printed=pd.to_numeric(rows["printed"]))
    peaks = rows["gpu"].map(lambda name: costs().gpus[name].peak * TERA)
    done = rows["parameters"] * GIGA * rows["operations"] * rows["tokens_per_second"]
    return rows.assign(utilization=done / peaks)
