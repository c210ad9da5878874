"""The ledger: every claim once, a verdict that says what was tested, and a plan for what is open."""

from collections import Counter
from statistics import NormalDist

import pytest
from medpsy import claims, published, study
from medpsy.claims import NOT_TESTABLE, LedgerError, plans
from medpsy.claims.ledger import NOT_YET_RUN
from medpsy.record import ResultError, read_all
from records import write_record

BACKBONES, MAIN = "01_backbone_selection", "07_main_results"
EFFORT = {"questions": 400, "runs": 3, "tokens": 100.0, "run_share": 0.25, "suite": None, "share": None}
CLAIMS = {claim.id: claim for claim in published.claims()}
EVERY = [*CLAIMS, *(claim.id for claim in published.card_claims())]


def row(identity, verdict, ours=2.0, margin=4.0, note="", **more):
    return {"id": identity, "verdict": verdict, "published": 1.0, "ours": ours, "margin": margin, "note": note} | more


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return tmp_path / "outputs"


def recorded(section, *rows, profile="mini"):
    write_record(study.find_root() / "outputs" / profile, section, claims=rows)


def ledger(profile):
    results = read_all(study.find_root() / "outputs" / profile)
    return claims.ledger(profile, {name: result.claims for name, result in results.items()})


def by_id(profile="mini"):
    return ledger(profile).set_index("Claim").to_dict("index")


def test_every_claim_is_there_once_even_where_nothing_ran(outputs):
    found = ledger("mini")
    assert list(found["Claim"]) == EVERY and len(CLAIMS) == 772
    assert set(found["Verdict"]) == {NOT_TESTABLE, NOT_YET_RUN}
    assert Counter(found["Audit"][:772]) == {"agrees": 664, "disagrees": 51, "not derivable": 57}
    assert found.loc[found["Verdict"] == NOT_TESTABLE, "Reason"].all()


def test_a_claim_waits_for_its_notebook_or_says_that_it_was_left_out(outputs):
    assert by_id()["P110"]["Verdict"] == NOT_YET_RUN
    recorded(BACKBONES, row("P111", "pattern holds"))
    found = by_id()
    assert (found["P111"]["Verdict"], found["P111"]["Ours"], found["P111"]["Ours ±"]) == ("pattern holds", 2.0, 4.0)
    assert found["P110"]["Verdict"] == NOT_TESTABLE and "ran and measured nothing" in found["P110"]["Reason"]
    assert found["P110"]["Profile"] == "review"
    recorded(BACKBONES, row("P113", NOT_TESTABLE), profile="paper")
    assert by_id("paper")["P113"]["Profile"] == ""  # the largest profile sends nobody further


@pytest.mark.parametrize(
    ("identity", "words"),
    [("P158", "a number of GPUs"), ("P403", "setting of the authors"), ("X005", "compares printed places")],
)
def test_a_fact_that_no_run_can_test_says_so_and_names_no_profile(outputs, identity, words):
    entry = by_id()[identity]
    assert (entry["Verdict"], entry["Notebook"], entry["Profile"]) == (NOT_TESTABLE, "00_published_claims", "")
    assert words in entry["Reason"]


def test_of_several_sections_the_one_that_answers_for_the_claim_counts_and_all_are_listed(outputs):
    recorded(BACKBONES, row("P169", "pattern fails"))
    assert by_id()["P169"]["Verdict"] == "pattern fails"
    recorded(MAIN, row("P169", NOT_TESTABLE))
    assert by_id()["P169"]["Verdict"] == "pattern fails"  # the owner could not test it
    recorded(MAIN, row("P169", "pattern holds"), row("P170", NOT_TESTABLE, note="another model"))
    found = by_id()
    assert found["P169"]["Verdict"] == "pattern holds"
    assert found["P169"]["Measured by"] == f"{BACKBONES}: pattern fails; {MAIN}: pattern holds"
    assert (found["P170"]["Verdict"], found["P170"]["Reason"]) == (NOT_TESTABLE, "another model")


def test_what_a_run_did_test_counts_even_for_a_claim_taken_for_a_fact(outputs):
    recorded(BACKBONES, row("P109", "agrees"))
    assert by_id()["P109"]["Verdict"] == "agrees"
    recorded(BACKBONES, row("P109", NOT_TESTABLE, note="not measured here"))
    assert "a number of models" in by_id()["P109"]["Reason"]


def test_a_claim_that_nobody_made_and_a_broken_record_are_refused_by_name(outputs):
    recorded(BACKBONES, row("P999", "agrees"))
    with pytest.raises(LedgerError, match="01_backbone_selection: .*'P999'"):
        ledger("mini")
    (outputs / "mini" / BACKBONES / "result.json").write_text("{")
    with pytest.raises(ResultError, match="run the section again"):
        ledger("mini")


def needed(claim, **how):
    return {plan["runs"]: plan["questions"] for plan in plans(claim, **how)}


Z = NormalDist().inv_cdf(0.975)


def test_a_plan_for_a_pattern_shows_the_measured_difference_with_the_wanted_power():
    wanted = (Z + NormalDist().inv_cdf(0.8)) / (2.0 / (4.0 / Z))
    claim = row("P111", "too few to tell", effort=EFFORT, tier="stand-in")
    assert needed(claim, runs=(3,), power=0.8)[3] == pytest.approx(400 * wanted**2, abs=1)


def test_more_runs_need_fewer_questions_but_only_as_far_as_run_noise_goes():
    claim = row("P111", "too few to tell", effort=EFFORT, tier="stand-in")
    found = needed(claim, runs=(1, 3, 1000))
    assert found[1] > found[3] > found[1000] > 0.74 * found[3]
    unknown = needed(claim | {"effort": EFFORT | {"run_share": None}}, runs=(1, 3))
    assert unknown[1] == unknown[3]  # nothing is hoped for from runs whose noise is not known


def test_plans_are_paid_for_in_tokens_of_what_is_not_stored_cheapest_first():
    found = plans(row("P111", "too few to tell", effort=EFFORT, tier="stand-in"), runs=(1, 3))
    by_runs = {plan["runs"]: plan for plan in found}
    assert by_runs[3]["tokens"] == 100.0 * 3 * (by_runs[3]["questions"] - 400)
    assert by_runs[1]["tokens"] == 100.0 * (by_runs[1]["questions"] - 400)
    assert [plan["tokens"] for plan in found] == sorted(plan["tokens"] for plan in found)


def test_a_published_value_is_settled_when_its_margin_is_narrow_enough_to_call_it_reproduced():
    claim = row("P003", "too few to tell", ours=62.0, margin=6.0, effort=EFFORT, tier="exact")
    assert needed(claim, runs=(3,))[3] == pytest.approx(400 * 4, abs=1)  # half the margin: 3 points
    whole = claim | {"effort": EFFORT | {"suite": 400}}
    assert needed(whole, runs=(1, 3)) != {}  # all questions asked: their choice is no noise any more


def test_an_order_is_planned_from_the_share_of_replicates_in_which_it_holds():
    claim = row("P126", "too few to tell", ours=5.0, margin=None, effort=EFFORT | {"share": 0.84, "run_share": None})
    wanted = (Z + NormalDist().inv_cdf(0.8)) / NormalDist().inv_cdf(0.84)
    assert needed(claim, runs=(3,))[3] == pytest.approx(400 * wanted**2, abs=1)


@pytest.mark.parametrize(
    "claim",
    [
        row("P111", "pattern holds", effort=EFFORT, tier="stand-in"),
        row("P111", "too few to tell", tier="stand-in"),
        row("P111", "too few to tell", ours=0.0, effort=EFFORT, tier="stand-in"),
        row("P111", "too few to tell", margin=None, effort=EFFORT, tier="stand-in"),
        row("P126", "too few to tell", ours=5.0, margin=None, effort=EFFORT | {"share": 0.5}, tier="stand-in"),
    ],
)
def test_what_is_settled_or_unknown_or_no_difference_at_all_has_no_plan(claim):
    assert plans(claim) == []
