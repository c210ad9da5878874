"""What a profile was expected to take beside what it took: its plan, the records of its sections, its trainings."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from medpsy import planning
from medpsy.noted import noted
from medpsy.planning.machine import slowness
from medpsy.report.display import Table, table
from medpsy.report.ledger import SECTION as LEDGER
from medpsy.report.result import FILE, read_result
from medpsy.study import Study
from medpsy.training.job import SUMMARY, summary

FACTOR = 1.5  # ours: how close a forecast of minutes is meant to come
OWN = "11_compute_budget"
TRAINED = ("tokens", "seconds", "tokens_per_second", "mfu", "memory_gib")


def forecasts(study: Study) -> dict[str, Any]:
    """Return plan and records of every section but this one and the ledger; a replay tells what was noted.

    Returns:
        ``{gpu, slowness, sections: [{section, hours, actual, known}], trained: [{name, tokens, ...}]}``; ``hours`` are
        GPU hours, or hours of this machine where ``gpu`` is empty; ``actual`` is None where a section has not run.
    """
    return noted(study.store_dir, "budget", lambda: _found(study))


def forecast_beside(found: dict[str, Any]) -> Table:
    """Return forecast and actual of every section; `found` as `forecasts` returns it."""
    scale, unit = (1, "GPU hours") if found["gpu"] else (60, "minutes")
    rows = [_row(one, scale) for one in found["sections"]]
    ran = [one for one in found["sections"] if one["actual"] is not None and one["known"]]
    rows.append(_row(total(ran), scale) if ran else ["those that ran", None, None, None, "none yet"])
    columns = ["Section", f"Forecast ({unit})", f"Actual ({unit})", "Actual / forecast", "Note"]
    note = f"Hours are seconds times GPUs of the machine; the forecast is for {found['gpu']}." if found["gpu"] else (
        f"This machine takes {found['slowness']:.2f} times as long as the one that the costs were measured on. "
        "Forecasts are for one section at a time: sections side by side share the cores, and each takes longer."
    )  # fmt: skip
    note = f"{note} A section that finds its responses stored takes less."
    return table(pd.DataFrame(rows, columns=columns), "Forecast and actual", note=note, decimals=2)


def utilization_table(found: dict[str, Any]) -> Table:
    """Return speed and utilization of every training there is a record of; `found` as `forecasts` returns it."""
    columns = ["Checkpoint", "Tokens", "Seconds", "Tokens/s", "Share of the ceiling (%)", "Memory (GiB)"]
    rows = [[one["name"], *(one[name] for name in TRAINED)] for one in found["trained"]]
    frame = pd.DataFrame(rows or [["none yet", *[None] * len(TRAINED)]], columns=columns)
    frame[columns[4]] = 100 * frame[columns[4]].astype(float)
    note = "The ceiling is what matrix products reach on this machine; reinforcement learning samples too and has none."
    return table(frame, "Utilization measured here", note=note, decimals=1)


def forecast_verdicts(found: dict[str, Any]) -> list[dict]:
    """Return the verdict on whether the sections that ran took what was expected, within `FACTOR`."""
    ran = [one for one in found["sections"] if one["actual"] is not None and one["known"]]
    missing = len(found["sections"]) - len(ran)
    note = f"{missing} sections have not run or have no forecast" if missing else ""
    if not ran:
        text = "No section of this profile has run, so no forecast can be held against what came"
        return [{"text": text, "verdict": "not testable", "note": note}]
    whole = total(ran)
    ratio = whole["actual"] / whole["hours"]
    text = f"The {len(ran)} sections that ran took {ratio:.2f} times what was expected, within a factor of {FACTOR}"
    verdict = "pattern holds" if 1 / FACTOR <= ratio <= FACTOR else "pattern fails"
    return [{"text": text, "verdict": verdict, "note": note}]


def total(ran: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of forecast and actual over sections that ran."""
    sums = {name: sum(one[name] for one in ran) for name in ("hours", "actual")}
    return {"section": "those that ran", "known": True} | sums


def _found(study: Study) -> dict[str, Any]:
    slower = slowness() if study.source == "mini" else None
    plan = planning.plan(study.profile, slower=slower)
    rows = [row for row in plan.rows if row.section not in (OWN, LEDGER)]
    sections = [
        {"section": row.section, "hours": row.hours, "actual": _actual(study, row.section), "known": row.known}
        for row in rows
    ]
    trained = [summary(path.parent) for path in sorted(study.models_dir.glob(f"*/{SUMMARY}"))]
    shown = [{"name": one["name"]} | {name: one.get(name) for name in TRAINED} for one in trained if one]
    return {"gpu": plan.gpu, "slowness": plan.slowness, "sections": sections, "trained": shown}


def _actual(study: Study, section: str) -> float | None:
    """Return the hours that `section` took, times the GPUs of its machine, or None if there is no record."""
    path = study.section_dir(section) / FILE
    if not path.is_file():
        return None
    record = read_result(path)
    gpus = len(record.provenance.get("gpus") or []) or 1
    return None if record.seconds is None else record.seconds * gpus / 3600


def _row(one: dict[str, Any], scale: float) -> list[object]:
    actual, hours = one["actual"], one["hours"]
    if not one["known"]:
        return [one["section"], None, actual and scale * actual, None, "no forecast: nothing is known of this section"]
    if actual is None:
        return [one["section"], scale * hours, None, None, "has not run"]
    return [one["section"], scale * hours, scale * actual, actual / hours if hours else None, ""]
