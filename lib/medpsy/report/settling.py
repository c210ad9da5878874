"""How many questions and runs would settle a claim that is still open, and what they cost in tokens.

Assumptions, all of them stated here:

- The truth is what was measured: a plan for a pattern is one that shows the measured difference at 95 % with the wanted
  power. Where a published value is tested, a plan is one whose margin is narrow enough to call it reproduced.
- The margin shrinks with the number of questions as that of a mean does; all suites of a claim grow alike.
- Run noise is the share of the squared margin that the record states. Where it states none (one run), all of the margin
  is put down to the choice of questions, so that no plan hopes for more from runs than was seen.
- A rank has no margin: the share of bootstrap samples in which it holds is turned into a distance in standard errors.
- Responses that are stored are not paid for again; reading and judging the new ones is not counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from medpsy import statistics
from medpsy.report.compare import RESOLUTION, known, mode
from medpsy.report.remeasured import REPLICATES
from medpsy.statistics import Target, Variances, Z

RUNS = (1, 3, 5, 10)
POWER = 0.8
OPEN = "too few to tell"


@dataclass(frozen=True)
class Settled:
    """A plan: so many questions with so many runs each, and the tokens still to be written for it."""

    runs: int
    questions: int
    tokens: int


def settled(claim: Mapping, profile: str, *, runs: Sequence[int] = RUNS, power: float = POWER) -> list[Settled]:
    """Return one plan per number of `runs` that can settle `claim`, a row of a result's `claims`, cheapest first.

    Nothing where the claim is not open, its record does not say what stood behind it, or no number would do.
    """
    effort, found = claim.get("effort"), _distance(claim, profile, power)
    if claim["verdict"] != OPEN or not effort or found is None:
        return []
    distance, error, power = found
    total = (error / 100) ** 2 * effort["questions"]  # variance of one question, as if asked alone with these runs
    noise = (effort.get("run_share") or 0.0) * total
    variances = Variances(total - noise, noise * effort["runs"])
    planned = statistics.plans(distance, variances, runs=runs, target=Target(effort.get("suite"), power=power))
    plans = [Settled(one.runs, one.questions, _tokens(effort, one)) for one in planned if one.questions is not None]
    return sorted(plans, key=lambda plan: (plan.tokens, plan.runs))


def _distance(claim: Mapping, profile: str, power: float) -> tuple[float, float, float] | None:
    """Return what has to be resolved, its standard error now (same unit), and the power to see it with."""
    share = (claim.get("effort") or {}).get("share")
    if share is not None:
        least = 1 / (2 * REPLICATES)
        apart = abs(NormalDist().inv_cdf(min(max(share, least), 1 - least)))
        return (apart, 1.0, power) if apart else None
    ours, margin = claim["ours"], claim["margin"]
    if not known(margin) or not isinstance(ours, int | float) or not margin:
        return None
    neutral, resolution = claim.get("neutral", 0.0), claim.get("resolution", RESOLUTION)
    if mode(profile) == "values" or claim["published"] == neutral:  # no change is shown by a narrow margin too
        return resolution, margin / Z, 0.5  # at a power of one half, what is just seen is one margin away
    return (abs(ours - neutral), margin / Z, power) if ours != neutral else None


def _tokens(effort: Mapping, plan: statistics.Plan) -> int:
    stored = min(plan.questions, effort["questions"]) * min(plan.runs, effort["runs"])
    return round(effort["tokens"] * (plan.questions * plan.runs - stored))
