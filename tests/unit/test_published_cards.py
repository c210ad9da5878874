"""The claims of two model cards beside the 772: what they rest on and who answers for them."""

from collections import Counter

import pytest
from medpsy import published, study
from medpsy.published import CardClaim, card_claims, recompute
from medpsy.report.ledger import NOT_TESTABLE, NOT_YET_RUN, ledger
from medpsy.report.responsibility import AUDIT, responsible
from medpsy.report.result import write_result

CLAIMS = {claim.id: claim for claim in card_claims()}


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "provenance", lambda: {"commit": "abc"})


def test_ids_run_on_and_meet_none_of_the_others():
    counts = Counter(name[0] for name in CLAIMS)
    assert counts == {"A": 45, "G": 14}
    assert all(f"{letter}{number:03d}" in CLAIMS for letter, n in counts.items() for number in range(1, n + 1))
    assert len(published.claims()) == 772 and not {claim.id for claim in published.claims()} & set(CLAIMS)


def test_what_can_be_recomputed_from_printed_numbers_agrees_with_them():
    states = Counter(recompute(claim).state for claim in CLAIMS.values())
    assert states == {"agree": 28, "not derivable": 31}


@pytest.mark.parametrize(
    ("identity", "value", "words"),
    [
        ("A001", "+5.57", "MMLU: 61.10 against 55.53"),
        ("A003", "-0.12", "IFEVAL: 63.55 against 63.67"),
        ("A010", "+6.66", "anatomy: 62.96 against 56.3 "),
        ("A018", "+6.38", "group stem: 48.91 against 42.53"),
        ("A022", "59.59", "after GRPO, before the merge"),
        ("A026", "<0", "significant drop on IFEVAL"),
        ("A030", ">0", "brings IFEVAL back"),
        ("G001", "0", "final conclusion only"),
        ("G006", ">0", "reasoning-heavy questions"),
        ("G008", "~20k", "20,000 examples"),
    ],
)
def test_a_claim_says_what_its_card_says(identity, value, words):
    assert CLAIMS[identity].value == value and words in CLAIMS[identity].text


def test_every_row_of_the_cards_table_by_subject_has_its_claim():
    rows = set(published.table("openmed_mmlu_breakdown").index)
    told = {operand.row for claim in CLAIMS.values() for operand in claim.operands}
    assert len(rows) == 13 and rows <= told


def test_a_claim_waits_for_its_section_or_says_why_nobody_can_test_it(outputs):
    found = {entry["id"]: entry for entry in ledger("mini")}
    assert found["A026"]["verdict"] == found["G004"]["verdict"] == NOT_YET_RUN
    assert (found["A026"]["notebook"], found["G004"]["notebook"]) == ("13_openmed", "12_gspo_judge")
    assert (found["A041"]["verdict"], found["A041"]["notebook"]) == (NOT_TESTABLE, AUDIT)
    assert "machines" in found["A041"]["reason"] and found["A026"]["document"] == "OpenMed card"
    row = {"id": "A026", "verdict": "pattern holds", "published": None, "ours": -9.0, "margin": 4.0, "note": ""}
    write_result("13_openmed", profile="mini", title="OpenMed", settings={}, claims=[row])
    found = {entry["id"]: entry for entry in ledger("mini")}
    assert found["A026"]["verdict"] == "pattern holds" and found["A025"]["verdict"] == NOT_TESTABLE
    assert found["A025"]["profile"] == "paper"


def test_a_claim_has_either_a_notebook_or_a_reason():
    for claim in CLAIMS.values():
        owner = responsible(claim)
        assert bool(owner.fact) == (owner.notebook == AUDIT) != bool(owner.profile)
    with pytest.raises(ValueError, match="give notebook and profile, or the fact alone"):
        CardClaim(**{**vars(CLAIMS["A001"]), "fact": "both"})
