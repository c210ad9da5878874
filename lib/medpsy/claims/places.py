"""Printed cells and who stands in them (`cells.yaml`): our numbers, the tier of what ran, and what a tier lets us say.

Where the published model itself answered, its value is tested; where another one stands in, a sign or an order. Lack of
power is never called agreement.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
import yaml

from medpsy.claims.draws import LEAST, Cell, Draws, Values
from medpsy.published.tables import grid, grids
from medpsy.study import Study

AGREES, DIFFERS, OPEN, HOLDS, FAILS, NOT_TESTABLE = (
    *("agrees", "differs", "too few to tell", "pattern holds", "pattern fails", "not testable"),
)
KINDS = {AGREES: "good", HOLDS: "good", DIFFERS: "bad", FAILS: "bad"}  # others: open
STATUSES = (AGREES, DIFFERS, OPEN, HOLDS, FAILS, NOT_TESTABLE)
EXACT, PROXY, STAND_IN = "exact", "proxy", "stand-in"  # tiers
RESOLUTION = 3.0  # points; ours: a score known no better than this is not called reproduced
SURE = 0.975  # share of replicates on one side that settles an order; two-sided 95 %
ROUNDING = 1e-9  # keeps a gap that equals its margin inside it despite binary fractions


class NotMeasured(LookupError):
    """What a claim speaks of was not measured here; the argument names it."""


@dataclass(frozen=True)
class Places:
    """Who stands where.

    Args:
        plays: printed model -> model of the study that it is, or whose part it plays.
        judges: the report's name of a judge -> judge of the study, likewise.
    """

    study: Study
    draws: Draws
    plays: Mapping[str, str]
    judges: Mapping[str, str] = field(default_factory=dict)

    def at(self, cell) -> tuple[Values, set[Cell]]:
        """Return our numbers for a printed cell, and the measures and models behind them.

        Raises:
            NotMeasured: naming the model, measure or row.
        """
        if cell.model and cell.measure:
            return self.score(cell.model, cell.measure)
        if pair := cells()["differences"].get(cell.table, {}).get(cell.row):
            (first, one), (second, two) = (self.at(grid(cell.table)[row][cell.column]) for row in pair)
            return first - second, one | two
        raise NotMeasured(f"{cell.row}, {cell.column}")

    def score(self, model: str, measure: str) -> tuple[Values, set[Cell]]:
        """Return our numbers for a printed model and measure, as `at` does."""
        if parts := cells()["means"].get(measure):
            scores = [self.score(model, part) for part in parts]
            return np.mean([values for values, _ in scores], axis=0), set().union(*(behind for _, behind in scores))
        if of := cells()["changes"].get(measure):
            (file, one), (source, two) = self.score(model, of), self.score(source_of(model), of)
            return file - source, one | two
        ours = self.plays.get(model)
        if ours is None:
            raise NotMeasured(model)
        if (measure, ours) not in self.draws.values:
            raise NotMeasured(measure)
        return self.draws.values[measure, ours], {(measure, ours)}

    def noisy(self) -> "Places":
        """Return the same with replicates that differ by run noise alone."""
        return Places(self.study, Draws(self.draws.noise, {}, self.draws.items, {}), self.plays, self.judges)

    def tier(self, behind: Iterable[Cell]) -> tuple[str, str]:
        """Return how near the published protocol `behind` is, and which part of a proxy differs."""
        behind, printed = set(behind), {ours: model for model, ours in self.plays.items()}
        differs = {}
        for measure, model in behind:
            itself = self.study.source == "hub" and model in printed and self._is(model, printed[model], differs)
            if not itself:
                return STAND_IN, ""
            name = next((judge for judge in self.judges if f"({judge})" in measure), "")
            if name and not self.study.model(self.judges[name]).label.startswith(name):
                differs[f"judged by {self.study.model(self.judges[name]).label}"] = None
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


def played(stands_for: Mapping[str, str], **roles: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[dict]]]:
    """Return `plays` and `scopes` of `measure` for size classes that follow the report's recipe.

    Args:
        stands_for: size class -> one of the tables that `cells.yaml` lists for a class of the report.
        roles: role (``backbone``, a stage, or a quantized file, e.g. ``Q4_K_M`` and ``Q4_K_M_plain``) -> size class ->
            model of the study.
    """
    plays, scopes = {}, []
    for size, table in stands_for.items():
        name, known = next((name, one) for name, one in cells()["classes"].items() if table in one["tables"])
        models = {role: models[size] for role, models in roles.items() if size in models}
        for role, model in models.items():
            form, _, plain = role.partition("_plain")
            printed = known["roles"].get(role) or f"{known['roles']['rl2']}-{form}"
            plays[printed + (" without imatrix" if role.endswith("_plain") else "")] = model
        scopes.append({"size": size, "class": name, "table": table, **models})
    return plays, {"size": scopes}


def judge_names(columns: Mapping[str, str]) -> dict[str, str]:
    """Return judge of the study -> the report's name of it, from the heading of a column or that name itself."""
    return {judge: cells()["judges"].get(column, column) for judge, column in columns.items()}


def printed(model: str, measure: str, *tables: str) -> float | None:
    """Return the number that the report prints for a model and measure, the first one in `tables` (all by default);
    None where it prints none."""
    every = (cell for name in tables or grids() for row in grid(name).values() for cell in row.values())
    return next((float(one.number) for one in every if (one.model, one.measure) == (model, measure)), None)


@cache
def cells() -> dict:
    """Return `cells.yaml`."""
    return yaml.safe_load((files("medpsy.claims") / "cells.yaml").read_text(encoding="utf-8"))


def source_of(printed: str) -> str | None:
    """Return the printed model that a printed quantized file was made of, None of other models."""
    finals = [one["roles"]["rl2"] for one in cells()["classes"].values()]
    return next((name for name in finals if printed.startswith(f"{name}-")), None)


# Statuses.


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def value_status(
    printed: float | None, ours: float | None, margin: float | None, *, resolution: float = RESOLUTION,
    half_unit: float = 0.0,
) -> str:  # fmt: skip
    """Return the status of a published value.

    Args:
        margin: half width of the 95 % interval of ``ours - printed``.
        resolution: widest margin at which being inside it counts as agreement.
        half_unit: half a unit of the last printed digit.
    """
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
    found = value_status(0.0, difference, margin, resolution=resolution)
    return {AGREES: HOLDS, DIFFERS: FAILS}.get(found, found)


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
    """Return the status that a tier allows on a published number: its value, or the sign of a difference.

    Args:
        compares: the number sets several models against each other; that of a single other model cannot be tested.
        neutral: the number that claims no difference: 0, or 1 of a ratio.
    """
    if not (known(printed) and known(ours)):
        return NOT_TESTABLE
    if tier == STAND_IN:
        if not compares:
            return NOT_TESTABLE
        if printed == neutral:
            return unchanged_status(ours - neutral, margin, resolution=resolution)
        return sign_status(math.copysign(1, printed - neutral) * (ours - neutral), margin)
    found = value_status(printed, ours, margin, resolution=resolution, half_unit=half_unit)
    return OPEN if tier == PROXY and found == DIFFERS else found
