"""What the report says of its main results in general, said of ours: sentences with a verdict each.

Every sentence ends with its number and margin. Too few questions leave it open; what was not measured makes it not
testable.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medpsy.published import THEMES
from medpsy.report import compare
from medpsy.report.main_draws import AVERAGE_TITLE, CLOSED, WHOLE, MainDraws, Measure
from medpsy.report.main_models import SizeClass
from medpsy.report.orders import LEAST, SURE
from medpsy.report.rubric_scores import MAIN
from medpsy.statistics import interval
from medpsy.study import Study

HARD = "healthbench_hard"


def main_verdicts(study: Study, one: SizeClass, drawn: MainDraws) -> list[dict]:
    """Return the verdicts on the patterns of sections 4.2 to 4.4 for one size class, in sentences."""
    said = [_ahead(study, one.ours, other, drawn) for other in one.references]
    reference = one.rival or one.backbone
    said += [_themes(study, one.ours, reference, drawn), _widens(study, one.ours, reference, drawn)]
    return [*said, _largest(study, one.ours, one.backbone, drawn)]


def _ahead(study: Study, ours: str, other: str, drawn: MainDraws) -> dict:
    measure = Measure(AVERAGE_TITLE)
    text = f"{_name(study, ours)} leads {_name(study, other)} on the closed-ended average"
    if measure not in drawn.measures:
        return _unmeasured(text)
    return _number(text, drawn, drawn.lead(ours, other, measure), [measure], (ours, other))


def _themes(study: Study, ours: str, other: str, drawn: MainDraws) -> dict:
    """Return the verdict on a lead in every theme, which holds where nearly all samples have it in all."""
    judge = study.judges[0]
    measures = [Measure(title, MAIN, judge) for title in THEMES]
    text = f"{_name(study, ours)} leads {_name(study, other)} on all seven themes of HealthBench"
    if not set(measures) <= set(drawn.measures):
        return _unmeasured(text)
    leads = np.stack([drawn.lead(ours, other, measure) for measure in measures])  # [themes, 1 + replicates]
    least = int(leads[:, 0].argmin())
    count = f"{int((leads[:, 0] > 0).sum())} of 7, least on {THEMES[least]} ({leads[least, 0]:+.2f} points)"
    return _share(f"{text}: {count}", drawn, (leads > 0).all(axis=0), measures, (ours, other))


def _widens(study: Study, ours: str, other: str, drawn: MainDraws) -> dict:
    judge = study.judges[0]
    measures = [Measure(WHOLE, part, judge) for part in (MAIN, HARD)]
    text = f"The lead of {_name(study, ours)} over {_name(study, other)} widens from HealthBench to Hard, by"
    if not set(measures) <= set(drawn.measures):
        return _unmeasured(text)
    main, hard = (drawn.lead(ours, other, measure) for measure in measures)
    note = f"HealthBench {main[0]:+.2f}, Hard {hard[0]:+.2f}"
    return _number(text, drawn, hard - main, measures, (ours, other)) | {"note": note}


def _largest(study: Study, ours: str, other: str, drawn: MainDraws) -> dict:
    """Return the verdict on the two largest gains being those on HealthBench and Hard."""
    judge = study.judges[0]
    opened = [Measure(WHOLE, part, judge) for part in (MAIN, HARD)]
    suites = [one for one in drawn.measures if one.part == CLOSED and one.title != AVERAGE_TITLE]
    text = f"{_name(study, ours)} gains most over {_name(study, other)} on HealthBench and HealthBench Hard"
    if not (suites and set(opened) <= set(drawn.measures)):
        return _unmeasured(text)
    gains = {measure: drawn.lead(ours, other, measure) for measure in [*opened, *suites]}
    most = max(suites, key=lambda measure: gains[measure][0])
    smaller = np.min([gains[measure] for measure in opened], axis=0)
    holds = smaller >= np.max([gains[measure] for measure in suites], axis=0)
    numbers = f"{gains[opened[0]][0]:+.2f} and {gains[opened[1]][0]:+.2f}, at most {gains[most][0]:+.2f} elsewhere"
    return _share(f"{text}: {numbers} ({most.title})", drawn, holds, [*opened, *suites], (ours, other))


def _number(
    text: str, drawn: MainDraws, values: NDArray[np.float64], measures: Sequence[Measure], models: Sequence[str]
) -> dict:
    """Return `text` with the measured number at its end, and what its sign and margin say."""
    enough = drawn.questions(measures, models) >= LEAST
    margin = interval(values[1:]).margin if enough else None
    width = f" ± {margin:.2f} points" if enough else " points, too few questions for a margin"
    found = {"text": f"{text}: {values[0]:+.2f}{width}", "note": "the same questions drawn anew for every model"}
    return found | {"verdict": compare.pattern_verdict(float(values[0]), margin)}


def _share(
    text: str, drawn: MainDraws, holds: NDArray[np.bool_], measures: Sequence[Measure], models: Sequence[str]
) -> dict:
    """Return `text` with the verdict on what nearly all, or nearly no, samples say."""
    share = float(holds[1:].mean())
    verdict = "pattern holds" if share >= SURE else "pattern fails" if share <= 1 - SURE else "too few to tell"
    verdict = verdict if drawn.questions(measures, models) >= LEAST else "too few to tell"
    return {"text": text, "verdict": verdict, "note": f"holds in {100 * share:.0f} % of bootstrap samples"}


def _unmeasured(text: str) -> dict:
    return {"text": f"{text}: not measured here", "verdict": "not testable", "note": ""}


def _name(study: Study, model: str) -> str:
    return study.model(model).label
