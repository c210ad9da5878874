"""Ours against published: the verdict of one number or one pattern.

Refuses to call lack of power agreement: a margin too wide to resolve the question yields `too few to tell`, and a
published value of other models yields `not testable`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from medpsy import study

VERDICTS = ("agrees", "differs", "too few to tell", "pattern holds", "pattern fails", "not testable")
KINDS = {"agrees": "good", "pattern holds": "good", "differs": "bad", "pattern fails": "bad"}  # others: open
RESOLUTION = 3.0  # points; ours: a score known no better than this is not called reproduced
MODES = {"smoke": "patterns", "mini": "patterns", "review": "values", "paper": "values"}
ROUNDING = 1e-9  # points; keeps a gap that equals its margin inside it despite binary fractions


@dataclass(frozen=True)
class Measured:
    """One number measured by us beside the published one, in points unless its claim has another unit.

    Args:
        margin: half width of the 95 % interval of ``ours - published``.
        difference: the numbers are differences between two scores, not scores.
        effort: what stood behind our number, as `medpsy.report.effort.Effort` says it; None where it is not known.
        neutral: the number that claims no difference: 0, or 1 of a ratio.
        resolution: widest margin at which being inside it counts as agreement.
    """

    published: float | None
    ours: float | None
    margin: float | None
    difference: bool = False
    effort: Mapping | None = None
    neutral: float = 0.0
    resolution: float = RESOLUTION


def mode(profile: str) -> str:
    """Return ``"values"`` where the published models are run, ``"patterns"`` where the miniature stands in for them.

    Raises:
        medpsy.strict.SettingsError: there is no such profile.
    """
    if profile in MODES:
        return MODES[profile]
    return "values" if study.load(profile).source == "hub" else "patterns"


def known(value: float | None) -> bool:
    """Return whether `value` is a finite number."""
    return value is not None and math.isfinite(value)


def value_verdict(
    published: float | None, ours: float | None, margin: float | None, *, resolution: float = RESOLUTION
) -> str:
    """Return the verdict of a published value (all in points).

    Args:
        margin: half width of the 95 % interval of ``ours - published``.
        resolution: widest margin at which being inside it counts as agreement.

    Raises:
        ValueError: `margin` is negative.
    """
    if not (known(published) and known(ours)):
        return "not testable"
    if not _usable(margin):
        return "too few to tell"
    if abs(ours - published) > margin + ROUNDING:
        return "differs"
    return "agrees" if margin <= resolution + ROUNDING else "too few to tell"


def pattern_verdict(difference: float | None, margin: float | None) -> str:
    """Return the verdict of a pattern that claims ``difference > 0``; `margin` is its 95 % half width.

    Raises:
        ValueError: `margin` is negative.
    """
    if not known(difference):
        return "not testable"
    if not _usable(margin) or abs(difference) <= margin + ROUNDING:
        return "too few to tell"
    return "pattern holds" if difference > 0 else "pattern fails"


def unchanged_verdict(difference: float | None, margin: float | None, *, resolution: float = RESOLUTION) -> str:
    """Return the verdict of a pattern that claims no difference; `margin` is its 95 % half width.

    It holds only where the margin would have shown a difference of `resolution`.

    Raises:
        ValueError: `margin` is negative.
    """
    found = value_verdict(0.0, difference, margin, resolution=resolution)
    return {"agrees": "pattern holds", "differs": "pattern fails"}.get(found, found)


def all_hold(verdicts: list[str]) -> str:
    """Return the verdict of a pattern made of several: one failure fails it, one doubt leaves it open."""
    for word in ("pattern fails", "too few to tell", "not testable"):
        if word in verdicts:
            return word
    return "pattern holds" if verdicts else "not testable"


def verdict(measured: Measured, profile: str) -> str:
    """Return the verdict that `profile` allows on a published number: its value, or the sign of a difference."""
    if mode(profile) == "values":
        return value_verdict(measured.published, measured.ours, measured.margin, resolution=measured.resolution)
    return _sign_verdict(measured) if measured.difference else "not testable"


def claim(identity: str, text: str, measured: Measured, *, profile: str, note: str = "") -> dict:
    """Return one row of a result's `claims`, judged as `profile` allows.

    Where other models stand in for the published ones, a score is not testable and a difference is tested for the
    published sign only, and a published difference of zero for being none.

    Args:
        identity: id of the claim in `medpsy.published`.
        text: the claim in one sentence.
    """
    numbers = {"published": measured.published, "ours": measured.ours, "margin": measured.margin}
    if (measured.neutral, measured.resolution) != (0.0, RESOLUTION):  # a plan to settle the claim needs them
        numbers |= {"neutral": measured.neutral, "resolution": measured.resolution}
    found = {"id": identity, "claim": text, "verdict": verdict(measured, profile), "note": note} | numbers
    return found if measured.effort is None else found | {"effort": dict(measured.effort)}


def _sign_verdict(measured: Measured) -> str:
    if not (known(measured.published) and known(measured.ours)):
        return "not testable"
    claimed, found = measured.published - measured.neutral, measured.ours - measured.neutral
    if claimed == 0:
        return unchanged_verdict(found, measured.margin, resolution=measured.resolution)
    return pattern_verdict(math.copysign(1, claimed) * found, measured.margin)


def _usable(margin: float | None) -> bool:
    if margin is not None and margin < 0:
        raise ValueError(f"margin {margin} is negative; it is the half width of an interval")
    return known(margin)
