"""Published claims on measured scores: paired over questions, never tested on rows that were not measured."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from medpsy import published
from medpsy.benchmarks import SUITES
from medpsy.report import remeasured

TABLE = "backbone_4b_closed_ended"
ROLES = {"big": "Qwen3-4B-Thinking-2507", "other": "Llama-3.2-3B-Instruct"}


def graded(shares, questions=40, runs=3):
    """Each model is right on the first questions of every suite, in every run."""
    return pd.DataFrame(
        {"model": model, "suite": suite, "weight_group": suite, "question_id": f"q{n}", "run": run, "gold": 0}
        | {"outcome": "correct" if n < share * questions else "wrong", "completion_tokens": 40}
        for model, share in shares.items()
        for suite in SUITES
        for n in range(questions)
        for run in range(runs)
    )


def rows(shares, profile="mini"):
    settings = SimpleNamespace(profile=profile, questions_per_suite=0)
    found = remeasured(settings, graded(shares), published.claims("3.1"), table=TABLE, stands_for=ROLES)
    return {row["id"]: row for row in found}


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"big": 0.8, "other": 0.4}, "pattern holds"),
        ({"big": 0.4, "other": 0.8}, "pattern fails"),
        ({"big": 0.5, "other": 0.5}, "too few to tell"),
    ],
)
def test_a_lead_is_tested_for_its_sign_where_other_models_stand_in(shares, verdict):
    row = rows(shares)["P110"]  # the lead of the 4B backbone over Llama-3.2-3B-Instruct
    assert row["verdict"] == verdict
    assert row["published"] == 13.43
    assert row["ours"] == pytest.approx(100 * (shares["big"] - shares["other"]))


def test_a_lead_is_paired_over_questions():
    """Models that are right on nearly the same questions differ with a small margin, however hard the questions are."""
    margin = rows({"big": 0.525, "other": 0.5})["P110"]["margin"]
    alone = rows({"big": 0.5, "other": 0.5}, "paper")["R006"]["margin"]
    assert margin < alone


def test_a_score_of_another_model_is_not_testable_but_a_rerun_is():
    assert rows({"big": 0.631, "other": 0.5})["R004"]["verdict"] == "not testable"
    assert rows({"big": 0.2, "other": 0.5}, "paper")["R004"]["verdict"] == "differs"


def test_claims_about_rows_that_were_not_measured_are_not_tested():
    row = rows({"big": 0.8, "other": 0.4})["P111"]  # needs SmolLM3-3B
    assert row["verdict"] == "not testable"
    assert "SmolLM3-3B" in row["note"]
    assert row["ours"] is None


def test_claims_of_other_tables_are_left_out():
    assert not {"P134", "P137"} & set(rows({"big": 0.8, "other": 0.4}))


def test_equal_seeds_give_equal_margins():
    assert rows({"big": 0.7, "other": 0.4}) == rows({"big": 0.7, "other": 0.4})


def test_a_rank_is_settled_by_the_share_of_samples_in_which_it_holds():
    names = list(published.table(TABLE).index)
    roles = {f"m{place}": name for place, name in enumerate(names)}
    shares = {model: 0.3 if name == "gemma-3-4b-it" else 0.6 for model, name in roles.items()}
    settings = SimpleNamespace(profile="mini", questions_per_suite=0)
    found = remeasured(settings, graded(shares), published.claims("3.1"), table=TABLE, stands_for=roles)
    row = next(row for row in found if row["id"] == "P126")  # gemma ranks last of five
    assert row["verdict"] == "pattern holds"
    assert np.isclose(row["ours"], 5)


def effort(graded_rows, identity="P110", profile="mini"):
    """Return what stood behind one claim."""
    settings = SimpleNamespace(profile=profile, questions_per_suite=0)
    chosen = [claim for claim in published.claims("3.1") if claim.id == identity]
    (row,) = remeasured(settings, graded_rows, chosen, table=TABLE, stands_for=ROLES)
    return row["effort"]


def test_a_record_says_what_stood_behind_a_claim_so_that_the_ledger_can_plan():
    always = graded({"big": 0.8, "other": 0.4})
    lead = effort(always)
    assert (lead["runs"], lead["suite"], lead["share"]) == (3, None, None)
    assert lead["questions"] == 40 * len(SUITES)  # the average is made of all suites
    assert lead["tokens"] == 2 * 40.0  # two models answer every question
    assert lead["run_share"] == 0.0  # every run of a question had the same outcome
    assert effort(always, "R004", "paper")["suite"] == lead["questions"]


def test_run_noise_is_the_share_of_the_margin_that_runs_give():
    """Coin flips in every run: nothing of the margin is due to which questions were asked, but for their luck."""
    flips = graded({"big": 0.5, "other": 0.5})
    flips["outcome"] = np.random.default_rng(3).choice(["correct", "wrong"], len(flips))
    assert effort(flips)["run_share"] == pytest.approx(1.0, abs=0.25)
    assert effort(flips[flips["run"] == 0])["run_share"] is None  # one run cannot tell
