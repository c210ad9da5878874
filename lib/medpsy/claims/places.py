"""Printed cells and who stands in them (`cells.yaml`): our numbers, the tier of what ran, and what a tier lets us say.

Where the published model itself answered, its value is tested; where another one stands in, a sign or an order. Lack of
power is never called agreement.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

import numpy as np
import yaml

from medpsy.claims.draws import LEAST, Cell, Draws, Values
from medpsy.published.tables import grid, grids
from medpsy.study import Study

AGREES, DIFFERS, OPEN = "agrees", "differs", "too few to tell"
HOLDS, FAILS, NOT_TESTABLE = "pattern holds", "pattern fails", "not testable"
STATUSES = (AGREES, DIFFERS, OPEN, HOLDS, FAILS, NOT_TESTABLE)
KINDS = {AGREES: "good", HOLDS: "good", DIFFERS: "bad", FAILS: "bad"}  # others: open
EXACT, PROXY, STAND_IN = "exact", "proxy", "stand-in"  # tiers
RESOLUTION = 3.0  # points; ours: a score known no better than this is not called reproduced
SURE = 0.975  # share of replicates on one side that settles an order; two-sided 95 %
ROUNDING = 1e-9  # keeps a gap that equals its margin inside it despite binary fractions


class NotMeasured(LookupError):
    """What a claim speaks of was not measured here; the argument names it."""


@dataclass(frozen=True)
class Places:
    """Who stands where."""

    study: Study
    draws: Draws
    plays: Mapping[str, str]  # printed model -> model of the study that it is, or whose part it plays
    judges: Mapping[str, str] = field(default_factory=dict)  # the report's name of a judge -> judge of the study

    def at(self, cell) -> tuple[Values, set[Cell]]:
        """Return our numbers for a printed cell, and what stands behind them; `NotMeasured` names what is missing."""
        if cell.model and cell.measure:
            return self.score(cell.model, cell.measure)
        if pair := cells()["differences"].get(cell.table, {}).get(cell.row):
            return _less(*(self.at(grid(cell.table)[row][cell.column]) for row in pair))
        raise NotMeasured(f"{cell.row}, {cell.column}")

    def score(self, model: str, measure: str) -> tuple[Values, set[Cell]]:
        """Return our numbers for a printed model and measure, as `at` does."""
        if parts := cells()["means"].get(measure):
            scores = [self.score(model, part) for part in parts]
            return np.mean([values for values, _ in scores], axis=0), set().union(*(behind for _, behind in scores))
        if measure in cells()["changes"]:
            return _less(*(self.score(name, cells()["changes"][measure]) for name in (model, source_of(model))))
        if model not in self.plays:
            raise NotMeasured(model)
        cell = measure, self.plays[model]
        if cell not in self.draws.values:
            raise NotMeasured(measure)
        return self.draws.values[cell], {cell}

    def noisy(self) -> "Places":
        """Return the same with replicates that differ by run noise alone."""
        return replace(self, draws=replace(self.draws, values=self.draws.noise))

    def tier(self, behind: Iterable[Cell]) -> tuple[str, str]:
        """Return how near the published protocol `behind` is, and which part of a proxy differs."""
        printed, differs = {ours: model for model, ours in self.plays.items()}, {}
        for measure, model in set(behind):
            if self.study.source != "hub" or model not in printed or not self._is(model, printed[model], differs):
                return STAND_IN, ""
            name = next((judge for judge in self.judges if f"({judge})" in measure), None)
            label = name and self.study.model(self.judges[name]).label
            if name and not label.startswith(name):
                differs[f"judged by {label}"] = None
            asked = self.study.conversations_per_suite if "HealthBench" in measure else self.study.questions_per_suite
            if asked and measure != "File size":
                differs[f"a sample of {asked} of each suite"] = None
        return (PROXY, ", ".join(differs)) if differs else (EXACT, "")

    def _is(self, model: str, printed: str, differs: dict) -> bool:
        """Return whether `model` is the printed one; a file of it that was quantized here is, and `differs`."""
        source = source_of(printed)
        if source is None or self.study.model(model).label == printed:
            return self.study.model(model).label == printed
        differs["quantized here"] = None
        return source in self.plays and self.study.model(self.plays[source]).label == source


def _less(first: tuple[Values, set[Cell]], second: tuple[Values, set[Cell]]) -> tuple[Values, set[Cell]]:
    return first[0] - second[0], first[1] | second[1]


def played(stands_for: Mapping[str, str], **roles: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[dict]]]:
    """Return `plays` and `scopes` of `measure` for size classes that follow the report's recipe.

    Args:
        stands_for: size class -> one of the tables that `cells.yaml` lists for a class of the report.
        roles: role (``backbone``, a stage, or a quantized file, e.g. ``Q4_K_M`` and ``Q4_K_M_plain``) -> size class ->
            model of the study.
    """
    plays, scopes = {}, []
    for size, table in stands_for.items():
        name, printed = next((name, about) for name, about in cells()["classes"].items() if table in about["tables"])
        models = {role: by_size[size] for role, by_size in roles.items() if size in by_size}
        for role, model in models.items():
            form, plain, _ = role.partition("_plain")
            row = printed["roles"].get(role) or f"{printed['roles']['rl2']}-{form}"
            plays[row + (" without imatrix" if plain else "")] = model
        scopes.append({"size": size, "class": name, "table": table, **models})
    return plays, {"size": scopes}


def judge_names(columns: Mapping[str, str]) -> dict[str, str]:
    """Return judge of the study -> the report's name of it, from the heading of a column or that name itself."""
    return {judge: cells()["judges"].get(column, column) for judge, column in columns.items()}


def printed(model: str, measure: str, *tables: str) -> float | None:
    """Return the number that the report prints for a model and measure, the first one in `tables` (all by default);
    None where it prints none."""
    every = (cell for name in tables or grids() for row in grid(name).values() for cell in row.values())
    return next((float(cell.number) for cell in every if (cell.model, cell.measure) == (model, measure)), None)


@cache
def cells() -> dict:
    """Return `cells.yaml`."""
    return yaml.safe_load((files("medpsy.claims") / "cells.yaml").read_text(encoding="utf-8"))


def source_of(printed: str) -> str | None:
    """Return the printed model that a printed quantized file was made of, None of other models."""
    finals = [about["roles"]["rl2"] for about in cells()["classes"].values()]
    return next((name for name in finals if printed.startswith(f"{name}-")), None)


# Statuses.


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def value_status(
    printed: float | None, ours: float | None, margin: float | None, *, resolution: float = RESOLUTION,
    half_unit: float = 0.0,
) -> str:  # fmt: skip
    """Return the status of a published value, `margin` being that of ``ours - printed``, `resolution` the widest one at
    which being inside it counts as agreement, and `half_unit` half a unit of the last printed digit."""
    if not (known(printed) and known(ours)):
        return NOT_TESTABLE
    if not known(margin):
        return OPEN
    if abs(ours - printed) > margin + half_unit + ROUNDING:
        return DIFFERS
    return AGREES if margin <= resolution + ROUNDING else OPEN


def sign_status(difference: float | None, margin: float | None) -> str:
    """Return the status of a pattern that claims ``difference > 0``."""
    if not known(difference):
        return NOT_TESTABLE
    if not known(margin) or abs(difference) <= margin + ROUNDING:
        return OPEN
    return HOLDS if difference > 0 else FAILS


def unchanged_status(difference: float | None, margin: float | None, *, resolution: float = RESOLUTION) -> str:
    """Return the status of a pattern that claims no difference: it holds where `resolution` would have been seen."""
    tested = value_status(0.0, difference, margin, resolution=resolution)
    return {AGREES: HOLDS, DIFFERS: FAILS}.get(tested, tested)


def order_status(share: float, questions: int | None) -> str:
    """Return the status of an order that holds in `share` of the replicates (0 to 1)."""
    if questions is not None and questions < LEAST:
        return OPEN
    return HOLDS if share >= SURE else FAILS if share <= 1 - SURE else OPEN


def all_hold(statuses: Iterable[str]) -> str:
    """Return the status of a pattern made of several: one failure fails it, one doubt leaves it open."""
    statuses = list(statuses)
    return next((word for word in (FAILS, OPEN, NOT_TESTABLE) if word in statuses), HOLDS if statuses else NOT_TESTABLE)


def status(
    printed: float | None, ours: float, margin: float | None, tier: str, *, compares: bool = True, neutral: float = 0.0,
    resolution: float = RESOLUTION, half_unit: float = 0.0,
) -> str:  # fmt: skip
    """Return the status that a tier allows on a published number: its value, or the sign of its difference from
    `neutral`, 0 or of a ratio 1, where it `compares` several models."""
    if not (known(printed) and known(ours)) or (tier == STAND_IN and not compares):
        return NOT_TESTABLE
    if tier != STAND_IN:
        tested = value_status(printed, ours, margin, resolution=resolution, half_unit=half_unit)
        return OPEN if tier == PROXY and tested == DIFFERS else tested
    if printed == neutral:
        return unchanged_status(ours - neutral, margin, resolution=resolution)
    return sign_status(math.copysign(1, printed - neutral) * (ours - neutral), margin)
