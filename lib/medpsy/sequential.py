"""Confidence sequences: intervals of a mean, or of a ratio of two means, that hold however often one looks.

A margin of `medpsy.stats` is for one look, at a number of questions chosen before. Who looks after every batch and
stops at the first margin without zero is wrong far more often than 5 %. The interval here covers the truth at all looks
together with probability 1 - alpha. It turns a test round: a number is in the interval as long as nobody has grown rich
by betting against it (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the
Royal Statistical Society B 86, 2024). Of every player the capital after n questions is

    K_n(m) = prod_{t <= n} (1 + bet * (x_t - m)),    E[K_n(m)] <= 1 if m is the mean,

so that P(K_n(m) >= 1/alpha for any n) <= alpha (Ville, Étude critique de la notion de collectif, 1939). Players bet
constant shares of what they can lose, `BETS`, half of them that the mean is larger, half that it is smaller; K is their
mean capital. It is convex in m, so that what it leaves is an interval.

**What varies.** Answers to one question differ between runs, so that a question asked once does not tell its own
expected value, and having asked all N of a suite still does not tell the mean. Without `size` nothing is gained from a
suite's end, and the interval is that of the mean expected value. It is exact for questions drawn independently. Of a
suite asked in random order, no difference is taken for one no more often in the limit of many questions: their sum then
is a Brownian bridge with independent noise, which stays inside any symmetric band at least as often as the Brownian
motion of independent draws (Anderson, Proceedings of the AMS 6, 1955). With `size`, each question has one value, as at
temperature 0, and the mean of those still to be drawn is known but for m (Waudby-Smith and Ramdas, Confidence sequences
for sampling without replacement, NeurIPS 33, 2020):

    m_t = (N m - sum_{s < t} x_s) / (N - t + 1)

takes the place of m. Values with run noise treated so give, at the end of the suite, an interval of width zero around a
number that is wrong.
"""

from collections.abc import Callable
from math import exp, log
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

ALPHA = 0.05
BETS = np.geomspace(0.05, 0.8, 5)  # shares of what a question can cost; ours: found to settle gaps of 3 to 15 points
EDGE = 1e-9  # share of the range next to its ends in which no number is tried
WIDEST = 1e3  # ratios beyond it, and below its inverse, are not told apart
Values = NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends; what holds at all looks together is that the truth is between them."""

    low: float
    high: float


def log_capital(gaps: ArrayLike, low: ArrayLike, high: ArrayLike) -> Values:
    """Return the logarithm of the capital won after each question against "`gaps` have mean zero": [..., questions].

    Args:
        gaps: in the random order in which questions were asked: [..., questions].
        low, high: bounds of a gap, below and above zero; numbers, or one for each question.
    """
    bets = BETS.reshape(-1, *[1] * np.ndim(gaps))
    rising, falling = np.log1p(bets * gaps / -np.asarray(low)), np.log1p(-bets * gaps / np.asarray(high))
    return logsumexp(np.cumsum(np.concatenate([rising, falling]), axis=-1), axis=0) - log(2 * len(BETS))


def mean(values: ArrayLike, low: float, high: float, *, size: int | None = None, alpha: float = ALPHA) -> Interval:
    """Return the interval of the mean of a suite of which `values` were drawn, in their order: [questions].

    Args:
        low, high: bounds of a value.
        size: questions of the suite, where each has one value; None where its values vary between runs.
    """
    values, edge = _within(values, low, high), EDGE * (high - low)
    left, right, rest, drawn = low + edge, high - edge, 1.0, 0.0
    if size is not None:
        if len(values) > size:
            raise ValueError(f"{len(values)} values of a suite of {size} questions; correct `size`")
        rest, drawn = (size - np.arange(len(values))) / size, (np.cumsum(values) - values) / size
        unseen = size - len(values)  # what they can still make of the mean
        left, right = ((np.sum(values) + unseen * bound) / size for bound in (left, right))

    def against(number: float) -> float:
        now = np.clip((number - drawn) / rest, low + edge, high - edge)
        return float(np.max(log_capital(values - now, low - now, high - now)))

    return _kept(against, left, right, alpha)


def ratio(first: ArrayLike, second: ArrayLike, most: float, *, alpha: float = ALPHA) -> Interval:
    """Return the interval of mean(`first`) / mean(`second`), paired by question: [questions] each, from 0 to `most`.

    A ratio r stays as long as the gaps x - r y, which lie between -r `most` and `most`, may have mean zero.
    """
    first, second = _within(first, 0.0, most), _within(second, 0.0, most)

    def against(power: float) -> float:
        number = exp(power)
        return float(np.max(log_capital(first - number * second, -number * most, most)))

    return Interval(*map(exp, _kept(against, -log(WIDEST), log(WIDEST), alpha)))


def _within(values: ArrayLike, low: float, high: float) -> Values:
    values = np.asarray(values, dtype=float)
    if not np.all((values >= low) & (values <= high)):
        raise ValueError(
            f"values from {np.min(values)} to {np.max(values)}; from {low} to {high} are allowed, none missing"
        )
    return values


def _kept(against: Callable[[float], float], left: float, right: float, alpha: float) -> Interval:
    """Return the numbers from `left` to `right` against which the log capital never reached log 1/alpha."""

    def above(number: float) -> float:
        return against(number) - log(1 / alpha)

    if right - left <= 0:
        return Interval(left, right)
    inside = float(minimize_scalar(above, bounds=(left, right), method="bounded").x)
    if above(inside) >= 0:  # has the chance alpha at most
        return Interval(inside, inside)
    ends = (end if above(end) < 0 else brentq(above, inside, end, rtol=1e-6) for end in (left, right))
    return Interval(*ends)
