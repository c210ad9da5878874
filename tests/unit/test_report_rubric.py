"""HealthBench in tables, figures and claims: made of the miniature's conversations and replies of a program."""

import random

import numpy as np
import pandas as pd
import pytest
from medpsy import published, report, study
from medpsy.grading import rubric
from medpsy.mini import conversations, world
from medpsy.mini.replies import reply
from medpsy.mini.thinking import Voice
from medpsy.report import rubric_scores

WORLD = world.build()
EVERYTHING = frozenset(fact.id for fact in WORLD.facts)
CARE = {"teacher-broad": 0.9, "teacher-terse": 0.55, "teacher-careful": 0.2}
ROWS = {"teacher-broad": "Baichuan-M3-235B", "teacher-terse": "GPT-OSS-120B", "teacher-careful": "Fleming-R1-32B"}
COLUMNS = {
    "judge-lenient": "HealthBench (CompassJudger)",
    "judge-middle": "HealthBench (Llama-3.3-70B)",
    "judge-strict": "HealthBench (GPT-OSS-120B)",
}
DEAF = {"judge-lenient": 0.0, "judge-middle": 0.1, "judge-strict": 0.4}  # chance that what was said is overlooked


@pytest.fixture(scope="module")
def mine():
    return study.load("mini")


@pytest.fixture(scope="module")
def answered():
    """Return (key, model, run, suite, dialogue, answer) of every response."""
    rng, found = random.Random(1), []
    for suite, dialogues in (("healthbench", conversations.chosen()), ("healthbench_hard", conversations.hard())):
        for model, care in CARE.items():
            for run in range(2):
                for one in dialogues:
                    text = reply(one, Voice(care=care, rash=0.1), rng, world=WORLD, knowledge=EVERYTHING)[1]
                    found.append((f"{suite}/{model}/{run}/{one.cell}", model, run, suite, one, text))
    return found


@pytest.fixture(scope="module")
def judged(answered):
    rng, rows = random.Random(2), []
    for judge, deaf in DEAF.items():
        for key, model, run, suite, one, text in answered:
            for place, (item, points, axis) in enumerate(one.items):
                met = item.met(text) and rng.random() >= deaf
                outcome = "unjudged" if rng.random() < 0.01 else "met" if met else "not met"
                about = (model, judge, suite, one.cell, one.theme, run, key, "stop", 20)
                rows.append((*about, place, points, axis, outcome))
    names = ["model", "judge", "suite", "conversation_id", "theme", "run", "key", "finish_reason", "completion_tokens"]
    return pd.DataFrame(rows, columns=[*names, "criterion", "points", "axis", "outcome"])


@pytest.fixture(scope="module")
def responses(answered):
    return pd.DataFrame([(key, text) for key, _, _, _, _, text in answered], columns=["key", "answer"])


@pytest.fixture(scope="module")
def scores(mine, judged):
    return report.rubric_scored(mine, judged)


def test_scores_are_those_of_the_rubric_in_points(judged, scores):
    part = judged[(judged["suite"] == "healthbench") & (judged["judge"] == "judge-strict")]
    part = part[part["model"] == "teacher-broad"]
    plain = rubric.scores(part).set_index("name")["score"]
    row = scores[(scores["judge"] == "judge-strict") & (scores["model"] == "teacher-broad")]
    row = row[row["suite"] == "healthbench"].set_index("name")
    assert row["score"]["overall"] == pytest.approx(100 * plain["overall"])
    assert row["title"]["hedging"] == "Responding Under Uncertainty"
    assert row["judge_label"]["overall"] == "Judge, strict"
    assert set(row["kind"]) == {"overall", "theme", "axis"} and row["title"].notna().all()


def test_a_judge_table_has_ours_best_first_and_published_rows_in_the_columns_of_their_judges(mine, scores):
    printed = published.table("teacher_healthbench")
    shown = report.judges_table(mine, scores, printed, columns=COLUMNS)
    assert shown.shown == ["Model", "Source", "Judge, lenient", "Judge, middle", "Judge, strict"]
    ours, others = shown.frame[shown.frame["Source"] == "ours"], shown.frame[shown.frame["Source"] != "ours"]
    assert list(ours["Model"]) == ["Teacher, broad", "Teacher, terse", "Teacher, careful"]
    assert list(others["Judge, strict"]) == list(printed["HealthBench (GPT-OSS-120B)"])
    assert set(others["Source"]) == {"published (other models and judges)"}
    assert shown.links["Judge, strict"][0].startswith("conversations#model=teacher-broad")
    assert shown.links["Judge, strict"][3] is None


def test_a_judge_that_is_none_of_the_reports_leaves_its_column_empty(mine, scores):
    shown = report.judges_table(mine, scores, published.table("teacher_healthbench"), columns={})
    assert shown.frame[shown.frame["Source"] != "ours"]["Judge, strict"].isna().all()


def test_leads_are_paired_and_corrected(mine, judged):
    leads = report.rubric_gaps(mine, judged, reference="teacher-broad")
    assert len(leads) == 2 * len(COLUMNS)
    assert (leads["difference"] > leads["margin"]).all()
    assert (leads["p_holm"] >= leads["p_value"]).all()
    shown = report.judge_gap_table(leads, "Teacher, broad")
    assert shown.frame.shape[0] == 2 and "Judge, middle" in shown.shown


def test_themes_and_axes_have_a_column_each(scores):
    themes = report.theme_table(scores, judge="judge-lenient")
    assert themes.shown[:2] == ["Model", "Overall"] and len(themes.shown) == 9
    axes = report.theme_table(scores, judge="judge-lenient", kind="axis")
    assert len(axes.shown) == 7
    assert "Judge, lenient" in themes.note


def test_unjudged_criteria_open_a_range(scores):
    shown = report.unjudged_table(scores).frame
    assert (shown["Unjudged"] > 0).any()
    assert (shown["Lowest"] <= shown["Score"]).all() and (shown["Score"] <= shown["Highest"]).all()


def test_other_scorings_stand_beside_the_reference(mine, judged):
    shown = report.scoring_table(mine, judged).frame
    assert list(shown.columns[2:]) == ["Reference", "As published", "inspect_evals", "MARC, openbench"]
    assert (shown["MARC, openbench"] >= shown["Reference"] - 1).all()
    assert np.allclose(2 * shown["As published"] % 1, 0)  # the mean of two runs, each a whole point


def test_agreement_is_higher_between_judges_that_hear_better(mine, judged, scores):
    shown = report.agreement_table(mine, judged, scores)
    kappa = shown.frame.set_index(["Judge", "Other judge"])["Cohen's kappa"]
    assert kappa["Judge, lenient", "Judge, middle"] > kappa["Judge, lenient", "Judge, strict"]
    assert (shown.frame["Rank correlation of models"] == 1).all()
    assert "Fleiss' kappa" in shown.note


def test_judges_are_measured_against_the_world(mine, judged, responses):
    shown = report.judge_truth(mine, judged, responses).frame
    whole = shown[shown["Criteria are"] == "all"].set_index("Judge")
    assert whole["Right (%)"]["Judge, lenient"] > 98 > whole["Right (%)"]["Judge, middle"]
    assert whole["Said, not passed"]["Judge, strict"] > 50
    assert (whole["Passed, not said"] == 0).all()
    axes = report.truth_by_axis(mine, judged, responses).frame
    assert len(axes) == 5 and axes["Judge, strict"].between(50, 95).all()


def test_a_response_without_an_answer_says_nothing(mine, judged, responses):
    gone = responses.assign(answer=[None, *responses["answer"][1:]])
    before, after = (report.judge_truth(mine, judged, one).frame for one in (responses, gone))
    assert after["Criteria"].sum() == before["Criteria"].sum()
    assert after["Passed, not said"].sum() >= before["Passed, not said"].sum()


def test_elsewhere_there_is_no_truth(judged, responses):
    real = study.load("paper")
    assert report.judge_truth(real, judged, responses).frame.empty
    assert report.truth_by_axis(real, judged, responses).frame.empty


def test_bootstrap_tables_draw_the_same_conversations_for_all(judged):
    drawn = rubric_scores.rubric_tables(judged[judged["suite"] == "healthbench"], ROWS, COLUMNS)
    assert len(drawn) == 1 + rubric_scores.REPLICATES
    first, second, _ = np.array([one["HealthBench (GPT-OSS-120B)"] for one in drawn]).T
    lead, single = first - second, first
    assert lead.std() < 2 * single.std()


def test_claims_of_a_section_are_measured_on_its_healthbench_table(mine, judged):
    open_ended = {"teacher_healthbench": (judged, list(ROWS))}
    rows = report.measured_claims(
        mine, "2.2", closed_ended={}, open_ended=open_ended, stands_for=ROWS, judge_columns=COLUMNS
    )
    found = {row["id"]: row for row in rows}
    assert found["P105"]["verdict"] == "pattern holds" and found["P105"]["ours"] == 3  # first under all three judges
    assert found["P103"]["verdict"] == "pattern holds"  # leads under every judge: the lower end of the range is above 0
    assert found["P103"]["margin"] > 0 and found["P103"]["effort"]["questions"] == 70
    assert found["P106"]["verdict"] == "not testable"


def test_without_the_reports_judges_no_claim_is_measured(mine, judged):
    open_ended = {"teacher_healthbench": (judged, list(ROWS))}
    asked = {"closed_ended": {}, "open_ended": open_ended, "stands_for": ROWS}
    rows = report.measured_claims(mine, "2.2", **asked, judge_columns={})
    assert rows and {row["verdict"] for row in rows} == {"not testable"}


def test_a_lead_under_every_judge_is_a_verdict(mine, judged):
    said = report.panel_lead(mine, judged, list(ROWS), "teacher-broad")
    assert said["verdict"] == "pattern holds" and "Teacher, broad leads" in said["text"]
    assert report.panel_lead(mine, judged, list(ROWS), "teacher-careful")["verdict"] == "pattern fails"


def test_a_lead_on_one_conversation_has_no_margin_and_on_none_is_not_testable(mine, judged):
    alone = judged[judged["conversation_id"] == judged["conversation_id"].iloc[0]]
    said = report.panel_lead(mine, alone, list(ROWS), "teacher-broad")
    assert said["verdict"] == "too few to tell" and "(too few for a margin)" in said["text"]
    undecided = report.panel_lead(mine, alone.assign(outcome="unjudged"), list(ROWS), "teacher-broad")
    assert undecided["verdict"] == "not testable" and "nan" not in undecided["text"]


def test_figures_show_every_judge_and_theme(scores):
    said = report.judge_comparison(scores).alt
    assert said.count("Judge, strict, Teacher, terse") == 1  # one point per judge and model
    assert "Global Health" in report.theme_scores(scores, judge="judge-middle", suite="healthbench").alt
