"""What the report says of response lengths in general, said of ours: sentences with a verdict each."""

from collections.abc import Sequence

import pandas as pd

from medpsy.report import compare
from medpsy.report.length_claims import ALL, MOST, shorter
from medpsy.report.length_draws import CUT_OFF, LengthDraws, Values
from medpsy.report.orders import order_verdict
from medpsy.report.scores import gaps
from medpsy.report.stages import BACKBONE, LAST, Ladder
from medpsy.scoring import AVERAGE
from medpsy.study import Study

SFT2 = "sft2"


def length_verdicts(study: Study, found: LengthDraws, size: str, graded: pd.DataFrame) -> list[dict]:
    """Return the verdicts on the patterns of section 4.6 for one size class, in sentences.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
    """
    ladder = found.ladders[size]
    return [
        _ratio(found, ladder),
        _without_cut_off(found, ladder),
        _suites(found, ladder),
        _where(found, ladder),
        _both(study, found, ladder, graded),
    ]


def _ratio(found: LengthDraws, ladder: Ladder) -> dict:
    first, last = (found.mean(ladder.models[stage])[0] for stage in (BACKBONE, LAST))
    text = f"Training shortens the responses of the {ladder.size} class, {first:,.1f} to {last:,.1f} tokens; ratio"
    ratio = found.ratio(ladder)
    return _above_one(
        text,
        ratio,
        found.margin(ratio),
        "backbone over final model, weighted by questions, the same drawn for both models",
    )


def _without_cut_off(found: LengthDraws, ladder: Ladder) -> dict:
    text = f"Responses of the {ladder.size} class become shorter also where neither model is cut off; ratio"
    cut = {stage: 100 * found.mean(ladder.models[stage], CUT_OFF)[0] for stage in (BACKBONE, LAST)}
    asked, ratio = found.finished(ladder), found.finished_ratio(ladder)
    note = f"{asked:,} questions; cut off: " + ", ".join(f"{stage} {share:.1f} %" for stage, share in cut.items())
    return _above_one(text, ratio, found.margin(ratio, asked=asked), note)


def _suites(found: LengthDraws, ladder: Ladder) -> dict:
    """Return the verdict on how many suites become shorter: all for the 4B class, most for the other (report 4.6)."""
    shape, words = (ALL, "every suite") if ladder.table == ALL.table else (MOST, "most suites")
    cuts = {suite: found.cut(ladder, suite) for suite in found.suites}
    share = float(shape.holds(cuts)[1:].mean())
    text = f"Responses of the {ladder.size} class become shorter on {words}: on {shorter(cuts)[0]} of {len(cuts)}"
    verdict = order_verdict(share) if found.enough() else "too few to tell"
    return {"text": text, "verdict": verdict, "note": f"holds in {100 * share:.0f} % of bootstrap samples"}


def _where(found: LengthDraws, ladder: Ladder) -> dict:
    text = f"RL shortens the responses of the {ladder.size} class by more tokens than SFT"
    if SFT2 not in ladder.models:
        return {
            "text": f"{text}: not measured here",
            "verdict": "not testable",
            "note": "no checkpoint between the ends",
        }
    start, middle, end = (found.mean(ladder.models[stage]) for stage in (BACKBONE, SFT2, LAST))
    lead = (middle - end) - (start - middle)
    margin = found.margin(lead)
    note = f"tokens less: SFT {(start - middle)[0]:+.1f}, RL {(middle - end)[0]:+.1f}"
    verdict = compare.pattern_verdict(float(lead[0]), margin)
    return {"text": f"{text}: {_width(lead, margin, 1)} tokens", "verdict": verdict, "note": note}


def _both(study: Study, found: LengthDraws, ladder: Ladder, graded: pd.DataFrame) -> dict:
    ends = [ladder.models[stage] for stage in (BACKBONE, LAST)]
    leads = gaps(study, graded[graded["model"].isin(ends)], reference=ends[1])
    (lead,) = leads[leads["suite"] == AVERAGE].itertuples()
    ratio = found.ratio(ladder, found.closed)
    margin, wide = found.margin(ratio, found.closed), lead.margin if compare.known(lead.margin) else None
    verdicts = [compare.pattern_verdict(lead.difference, wide), compare.pattern_verdict(float(ratio[0]) - 1, margin)]
    text = f"The final model of the {ladder.size} class is right more often on the closed suites, and in fewer tokens: "
    text += f"{_width([lead.difference], wide)} points, ratio {_width(ratio, margin)}"
    return {
        "text": text,
        "verdict": compare.all_hold(verdicts),
        "note": "ratio: backbone over final model, the suites without HealthBench; paired by question",
    }


def _above_one(text: str, ratio: Values, margin: float | None, note: str) -> dict:
    verdict = compare.pattern_verdict(float(ratio[0]) - 1, margin)
    return {"text": f"{text} {_width(ratio, margin)}", "verdict": verdict, "note": note}


def _width(values: Sequence[float], margin: float | None, decimals: int = 2) -> str:
    wide = " (too few questions for a margin)" if margin is None else f" ± {margin:.{decimals}f}"
    return f"{values[0]:.{decimals}f}{wide}"
