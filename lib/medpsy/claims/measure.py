"""What a section says: rows of the published claims that it answers for, and its findings, from the same replicates.

A claim's own formula sees our numbers in the place of the printed ones, replicate by replicate. What the documents
state without a formula, and what a section finds besides, are the rows of `patterns.csv`: formulas on our models.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from importlib.resources import files
from itertools import combinations
from typing import NamedTuple

import numpy as np

from medpsy import published, stats
from medpsy.claims.draws import AVERAGE, LENGTH, TITLES, Cell, Draws, Values
from medpsy.claims.places import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    OPEN,
    STAND_IN,
    NotMeasured,
    Places,
    all_hold,
    known,
    order_status,
    printed,
    sign_status,
    status,
    unchanged_status,
)
from medpsy.data.suites import SUITES
from medpsy.published.claims import Claim, ExpressionError, NoValue, compute, evaluate_each
from medpsy.published.tables import half_unit
from medpsy.study import Study

RELATIVE = 0.05  # of a printed number that is no points; ours: about what the resolution is of a score of 60
RATIOS = ("x", "ratio")  # units whose neutral number is 1
UNBOUNDED = (*RATIOS, "tokens", "GB")  # units that are no points
ORDERS = ("rank", "judges", "dimensions", "columns", "")  # units of claims that hold or do not, as their rule says
SIGN = re.compile(r"([<>])=?0")  # a printed value that claims a sign and no number
BRACES = re.compile(r"\{(.+?)(?::([^{}]*))?\}")  # in a pattern's texts: a formula and the format of its value
DECIMALS = {"nats per token": 4}  # of a finding's number, 2 in any other unit
UNMEASURED = (LookupError, NameError, ValueError)  # no number, a role nobody plays, no rows


class Measured(NamedTuple):
    """What a section says: rows of a record's `claims`, and its findings: sentences with a status each."""

    claims: list[dict]
    findings: list[dict]


def measure(
    study: Study, section: str, draws: Draws, *, plays: Mapping[str, str] = {}, judges: Mapping[str, str] = {},
    scopes: Mapping[str, Sequence[Mapping]] = {}, **context,
) -> Measured:  # fmt: skip
    """Return what `section` can say of the published claims that it answers for, and its findings.

    Args:
        plays: as of `Places`.
        judges: judge -> the report's name of it, as `draws` was given them.
        scopes: what a pattern is evaluated for one by one (its column `each`), e.g. ``{"size": [{"size": "large",
            "class": "4B", "rl2": "large-rl2", ...}, ...]}``: names that its formula sees.
        context: further names that formulas see.
    """
    places = Places(study, draws, plays, {name: judge for judge, name in judges.items()})
    settled, findings = {}, []
    for pattern in patterns(section):
        for names in _scopes(pattern["each"], scopes):
            finding = _Finding(pattern, places, {**context, **names})
            if pattern["claim"]:
                settled.setdefault(pattern["claim"], finding)
            else:
                findings.append({"text": finding.text, "verdict": finding.verdict, "note": finding.note})
    claims = [claim for claim in published.every_claim() if claim.notebook == section]
    rows = [settled[claim.id].row(claim) if claim.id in settled else claim_row(claim, places) for claim in claims]
    return Measured(rows, findings)


# Claims by their own formulas.


def claim_row(claim: Claim, places: Places) -> dict:
    """Return the row of a claim whose formula sees our numbers in the place of the printed ones."""
    if not claim.rule or not any(operand.cells() for operand in claim.operands):
        return entry(claim, NOT_TESTABLE, note="the documents state no rule for this claim")
    try:
        names, behind = _operands(claim, places)
        results = evaluate_each(claim.formula, names)
    except NotMeasured as missing:
        return entry(claim, NOT_TESTABLE, note=f"not measured here: {missing}")
    except NoValue:  # e.g. a share of a gap that is zero in some replicate
        return entry(claim, OPEN, note="has no value in some of the bootstrap samples")
    tier = places.tier(behind)[0]
    if _is_order(claim, results[0]):  # settled where nearly all replicates agree
        holds = evaluate_each(claim.rule, names | {"r": results, "v": [claim.number] * len(results)})
        how = effort(places.draws, behind, share=float(np.mean(np.array(holds[1:], dtype=bool))))
        ours = None if isinstance(results[0], bool | list) else float(results[0])
        verdict = order_status(how["share"], how["questions"])
        return entry(claim, verdict, ours, None, _in_samples(how["share"]), tier, how)
    number = claim.number
    if isinstance(results[0], list):
        if len({model for _, model in behind}) < 2 or tier != STAND_IN:
            return entry(claim, NOT_TESTABLE, note="a range of values, which has no single margin")
        number = min(published.recompute(claim).result)  # the sign of its lower end
    noise = None
    if behind <= places.draws.noise.keys():
        noise = _numbers(evaluate_each(claim.formula, _operands(claim, places.noisy())[0]))
    return settled_number(claim, _numbers(results), places, behind, number, noise)


def settled_number(
    claim: Claim, values: Values, places: Places, behind: set[Cell], number: Decimal | None,
    noise: Values | None = None,
) -> dict:  # fmt: skip
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
    claim: Claim, verdict: str, ours: float | None = None, margin: float | None = None, note: str = "", tier: str = "",
    effort: Mapping | None = None,
) -> dict:  # fmt: skip
    """Return one row of a record's `claims`; `effort` says what stood behind it."""
    row = {"id": claim.id, "claim": claim.text, "verdict": verdict, "note": note, "ours": ours, "margin": margin}
    row |= {"published": None if claim.number is None else float(claim.number)} | ({"tier": tier} if tier else {})
    return row | ({"effort": dict(effort)} if effort and effort["questions"] is not None else {})


def effort(
    draws: Draws, behind: Iterable[Cell], values: Values | None = None, noise: Values | None = None,
    share: float | None = None,
) -> dict:  # fmt: skip
    """Return what stood behind a claim, so that the ledger can plan how to settle it: the fields of `Behind`;
    ``run_share`` of the squared margin, None where one run cannot tell; ``suite``, questions there are in all, None
    where new ones can be written or a sample was asked; ``share``, of an order."""
    about = draws.behind(behind)
    spread = float(np.var(values[1:])) if values is not None else 0.0
    run_share = min(1.0, float(np.var(noise[1:])) / spread) if noise is not None and spread else None
    suite = about.questions if draws.whole else None
    return about._asdict() | {"run_share": run_share, "suite": suite, "share": share}


def _is_order(claim: Claim, result: object) -> bool:
    """Return whether `claim` says how numbers are ordered: by its unit, or in words."""
    several = len(claim.operands) > 1
    in_words = several and not any(letter.isdigit() for letter in claim.value)
    return in_words or isinstance(result, bool) or (claim.unit in ORDERS and (several or isinstance(result, list)))


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


def _in_samples(share: float) -> str:
    return f"holds in {100 * share:.0f} % of bootstrap samples"


# Findings: patterns on our own models, by role.


def patterns(section: str) -> list[dict[str, str]]:
    """Return the rows of `patterns.csv` of one section."""
    with (files("medpsy.claims") / "patterns.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if section[:2] in row["sections"].split()]


def _scopes(each: str, scopes: Mapping[str, Sequence[Mapping]]) -> list[Mapping]:
    """Return the names of every scope that a pattern is evaluated for: of a kind, or of one class of the report."""
    every = {"scopes": [scope for kind in scopes.values() for scope in kind]}
    kind, _, name = each.partition(" ")
    return [every | scope for scope in scopes.get(kind, []) if not name or scope["class"] == name] if each else [every]


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
        how = effort(draws, self.behind, self.values, share=_share(self.values) if together else None)
        tier, _ = self.places.tier(self.behind)
        return entry(claim, self.verdict, float(self.values[0]), margin, self.note, tier, how)

    def _functions(self, names: Mapping[str, object]) -> dict[str, object]:
        """Return what formulas and texts may call, and names that are the same for all patterns."""
        study, draws = self.places.study, self.places.draws
        named = {ours: name for name, ours in self.places.judges.items()}
        panel = [named.get(judge, judge) for judge in names.get("judge_order", study.judges)]
        first = panel[0] if panel else ""
        return {
            "s": self.score, "lead": lambda a, b, measure=AVERAGE: self.score(a, measure) - self.score(b, measure),
            "both": lambda model: (self.score(model) + self.score(model, f"HealthBench ({first})")) / 2,
            "player": self.player, "length": self.length, "printed": self.printed,
            "label": lambda name: study.model(self.places.judges.get(name, name)).label,
            "least": lambda arrays: np.min(list(arrays), axis=0), "most": lambda arrays: np.max(list(arrays), axis=0),
            "mean": lambda arrays: np.mean(list(arrays), axis=0), "along": lambda ref, values: np.sign(ref[0]) * values,
            "alike": lambda values, parts: _open_unless(len({np.sign(part[0]) for part in parts}) < 2, values),
            "open_unless": _open_unless, "sign": np.sign,
            "count": lambda arrays: np.sum([array > 0 for array in arrays], axis=0),
            "pairs": lambda models: list(combinations(models, 2)),
            "hb": f"HealthBench ({first})", "hard": f"HealthBench Hard ({first})",
            "theme": lambda title, suite="HealthBench": f"{suite}: {title} ({first})",
            "themes": list(published.THEMES), "panel": panel, "suites": [TITLES[suite] for suite in SUITES],
            "length_suites": draws.length_suites(), "titles": TITLES,
            "upper": str.upper, "joined": ", ".join, "format": format,
        }  # fmt: skip

    def score(self, model: str, measure: str = AVERAGE) -> Values:
        if (measure, model) not in self.places.draws.values:
            raise NotMeasured(f"{measure} of {model}")
        self.behind.add((measure, model))
        return self.places.draws.values[measure, model]

    def player(self, row: str) -> str:
        """Return who plays a printed model."""
        if row not in self.places.plays:
            raise NotMeasured(row)
        return self.places.plays[row]

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
        share, self.values = _share(least), least if self.rule == "together" else parts[closest]
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
        shown = {"parts": parts, "closest": closest, "value": value, "share": _in_samples(share)}
        names = self.names | shown | {"number": _number(value, margins[closest], pattern["unit"])}
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


def _open_unless(told: bool, values: Values) -> Values:
    """Return `values`, without replicates where something leaves them open, so that they have no margin."""
    return values if told else np.append(values[0], np.full(len(values) - 1, np.nan))


def _share(values: Values) -> float:
    return float((values[1:] > 0).mean())


def _number(value: float, margin: float | None, unit: str) -> str:
    if unit == "x":
        return f"{value + 1:.2f}" + (f" ± {margin:.2f}" if known(margin) else ", no margin")
    places = DECIMALS.get(unit, 2)
    return f"{value:+.{places}f}" + (f" ± {margin:.{places}f} {unit}" if known(margin) else f" {unit}, no margin")
