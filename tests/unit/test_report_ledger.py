"""The ledger: every claim once, a verdict that says what was tested, and a plan for what is open."""

import json
from collections import Counter
from statistics import NormalDist

import pytest
from medpsy import published, study
from medpsy.report.ledger import NOT_TESTABLE, NOT_YET_RUN, WORDS, LedgerError, ledger, records, write_json
from medpsy.report.ledger_tables import (
    ledger_bars,
    ledger_counts,
    ledger_disagreements,
    ledger_open,
    ledger_table,
    ledger_verdicts,
)
from medpsy.report.responsibility import AUDIT, entries, responsible
from medpsy.report.result import ResultError, write_result
from medpsy.report.settling import settled

BACKBONES, MAIN = "01_backbone_selection", "07_main_results"
EFFORT = {"questions": 400, "runs": 3, "tokens": 100.0, "run_share": 0.25, "suite": None, "share": None}
CLAIMS = {claim.id: claim for claim in published.claims()}
EVERY = [*CLAIMS, *(claim.id for claim in published.card_claims())]


def row(identity, verdict, ours=2.0, margin=4.0, note="", **more):
    return {"id": identity, "verdict": verdict, "published": 1.0, "ours": ours, "margin": margin, "note": note} | more


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "provenance", lambda: {"commit": "abc"})
    return tmp_path / "outputs"


def recorded(section, *rows, profile="mini"):
    write_result(section, profile=profile, title=section, settings={}, claims=rows)


def by_id(profile="mini"):
    return {entry["id"]: entry for entry in ledger(profile)}


def test_every_claim_is_there_once_even_where_nothing_ran(outputs):
    found = ledger("mini")
    assert [entry["id"] for entry in found] == EVERY and len(CLAIMS) == 772
    assert {entry["verdict"] for entry in found} == {NOT_TESTABLE, NOT_YET_RUN}
    assert Counter(entry["audit"] for entry in found[:772]) == {"agrees": 664, "disagrees": 51, "not derivable": 57}
    assert all(entry["reason"] for entry in found if entry["verdict"] == NOT_TESTABLE)


def test_a_claim_waits_for_its_notebook_or_says_that_it_was_left_out(outputs):
    assert by_id()["P110"]["verdict"] == NOT_YET_RUN
    recorded(BACKBONES, row("P111", "pattern holds"))
    found = by_id()
    assert (found["P111"]["verdict"], found["P111"]["ours"], found["P111"]["margin"]) == ("pattern holds", 2.0, 4.0)
    assert found["P110"]["verdict"] == NOT_TESTABLE and "ran and measured nothing" in found["P110"]["reason"]
    assert found["P110"]["profile"] == "review"


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("P158", "a number of GPUs"),
        ("P403", "setting of the authors"),
        ("P002", "facts about the models"),
        ("X005", "compares printed places"),
        ("P168", "counts rows or columns"),
    ],
)
def test_a_fact_that_no_run_can_test_says_so_and_names_no_profile(outputs, identity, words):
    entry = by_id()[identity]
    assert (entry["verdict"], entry["notebook"], entry["profile"]) == (NOT_TESTABLE, AUDIT, "")
    assert words in entry["reason"]


@pytest.mark.parametrize(
    ("identity", "notebook"),
    [
        ("P111", BACKBONES),
        ("P103", "02_teacher_selection"),
        ("P107", "02_teacher_selection"),  # no operands: by its place
        ("P169", MAIN),
        ("P256", "08_stage_ablations"),
        ("P284", "09_token_efficiency"),
        ("P385", "10_quantization"),  # rests on Table 1 too, but needs the quantized files
        ("P433", "13_openmed"),
    ],
)
def test_a_claim_belongs_to_the_notebook_of_its_tables(identity, notebook):
    assert responsible(CLAIMS[identity]).notebook == notebook


def test_every_line_of_the_map_is_a_table_or_a_place_of_a_claim():
    known = {operand.table for claim in CLAIMS.values() for operand in claim.operands} | set(published.catalog().index)
    places = {claim.section for claim in CLAIMS.values() if not claim.operands}
    assert set(entries()) <= known | places


def test_of_several_sections_the_one_that_answers_for_the_claim_counts_and_all_are_listed(outputs):
    recorded(BACKBONES, row("P169", "pattern fails"))
    assert by_id()["P169"]["verdict"] == "pattern fails"
    recorded(MAIN, row("P169", "pattern holds"), row("P170", NOT_TESTABLE, note="another model"))
    found = by_id()
    assert found["P169"]["verdict"] == "pattern holds"
    assert found["P169"]["measured_by"] == f"{BACKBONES}: pattern fails; {MAIN}: pattern holds"
    assert (found["P170"]["verdict"], found["P170"]["reason"]) == (NOT_TESTABLE, "another model")


def test_a_section_that_tested_counts_before_the_owner_that_could_not(outputs):
    recorded(BACKBONES, row("P169", "pattern fails"))
    recorded(MAIN, row("P169", NOT_TESTABLE))
    assert by_id()["P169"]["verdict"] == "pattern fails"


def test_what_a_run_did_test_counts_even_for_a_claim_taken_for_a_fact(outputs):
    recorded(BACKBONES, row("P109", "agrees"))
    assert by_id()["P109"]["verdict"] == "agrees"
    recorded(BACKBONES, row("P109", NOT_TESTABLE, note="not measured here"))
    assert "a number of models" in by_id()["P109"]["reason"]


def test_the_largest_profile_sends_nobody_further(outputs):
    recorded(BACKBONES, row("P113", NOT_TESTABLE), profile="paper")
    assert by_id("paper")["P113"]["profile"] == ""


def test_the_audit_and_the_ledger_itself_are_no_measurements(outputs):
    recorded(AUDIT, row("P111", "agrees"))
    recorded("14_ledger")
    assert records("mini") == {} and by_id()["P111"]["verdict"] == NOT_YET_RUN


def test_a_claim_that_nobody_made_and_a_broken_record_are_refused_by_name(outputs):
    recorded(BACKBONES, row("P999", "agrees"))
    with pytest.raises(LedgerError, match="01_backbone_selection: .*'P999'"):
        ledger("mini")
    (outputs / "mini" / BACKBONES / "result.json").write_text("{")
    with pytest.raises(ResultError, match="run the section again"):
        ledger("mini")


def needed(claim, profile="mini", **how):
    return {plan.runs: plan.questions for plan in settled(claim, profile, **how)}


def test_a_plan_for_a_pattern_shows_the_measured_difference_with_the_wanted_power():
    plans = needed(row("P111", "too few to tell", effort=EFFORT), runs=(3,), power=0.8)
    wanted = (NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)) / (2.0 / (4.0 / 1.959964))
    assert plans[3] == pytest.approx(400 * wanted**2, abs=1)


def test_more_runs_need_fewer_questions_but_only_as_far_as_run_noise_goes():
    plans = needed(row("P111", "too few to tell", effort=EFFORT), runs=(1, 3, 1000))
    assert plans[1] > plans[3] > plans[1000] > 0.74 * plans[3]
    unknown = needed(row("P111", "too few to tell", effort=EFFORT | {"run_share": None}), runs=(1, 3))
    assert unknown[1] == unknown[3]  # nothing is hoped for from runs whose noise is not known


def test_plans_are_paid_for_in_tokens_of_what_is_not_stored_cheapest_first():
    plans = settled(row("P111", "too few to tell", effort=EFFORT), "mini", runs=(1, 3))
    by_runs = {plan.runs: plan for plan in plans}
    assert by_runs[3].tokens == 100.0 * 3 * (by_runs[3].questions - 400)
    assert by_runs[1].tokens == 100.0 * (by_runs[1].questions - 400)
    assert [plan.tokens for plan in plans] == sorted(plan.tokens for plan in plans)


def test_a_published_value_is_settled_when_its_margin_is_narrow_enough_to_call_it_reproduced():
    claim = row("P003", "too few to tell", ours=62.0, margin=6.0, effort=EFFORT)
    assert needed(claim, "review", runs=(3,))[3] == pytest.approx(400 * 4, abs=1)  # half the margin: 3 points
    whole = row("P003", "too few to tell", ours=62.0, margin=6.0, effort=EFFORT | {"suite": 400})
    assert needed(whole, "review", runs=(1, 3)) != {}  # all questions asked: their choice is no noise any more


def test_a_rank_is_planned_from_the_share_of_samples_in_which_it_holds():
    claim = row("P126", "too few to tell", ours=5.0, margin=None, effort=EFFORT | {"share": 0.84, "run_share": None})
    wanted = (NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)) / NormalDist().inv_cdf(0.84)
    assert needed(claim, runs=(3,))[3] == pytest.approx(400 * wanted**2, abs=1)


@pytest.mark.parametrize(
    "claim",
    [
        row("P111", "pattern holds", effort=EFFORT),
        row("P111", "too few to tell"),
        row("P111", "too few to tell", ours=0.0, effort=EFFORT),
        row("P111", "too few to tell", margin=None, effort=EFFORT),
        row("P126", "too few to tell", ours=5.0, margin=None, effort=EFFORT | {"share": 0.5}),
    ],
)
def test_what_is_settled_or_unknown_or_no_difference_at_all_has_no_plan(claim):
    assert settled(claim, "mini") == []


def test_tables_and_figure_say_the_same_as_the_entries(outputs):
    recorded(BACKBONES, row("P111", "too few to tell", effort=EFFORT), row("P112", "pattern fails"))
    found = ledger("mini")
    counts = ledger_counts(found).frame.set_index("Notebook")
    assert counts.loc["all", "Claims"] == len(EVERY) and counts.loc["all", list(WORDS)].sum() == len(EVERY)
    assert counts.drop(index="all")["Claims"].sum() == len(EVERY) and counts.loc[BACKBONES, "pattern fails"] == 1
    assert ledger_open(found).frame["Claim"].tolist() == ["P111"]
    assert ledger_open(found).frame["Questions at 3 runs"].tolist() == [found[110]["plans"][1]["questions"]]
    assert ledger_disagreements(found).frame["Claim"].tolist() == ["P112"]
    whole = ledger_table(found).frame.set_index("Claim")
    assert len(whole) == len(EVERY) and whole.loc["P111", "Plan runs"] == found[110]["plans"][0]["runs"]
    assert f"{BACKBONES}: too few to tell 1, pattern fails 1" in ledger_bars(found).alt


def test_tables_of_an_empty_ledger_can_be_shown(outputs):
    found = ledger("mini")
    for shown in (ledger_open(found), ledger_disagreements(found)):
        assert shown.rows == [] and "<th" in shown.html()
    assert [one["verdict"] for one in ledger_verdicts(found)] == [NOT_TESTABLE]


def test_a_section_is_summed_up_by_its_worst_claim_and_silent_where_it_tested_nothing(outputs):
    recorded(BACKBONES, row("P111", "pattern holds"), row("P112", "pattern fails"), row("P110", NOT_TESTABLE))
    recorded(MAIN, row("P170", NOT_TESTABLE))
    (said,) = ledger_verdicts(ledger("mini"))
    assert (said["verdict"], said["note"]) == ("pattern fails", "1 pattern holds, 1 pattern fails")
    recorded(BACKBONES, row("P111", "agrees"))
    assert [one["verdict"] for one in ledger_verdicts(ledger("mini"))] == ["pattern holds"]


def test_the_export_is_whole_json(outputs, tmp_path):
    path = write_json(tmp_path, "mini", ledger("mini"))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["profile"] == "mini" and [one["id"] for one in found["claims"]] == EVERY
