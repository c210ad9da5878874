"""What the report says of its stages in general, said of ours: sentences with a verdict each.

Every sentence ends with its number and margin. Too few questions leave it open; a stage that was not measured makes it
not testable.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medpsy.benchmarks import SUITES
from medpsy.report import compare
from medpsy.report.progression import AVERAGE_TITLE, HEALTHBENCH, Progression
from medpsy.report.stages import BACKBONE, LAST, ORDER, TOTAL
from medpsy.study import STAGES

HARDEST = tuple(SUITES[key].title for key in ("medxpertqa", "mmlu_pro_health", "medqa"))  # ours: report 4.5 stresses
PUBMEDQA = SUITES["pubmedqa"].title  # the first of them and does not list the others
SFT1, SFT2, RL1, RL2 = STAGES
Values = NDArray[np.float64] | None  # [1 + replicates]: measured, then bootstrap samples; None where not measured
Judge = Callable[[float | None, float | None], str]


def stage_verdicts(found: Progression, *, least_gain: float = 0.0) -> list[dict]:
    """Return the verdicts on the patterns of section 4.5 for one size class, in sentences.

    Args:
        least_gain: points of closed-ended average that the last stage must be above the backbone.
    """
    patterns = [_largest, _captured, _kept, _recovered, _regressed]
    return [_gain(found, least_gain), *(one(found) for one in patterns)]


def _gain(found: Progression, least: float) -> dict:
    wanted = f"at least {least:g} points" if least else "points"
    text = f"The {found.ladder.size} class gains {wanted} of closed-ended average, {BACKBONE} to {LAST}"
    values = _change(found, BACKBONE, LAST, AVERAGE_TITLE)

    def beyond(gain: float | None, margin: float | None) -> str:
        return compare.pattern_verdict(None if gain is None else gain - least, margin)

    return _sentence(found, text, values, (AVERAGE_TITLE,), beyond)


def _largest(found: Progression) -> dict:
    text = f"{SFT1} is the largest single gain of the {found.ladder.size} class; its lead over the next largest"
    changes = [_change(found, *ends, AVERAGE_TITLE) for ends in zip(ORDER, STAGES, strict=False)]
    whole = not any(one is None for one in changes)
    lead = changes[0] - np.max(changes[1:], axis=0) if whole else None
    return _sentence(found, text, lead, (AVERAGE_TITLE,))


def _captured(found: Progression) -> dict:
    text = f"{SFT1} gains more on HealthBench than all later stages of the {found.ladder.size} class together"
    first, later = _change(found, BACKBONE, SFT1, HEALTHBENCH), _change(found, SFT1, LAST, HEALTHBENCH)
    if first is None or later is None:
        return _sentence(found, text, None, (HEALTHBENCH,))
    gain = _sentence(found, "", first, (HEALTHBENCH,))["verdict"]  # without a gain there is nothing to capture
    said = _sentence(found, text, first - later, (HEALTHBENCH,))
    note = f"{SFT1} {first[0]:+.2f}, later stages {later[0]:+.2f}"
    return said | {"verdict": compare.all_hold([gain, said["verdict"]]), "note": note}


def _kept(found: Progression) -> dict:
    text = f"RL leaves HealthBench of the {found.ladder.size} class as {SFT2} left it"
    values = _change(found, SFT2, LAST, HEALTHBENCH)
    return _sentence(found, text, values, (HEALTHBENCH,), compare.unchanged_verdict)


def _recovered(found: Progression) -> dict:
    text = f"{RL2} raises the hardest suites of the {found.ladder.size} class over {RL1}, their mean"
    single = {name: _change(found, RL1, RL2, name) for name in HARDEST}
    said = _sentence(found, text, _change(found, RL1, RL2, *HARDEST), HARDEST)
    return said | {
        "note": ", ".join(f"{name} {values[0]:+.2f}" for name, values in single.items() if values is not None)
    }


def _regressed(found: Progression) -> dict:
    printed = found.printed(next(step.printed for step in found.ladder.steps if step.name == TOTAL), PUBMEDQA)
    word, sign = ("falls", -1) if printed < 0 else ("rises", 1)
    text = f"{PUBMEDQA} {word} from {BACKBONE} to {LAST} in the {found.ladder.size} class"
    values = _change(found, BACKBONE, LAST, PUBMEDQA)

    def as_printed(change: float | None, margin: float | None) -> str:
        return compare.pattern_verdict(None if change is None else sign * change, margin)

    return _sentence(found, text, values, (PUBMEDQA,), as_printed) | {"note": f"the report's by {printed:+.2f}"}


def _change(found: Progression, before: str, after: str, *measures: str) -> Values:
    known = {before, after} <= set(found.ladder.models) and set(measures) <= set(found.measures)
    return found.change(before, after, *measures) if known else None


def _sentence(
    found: Progression, text: str, values: Values, measures: tuple[str, ...], judge: Judge = compare.pattern_verdict
) -> dict:
    """Return `text` with the measured number at its end, and what `judge` makes of number and margin."""
    if values is None:
        return {"text": f"{text}: not measured here", "verdict": "not testable", "note": ""}
    margin = found.margin(values, *measures)
    width = " points, too few questions for a margin" if margin is None else f" ± {margin:.2f} points"
    note = f"{'conversations' if HEALTHBENCH in measures else 'questions'} drawn anew, the same for every stage"
    number = float(values[0])
    return {"text": f"{text}: {number:+.2f}{width}", "verdict": judge(number, margin), "note": note}
