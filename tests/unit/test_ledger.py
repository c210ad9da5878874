"""The ledger: every claim once, a verdict that says what was tested, and a plan for what is open."""

from collections import Counter
from statistics import NormalDist

import pytest
from medpsy import claims, published
from medpsy.claims import NOT_TESTABLE, plans
from medpsy.claims.ledger import NOT_YET_RUN

BACKBONES, MAIN = "01_backbone_selection", "07_main_results"
EFFORT = {"questions": 400, "runs": 3, "tokens": 100.0, "run_share": 0.25, "suite": None, "share": None}
Z = NormalDist().inv_cdf(0.975)


def row(identity, verdict, ours=2.0, margin=4.0, note="", **more):
    return {"id": identity, "verdict": verdict, "published": 1.0, "ours": ours, "margin": margin, "note": note} | more


def by_id(profile="mini", **sections):
    """Return the entries of the ledger by claim; `sections`: backbones or main -> rows of its record."""
    rows = {name: sections[key] for key, name in {"backbones": BACKBONES, "main": MAIN}.items() if key in sections}
    return claims.ledger(profile, rows).set_index("Claim").to_dict("index")


def test_every_claim_is_there_once_even_where_nothing_ran():
    ledger = claims.ledger("mini", {})
    assert list(ledger["Claim"]) == [claim.id for claim in (*published.claims(), *published.card_claims())]
    assert len(ledger) == 772 + 59 and set(ledger["Verdict"]) == {NOT_TESTABLE, NOT_YET_RUN}
    assert Counter(ledger["Audit"][:772]) == {"agrees": 664, "disagrees": 51, "not derivable": 57}
    assert ledger.loc[ledger["Verdict"] == NOT_TESTABLE, "Reason"].all()


def test_a_claim_waits_for_its_notebook_or_says_that_it_was_left_out():
    assert by_id()["P110"]["Verdict"] == NOT_YET_RUN
    entries = by_id(backbones=[row("P111", "pattern holds")])
    tested, left_out = entries["P111"], entries["P110"]
    assert (tested["Verdict"], tested["Ours"], tested["Ours ±"]) == ("pattern holds", 2.0, 4.0)
    assert left_out["Verdict"] == NOT_TESTABLE and "ran and measured nothing" in left_out["Reason"]
    assert left_out["Profile"] == "review"
    assert by_id("paper", backbones=[row("P113", NOT_TESTABLE)])["P113"]["Profile"] == ""  # nobody is sent further


@pytest.mark.parametrize(
    ("identity", "words"),
    [("P158", "a number of GPUs"), ("P403", "setting of the authors"), ("X005", "compares printed places")]
    + [("P109", "a number of models")],
)
def test_a_fact_that_no_run_can_test_says_so_and_names_no_profile(identity, words):
    entry = by_id()[identity]
    assert (entry["Verdict"], entry["Notebook"], entry["Profile"]) == (NOT_TESTABLE, "00_published_claims", "")
    assert words in entry["Reason"]
    assert by_id(backbones=[row(identity, "agrees")])[identity]["Verdict"] == "agrees"  # what a run did test counts
    untested = by_id(backbones=[row(identity, NOT_TESTABLE, note="not measured here")])[identity]
    assert words in untested["Reason"]


def test_of_several_sections_the_one_that_answers_for_the_claim_counts_and_all_are_listed():
    fails = [row("P169", "pattern fails")]
    assert by_id(backbones=fails)["P169"]["Verdict"] == "pattern fails"
    owner_could_not = [row("P169", NOT_TESTABLE)]
    assert by_id(backbones=fails, main=owner_could_not)["P169"]["Verdict"] == "pattern fails"
    owned = [row("P169", "pattern holds"), row("P170", NOT_TESTABLE, note="another model")]
    entries = by_id(backbones=fails, main=owned)
    assert entries["P169"]["Verdict"] == "pattern holds"
    assert entries["P169"]["Measured by"] == f"{BACKBONES}: pattern fails; {MAIN}: pattern holds"
    assert (entries["P170"]["Verdict"], entries["P170"]["Reason"]) == (NOT_TESTABLE, "another model")


def test_a_claim_that_nobody_made_is_refused_by_name():
    with pytest.raises(ValueError, match="01_backbone_selection: .*'P999'"):
        by_id(backbones=[row("P999", "agrees")])


def needed(claim, **how):
    return {plan["runs"]: plan["questions"] for plan in plans(claim, **how)}


OPEN = row("P111", "too few to tell", effort=EFFORT, tier="stand-in")
ORDER = row("P126", "too few to tell", ours=5.0, margin=None, effort=EFFORT | {"share": 0.84, "run_share": None})


@pytest.mark.parametrize(("claim", "distance"), [(OPEN, 2.0 / (4.0 / Z)), (ORDER, NormalDist().inv_cdf(0.84))])
def test_a_plan_shows_a_measured_difference_or_an_order_with_the_wanted_power(claim, distance):
    wanted = (Z + NormalDist().inv_cdf(0.8)) / distance
    assert needed(claim, runs=(3,), power=0.8)[3] == pytest.approx(400 * wanted**2, abs=1)


def test_more_runs_need_fewer_questions_but_only_as_far_as_run_noise_goes():
    questions = needed(OPEN, runs=(1, 3, 1000))
    assert questions[1] > questions[3] > questions[1000] > 0.74 * questions[3]
    unknown = needed(OPEN | {"effort": EFFORT | {"run_share": None}}, runs=(1, 3))
    assert unknown[1] == unknown[3]  # nothing is hoped for from runs whose noise is not known


def test_plans_are_paid_for_in_tokens_of_what_is_not_stored_cheapest_first():
    found = plans(OPEN, runs=(1, 3))
    by_runs = {plan["runs"]: plan for plan in found}
    assert by_runs[3]["tokens"] == 100.0 * 3 * (by_runs[3]["questions"] - 400)
    assert by_runs[1]["tokens"] == 100.0 * (by_runs[1]["questions"] - 400)
    assert [plan["tokens"] for plan in found] == sorted(plan["tokens"] for plan in found)


def test_a_published_value_is_settled_when_its_margin_is_narrow_enough_to_call_it_reproduced():
    claim = row("P003", "too few to tell", ours=62.0, margin=6.0, effort=EFFORT, tier="exact")
    assert needed(claim, runs=(3,))[3] == pytest.approx(400 * 4, abs=1)  # half the margin: 3 points
    assert needed(claim | {"effort": EFFORT | {"suite": 400}}, runs=(1, 3))  # their choice is no noise any more


@pytest.mark.parametrize(
    "claim",
    [
        OPEN | {"verdict": "pattern holds"},
        {key: value for key, value in OPEN.items() if key != "effort"},
        OPEN | {"ours": 0.0},
        OPEN | {"margin": None},
        ORDER | {"effort": EFFORT | {"share": 0.5}, "tier": "stand-in"},
    ],
)
def test_what_is_settled_or_unknown_or_no_difference_at_all_has_no_plan(claim):
    assert plans(claim) == []
