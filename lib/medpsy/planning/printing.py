"""A plan as text for people and as data for programs."""

import math
import shutil
from dataclasses import asdict

from medpsy import study
from medpsy.planning.plans import TOTAL, Plan, Row

UNKNOWN = "no forecast: nothing is known of this section"
NIGHT = 12  # hours
LINE = "{:<24}{:>12}{:>12}{:>12}{:>12}{:>12}{:>11}{:>11}"


def printed(plan: Plan) -> str:
    """Return `plan` as lines of text: a row per notebook, the total, and how to read it."""
    names = ["section", "read", "written", "trained", "GPU hours" if plan.gpu else "minutes", "GiB", "GB of disk", "$"]
    lines = [LINE.format(*names), *(_line(plan, row) for row in plan.rows), _line(plan, plan.total)]
    return "\n".join(line.rstrip() for line in [*lines, "", *_notes(plan)])


def as_json(plan: Plan) -> dict:
    """Return `plan` as JSON-ready data, rows as `medpsy.planning.Row` has them, the total among them last."""
    about = {"profile": plan.profile, "gpu": plan.gpu or None, "price": plan.price, "slowness": plan.slowness}
    about |= {"wall_hours": None if plan.gpu else plan.wall}
    return about | {"rows": [asdict(row) for row in (*plan.rows, plan.total)]}


def _line(plan: Plan, row: Row) -> str:
    if not row.known:
        return f"{row.section:<24}  {UNKNOWN}"
    time = _amount(row.hours if plan.gpu else 60 * row.hours)
    money = "" if row.money is None else f"{row.money:,.0f}"
    words = [
        _tokens(row.read),
        _tokens(row.written),
        _tokens(row.trained),
        time,
        _amount(row.memory),
        _amount(row.disk),
    ]
    return LINE.format(row.section, *words, money)


def _tokens(count: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f}" if count else "–"


def _amount(value: float) -> str:
    return (
        "–" if not value else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 0.1 else f"{value:.2f}"
    )


def _notes(plan: Plan) -> list[str]:
    notes = [
        "Tokens of prompts, tokens generated, tokens trained on. What an earlier section asked is not asked again."
    ]
    if plan.gpu:
        notes += [f"Hours of one {plan.gpu} at ${plan.price:g}; {TOTAL} over all GPUs. GiB: of one GPU, at most."]
        notes += [
            "No GPU was at hand when the costs were set down: hours follow from data sheets and may be off by two."
        ]
    else:
        notes += [
            "Minutes of this machine, one section after another; `make report` runs as many at a time as there are "
            f"cores, and takes about {60 * plan.wall:.0f}."
        ]
        notes += [f"This machine takes {plan.slowness:.2f} times as long as the one that the costs were measured on."]
    if plan.total.elsewhere:
        far = _tokens(plan.total.elsewhere)
        notes += [f"{far} further tokens are written by endpoints of yours (base_url in study.yaml), not priced here."]
    return notes + _room(plan)


def _room(plan: Plan) -> list[str]:
    """Return what has to be downloaded and kept against what is free here, and how many GPUs it takes at a time."""
    total, free = plan.total, shutil.disk_usage(study.ROOT).free / 1e9
    fits = "" if total.disk < free else ": too little; free some, or put the project on a larger disk"
    room = f"{_amount(total.download)} GB to download, " if total.download else ""
    notes = [f"{room}{_amount(total.disk)} GB on the disk in all; {free:,.0f} GB are free here{fits}."]
    if plan.gpu and total.gpus > 1:
        return [*notes, f"The largest model takes {total.gpus} {plan.gpu} at a time."]
    if plan.gpu:
        nights = math.ceil(total.hours / NIGHT)
        notes += [f"One {plan.gpu} is enough: {nights} night{'s' * (nights > 1)} of {NIGHT} hours."]
    return notes
