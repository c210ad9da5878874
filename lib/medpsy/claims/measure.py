"""What a section says: rows of the published claims that it answers for, and its findings, from the same replicates.

Who stands in a printed cell is data (`cells.yaml`). A claim's own formula sees our numbers in the place of the printed
ones, replicate by replicate; what the documents state without a formula, and what a section finds besides, are the rows
of `patterns.csv`: formulas on our models. Where the published model itself answered, its value is tested; where another
one stands in, a sign or an order. Lack of power is never called agreement.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medpsy import prompts, published, stats, strict
from medpsy.claims.draws import AVERAGE, LEAST, LENGTH, TITLES, Cell, Draws, Values
from medpsy.data.suites import SUITES
from medpsy.published.claims import Claim, ExpressionError, NoValue, compute, evaluate_each
from medpsy.published.tables import grid, grids, half_unit
from medpsy.study import Study

FOLDER = Path(__file__).parent
AGREES, DIFFERS, OPEN = "agrees", "differs", "too few to tell"
HOLDS, FAILS, NOT_TESTABLE = "pattern holds", "pattern fails", "not testable"
STATUSES = (AGREES, DIFFERS, OPEN, HOLDS, FAILS, NOT_TESTABLE)
KINDS = {AGREES: "good", HOLDS: "good", DIFFERS: "bad", FAILS: "bad"}  # others: open
EXACT, PROXY, STAND_IN = "exact", "proxy", "stand-in"  # tiers
RESOLUTION = 3.0  # points; ours: a score known no better than this is not called reproduced
SURE = 0.975  # share of replicates on one side that settles an order; two-sided 95 %
ROUNDING = 1e-9  # keeps a gap that equals its margin inside it despite binary fractions
RELATIVE = 0.05  # of a printed number that is no points; ours: about what the resolution is of a score of 60
RATIOS = ("x", "ratio")  # units whose neutral number is 1
UNBOUNDED = (*RATIOS, "tokens", "GB")  # units that are no points
ORDERS = ("rank", "judges", "dimensions", "columns", "")  # units of claims that hold or do not, as their rule says
SIGN = re.compile(r"([<>])=?0")  # a printed value that claims a sign and no number
BRACES = re.compile(r"\{(.+?)(?::([^{}]*))?\}")  # in a pattern's texts: a formula and the format of its value
IN_SAMPLES = "holds in {:.0f} % of bootstrap samples"
DECIMALS = {"nats per token": 4}  # of a finding's number, 2 in any other unit
UNMEASURED = (LookupError, NameError, ValueError)  # no number, a role nobody plays, no rows


Number = float | None  # None or NaN where nothing was measured


class NotMeasured(LookupError):
    """What a claim speaks of was not measured here; the argument names it."""


@dataclass(frozen=True)
class Places:
    study: Study
    draws: Draws
    plays: Mapping[str, str]  # printed model -> model of the study that it is, or whose part it plays
    judges: Mapping[str, str] = field(default_factory=dict)  # the report's name of a judge -> judge of the study

    def at(self, cell) -> tuple[Values, set[Cell]]:
        """Return our numbers for a printed cell, and what stands behind them; `NotMeasured` names what is missing."""
        if cell.model and cell.measure:
            return self.score(cell.model, cell.measure)
        if pair := cells()["differences"].get(cell.table, {}).get(cell.row):
            (first, behind), (second, more) = (self.at(grid(cell.table)[row][cell.column]) for row in pair)
            return first - second, behind | more
        raise NotMeasured(f"{cell.row}, {cell.column}")

    def score(self, model: str, measure: str) -> tuple[Values, set[Cell]]:
        if parts := cells()["means"].get(measure):
            scores = [self.score(model, part) for part in parts]
            return np.mean([values for values, _ in scores], axis=0), set().union(*(behind for _, behind in scores))
        if measure in cells()["changes"]:
            changed = cells()["changes"][measure]
            (first, behind), (second, more) = (self.score(name, changed) for name in (model, source_of(model)))
            return first - second, behind | more
        cell = measure, self.player(model)
        if cell not in self.draws.values:
            raise NotMeasured(measure)
        return self.draws.values[cell], {cell}

    def player(self, printed: str) -> str:
        if printed not in self.plays:
            raise NotMeasured(printed)
        return self.plays[printed]

    def tier(self, behind: Iterable[Cell]) -> tuple[str, str]:
        """Return how near the published protocol `behind` is, and which part of a proxy differs."""
        printed, differs = {ours: model for model, ours in self.plays.items()}, {}
        for measure, model in set(behind):
            if self.study.source != "hub" or model not in printed or not self._is(model, printed[model], differs):
                return STAND_IN, ""
            name = next((judge for judge in self.judges if f"({judge})" in measure), None)
            if judge := name and self.study.model(self.judges[name]):
                how = f" in {judge.told_format}" if judge.file else " behind an endpoint" if judge.base_url else ""
                if how or not judge.label.startswith(name):
                    differs[f"judged by {judge.label}{how}"] = None
            if measure.startswith("HealthBench") and self.study.judge_prompt != prompts.HEALTHBENCH:
                differs["judged with another prompt than HealthBench's own"] = None
            asked = self.study.conversations_per_suite if "HealthBench" in measure else self.study.questions_per_suite
            if (asked or self.study.so_far) and measure != "File size":
                differs["what is answered so far" if self.study.so_far else f"a sample of {asked} of each suite"] = None
        return (PROXY, ", ".join(differs)) if differs else (EXACT, "")

    def _is(self, model: str, printed: str, differs: dict) -> bool:
        """Return whether `model` is the printed one; a file of it that was quantized is, and `differs`, unless it is
        the released one of a printed format."""
        source, ours = source_of(printed), self.study.model(model)
        if source is None or ours.label == printed:
            if ours.file:
                differs[f"a file in {ours.told_format}"] = None
            return ours.label == printed
        if not ours.file:
            differs["quantized here"] = None
        return source in self.plays and self.study.model(self.plays[source]).label == source


def played(stands_for: Mapping[str, str], **roles: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[dict]]]:
    """Return `plays` and `scopes` of `measure` for size classes that follow the report's recipe. `stands_for`: size
    class -> one of the tables that `cells.yaml` lists for a class of the report; `roles`: ``backbone``, a stage, or a
    quantized file (``Q4_K_M``, ``Q4_K_M_plain``) -> size class -> model."""
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
    return strict.read(FOLDER / "cells.yaml")


def source_of(printed: str) -> str | None:
    """Return the printed model that a printed quantized file was made of, None of other models."""
    finals = [about["roles"]["rl2"] for about in cells()["classes"].values()]
    return next((name for name in finals if printed.startswith(f"{name}-")), None)


# Statuses.


def known(value: Number) -> bool:
    return value is not None and math.isfinite(value)


def value_status(
    printed: Number, ours: Number, margin: Number, *, resolution: float = RESOLUTION, half_unit: float = 0.0
) -> str:
    """Return the status of a published value, `margin` being that of ``ours - printed``, `resolution` the widest one at
    which being inside it counts as agreement, and `half_unit` half a unit of the last printed digit."""
    if not (known(printed) and known(ours)):
        return NOT_TESTABLE
    if not known(margin):
        return OPEN
    if abs(ours - printed) > margin + half_unit + ROUNDING:
        return DIFFERS
    return AGREES if margin <= resolution + ROUNDING else OPEN


def sign_status(difference: Number, margin: Number) -> str:
    """Return the status of a pattern that claims ``difference > 0``."""
    if not known(difference):
        return NOT_TESTABLE
    if not known(margin) or abs(difference) <= margin + ROUNDING:
        return OPEN
    return HOLDS if difference > 0 else FAILS


def unchanged_status(difference: Number, margin: Number, *, resolution: float = RESOLUTION) -> str:
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
    printed: Number, ours: float, margin: Number, tier: str, *, compares: bool = True, neutral: float = 0.0, **limits
) -> str:
    """Return the status that a tier allows on a published number: its value within `limits` of `value_status`, or the
    sign of its difference from `neutral`, 0 or of a ratio 1, where it `compares` several models."""
    if not (known(printed) and known(ours)) or (tier == STAND_IN and not compares):
        return NOT_TESTABLE
    if tier != STAND_IN:
        tested = value_status(printed, ours, margin, **limits)
        return OPEN if tier == PROXY and tested == DIFFERS else tested
    if printed == neutral:
        return unchanged_status(ours - neutral, margin, resolution=limits.get("resolution", RESOLUTION))
    return sign_status(math.copysign(1, printed - neutral) * (ours - neutral), margin)


# What a section says.


class Measured(NamedTuple):
    """What a section says: rows of a record's `claims`, and its findings: sentences with a status each."""

    claims: list[dict]
    findings: list[dict]


def measure(
    study: Study,
    section: str,
    draws: Draws,
    *,
    plays: Mapping[str, str] = {},
    judges: Mapping[str, str] = {},
    scopes: Mapping[str, Sequence[Mapping]] = {},
    **context,
) -> Measured:
    """Return what `section` can say of the published claims that it answers for, and its findings. `plays` are as of
    `Places`, `judges` judge -> the report's name of it, as `draws` was given them. `scopes` are what a pattern is
    evaluated for one by one (its column `each`), e.g. ``{"size": [{"size": "large", "class": "4B", "rl2": "large-rl2",
    ...}, ...]}``: names that its formula sees; `context` are further ones."""
    places = Places(study, draws, plays, {name: judge for judge, name in judges.items()})
    settled, findings, every = {}, [], {"scopes": [scope for kind in scopes.values() for scope in kind]}
    for pattern in patterns(section):
        kind, _, name = pattern["each"].partition(" ")  # of scopes, or one class of the report
        for scope in scopes.get(kind, []) if kind else [{}]:
            if name and scope["class"] != name:
                continue
            finding = _Finding(pattern, places, {**context, **every, **scope})
            if pattern["claim"]:
                settled.setdefault(pattern["claim"], finding)
            else:
                findings.append({"text": finding.text, "verdict": finding.verdict, "note": finding.note})
    claims = [claim for claim in published.every_claim() if claim.notebook == section]
    rows = [settled[claim.id].row(claim) if claim.id in settled else claim_row(claim, places) for claim in claims]
    return Measured(rows, findings)


def told(subject: Claim | Mapping[str, str], places: Places, names: Mapping) -> tuple[list, set[Cell], str]:
    """Return what the formula of a claim, or of a row of `patterns.csv`, is in every replicate of `places`, what stands
    behind it, and its status; `NotMeasured` where something of it is not measured. `names` are those of its scope."""
    if isinstance(subject, Claim):
        results, behind, row = _evaluated(subject, places)
        return results, behind, row["verdict"]
    finding = _Finding(subject, places, {"scopes": [], **names})
    if finding.values is None:
        raise NotMeasured(finding.note.removeprefix("not measured here: "))
    claim = next((claim for claim in published.every_claim() if claim.id == subject["claim"]), None)
    return list(finding.values), finding.behind, finding.row(claim)["verdict"] if claim else finding.verdict


# Claims by their own formulas.


def claim_row(claim: Claim, places: Places) -> dict:
    """Return the row of a claim whose formula sees our numbers in the place of the printed ones."""
    if not claim.rule or not any(operand.cells() for operand in claim.operands):
        return entry(claim, NOT_TESTABLE, note="the documents state no rule for this claim")
    try:
        return _evaluated(claim, places)[2]
    except NotMeasured as missing:
        return entry(claim, NOT_TESTABLE, note=f"not measured here: {missing}")
    except NoValue:  # e.g. a share of a gap that is zero in some replicate
        return entry(claim, OPEN, note="has no value in some of the bootstrap samples")


def _evaluated(claim: Claim, places: Places) -> tuple[list, set[Cell], dict]:
    """Return what the formula of a claim is, replicate by replicate, what stands behind it, and the claim's row."""
    names, behind = _operands(claim, places)
    results = evaluate_each(claim.formula, names)
    tier = places.tier(behind)[0]
    several, result = len(claim.operands) > 1, results[0]
    # it says how numbers are ordered, in words or by its unit
    in_words = several and not any(letter.isdigit() for letter in claim.value)
    by_unit = claim.unit in ORDERS and (several or isinstance(result, list))
    if in_words or by_unit or isinstance(result, bool):  # settled where nearly all replicates agree
        holds = evaluate_each(claim.rule, names | {"r": results, "v": [claim.number] * len(results)})
        how = effort(places.draws, behind, share=float(np.mean(np.array(holds[1:], dtype=bool))))
        ours = None if isinstance(result, bool | list) else float(result)
        verdict = order_status(how["share"], how["questions"])
        row = entry(claim, verdict, ours, None, IN_SAMPLES.format(100 * how["share"]), tier, how)
        return results, behind, row
    number = claim.number
    if isinstance(result, list):
        if len({model for _, model in behind}) < 2 or tier != STAND_IN:
            note = "a range of values, which has no single margin"
            return results, behind, entry(claim, NOT_TESTABLE, note=note)
        number = min(published.recompute(claim).result)  # the sign of its lower end
    noise = None
    if behind <= places.draws.noise.keys():  # replicates that differ by run noise alone
        noisy = replace(places, draws=replace(places.draws, values=places.draws.noise))
        noise = _numbers(evaluate_each(claim.formula, _operands(claim, noisy)[0]))
    return results, behind, settled_number(claim, _numbers(results), places, behind, number, noise)


def settled_number(
    claim: Claim, values: Values, places: Places, behind: set[Cell], number: Decimal | None, noise: Values | None = None
) -> dict:
    """Return the row of a claim on a number, `values` being ours: measured, then replicates."""
    ours, margin = float(values[0]), places.draws.margin(values, behind)
    tier, why = places.tier(behind)
    row = entry(claim, "", ours, margin, why, tier, effort(places.draws, behind, values, noise))
    if sign := SIGN.fullmatch(claim.value):
        return row | {"verdict": sign_status(ours if sign[1] == ">" else -ours, margin), "published": None}
    if number is None:
        return row | {"verdict": NOT_TESTABLE, "note": "states no number"}
    scale = {"neutral": 1.0} if claim.unit in RATIOS else {}
    scale |= {"resolution": RELATIVE * abs(float(number))} if claim.unit in UNBOUNDED else {}
    how = {"compares": len({model for _, model in behind}) > 1, "half_unit": float(half_unit(number))}
    if tier == STAND_IN and not how["compares"]:
        row["note"] = "a number of another model than the published one"
    verdict = status(float(number), ours, margin, tier, **how, **scale)
    return row | scale | {"verdict": verdict, "published": float(number)}


def entry(
    claim: Claim, verdict: str, ours: Number = None, margin: Number = None, note: str = "", tier: str = "", effort=None
) -> dict:
    """Return one row of a record's `claims`; `effort`, as of the function, says what stood behind it."""
    row = {"id": claim.id, "claim": claim.text, "verdict": verdict, "note": note, "ours": ours, "margin": margin}
    row |= {"published": None if claim.number is None else float(claim.number)} | ({"tier": tier} if tier else {})
    return row | ({"effort": dict(effort)} if effort and effort["questions"] is not None else {})


def effort(
    draws: Draws, behind: set[Cell], values: Values | None = None, noise: Values | None = None, share: Number = None
) -> dict:
    """Return what stood behind a claim, so that the ledger can plan how to settle it: the fields of `Behind`;
    ``run_share`` of the squared margin, None where one run cannot tell; ``suite``, questions there are in all, None
    where new ones can be written or a sample was asked; ``share``, of an order."""
    about = draws.behind(behind)
    spread = float(np.var(values[1:])) if values is not None else 0.0
    run_share = min(1.0, float(np.var(noise[1:])) / spread) if noise is not None and spread else None
    suite = about.questions if draws.whole else None
    return about._asdict() | {"run_share": run_share, "suite": suite, "share": share}


def _operands(claim: Claim, places: Places) -> tuple[dict[str, list], set[Cell]]:
    """Return the values of every operand, replicate by replicate, and what stands behind them."""
    names, behind = {}, set()
    for operand in claim.operands:
        ours = [places.at(cell) for cell in operand.cells()]
        behind |= set().union(*(cells for _, cells in ours))
        columns = np.array([values for values, _ in ours])
        names[operand.name] = columns.T.tolist() if operand.is_list else columns[0].tolist()
    return names, behind


def _numbers(results: list) -> Values:
    """Return results as numbers: of a range of leads the lower end."""
    return np.array([float(min(result) if isinstance(result, list) else result) for result in results])


# Findings: patterns on our own models, by role.


def patterns(section: str) -> list[dict[str, str]]:
    with (FOLDER / "patterns.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if section[:2] in row["sections"].split()]


def _open_unless(told: bool, values: Values) -> Values:
    """Return `values`, without replicates where something leaves them open, so that they have no margin."""
    return values if told else np.append(values[0], np.full(len(values) - 1, np.nan))


FUNCTIONS = {  # what every pattern may call or name, beside those of `published.claims`
    **{"open_unless": _open_unless, "sign": np.sign, "upper": str.upper, "joined": ", ".join, "format": format},
    **{"themes": list(published.THEMES), "suites": [TITLES[suite] for suite in SUITES], "titles": TITLES},
    "least": lambda arrays: np.min(list(arrays), axis=0),
    "most": lambda arrays: np.max(list(arrays), axis=0),
    "mean": lambda arrays: np.mean(list(arrays), axis=0),
    "along": lambda ref, values: np.sign(ref[0]) * values,
    "alike": lambda values, parts: _open_unless(len({np.sign(part[0]) for part in parts}) < 2, values),
    "count": lambda arrays: np.sum([array > 0 for array in arrays], axis=0),
    "pairs": lambda models: list(combinations(models, 2)),
}


class _Finding:
    """A pattern evaluated: a sentence with its verdict, and values: measured, then replicates; None if not measured."""

    def __init__(self, pattern: Mapping[str, str], places: Places, names: Mapping[str, object]) -> None:
        self.places, self.rule, self.behind, self.values = places, pattern["rule"], set(), None
        sizes = {scope["size"]: scope for scope in names["scopes"] if "size" in scope}
        self.names = self._functions(names) | sizes | dict(names)
        try:
            value = compute(pattern["formula"], self.names)
        except ExpressionError:
            raise
        except UNMEASURED as missing:
            self._not_measured(pattern, str(missing))
        else:
            self._measured(pattern, value if isinstance(value, dict) else {"": value})

    def row(self, claim: Claim) -> dict:
        """Return the row of the published claim that this pattern settles, by its own rule if it has one."""
        if self.values is None:
            return entry(claim, NOT_TESTABLE, note=self.note)
        if not self.rule:
            return settled_number(claim, self.values, self.places, self.behind, claim.number)
        draws, together = self.places.draws, self.rule == "together"
        margin = None if together else draws.margin(self.values, self.behind)
        how = effort(draws, self.behind, self.values, share=float((self.values[1:] > 0).mean()) if together else None)
        tier, _ = self.places.tier(self.behind)
        return entry(claim, self.verdict, float(self.values[0]), margin, self.note, tier, how)

    def _functions(self, names: Mapping[str, object]) -> dict[str, object]:
        """Return what formulas and texts may call, and names that are the same for all patterns."""
        study, draws = self.places.study, self.places.draws
        named = {ours: name for name, ours in self.places.judges.items()}
        panel = [named.get(judge, judge) for judge in names.get("judge_order", study.judges)]
        first = panel[0] if panel else ""
        theirs = {"s": self.score, "player": self.places.player, "length": self.length, "printed": self.printed}
        theirs |= {"lead": lambda a, b, measure=AVERAGE: self.score(a, measure) - self.score(b, measure)}
        theirs |= {"both": lambda model: (self.score(model) + self.score(model, f"HealthBench ({first})")) / 2}
        theirs |= {"label": lambda name: study.model(self.places.judges.get(name, name)).label}
        theirs |= {"hb": f"HealthBench ({first})", "hard": f"HealthBench Hard ({first})", "panel": panel}
        theirs |= {"theme": lambda title, suite="HealthBench": f"{suite}: {title} ({first})"}
        return FUNCTIONS | theirs | {"length_suites": draws.length_suites()}

    def score(self, model: str, measure: str = AVERAGE) -> Values:
        if (measure, model) not in self.places.draws.values:
            raise NotMeasured(f"{measure} of {model}")
        self.behind.add((measure, model))
        return self.places.draws.values[measure, model]

    def length(self, model: str, suites: Sequence[str] | None = None, quantity: str = LENGTH) -> Values:
        """Return a mean length; see `Draws.mean_length`."""
        chosen = suites or self.places.draws.length_suites()
        self.behind |= {(f"{quantity}: {TITLES[suite]}", model) for suite in chosen}
        if not self.behind <= self.places.draws.values.keys() or not chosen:
            raise NotMeasured(f"{quantity} of {model}")
        return self.places.draws.mean_length(model, quantity, chosen)

    def printed(self, model: str, measure: str, *tables: str) -> float:
        """Return the published number of what `model` plays."""
        row = next((row for row, ours in self.places.plays.items() if ours == model), "")
        number = printed(row, measure, *tables)
        if number is None:
            raise NotMeasured(f"a published {measure} of {model}")
        return number

    def _measured(self, pattern: Mapping[str, str], parts: Mapping[str, Values]) -> None:
        if not parts:
            self._not_measured(pattern, "nothing to compare")
            return
        margins = {name: self.places.draws.margin(values, self.behind) for name, values in parts.items()}
        closest, least = min(parts, key=lambda name: parts[name][0]), np.min(list(parts.values()), axis=0)
        share, self.values = float((least[1:] > 0).mean()), least if self.rule == "together" else parts[closest]
        unchanged = all_hold(unchanged_status(values[0], margins[name]) for name, values in parts.items())
        match self.rule:
            case "together":
                self.verdict = order_status(share, self.places.draws.questions(self.behind))
            case "=0":
                self.verdict = unchanged
            case "≠0":
                apart = [stats.p_value(v[0], v[1:]) if known(margins[n]) else np.nan for n, v in parts.items()]
                told = np.nanmin([1.0, *stats.holm(apart)]) < 0.05
                self.verdict = HOLDS if told else FAILS if unchanged == HOLDS else OPEN
            case _:
                self.verdict = all_hold(sign_status(float(v[0]), margins[n]) for n, v in parts.items())
        value = float(self.values[0])
        shown = {"parts": parts, "closest": closest, "value": value, "share": IN_SAMPLES.format(100 * share)}
        unit, margin = pattern["unit"], margins[closest]
        places, ending = DECIMALS.get(unit, 2), f" {unit}" if unit and unit != "x" else ""
        number = f"{value + 1:.2f}" if unit == "x" else f"{value:+.{places}f}"
        number += f" ± {margin:.{places}f}{ending}" if known(margin) else f"{ending}, no margin"
        names = self.names | shown | {"number": number}
        self.text, self.note = (
            BRACES.sub(lambda braces: format(compute(braces[1], names), braces[2] or ""), pattern[name])
            for name in ("text", "note")
        )

    def _not_measured(self, pattern: Mapping[str, str], missing: str) -> None:
        """Say that `pattern` cannot be told, its sentence up to what would have been its number."""
        start = re.sub(r"\{(.+?)\}", self._filled, re.split(r"[:;]", pattern["text"])[0]).rstrip(" ,")
        self.text, self.note = f"{start}: not measured here", f"not measured here: {missing}"
        self.verdict = NOT_TESTABLE

    def _filled(self, braces: re.Match) -> str:
        try:
            return str(compute(braces[1], self.names))
        except UNMEASURED:
            return "…"
