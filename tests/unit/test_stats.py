"""The one bootstrap: coverage by simulation, closed forms, pairing, speed; and agreement, correction and power."""

import time

import numpy as np
import pandas as pd
import pytest
from medpsy import stats
from scipy.stats import t
from training_examples import defined

WORLDS = 2000  # simulated suites: the share that is covered is known to half a point
LEVELS = ["model", "stratum", "question_id", "run"]


def long(values, stratum="", **levels):
    """Return per-question values [model, question, run] as a series; models are numbered."""
    index = pd.MultiIndex.from_product([[*range(len(values))], [stratum], *map(range, values.shape[1:])], names=LEVELS)
    found = pd.DataFrame({"value": values.ravel()}, index=index).assign(**levels)
    return found.set_index([*levels], append=True)["value"]


def answers(generator, worlds, questions, runs):
    """Return the true share of every question, and answers of 0 and 100 [world, question, run]."""
    shares = generator.beta(2, 1.5, size=(worlds, questions))
    return 100 * shares, 100.0 * (generator.random((worlds, questions, runs)) < shares[..., None])


def covered(truth, scores, margins):
    return float(np.mean(np.abs(np.asarray(scores) - truth) <= np.asarray(margins)))


def test_one_model_is_covered():
    _, outcomes = answers(np.random.default_rng(1), WORLDS, 100, 2)
    found = stats.estimate(long(outcomes), seed=1)
    assert 0.94 <= covered(100 * 2 / 3.5, found["score"], found["margin"]) <= 0.96


def test_of_a_finite_suite_its_own_score_is_covered_by_less():
    shares, outcomes = answers(np.random.default_rng(2), WORLDS, 200, 2)
    found = stats.estimate(long(outcomes[:, :120]), seed=2, sizes={"": 200})
    assert 0.94 <= covered(shares.mean(axis=1), found["score"], found["margin"]) <= 0.96
    assert found["margin"].mean() < 0.9 * stats.estimate(long(outcomes[:100, :120]))["margin"].mean()


def test_a_paired_lead_is_covered():
    generator = np.random.default_rng(3)
    shares, first = answers(generator, WORLDS, 100, 2)
    second = 100.0 * (generator.random(first.shape) < shares[..., None] / 100 * 0.8)
    values = pd.concat([long(first, side="first"), long(second, side="second")])
    drawn = stats.bootstrap(values, seed=3)
    drawn = drawn.xs("first", level="side") - drawn.xs("second", level="side")
    gaps = (first - second).mean(axis=(1, 2))
    assert 0.94 <= covered(20 * 2 / 3.5, gaps, stats.half_width(drawn.to_numpy())) <= 0.96


def test_a_stratified_average_over_suites_is_covered():
    generator = np.random.default_rng(4)
    parts = {"a/x": 60, "a/y": 40, "b": 80, "c": 50}
    values = [long(answers(generator, WORLDS, size, 1)[1], name, suite=name[0]) for name, size in parts.items()]
    values = pd.concat(values)
    scores = stats.score(values).mean()
    drawn = stats.bootstrap(values, draws=2000, seed=4).groupby(level="draw").mean()
    assert 0.94 <= covered(100 * 2 / 3.5, scores, stats.half_width(drawn)) <= 0.96


def test_the_clipped_mean_of_conversations_is_covered():
    generator = np.random.default_rng(5)
    examples = 100 * generator.choice([-1.5, 0.2, 0.6, 1.0], p=[0.15, 0.15, 0.4, 0.3], size=(WORLDS, 200, 1))
    truth = 100 * (-1.5 * 0.15 + 0.2 * 0.15 + 0.6 * 0.4 + 0.3)
    drawn = stats.bootstrap(long(examples), seed=5).clip(0, 100)
    assert 0.94 <= covered(truth, stats.score(long(examples)).clip(0, 100), stats.half_width(drawn)) <= 0.96


@pytest.mark.parametrize(
    ("knows", "noise", "least", "most", "n"),
    [(0.0, 20.0, 0.99, 1.01, 50), (1.0, 20.0, 0.7, 0.8, 50), (1.0, 0.0, 0.3, 0.36, 50), (1.0, 20.0, 0.7, 0.8, 20)],
)
def test_a_corrected_level_is_covered_by_a_margin_as_wide_as_the_judge_is_bad(knows, noise, least, most, n):
    corrected, generator = defined("02_teacher_selection", "corrected", np=np, pd=pd, t=t), np.random.default_rng(11)
    found = []
    for truth in map(pd.Series, generator.normal(50, 20, size=(WORLDS // 2, 400))):
        told, few = knows * truth + generator.normal(10, noise, size=400), truth[:n]
        found.append((*corrected(told, few), t.ppf(0.975, n - 1) * few.sem()))
    levels, margins, alone = np.transpose(found)
    assert 0.93 <= covered(50, levels, margins) <= 0.96
    assert least <= margins.mean() / alone.mean() <= most  # of one who is right the root of n / 400


def test_margins_are_those_of_the_closed_forms():
    _, outcomes = answers(np.random.default_rng(6), 1, 400, 3)
    means, within = outcomes[0].mean(axis=1), outcomes[0].var(axis=1, ddof=1).mean()
    between = means.var(ddof=1) - within / 3
    margin = {
        name: stats.half_width(stats.bootstrap(long(outcomes), draws=20_000, **given))[0]
        for name, given in {
            "endless": {},
            "sample": {"sizes": {"": 1000}},
            "whole": {"sizes": {"": 400}},
            "published": {"sizes": {"": 400}, "published_runs": 3},
        }.items()
    }
    variances = {"endless": (between + within / 3) / 400, "sample": between * (1 / 400 - 1 / 1000) + within / 1200}
    variances |= {"whole": within / 1200, "published": 2 * within / 1200}
    assert margin == pytest.approx({name: stats.Z * one**0.5 for name, one in variances.items()}, rel=0.03)
    _, outcomes = answers(np.random.default_rng(7), 1, 300, 1)  # one run is all taken for run noise
    whole = stats.half_width(stats.bootstrap(long(outcomes), draws=20_000, sizes={"": 300}))[0]
    assert whole == pytest.approx(stats.Z * outcomes.std(ddof=1) / 300**0.5, rel=0.03)


def test_a_question_is_drawn_once_for_all_suites_and_models_that_have_it():
    values = np.random.default_rng(8).normal(size=(2, 50, 1))
    hard = long(values[:, :20], suite="hard")
    drawn = stats.bootstrap(pd.concat([long(values, suite="all"), hard, long(values[:, :20] + 1, suite="again")]))
    drawn = drawn.unstack("suite")
    assert np.allclose(drawn[0]["again"] - drawn[0]["hard"], 1)
    assert np.corrcoef(drawn[0]["all"], drawn[0]["hard"])[0, 1] > 0.4
    scores = stats.score(pd.concat([long(values, suite="all"), hard]))
    assert scores.loc["hard", 1] == pytest.approx(values[1, :20].mean())


def test_what_says_nothing_of_its_spread_has_no_margin_and_what_never_varied_has_one():
    single = stats.estimate(long(np.ones((1, 1, 2))))
    assert single["score"][0] == 1 and np.isnan(single["margin"][0])
    always = long(np.full((1, 60, 1), 100.0))
    assert stats.estimate(always)["margin"][0] == 0
    assert stats.estimate(always, bounds=(0, 100))["margin"][0] == pytest.approx(4.4, abs=0.5)


def test_missing_answers_are_left_out_and_too_many_are_refused():
    values = long(np.array([[[1.0], [0.0], [np.nan]], [[1.0], [0.0], [1.0]]]))
    assert stats.score(values).tolist() == [0.5, 2 / 3]
    assert stats.lead(values, 1, 0)["questions"] == 2
    single = stats.lead(long(np.array([[[1.0]], [[0.0]]])), 1, 0)  # one question says nothing of the spread
    assert single["difference"] == -1 and np.isnan(single["margin"])
    strata = pd.concat([values.rename({"": "a"}), values.where(values.index.get_level_values(0) > 0).rename({"": "b"})])
    assert stats.score(strata).tolist() == pytest.approx([np.nan, 2 / 3], nan_ok=True)  # half of a score is none
    assert np.isnan(stats.bootstrap(strata)).all().tolist() == [True, False]
    with pytest.raises(ValueError, match="3 questions asked.*2"):
        stats.bootstrap(values, sizes={"": 2})


def test_a_million_answers_take_seconds():
    values = pd.concat(
        [
            long(np.random.default_rng(suite).integers(0, 2, (10, 4762, 3)) * 1.0, suite, suite=suite)
            for suite in range(7)
        ]
    )
    started = time.process_time()
    assert stats.bootstrap(values).shape == (7000, 10)
    assert time.process_time() - started < 5


def test_leads_have_p_values_that_holm_corrects():
    shares = np.random.default_rng(9).random((100, 1))
    values = long(np.stack([shares, shares + 0.1, shares + np.random.default_rng(1).normal(size=(100, 1))]))
    expected = {"difference": 0.1, "margin": 0, "p_value": 0, "questions": 100}
    assert stats.lead(values, 1, 0) == pytest.approx(expected, abs=1e-9)
    assert stats.lead(values, 2, 0)["p_value"] > 0.05
    assert stats.holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


def test_the_questions_needed_are_those_that_show_the_distance():
    variance, distance = 400.0, 3.0  # of one question: a standard error of 2 behind 100
    needed = stats.questions_needed(distance, variance, 0.0, 1, power=0.5)
    assert stats.Z * (variance / needed) ** 0.5 == pytest.approx(distance, rel=0.01)
    more = stats.questions_needed(distance, variance, 0.0, 1)
    assert more > needed
    assert stats.questions_needed(distance, 0.0, variance, 5) == pytest.approx(more / 5, abs=1)
    assert stats.questions_needed(distance, 0.0, variance, 1, suite=100) is None
    with pytest.raises(ValueError, match="distance 0"):
        stats.questions_needed(0, variance, 0.0, 1)


def test_agreement():
    assert stats.cohen_kappa([1, 1, 0, 0, None], [1, 0, 0, 0, 1]) == pytest.approx(0.5)
    alike = [True, True]
    assert np.isnan([stats.cohen_kappa(alike, alike), stats.cohen_kappa([], []), stats.fleiss_kappa([])]).all()
    assert stats.fleiss_kappa([["a", "a"], ["b", "b"], ["a", None]]) == 1
    assert stats.fleiss_kappa([["a", "a", "a"], ["b", "b", "b"], ["b", "a", "a"]]) == pytest.approx(0.55)
    with pytest.raises(ValueError, match="two raters"):
        stats.fleiss_kappa([["a"]])


@pytest.mark.parametrize(("correct", "total", "margin"), [(0, 10, 27.75), (5, 10, 26.34), (50, 100, 9.61)])
def test_a_proportion_has_wilsons_margin(correct, total, margin):
    assert stats.proportion_margin(correct, total) == pytest.approx(margin, abs=0.01)
