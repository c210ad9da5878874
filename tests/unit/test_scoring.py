"""Scores with their margins: nothing that was not measured is a zero, whole suites leave run noise alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scored_rows
from medpsy import claims, evaluate, scoring, show, stats
from medpsy import study as studies
from medpsy.data.suites import SUITES
from medpsy.grading import rubric
from medpsy.study import ModelSpec

LABELS = {"reed": "Reed-1", "quill": "Quill-2"}
SHARES = {"reed": 0.75, "quill": 0.5}  # of questions answered correctly, in every suite and run
COUNT = 24  # questions per suite


def study(profile="mini") -> studies.Study:
    specs = {name: ModelSpec(name, f"m/{name}", label=label) for name, label in LABELS.items()}
    settings = studies.load(profile)
    return replace(settings, models=settings.models | specs, runs=3, questions_per_suite=0)


def group(suite: str, number: int) -> str:
    return f"subject {number % 6}" if suite == "mmlu_health" else suite


def graded(runs=3, suites=tuple(SUITES)) -> pd.DataFrame:
    return scored_rows.graded(SHARES, COUNT, runs, suites, group)


def scored(frame: pd.DataFrame, profile="mini") -> pd.DataFrame:
    return scoring.closed_ended(study(profile), frame).set_index(["model", "suite"])


@pytest.fixture(autouse=True)
def whole_suites(monkeypatch):
    """Let every suite have just the questions that were asked, with two or four options."""
    asked = scored_rows.questions(COUNT, group, options=lambda number: 2 + 2 * (number % 2))
    monkeypatch.setattr(evaluate, "questions", asked)


def test_every_score_has_a_margin_and_the_average_comes_first():
    scores = scoring.closed_ended(study(), graded())
    assert scores["title"].tolist()[:2] == ["Average", "MMLU (Health)"] and len(scores) == 16
    assert scores.groupby("model")["score"].agg(["min", "max"]).to_numpy().tolist() == [[50, 50], [75, 75]]
    margins = scores.set_index(["model", "suite"])["margin"]
    assert (margins > 0).all()
    assert (margins.xs("average", level="suite") < margins.xs("medqa", level="suite")).all()


def test_a_whole_suite_leaves_only_run_noise_in_the_margin():
    assert scored(graded(), "review").loc[("reed", "medqa"), "margin"] == 0  # all runs alike, no question left out
    assert scored(graded()).loc[("reed", "medqa"), "margin"] > 15
    part = graded()[lambda frame: frame["question_id"].isin([f"q{n}" for n in range(12, COUNT)])]
    margins = [scored(part, profile).loc[("reed", "medqa"), "margin"] for profile in ("review", "mini")]
    assert 0 < margins[0] < margins[1]  # a sample leaves less than what has no end


def test_failed_requests_count_neither_for_nor_against():
    frame = graded()
    frame.loc[(frame["question_id"] == "q0") & (frame["run"] == 0), "outcome"] = "failed"
    frame.loc[frame["question_id"] == "q23", "outcome"] = "failed"
    row = scored(frame).loc[("reed", "medqa")]
    assert row["score"] == pytest.approx(100 * 18 / 23) and row["failed"] == 4
    assert 0 < row["margin"] < 25


@pytest.mark.parametrize("lost", ["medqa", "mmlu_health/subject 0"])
def test_where_all_requests_of_a_suite_or_of_one_of_its_groups_failed_nothing_was_measured(lost):
    frame, suite = graded(), lost.split("/")[0]
    place = frame["suite"] if lost == suite else frame["suite"] + "/" + frame["weight_group"]
    frame.loc[(frame["model"] == "quill") & (place == lost), "outcome"] = "failed"
    scores = scored(frame)
    assert scores.loc[[("quill", suite), ("quill", "average")], ["score", "margin"]].isna().all(axis=None)
    assert scores.drop(index=[("quill", suite), ("quill", "average")])[["score", "margin"]].notna().all(axis=None)


def test_groups_count_alike_whatever_their_size_and_whatever_is_not_right_counts_against():
    frame = graded(runs=1, suites=["mmlu_health", "medqa"])
    frame = frame[(frame["weight_group"] != "subject 0") | (frame["question_id"] == "q0")]
    frame["outcome"] = np.where(frame["weight_group"] == "subject 0", "correct", "wrong")
    at = (frame["suite"] == "medqa") & frame["question_id"].isin(["q1", "q2"])
    frame.loc[at, "outcome"] = ["unreadable", "cut off"] * 2
    scores = scored(frame)
    assert scores.at[("reed", "mmlu_health"), "score"] == pytest.approx(100 / 6)  # not 1 of 21
    row = scores.loc[("reed", "medqa")]
    assert row["score"] == 0 and row[["responses", "unreadable", "cut off"]].tolist() == [24, 1, 1]
    assert np.isnan(scores.at[("reed", "average"), "score"])  # of two suites is another measure
    assert scores.at[("reed", "average"), "responses"] == 24 + 21


def test_scores_and_leads_are_those_of_the_replicates_that_are_given():
    frame = graded()
    drawn = claims.draws(study(), frame, published_runs=0)
    scores = scoring.closed_ended(study(), frame, drawn)
    pd.testing.assert_frame_equal(scores, scoring.closed_ended(study(), frame))
    leads = scoring.leads(
        study(), drawn, list(LABELS), {"Mean": "Average", "MedQA": "MedQA (USMLE)", "HealthBench": "HealthBench"}
    )
    assert leads["title"].tolist() == ["Mean", "MedQA"] and set(leads["label"]) == {"Δ Reed-1 − Quill-2"}
    assert leads["score"].tolist() == pytest.approx([25, 25])
    assert leads["margin"].tolist() == [stats.half_width(drawn.lead("reed", "quill", name)[1:]) for name in
                                        ("Average", "MedQA (USMLE)")]  # fmt: skip
    assert leads["p_holm"].tolist() == leads["p"].tolist()  # one lead of a kind


def test_guessing_is_weighted_as_the_scores_are():
    levels = scoring.chance(study())
    assert levels["MedQA (USMLE)"] == pytest.approx((50 + 25) / 2)
    assert levels["Average"] == pytest.approx(37.5)


def test_conversations_are_scored_as_the_rubric_scores_them_in_points():
    judged = scored_rows.judged(SHARES, judges=("judge-lenient", "judge-strict"))
    rows = scoring.open_ended(study(), judged).set_index(["suite", "judge", "model", "name"]).sort_index()
    part = judged[(judged["suite"] == "healthbench") & (judged["judge"] == "judge-strict")]
    by_hand = rubric.scores(part[part["model"] == "quill"]).set_index("name")
    ours = rows.loc[("healthbench", "judge-strict", "quill")]
    for name in ("score", "margin", "low", "high"):
        assert ours.at["overall", name] == pytest.approx(100 * by_hand.at["overall", name])
    assert set(ours["kind"]) == {"overall", "theme", "axis"} and ours["title"].notna().all()
    assert ours.at["overall", "link"] == "conversations#model=quill&suite=healthbench"


def test_all_outcomes_are_in_the_table_and_add_up():
    frame = graded(runs=1).astype({"gold": "Int64"})
    at = frame["suite"] == "medqa"
    frame.loc[at, "outcome"] = (["correct", "wrong", "unreadable", "cut off", "failed", "wrong"] * COUNT)[: at.sum()]
    shown = show.outcome_table(scoring.closed_ended(study(), frame))
    row = shown.exact.set_index(["Model", "Suite"]).loc[("Reed-1", "MedQA (USMLE)")]
    assert row.to_dict() == {"Responses": 24, "Correct": 4, "Wrong": 8, "Unreadable": 4, "Cut off": 4, "Failed": 4}
    assert shown.exact.set_index(["Model", "Suite"]).loc[("Reed-1", "all"), "Responses"] == 7 * 24
    assert shown.links["Cut off"][:2] == ["model=reed&outcome=cut+off", "model=reed&suite=mmlu_health&outcome=cut+off"]


def test_a_question_without_a_key_is_counted_and_not_scored():
    frame = graded(runs=1).astype({"gold": "Int64"})
    frame.loc[(frame["suite"] == "medqa") & (frame["question_id"] != "q0"), ["gold", "outcome"]] = [pd.NA, "no gold"]
    row = scored(frame).loc[("reed", "medqa")]
    assert row[["score", "questions", "responses", "no gold"]].tolist() == [100, 1, 1, 23] and np.isnan(row["margin"])
    shown = show.outcome_table(scoring.closed_ended(study(), frame)).exact.set_index(["Model", "Suite"])
    assert shown.loc[("Reed-1", "MedQA (USMLE)"), ["Responses", "No gold"]].tolist() == [1, 23]
