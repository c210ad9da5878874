"""What a claim's unit says of its number: which one claims no difference, and how well it has to be known."""

from medpsy.published import Claim

RATIOS = ("x", "ratio")
RELATIVE = 0.05  # of the printed number; ours: about what the resolution of scores is of a score of 60
UNBOUNDED = (*RATIOS, "tokens")  # units of numbers that are no points: points would be the wrong resolution


def scale(claim: Claim) -> dict[str, float]:
    """Return `neutral` and `resolution` of `medpsy.report.compare.Measured`, where they are not those of points."""
    found = {"neutral": 1.0} if claim.unit in RATIOS else {}
    if claim.unit in UNBOUNDED and claim.number is not None:
        found["resolution"] = RELATIVE * abs(float(claim.number))
    return found
