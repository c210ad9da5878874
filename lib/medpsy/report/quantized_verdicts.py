"""What the report says of quantization in general, said of our files: sentences with a verdict each.

Every sentence ends with its number and margin. What was not built makes it not testable, too few questions leave it
open.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from medpsy.report import compare
from medpsy.report.quantized import BOTH, CLOSED, HARD, Quantized, Values

NEAR, TRADE_OFF, LEAST_BITS = "Q8_0", "Q4_K_M", ("IQ3_M", "IQ3_XXS")  # formats the report's statements are about
BOUND = 1.0  # points that Q4_K_M loses at most (report 4.7, implications)
Judge = Callable[[float | None, float | None], str]


def quantized_verdicts(found: Quantized, losses: pd.DataFrame, *, same_size: Mapping[str, str]) -> list[dict]:
    """Return the verdicts on the patterns of section 4.7, in sentences.

    Args:
        losses: as `medpsy.quantization.divergences` returns it.
        same_size: size class -> format, the first being the larger model in fewer bits.
    """
    sizes = list(found.families)
    by_class = [one(found, size) for one in (_near, _bounded, _order, _matrix) for size in sizes]
    both = [_sensitive(found, sizes), _same_size(found, same_size)] if len(sizes) == 2 else []
    seen = [one(found, losses, size) for one in (_divergence, _matrix_divergence) for size in sizes if len(losses)]
    return [*by_class, *both, *seen]


def _near(found: Quantized, size: str) -> dict:
    text = f"{NEAR} of the {size} class cannot be told from its source model by the AVG Score"
    return _sentence(found, text, _change(found, size, NEAR), compare.unchanged_verdict)


def _bounded(found: Quantized, size: str) -> dict:
    change = _change(found, size, TRADE_OFF)
    left = None if change is None else change + BOUND
    text = f"{TRADE_OFF} of the {size} class loses less than {BOUND:g} point of AVG Score; what is left of that point"
    return _sentence(found, text, left)


def _order(found: Quantized, size: str) -> dict:
    most, least = _change(found, size, NEAR), _change(found, size, LEAST_BITS[-1])
    text = f"{LEAST_BITS[-1]} of the {size} class loses more AVG Score than {NEAR}, by"
    return _sentence(found, text, None if most is None or least is None else most - least)


def _matrix(found: Quantized, size: str) -> dict:
    ours, plain = found.variant(size, TRADE_OFF), found.variant(size, TRADE_OFF, plain=True)
    gain = found.score(ours.name, CLOSED) - found.score(plain.name, CLOSED) if ours and plain else None
    text = f"The importance matrix raises the closed-ended average of {TRADE_OFF} in the {size} class, by"
    return _sentence(found, text, gain, measure=CLOSED)


def _sensitive(found: Quantized, sizes: list[str]) -> dict:
    """Two classes are compared by the mean of the formats below 4 bits that both have."""
    pairs = [[_change(found, size, form) for size in sizes] for form in LEAST_BITS]
    gaps = [first - second for first, second in pairs if first is not None and second is not None]
    text = f"Below 4 bits the {sizes[1]} class loses more AVG Score than the {sizes[0]} one, by"
    return _sentence(found, text, np.mean(gaps, axis=0) if gaps else None)


def _same_size(found: Quantized, pair: Mapping[str, str]) -> dict:
    files = [found.variant(size, form) for size, form in pair.items()]
    names = [f"{size} {form}" for size, form in pair.items()]
    text = f"At about the same size {' is above '.join(names)} in AVG Score, by"
    if len(files) != 2 or None in files:
        return _sentence(found, text, None)
    lead = found.score(files[0].name, BOTH) - found.score(files[1].name, BOTH)
    hard = found.score(files[0].name, HARD) - found.score(files[1].name, HARD)
    sizes = " and ".join(f"{one.bytes / 1e6:.2f} MB" for one in files)
    note = f"{sizes}; {HARD} {hard[0]:+.2f}" if np.isfinite(hard[0]) else sizes
    return _sentence(found, text, lead) | {"note": note}


def _divergence(found: Quantized, losses: pd.DataFrame, size: str) -> dict:
    """Return whether every format diverges more than those with more bits: Q8_0, Q5, the 4-bit ones, the 3-bit ones."""
    known = losses.set_index("name")
    steps = ((NEAR,), ("Q5_K_M",), (TRADE_OFF, "IQ4_NL", "IQ4_XS"), ("IQ3_M",), ("IQ3_XXS",))
    files = [[one for form in step if (one := found.variant(size, form))] for step in steps]
    levels = [[known.loc[one.name] for one in step if one.name in known.index] for step in files]
    levels = [level for level in levels if level]
    text = f"The divergence from BF16 rises whenever bits are taken away, {size} class"
    if len(levels) < 2:
        return _sentence(found, text, None)
    verdicts = [
        compare.pattern_verdict(after["divergence"] - before["divergence"], _both(before, after))
        for less, more in zip(levels, levels[1:], strict=False)
        for before in less
        for after in more
    ]
    ends = f"{levels[0][0]['divergence']:.4f} to {levels[-1][0]['divergence']:.4f} nats per token"
    return {"text": f"{text}: {ends}", "verdict": compare.all_hold(verdicts), "note": "8, 5, 4 bits, IQ3_M, IQ3_XXS"}


def _matrix_divergence(found: Quantized, losses: pd.DataFrame, size: str) -> dict:
    """Return whether the importance matrix brings predictions nearer."""
    text = f"The importance matrix lowers the divergence of {TRADE_OFF} from BF16 in the {size} class"
    files = [found.variant(size, TRADE_OFF, plain=plain) for plain in (True, False)]
    if None in files:
        return {"text": f"{text}: not built here", "verdict": "not testable", "note": ""}
    plain, ours = (losses.set_index("name").loc[one.name] for one in files)
    gain, margin = plain["divergence"] - ours["divergence"], _both(plain, ours)
    verdict = compare.pattern_verdict(gain, margin)
    return {"text": f"{text}: by {gain:.4f} ± {margin:.4f} nats per token", "verdict": verdict, "note": ""}


def _both(first: pd.Series, second: pd.Series) -> float:
    """Return the margin of the difference of two divergences, as if they were of different tokens: never too narrow."""
    return float(np.hypot(first["divergence_margin"], second["divergence_margin"]))


def _change(found: Quantized, size: str, form: str) -> Values | None:
    one = found.variant(size, form)
    return None if one is None else found.change(one)


def _sentence(
    found: Quantized,
    text: str,
    values: Values | None,
    judge: Judge = compare.pattern_verdict,
    *,
    measure: str = BOTH,
) -> dict:
    """Return `text` with the measured number at its end, and what `judge` makes of number and margin."""
    if values is None or not np.isfinite(values[0]):
        why = "not built here" if values is None else "not measured here"
        return {"text": f"{text}: {why}", "verdict": "not testable", "note": ""}
    margin = found.margin(values, measure)
    width = " points, too few questions for a margin" if margin is None else f" ± {margin:.2f} points"
    number = float(values[0])
    return {"text": f"{text}: {number:+.2f}{width}", "verdict": judge(number, margin), "note": "paired by question"}
