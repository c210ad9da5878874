"""Tables: every score with its margin, published numbers beside it only where they may be compared."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from medpsy import evaluate
from medpsy.benchmarks import SUITES
from medpsy.benchmarks.question import Question
from medpsy.report import (
    beside_published,
    best,
    chance,
    closed_ended_table,
    gap_table,
    gaps,
    outcome_table,
    reader_table,
)
from medpsy.report.scores import scored
from medpsy.study import ModelSpec

LABELS = {"reed": "Reed-1", "quill": "Quill-2"}
SHARES = {"reed": 0.75, "quill": 0.5}  # of questions answered correctly, in every suite and run
COUNT = 24  # questions per suite


def study(profile="mini", **labels) -> SimpleNamespace:
    specs = {name: ModelSpec(name, f"m/{name}", label=label) for name, label in (LABELS | labels).items()}
    return SimpleNamespace(profile=profile, models=specs, model=specs.__getitem__)


def group(suite: str, number: int) -> str:
    return f"subject {number % 6}" if suite == "mmlu_health" else suite


def graded(models=tuple(SHARES), runs=3, suites=tuple(SUITES)) -> pd.DataFrame:
    """Return a graded frame: each model is right on the first questions, the same in every run."""
    rows = [
        {"model": model, "suite": suite, "weight_group": group(suite, n), "question_id": f"q{n}", "run": run, "gold": 0}
        | {"outcome": "correct" if n < SHARES[model] * COUNT else "wrong", "key": f"{model}{suite}{n}{run}"}
        for model in models
        for suite in suites
        for n in range(COUNT)
        for run in range(runs)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def whole_suites(monkeypatch):
    """Let every suite have just the questions that were asked, with two to four options."""

    def questions(study, suites=None, *, every=False):
        return {
            suite: {
                f"q{n}": Question(
                    f"q{n}", suite, "", "?", ("a", "b", "c", "d")[: 2 + 2 * (n % 2)], 0, None, group(suite, n)
                )
                for n in range(COUNT)
            }
            for suite in (suites or SUITES)
        }

    monkeypatch.setattr(evaluate, "questions", questions)


PUBLISHED = pd.DataFrame(
    [[75.0, 70.0], [50.0, 50.0]], index=["Reed-1", "Somebody else"], columns=["Average", "MedQA (USMLE)"]
).rename_axis("Model Name")


def test_every_score_has_a_margin_and_the_average_comes_first():
    scores = scored(study(), graded())
    assert scores["title"].tolist()[:2] == ["Average", "MMLU (Health)"]
    assert len(scores) == 16
    assert scores.groupby("model")["score"].agg(["min", "max"]).to_numpy().tolist() == [[50, 50], [75, 75]]
    assert (scores["margin"] > 0).all()
    averages = scores[scores["suite"] == "average"].set_index("model")["margin"]
    assert (averages < scores[scores["suite"] == "medqa"].set_index("model")["margin"]).all()
    assert set(scores["runs"]) == {3}


def test_a_whole_suite_leaves_only_run_noise_in_the_margin():
    sampled = scored(study("mini"), graded()).set_index(["model", "suite"])["margin"]
    whole = scored(study("review"), graded()).set_index(["model", "suite"])["margin"]
    assert whole["reed", "medqa"] == 0  # no run differs from another here, and no question is left out
    assert sampled["reed", "medqa"] > 15


def test_failed_requests_count_neither_for_nor_against():
    frame = graded()
    frame.loc[(frame["question_id"] == "q0") & (frame["run"] == 0), "outcome"] = "failed"
    frame.loc[frame["question_id"] == "q23", "outcome"] = "failed"
    scores = scored(study(), frame).set_index(["model", "suite"])
    assert scores.loc[("reed", "medqa"), "score"] == pytest.approx(100 * (18 * 3 - 1) / (23 * 3 - 1))
    assert scores.loc[("reed", "medqa"), "failed"] == 4
    assert 0 < scores.loc[("reed", "medqa"), "margin"] < 25


def test_where_all_requests_failed_nothing_was_measured():
    frame = graded()
    frame.loc[(frame["model"] == "quill") & (frame["suite"] == "medqa"), "outcome"] = "failed"
    scores = scored(study(), frame).set_index(["model", "suite"])
    assert scores.loc[("quill", "medqa"), ["score", "margin"]].isna().all()
    assert scores.loc[("quill", "average"), ["score", "margin"]].isna().all()
    assert best(scores.reset_index()) == "reed"
    shown = closed_ended_table(study(), scores.reset_index())
    assert shown.frame["Model"].tolist() == ["Reed-1", "Quill-2"]
    assert gaps(study(), frame, reference="reed").set_index("suite").loc[["medqa", "average"], "margin"].isna().all()


def test_the_best_is_not_named_without_an_average():
    with pytest.raises(ValueError, match="no model has an average over all seven suites"):
        best(scored(study(), graded(suites=("medqa",))))


def test_the_table_holds_numbers_and_leads_to_responses():
    shown = closed_ended_table(study(), scored(study(), graded()))
    assert list(shown.columns[:4]) == ["Model", "Source", "Average", "Average ±"]
    assert shown.frame["Average"].tolist() == [75.0, 50.0]
    assert shown.frame["MedQA (USMLE) ±"].gt(0).all()
    assert shown.links["MedQA (USMLE)"] == ["model=reed&suite=medqa", "model=quill&suite=medqa"]
    assert shown.links["Average"] == ["model=reed", "model=quill"]


@pytest.mark.parametrize(("profile", "source"), [("review", "published"), ("mini", "published (other models)")])
def test_published_rows_say_whose_they_are(profile, source):
    own = study(profile)
    shown = closed_ended_table(own, scored(own, graded()), PUBLISHED)
    frame = shown.frame.set_index("Source")
    assert frame.loc[source, "Model"].tolist() == ["Reed-1", "Somebody else"]
    assert frame.loc[source, "Average ±"].isna().all()
    assert frame.loc[source, "MedXpertQA"].isna().all()
    assert shown.links["Average"][2:] == [None, None]


def test_values_are_compared_only_with_the_same_model():
    shown = beside_published(study("review"), graded(), PUBLISHED).frame.set_index(["Model", "Suite"])
    assert shown.loc[("Reed-1", "Average"), ["Published", "Gap", "Verdict"]].tolist() == [75.0, 0.0, "agrees"]
    assert shown.loc[("Reed-1", "MedQA (USMLE)"), ["Gap", "Verdict"]].tolist() == [5.0, "differs"]
    assert set(shown.loc["Quill-2", "Verdict"]) == {"not testable"}
    assert shown.loc[("Reed-1", "MedXpertQA"), "Verdict"] == "not testable"


def test_the_miniature_is_never_compared_with_published_values():
    shown = beside_published(study("mini"), graded(), PUBLISHED)
    assert set(shown.frame["Verdict"]) == {"not testable"}
    assert shown.frame["Published"].isna().all()
    assert "cannot be tested" in shown.note


def test_all_five_outcomes_are_in_the_table_and_add_up():
    frame = graded(runs=1)
    at = frame["suite"] == "medqa"
    frame.loc[at, "outcome"] = (["correct", "wrong", "unreadable", "cut off", "failed", "wrong"] * COUNT)[: at.sum()]
    shown = outcome_table(scored(study(), frame)).frame
    assert list(shown.columns) == ["Model", "Suite", "Responses", "Correct", "Wrong", "Unreadable", "Cut off", "Failed"]
    row = shown.set_index(["Model", "Suite"]).loc[("Reed-1", "MedQA (USMLE)")]
    assert row.tolist() == [24, 4, 8, 4, 4, 4]
    assert shown.set_index(["Model", "Suite"]).loc[("Reed-1", "all"), "Responses"] == 7 * 24


def test_questions_without_a_key_are_shown_where_there_are_any():
    frame = graded(runs=1).astype({"gold": "Int64"})
    frame.loc[frame["question_id"] == "q1", ["gold", "outcome"]] = [pd.NA, "no gold"]
    shown = outcome_table(scored(study(), frame)).frame.set_index(["Model", "Suite"])
    assert shown.loc[("Reed-1", "MedQA (USMLE)"), ["Responses", "No gold"]].tolist() == [23, 1]


def test_leads_are_paired_and_corrected():
    labels = {"third": "Third"}
    SHARES["third"] = 0.25
    frame = graded(("reed", "quill", "third"))
    del SHARES["third"]
    found = gaps(study(**labels), frame, reference="reed")
    rows = found.set_index(["model", "suite"])
    assert rows.loc[("quill", "medqa"), "difference"] == pytest.approx(25)
    assert rows.loc[("quill", "average"), "difference"] == pytest.approx(25)
    assert 0 < rows.loc[("quill", "average"), "margin"] < rows.loc[("quill", "medqa"), "margin"] < 20
    assert rows.loc[("quill", "average"), "p_holm"] == pytest.approx(rows.loc[("quill", "average"), "p_value"])
    assert rows.loc[("third", "average"), "p_holm"] == pytest.approx(2 * rows.loc[("third", "average"), "p_value"])
    shown = gap_table(found, "Reed-1").frame
    assert shown["Model"].tolist() == ["Quill-2", "Third"]
    assert shown["MedQA (USMLE)"].tolist() == pytest.approx([25, 50])


def test_too_few_questions_give_a_lead_without_a_margin():
    frame = graded(suites=("mmlu_health",))
    found = gaps(study(), frame[frame["question_id"].isin([f"q{n}" for n in range(9, 15)])], reference="reed")
    row = found.set_index("suite").loc["mmlu_health"]
    assert row["difference"] == pytest.approx(50)
    assert np.isnan(row["margin"])
    assert gap_table(found, "Reed-1").frame["MMLU (Health) ±"].isna().all()


def test_readers_stand_beside_each_other():
    frame = graded()
    strict = frame.assign(outcome=frame["outcome"].where(frame["run"] > 0, "unreadable"))
    scores = scored(study(), {"parser": frame, "strict": strict})
    shown = reader_table(scores)
    assert shown.frame[["Reader", "Model"]].to_numpy().tolist()[2:] == [["strict", "Reed-1"], ["strict", "Quill-2"]]
    assert shown.frame["Score"].tolist() == pytest.approx([75, 50, 50, 100 / 3])
    assert shown.frame["Unreadable"].tolist() == [0, 0, 168, 168]
    assert shown.links["Score"][2] == "reader=strict&model=reed"


def test_guessing_is_weighted_as_the_scores_are():
    levels = chance(study())
    assert levels["MedQA (USMLE)"] == pytest.approx((50 + 25) / 2)
    assert levels["MMLU (Health)"] == pytest.approx((50 + 25) / 2)
    assert levels["Average"] == pytest.approx(37.5)
