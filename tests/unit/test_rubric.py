"""HealthBench's arithmetic: by hand, against a plain implementation of the reference, and with verdicts missing."""

import time

import numpy as np
import pandas as pd
import pytest
from medpsy.data.healthbench import AXES, THEMES
from medpsy.grading import rubric
from medpsy.grading.rubric import Scoring

M, N, U = "met", "not met", "unjudged"


def rows(name: str, *criteria: tuple[float, str], theme: str = "hedging", **more) -> list[dict]:
    """Return an example's criteria as (points, outcome), optionally (points, outcome, axis)."""
    return [
        {"conversation_id": name, "criterion": at, "points": points, "outcome": outcome, "theme": theme,
         "axis": axis[0] if axis else "accuracy", **more}
        for at, (points, outcome, *axis) in enumerate(criteria)
    ]  # fmt: skip


def frame(*examples: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for example in examples for row in example])


def get(table: pd.DataFrame, name: str = "overall", column: str = "score") -> float:
    (value,) = table.loc[table["name"] == name, column]
    return value


def test_an_example_may_fall_below_zero_and_pulls_the_mean_down():
    one = frame(rows("a", (7, M), (3, N), (5, M), (-4, M), (-9, N)))
    assert rubric.example_scores(one)["score"].tolist() == [pytest.approx((7 + 5 - 4) / 15)]
    two = frame(rows("a", (5, N), (-10, M)), rows("b", (5, M), (5, M), (-10, N)))
    assert rubric.example_scores(two)["score"].tolist() == [-2.0, 1.0]
    assert get(rubric.scores(two)) == 0.0  # the mean, -0.5, is clipped once
    three = frame(rows("a", (10, N), (-5, M)), rows("b", (5, M)), rows("c", (5, M)))
    assert get(rubric.scores(three)) == pytest.approx((-0.5 + 1 + 1) / 3)


def test_a_theme_takes_whole_examples_and_an_axis_takes_criteria():
    two = frame(
        rows("a", (6, M, "accuracy"), (4, N, "completeness"), (-2, M, "completeness")),
        rows("b", (5, M, "accuracy"), (-3, M, "completeness"), theme="global_health"),
    )
    table = rubric.scores(two)
    assert get(table, "hedging") == pytest.approx(0.4)
    assert get(table, "global_health") == pytest.approx(0.4)
    assert get(table, "accuracy") == 1.0
    assert get(table, "completeness") == 0.0  # -2/4 in a, clipped; b has no positive points there and is left out
    assert table.loc[table["name"] == "completeness", "n"].tolist() == [1]
    assert table["kind"].tolist() == ["overall", "theme", "theme", "axis", "axis"]
    assert table["name"].tolist() == ["overall", "global_health", "hedging", "completeness", "accuracy"]


def test_each_other_implementation_is_one_named_option():
    two = frame(rows("a", (5, N), (-5, M)), rows("b", (10, M), (10, U), (-4, U)))
    base = rubric.scores(two)
    assert get(base) == 0.0  # -1 and 10 of 10 points
    assert get(rubric.scores(two, Scoring(clip_each_example=True))) == pytest.approx((0 + 1) / 2)
    assert get(rubric.scores(two, Scoring(unjudged_as_not_met=True))) == 0.0
    both = Scoring(clip_each_example=True, unjudged_as_not_met=True)
    assert get(rubric.scores(two, both)) == pytest.approx((0 + 0.5) / 2)
    category = rubric.scores(two, Scoring(clip_each_category=True))
    assert (get(category), get(category, "hedging"), get(category, "accuracy")) == (0.0, 0.5, 0.5)


def test_an_empty_response_is_judged_unless_the_option_says_otherwise():
    two = frame(rows("a", (5, N), (-5, M), empty=True), rows("b", (5, M), (5, N), empty=False))
    assert get(rubric.scores(two)) == 0.0  # the mean of -1 and 0.5, clipped
    table = rubric.scores(two, Scoring(empty_as_zero=True))
    assert get(table) == pytest.approx(0.25)
    assert (get(table, "accuracy"), get(table, "accuracy", "n")) == (0.5, 1)


# --- unjudged criteria


def test_an_unjudged_criterion_is_missing_and_the_extremes_go_by_sign():
    one = frame(rows("a", (4, M), (6, U), (-5, U), (2, N)))
    (row,) = rubric.example_scores(one).itertuples()
    assert row.score == pytest.approx(4 / 6)
    assert (row.low, row.high) == (pytest.approx((4 - 5) / 12), pytest.approx((4 + 6) / 12))
    assert row.unjudged == 2
    one = frame(rows("a", (5, N), (5, U), (-5, M)))  # -5 of 5 judged points, but no verdict can make it below -5 of 10
    (row,) = rubric.example_scores(one).itertuples()
    assert (row.score, row.low, row.high) == (-0.5, -0.5, 0.0)  # moved into the range


def test_an_example_without_a_judged_positive_point_is_left_out_and_counted_and_one_has_no_margin():
    two = frame(rows("a", (5, U), (-5, N)), rows("b", (5, M)))
    row = rubric.scores(two).iloc[0]
    assert row[["name", "score", "n", "skipped", "unjudged", "low", "high"]].tolist() == ["overall", 1, 1, 1, 1, 0.5, 1]
    assert np.isnan([row["margin"], row["bootstrap_std"]]).all()
    (row,) = rubric.scores(frame(rows("a", (5, U)))).head(1).itertuples()
    assert np.isnan(row.score) and np.isnan(row.bootstrap_std) and (row.low, row.high, row.n) == (0.0, 1.0, 0)
    two = frame(rows("a", (5, M)), rows("b", (5, N)))
    assert get(rubric.scores(two), column="margin") > 0


# --- against the reference


def random_frame(seed: int, examples: int = 60, unjudged: float = 0.1, **more) -> pd.DataFrame:
    source = np.random.default_rng(seed)
    made = []
    for number in range(examples):
        size = int(source.integers(2, 15))
        points = source.choice([-10, -7, -3, 2, 5, 8, 10], size=size)
        points[0] = 5
        outcomes = source.choice([M, N, U], size=size, p=[0.5, 0.5 - unjudged, unjudged])
        axes = source.choice(list(AXES), size=size)
        criteria = zip(points.tolist(), outcomes.tolist(), axes.tolist(), strict=True)
        made.append(rows(f"e{number}", *criteria, theme=source.choice(list(THEMES)), **more))
    return frame(*made)


def plain_score(criteria: list[dict]) -> float | None:
    """The reference's formula on one example, an unjudged criterion left out; None without positive points."""
    judged = [one for one in criteria if one["outcome"] != U]
    total = sum(one["points"] for one in judged if one["points"] > 0)
    return sum(one["points"] for one in judged if one["outcome"] == M) / total if total else None


def plain_mean(values: list[float | None]) -> float:
    values = [value for value in values if value is not None]
    return min(max(sum(values) / len(values), 0.0), 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_a_plain_implementation_of_the_reference(seed):
    data = random_frame(seed, unjudged=0.0)
    examples = [group.to_dict("records") for _, group in data.groupby("conversation_id")]
    table = rubric.scores(data)
    np.testing.assert_allclose(table[["low", "high"]].T, [table["score"]] * 2, atol=1e-12)  # nothing is unjudged
    assert get(table) == pytest.approx(plain_mean([plain_score(one) for one in examples]))
    for theme in data["theme"].unique():
        expected = plain_mean([plain_score(one) for one in examples if one[0]["theme"] == theme])
        assert get(table, theme) == pytest.approx(expected)
    for axis in AXES:
        expected = plain_mean([plain_score([each for each in one if each["axis"] == axis]) for one in examples])
        assert get(table, axis) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_no_way_of_filling_in_missing_verdicts_leaves_the_interval(seed):
    data = random_frame(seed, examples=8, unjudged=0.3)
    source = np.random.default_rng(seed)
    (bounds,) = rubric.scores(data).head(1).itertuples()
    assert bounds.low <= bounds.score <= bounds.high
    for _ in range(10):
        guesses = source.choice([M, N], size=len(data))
        filled = data.assign(outcome=np.where(data["outcome"] == U, guesses, data["outcome"]))
        score = get(rubric.scores(filled, replicates=0))
        assert bounds.low - 1e-12 <= score <= bounds.high + 1e-12


# --- groups, runs, bootstrap


def test_models_and_judges_are_scored_apart_and_never_mixed():
    both = pd.concat([frame(rows("a", (5, M), model="x")), frame(rows("a", (5, N), model="y"))])
    table = rubric.scores(both, by=["model"])
    assert table.loc[table["kind"] == "overall", ["model", "score"]].to_numpy().tolist() == [["x", 1.0], ["y", 0.0]]
    with pytest.raises(ValueError, match="several values of 'model' cannot be one score; add 'model' to `by`"):
        rubric.scores(both)


def test_runs_of_a_conversation_are_averaged_and_resampled_together():
    runs = [frame(rows("a", (5, one), run=at), rows("b", (5, two), run=at)) for at, one, two in [(0, M, N), (1, N, M)]]
    table = rubric.scores(pd.concat(runs))
    assert (get(table), get(table, column="n")) == (0.5, 2)
    assert get(table, column="bootstrap_std") == 0.0  # both conversations are 0.5 on average


def test_the_published_view_rounds_each_run_to_a_whole_point_first():
    def run(number: int, met: int) -> pd.DataFrame:
        return frame(*[rows(f"e{at}", (5, M if at < met else N), run=number) for at in range(200)])

    data = pd.concat([run(0, 101), run(1, 100), run(2, 99)])  # 50.5, 50.0 and 49.5 points
    table = rubric.as_published(data)
    assert table.loc[0, "points"] == pytest.approx((51 + 50 + 50) / 3)
    assert table.loc[0, "runs"] == 3
    assert get(rubric.scores(data)) == pytest.approx(0.5)
    for met, points in ((101, 51), (113, 57)):  # 100 * 0.565 is below 56.5, as the last digits of a float would have it
        assert rubric.as_published(run(0, met).drop(columns="run")).loc[0, "points"] == points


def test_the_bootstrap_is_seeded_and_its_spread_is_that_of_a_mean():
    data = random_frame(3, examples=400, unjudged=0.0)
    first, again, other = (rubric.scores(data, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert get(first, column="bootstrap_std") != get(other, column="bootstrap_std")
    values = rubric.example_scores(data)["score"]
    expected = values.std() / np.sqrt(len(values))
    assert get(first, column="bootstrap_std") == pytest.approx(expected, rel=0.15)
    assert get(first, column="margin") == pytest.approx(1.96 * expected, rel=0.15)
    assert np.isnan(rubric.scores(data, replicates=0)["margin"]).all()


def test_a_frame_that_cannot_be_scored_is_refused():
    data = random_frame(0)
    with pytest.raises(ValueError, match="outcome 'false' is none of met, not met, unjudged"):
        rubric.scores(data.assign(outcome="false"))
    with pytest.raises(ValueError, match="two rows for .*'e0'.*remove one"):
        rubric.scores(pd.concat([data, data]))


def test_many_criteria_take_no_loop_over_examples():
    small = random_frame(0, examples=100)
    parts = [small.assign(conversation_id=small["conversation_id"] + f"-{n}") for n in range(200)]
    data = pd.concat(parts, ignore_index=True)
    start = time.process_time()
    rubric.scores(data, replicates=10)
    assert len(data) > 150_000 and time.process_time() - start < 10  # 0.3 s alone on one core
