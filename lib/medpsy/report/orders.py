"""The rows of a result's `claims` as such, and those of patterns that hold or do not, settled by bootstrap samples."""

from dataclasses import asdict

from medpsy.published import Claim
from medpsy.report.effort import Effort

LEAST = 30  # questions or conversations; ours: a bootstrap of fewer says little but what it saw
SURE = 0.975  # share of replicates on one side that settles a pattern; two-sided 95 %


def order_row(claim: Claim, effort: Effort, ours: float | None = None, *, note: str = "") -> dict:
    """Return the row of a pattern that holds or does not: settled where nearly all bootstrap samples agree.

    Args:
        effort: its `share` is that of the samples in which the pattern holds.
    """
    verdict = order_verdict(effort.share) if effort.questions >= LEAST else "too few to tell"
    said = f"{note}holds in {100 * effort.share:.0f} % of bootstrap samples"
    return entry(claim, verdict, ours, None, said) | {"effort": asdict(effort)}


def order_verdict(share: float) -> str:
    """Return the verdict of a pattern that holds in `share` of the bootstrap samples (0 to 1)."""
    return "pattern holds" if share >= SURE else "pattern fails" if share <= 1 - SURE else "too few to tell"


def entry(claim: Claim, verdict: str, ours: float | None, margin: float | None, note: str) -> dict:
    """Return one row without what stood behind it."""
    published = None if claim.number is None else float(claim.number)
    return {"id": claim.id, "claim": claim.text, "verdict": verdict, "note": note} | {
        "published": published,
        "ours": ours,
        "margin": margin,
    }
