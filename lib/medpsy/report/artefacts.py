"""The files beside a record: one CSV per table, one PNG and one SVG per figure.

Draws nothing and formats nothing; files of an earlier record are removed first, so that none outlives its table.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure as Canvas

from medpsy.files import write_text, write_whole
from medpsy.report.display import Figure, Table, table


def as_tables(values: Mapping[str, Table | pd.DataFrame]) -> dict[str, Table]:
    """Return every value as a `Table`; a data frame is titled by its name."""
    return {name: value if isinstance(value, Table) else table(value, name) for name, value in values.items()}


def as_figures(values: Mapping[str, Figure | Canvas]) -> dict[str, Figure]:
    """Return every value as a `Figure`; a bare matplotlib figure is titled and described by its name."""
    return {name: value if isinstance(value, Figure) else Figure(value, name, name) for name, value in values.items()}


def table_entries(tables: Mapping[str, Table]) -> dict[str, dict]:
    """Return what the record says of each table, the numbers included."""
    return {
        name: {
            "title": shown.title,
            "note": shown.note,
            "decimals": shown.decimals,
            "columns": shown.columns,
            "rows": shown.rows,
            "links": shown.links,
            "marks": shown.marks,
            "csv": f"tables/{name}.csv",
        }
        for name, shown in tables.items()
    }


def figure_entries(figures: Mapping[str, Figure]) -> dict[str, dict]:
    """Return what the record says of each figure."""
    return {
        name: {"title": drawn.title, "alt": drawn.alt, "png": f"figures/{name}.png", "svg": f"figures/{name}.svg"}
        for name, drawn in figures.items()
    }


def write_files(folder: Path, tables: Mapping[str, Table], figures: Mapping[str, Figure]) -> None:
    """Write ``tables/NAME.csv``, ``figures/NAME.png`` and ``figures/NAME.svg`` under `folder`."""
    for name in ("tables", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, shown in tables.items():
        write_text(folder / f"tables/{name}.csv", shown.exact.to_csv(index=False, lineterminator="\n"))
    for name, drawn in figures.items():
        write_whole(folder / f"figures/{name}.png", drawn.save)
        write_whole(folder / f"figures/{name}.svg", drawn.save)
