"""Margins, differences, agreement and power: every margin of a study comes from `bootstrap`, and every interval that
holds however often one looks from `mean_interval` or `ratio_interval`.

Values are per question; a score is the plain mean over strata of the mean over questions of the mean over runs. Units
are those of the values (points of 0 to 100, tokens, rewards). Missing values are left out, never zero.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, exp, log
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr

Z = NormalDist().inv_cdf(0.975)  # 95 %, two-sided
QUESTION = ["stratum", "question_id"]  # levels that name a question; "run" names one of several answers to it
CELLS = 4_000_000  # weights held at a time (32 MB)
Sizes = Mapping[str, int]  # stratum -> questions it has, asked or not
ALPHA = 0.05  # the chance that the truth is outside of an interval at any look
BETS = np.geomspace(0.05, 0.8, 5)  # shares of what a question can cost; ours: found to settle gaps of 3 to 15 points
EDGE = 1e-9  # share of the range next to its ends in which no number is tried
WIDEST = 1e3  # ratios beyond it, and below its inverse, are not told apart


def score(per_question: pd.Series) -> pd.DataFrame | pd.Series:
    """Return the score of every model: [suite] x model, or whatever levels `per_question` has; see `bootstrap`. Missing
    where a stratum has no value: the mean of the others would be another measure."""
    means, _, _ = _questions(per_question)
    strata = means.groupby(level=[name for name in means.index.names if name != "question_id"], sort=False).mean()
    scores = strata.groupby(level=_levels(means), sort=False).mean(skipna=False)
    return scores.unstack("model") if scores.index.nlevels > 1 else scores


def bootstrap(
    per_question: pd.Series,
    draws: int = 1000,
    seed: int = 0,
    *,
    sizes: Sizes | None = None,
    published_runs: int = 0,
    bounds: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Return replicates of the scores of `per_question`: [draw, suite] x model; missing where a stratum has no value,
    or a single question, which says nothing of its spread.

    Questions are weighted anew within their stratum, the same way for all models and suites, so that the difference of
    two columns is paired. Weights are exponential (Rubin, Annals of Statistics 9, 1981), so that a part with few
    questions has a score in every draw; deviations are scaled to the unbiased variance (Rao and Wu, JASA 83, 1988).
    Of a finite suite, n of N questions asked, question sampling has the variance 1/n - 1/N (Cochran, Sampling
    Techniques, 1977, 2.6), and run noise, which more questions do not remove, is added in full from the variance over
    the runs within questions. A single run cannot tell the two apart: all is taken for run noise, its upper bound.

    Args:
        per_question: one value per answer. Index levels ``model``, ``stratum``, ``question_id``, where there are any
            ``run``, and others that name the score, e.g. ``suite``. Equal stratum and question are one question.
        sizes: of finite suites; by default there are questions of this kind without end.
        published_runs: runs behind a published score of the same finite suite: the replicates are then those of the
            difference from it.
        bounds: lowest and highest value; a stratum whose values are all equal then gets the spread that adding two of
            each would give it (Agresti and Coull, The American Statistician 52, 1998), instead of none.
    """
    means, within, runs = _questions(per_question)
    columns = _levels(means)
    wide = means.unstack(columns).dropna(how="all")
    noisy, often = (values.unstack(columns).loc[wide.index, wide.columns] for values in (within, runs))
    generator = np.random.default_rng(seed)
    total, strata = np.zeros((draws, wide.shape[1])), np.zeros(wide.shape[1])
    for stratum, place in wide.groupby(level="stratum", sort=False).indices.items():
        values = wide.to_numpy()[place]
        there = ~np.isnan(values).all(axis=0)
        values, variance, count = (frame.to_numpy()[place][:, there] for frame in (wide, noisy, often))
        mean, asked = np.nanmean(values, axis=0), (~np.isnan(values)).sum(axis=0)
        size = np.inf if sizes is None else sizes[stratum]
        if asked.max() > size:
            raise ValueError(f"{asked.max()} questions asked of stratum {stratum!r}, which has {size}; correct `sizes`")
        single = np.isnan(variance).all(axis=0)  # one run of each
        spread = np.nansum((values - mean) ** 2, axis=0) / np.where(asked > 1, asked - 1, np.nan)
        share = np.where(single, 0.0, asked / size)  # of the suite
        noise = np.where(single, 0.0, share * _mean(variance / count) / asked)
        if published_runs:
            noise = noise + np.where(single, spread, _mean(variance)) / (size * published_runs)
        if bounds is not None:
            noise = noise + np.where(spread == 0, _added(mean, asked, *bounds), 0.0)
        scale = np.sqrt((1 - share) * (asked + 1) / np.where(asked > 1, asked - 1, np.nan))
        shift = scale * _shifts(values - mean, draws, generator)
        total[:, there] += mean + shift + np.sqrt(noise) * generator.standard_normal(shift.shape)
        strata += there
    named = means.index.to_frame().groupby(level=columns)["stratum"].nunique().loc[wide.columns]  # with a value or not
    complete = np.where(strata == named, strata, np.nan)
    replicates = pd.DataFrame(total / complete, columns=wide.columns).rename_axis("draw")
    suites = [name for name in columns if name != "model"]
    return replicates.stack(suites, future_stack=True) if suites else replicates


def bootstrap_mean(values: NDArray[np.float64], draws: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """Return the replicates [draws] that `bootstrap` gives one score from one answer to each of at least two questions,
    without the frames: where there are hundreds of such scores these take most of the time."""
    deviations, asked = (values - values.mean())[:, None], len(values)
    shift = _shifts(deviations, draws, np.random.default_rng(seed))[:, 0]
    return values.mean() + np.sqrt((asked + 1) / (asked - 1)) * shift


def _questions(per_question: pd.Series) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return of every question the mean over its runs, their variance (missing for one run) and their number."""
    by = [name for name in per_question.index.names if name != "run"]
    grouped = per_question.groupby(level=by, sort=False)
    return grouped.mean(), grouped.var(), grouped.count()


def _levels(means: pd.Series) -> list[str]:
    return [name for name in means.index.names if name not in QUESTION]


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of the columns, missing values left out; 0 where all are missing."""
    return np.nansum(values, axis=0) / np.maximum((~np.isnan(values)).sum(axis=0), 1)


def _added(mean: NDArray[np.float64], asked: NDArray[np.int64], low: float, high: float) -> NDArray[np.float64]:
    """Return the variance of a mean after two values of each bound were added to those that were asked."""
    share = ((mean - low) / (high - low) * asked + 2) / (asked + 4)
    return (high - low) ** 2 * share * (1 - share) / asked


def _shifts(deviations: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return weighted means [draws, columns] of `deviations` [questions, columns], missing ones left out. Questions
    with equal values get one weight, the sum of theirs, which is gamma: a million cost no more than a few."""
    deviations, count = np.unique(deviations, axis=0, return_counts=True)
    present = (~np.isnan(deviations)).astype(float)
    deviations, shifts = np.nan_to_num(deviations), np.empty((draws, deviations.shape[1]))
    step = max(1, CELLS // len(deviations))
    for start in range(0, draws, step):
        weights = generator.standard_gamma(count, (min(step, draws - start), len(count)))
        mass = weights.sum(axis=1, keepdims=True) if present.all() else weights @ present
        shifts[start : start + step] = weights @ deviations / mass
    return shifts


def half_width(replicates: pd.DataFrame | NDArray) -> pd.DataFrame | pd.Series | NDArray:
    """Return the 95 % margin: half the width of the central 95 % of the replicates, over level ``draw`` or axis 0."""
    if isinstance(replicates, np.ndarray):
        low, high = np.quantile(replicates, (0.025, 0.975), axis=0)
        return (high - low) / 2
    suites = [name for name in replicates.index.names if name != "draw"]
    drawn = replicates.groupby(level=suites, sort=False) if suites else replicates
    return (drawn.quantile(0.975) - drawn.quantile(0.025)) / 2


def p_value(difference: float, replicates: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of `difference` for a normal error with the spread of its replicates."""
    error = float(np.std(replicates, ddof=1))
    return float(2 * ndtr(-abs(difference) / error)) if error else float(difference == 0)


def estimate(per_question: pd.Series, **options) -> pd.DataFrame:
    """Return ``score`` and ``margin`` of every model and suite; `options` as of `bootstrap`."""
    margins = half_width(bootstrap(per_question, **options))
    scores = score(per_question)
    if isinstance(scores, pd.Series):
        return pd.DataFrame({"score": scores, "margin": margins})
    return pd.DataFrame({"score": scores.stack(future_stack=True), "margin": margins.stack(future_stack=True)})


def lead(per_question: pd.Series, first: str, second: str, **options) -> dict[str, float]:
    """Return by how much model `first` is above `second` on the questions of one suite that both answered:
    ``difference``, ``margin`` and ``p_value``, missing without such ``questions``; `options` as of `bootstrap`."""
    means, _, _ = _questions(per_question)
    pair = means.unstack("model").reindex(columns=[first, second]).dropna()
    gap = (pair[first] - pair[second]).to_frame("gap").rename_axis("model", axis=1).stack()
    if not len(gap):
        return dict.fromkeys(("difference", "margin", "p_value"), np.nan) | {"questions": 0}
    difference, drawn = float(score(gap)["gap"]), bootstrap(gap, **options)["gap"].to_numpy()
    margin, chance = float(half_width(drawn)), p_value(difference, drawn)
    return {"difference": difference, "margin": margin, "p_value": chance, "questions": len(gap)}


def proportion_margin(correct: int, total: int) -> float:
    """Return the 95 % margin of `correct` out of `total`, in points: the longer arm of Wilson's interval. Wilson,
    Journal of the American Statistical Association 22, 1927: of counts of which nothing but the total is known."""
    from scipy.stats import binomtest  # late: takes half a second to import

    interval = binomtest(int(correct), int(total)).proportion_ci(method="wilson")
    return 100 * max(interval.high - correct / total, correct / total - interval.low)


def questions_needed(
    distance: float, between: float, within: float, runs: int, *, suite: int | None = None, power: float = 0.8
) -> int | None:
    """Return how many questions, asked `runs` times, show `distance` at 95 % with the wanted power; None where no
    number does. Solves (z_0.975 + z_power)^2 V = distance^2 for n, V = between (1/n - 1/N) + within / (n R) (sample
    size of a z test: Cochran, Sampling Techniques, 1977, 4.4): variances of one question, between questions and within
    one. `suite` is the number N of questions there are in all, None where new ones can be written."""
    if not distance or runs < 1 or not 0.5 <= power < 1:
        raise ValueError(f"distance {distance}, runs {runs}, power {power}: out of range")
    normal = NormalDist()
    allowed = (distance / (normal.inv_cdf(0.975) + normal.inv_cdf(power))) ** 2 + (between / suite if suite else 0.0)
    needed = max(2, ceil((between + within / runs) / allowed - 1e-9))
    return needed if suite is None or needed <= suite else None


# Intervals that hold however often one looks.


class Interval(NamedTuple):
    """Both ends of a confidence sequence at one look; the truth is between them at all looks together. A margin is for
    one look, at a number of questions chosen before: who stops at the first one without zero is wrong far more often
    than 5 %. A number is in this interval as long as nobody has grown rich by betting against it (Waudby-Smith and
    Ramdas, Journal of the Royal Statistical Society B 86, 2024): of every player the capital after n questions is
    K_n(m) = prod_{t <= n} (1 + bet (x_t - m)), and if m is the mean, E[K_n(m)] <= 1, so that P(K_n(m) >= 1/alpha for
    any n) <= alpha (Ville, Étude critique de la notion de collectif, 1939). Players bet constant shares of what they
    can lose, `BETS`, half of them that the mean is larger, half that it is smaller; K is their mean capital, which is
    convex in m, so that what it leaves is an interval."""

    low: float
    high: float


def log_capital(gaps: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm of the capital won after each question against "`gaps` have mean zero": [..., questions].

    Args:
        gaps: in the random order in which questions were asked: [..., questions].
        low, high: bounds of a gap, below and above zero; numbers, or one for each question.
    """
    bets = BETS.reshape(-1, *[1] * np.ndim(gaps))
    rising, falling = np.log1p(bets * gaps / -np.asarray(low)), np.log1p(-bets * gaps / np.asarray(high))
    return logsumexp(np.cumsum(np.concatenate([rising, falling]), axis=-1), axis=0) - log(2 * len(BETS))


def mean_interval(
    values: ArrayLike, low: float, high: float, *, size: int | None = None, alpha: float = ALPHA
) -> Interval:
    """Return the interval of the mean of a suite of which `values` were drawn, in their order: [questions].

    Answers to one question differ between runs, so that having asked all N of a suite still does not tell the mean
    expected value, which the interval without `size` is of. It is exact for questions drawn independently, and safe too
    for a suite in random order: in the limit of many questions their sum is a Brownian bridge with noise,
    which stays inside a symmetric band at least as often as a Brownian motion (Anderson, Proceedings of the AMS 6,
    1955). With `size`, m_t = (N m - sum_{s < t} x_s) / (N - t + 1), the mean of those still to be drawn, takes the
    place of m (Waudby-Smith and Ramdas, NeurIPS 33, 2020); values with run noise treated so would give, at the end of
    the suite, an interval of width zero around a number that is wrong.

    Args:
        low, high: bounds of a value.
        size: questions of the suite, where each has one value, as at temperature 0; None where it varies between runs.
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


def ratio_interval(first: ArrayLike, second: ArrayLike, most: float, *, alpha: float = ALPHA) -> Interval:
    """Return the interval of mean(`first`) / mean(`second`), paired by question: [questions] each, from 0 to `most`. A
    ratio r stays as long as the gaps x - r y, which lie between -r `most` and `most`, may have mean zero."""
    first, second = _within(first, 0.0, most), _within(second, 0.0, most)

    def against(power: float) -> float:
        number = exp(power)
        return float(np.max(log_capital(first - number * second, -number * most, most)))

    return Interval(*map(exp, _kept(against, -log(WIDEST), log(WIDEST), alpha)))


def _within(values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=float)
    if not np.all((values >= low) & (values <= high)):
        raise ValueError(
            f"values from {np.min(values)} to {np.max(values)}; from {low} to {high} are allowed, none missing"
        )
    return values


def _kept(against: Callable[[float], float], left: float, right: float, alpha: float) -> Interval:
    """Return the numbers from `left` to `right` against which the log capital never reached log 1/alpha."""
    from scipy.optimize import brentq, minimize_scalar  # late: takes half a second to import

    def above(number: float) -> float:
        return against(number) - log(1 / alpha)

    if right - left <= 0:
        return Interval(left, right)
    inside = float(minimize_scalar(above, bounds=(left, right), method="bounded").x)
    if above(inside) >= 0:  # has the chance alpha at most
        return Interval(inside, inside)
    ends = (end if above(end) < 0 else brentq(above, inside, end, rtol=1e-6) for end in (left, right))
    return Interval(*ends)


# Several claims, several raters.


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that the chance of even one false claim stays below the level; missing ones stay.
    Holm, Scandinavian Journal of Statistics 6, 1979: the k-th smallest of m times (m - k + 1), never decreasing."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def cohen_kappa(first: Sequence, second: Sequence) -> float:
    """Return the agreement of two raters beyond chance, NaN where the data cannot say; missing labels are left out.
    Cohen, Educational and Psychological Measurement 20, 1960: (observed - expected) / (1 - expected)."""
    pairs = pd.DataFrame(list(zip(first, second, strict=True)), columns=["first", "second"], dtype=object).dropna()
    shares = pairs.apply(lambda labels: labels.value_counts(normalize=True)).fillna(0.0)
    return _beyond_chance((pairs["first"] == pairs["second"]).mean(), shares.prod(axis=1).sum())


def fleiss_kappa(ratings: ArrayLike) -> float:
    """Return the agreement of two or more raters beyond chance, from one row of labels per item, NaN as above. Fleiss,
    Psychological Bulletin 76, 1971. Items that any rater left out are left out."""
    labels = pd.DataFrame(ratings, dtype=object).reset_index(drop=True)
    if len(labels) and len(labels.columns) < 2:
        raise ValueError("every item needs one label (or None) of each rater, and there must be two raters at least")
    if (labels := labels.dropna()).empty:
        return np.nan
    raters, long = len(labels.columns), labels.stack()
    counts = pd.crosstab(long.index.get_level_values(0), long.to_numpy()).to_numpy()
    observed = ((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1))
    return _beyond_chance(observed, ((counts.sum(axis=0) / counts.sum()) ** 2).sum())


def _beyond_chance(observed: float, expected: float) -> float:
    return float((observed - expected) / (1 - expected)) if expected < 1 else np.nan
