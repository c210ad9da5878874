"""The published claims that rest on Tables 7 to 10, measured: scores from draws, sizes from the files themselves.

Sizes have no margin: they are read off the files, and where the published files were made they must round to the
printed ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.published import SUITE_TITLES, Claim
from medpsy.published.evaluator import evaluate
from medpsy.published.vocabulary import FUNCTIONS
from medpsy.report import compare
from medpsy.report.effort import Effort, Number, spent
from medpsy.report.orders import LEAST, entry
from medpsy.report.quantized import BOTH, PARTS, Quantized, Values
from medpsy.report.quantized_layout import CLASSES, DELTA_SIZE, SIZE, Layout, filled, layout
from medpsy.report.quantized_verdicts import NEAR, TRADE_OFF
from medpsy.report.remeasured import from_draws, rests_on
from medpsy.report.responsibility import PRINTED, responsible
from medpsy.report.scores import TITLES, question_shares, suite_gap
from medpsy.study import Study

SECTION = "10_quantization"


@dataclass(frozen=True)
class QuantizedDesign:
    """What stood behind the measured tables; how much of it is run noise is not told apart."""

    found: Quantized
    places: Layout

    def effort(
        self, claim: Claim, number: Number | None = None, *, margin: float | None = None, share: float | None = None
    ) -> Effort:
        """Return what stood behind `claim`, of several parts the smallest; arguments as of `Design.effort`."""
        behind = [self.places[cell.table][cell.row][cell.column] for cell in _cells(claim)]
        parts = {part for place in behind for measure in place.measures for part in PARTS[measure]}
        models = {model for place in behind for model in place.models}
        rows = self.found.asked
        rows = rows[rows["model"].isin(models) & rows["part"].isin(parts)]
        questions = int(rows.groupby("part")["id"].nunique().min())
        return spent(rows, questions, share=share)


def quantized_claims(
    study: Study,
    found: Quantized,
    graded: pd.DataFrame,
    stands_for: Mapping[str, str],
    backbones: Mapping[str, str],
) -> list[dict]:
    """Return one row per published claim that this section answers for, for a result's `claims`.

    Args:
        graded: the rows that `found` was made of.
        stands_for: size class -> published table of its files.
        backbones: size class -> model that its source was trained from.
    """
    places = layout(found, stands_for, backbones)
    chosen = [one for one in published.claims() if responsible(one).notebook == SECTION and one.kind != PRINTED]
    known = [one for one in chosen if rests_on(one, places)]
    sizes = [one for one in known if any(cell.column in (SIZE, DELTA_SIZE) for cell in _cells(one))]
    alone = [one for one in known if one not in sizes and _alone(one) and compare.mode(study.profile) == "patterns"]
    count = len(found.values[next(iter(found.values))])
    drawn = [filled(places, at) for at in range(count)]
    scores = [one for one in known if one not in sizes and one not in alone]
    rows = from_draws(study.profile, drawn, QuantizedDesign(found, places), scores)
    rows += [_size_row(study, one, drawn[0]) for one in sizes]
    rows += [entry(one, "not testable", None, None, "a score of another model than the published one") for one in alone]
    return rows + _in_words(study, found, graded, chosen, stands_for)


def _cells(claim: Claim) -> list:
    return [cell for operand in claim.operands for cell in operand.cells()]


def _alone(claim: Claim) -> bool:
    """Return whether `claim` states a score of one model, e.g. its AVG Score: no difference, whatever it is made of."""
    return len(claim.operands) > 1 and len({(cell.table, cell.row) for cell in _cells(claim)}) == 1


def _size_row(study: Study, claim: Claim, measured: Mapping) -> dict:
    """Return the row of a claim about file sizes, which are known without a margin."""
    if missing := {cell.row for cell in _cells(claim) if cell.row not in measured[cell.table]}:
        return entry(claim, "not testable", None, None, f"not built here: {', '.join(sorted(missing))}")
    names = {
        one.name: [Decimal(repr(measured[cell.table][cell.row][cell.column])) for cell in one.cells()]
        for one in claim.operands
    }
    names = {one.name: names[one.name] if one.is_list else names[one.name][0] for one in claim.operands}
    ours = evaluate(claim.formula, names, FUNCTIONS)
    printed = {} if claim.number is None else {"v": claim.number}
    if compare.mode(study.profile) == "values":
        holds = bool(evaluate(claim.rule, names | printed | {"r": ours}, FUNCTIONS))
        return entry(claim, "agrees" if holds else "differs", float(ours), None, "read off the files")
    sign = {"<0": -1, ">0": 1}.get(claim.value) or (claim.unit == "%" and claim.number and np.sign(claim.number))
    if not sign:
        return entry(claim, "not testable", float(ours), None, "files of other models than the published ones")
    verdict = compare.pattern_verdict(float(sign) * float(ours), 0.0)
    return entry(claim, verdict, float(ours), 0.0, "read off the files, which is exact")


def _in_words(
    study: Study, found: Quantized, graded: pd.DataFrame, claims: list[Claim], stands_for: Mapping[str, str]
) -> list[dict]:
    """Return the rows of claims that the report states without a formula: drops by suite, Q8_0 beside BF16, and what
    the importance matrix is worth in every format that was built both ways."""
    rows = [_drop(study, found, graded, claim, stands_for) for claim in claims if _suite(claim)]
    near = [found.variant(size, NEAR) for size in stands_for]
    for claim in claims:
        if claim.value == "indistinguishable" and None not in near and found.comparable:
            changes = [found.change(one) for one in near]
            verdicts = [compare.unchanged_verdict(float(one[0]), found.margin(one, BOTH)) for one in changes]
            said = ", ".join(f"{one.size} {_shown(change)}" for one, change in zip(near, changes, strict=True))
            rows.append(entry(claim, compare.all_hold(verdicts), None, None, f"AVG Score against the source: {said}"))
    return rows + [_matrix(found, claim) for claim in claims if claim.value == "consistent"]


def _matrix(found: Quantized, claim: Claim) -> dict:
    """Return the row of the claim that the importance matrix helps in every format below eight bits."""
    files = [one for family in found.families.values() for one in family.variants if not one.is_plain]
    pairs = [(one, found.variant(one.size, one.format, plain=True)) for one in files]
    gains = [(one, found.score(one.name, BOTH) - found.score(other.name, BOTH)) for one, other in pairs if other]
    if not gains or not found.comparable:
        return entry(claim, "not testable", None, None, "no format was built with and without importance matrix")
    verdicts = [compare.pattern_verdict(float(gain[0]), found.margin(gain, BOTH)) for _, gain in gains]
    said = ", ".join(f"{one.size} {one.format} {_shown(gain)}" for one, gain in gains)
    return entry(claim, compare.all_hold(verdicts), None, None, f"AVG Score, with against without: {said}")


def _shown(values: Values) -> str:
    return f"{values[0]:+.2f}" if np.isfinite(values[0]) else "not measured"


def _suite(claim: Claim) -> str | None:
    """Return the suite whose drop without importance matrix `claim` states."""
    if claim.operands or claim.unit != "points" or not claim.text.startswith("Drop without imatrix"):
        return None
    return next((title for title in SUITE_TITLES if f"on {title}," in claim.text), None)


def _drop(study: Study, found: Quantized, graded: pd.DataFrame, claim: Claim, stands_for: Mapping[str, str]) -> dict:
    size = next((size for size, table in stands_for.items() if f"{CLASSES[table]}" in claim.text), None)
    one = size and found.variant(size, TRADE_OFF, plain=True)
    if not one:
        return entry(claim, "not testable", None, None, "not built here")
    suite = next(key for key, title in TITLES.items() if title == _suite(claim))
    asked = graded[graded["suite"] == suite]["question_id"].nunique()
    gap = suite_gap(question_shares(graded), one.source, one.name, suite)
    margin = gap["margin"] if asked >= LEAST else None
    measured = compare.Measured(float(claim.number), gap["difference"], margin, difference=True)
    return compare.claim(claim.id, claim.text, measured, profile=study.profile, note="against the source model")
