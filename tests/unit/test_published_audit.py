"""The audit: counts, groups, grades, and the forms it is handed on in."""

import json
import time
from dataclasses import replace

import pytest
from medpsy import published
from medpsy.published import auditing, granularity, noise
from medpsy.published.conclusions import conclusions

VERDICTS = {"agrees", "differs", "too few to tell", "pattern holds", "pattern fails", "not testable"}
GROUPS = {
    1: "P014 P021 P229 X012 X014 X071 X072",
    2: "P199 P205 P220",
    3: "P231 P232",
    4: "P158 R244",
    5: "P387 P388",
    6: "P253 X021 X022 X023 X024 X025 X026 X027 X028 X032 X033",
    7: "P270 P292",
    8: "P190 P277",
    9: "P099 P103",
    10: "P306",
    11: "P186 P215 P224 P240 P241 P369",
    12: "X040",
    13: "P134 P136 R002 R005 R027",
    14: "X088 X089",
    15: "P413 P416 P417",
}


@pytest.fixture(scope="module")
def audit():
    return published.audit()


def test_counts(audit):
    assert audit.counts == {"agree": 664, "disagree": 51, "not derivable": 57}
    assert len(audit.claims) == 772


def test_groups(audit):
    found = {row["group"]: row["claims"].replace(",", "") for row in audit.groups.to_dict("records")}
    assert found == GROUPS


def test_grades_of_groups(audit):
    grades = audit.groups.set_index("group")["grade"].to_dict()
    assert grades[6] == "acknowledged separate runs"
    assert grades[13] == "within rounding"
    assert {group for group, grade in grades.items() if grade == "a conclusion changes"} == {1, 2, 5, 8, 9, 10, 11}
    assert set(grades.values()) == set(published.GRADES)


def test_the_words_sub_point_are_graded_apart_from_the_runs_they_describe(audit):
    row = audit.claims.set_index("id").loc["P253"]
    assert (row["group"], row["grade"]) == (6, "a conclusion changes")


def test_every_disagreement_names_two_places(audit):
    rows = audit.disagreements()
    assert len(rows) == 51
    assert (rows["place"] != "").all() and (rows["against"] != "").all()
    first = rows.set_index("id")
    assert (first.at["X012", "place"], first.at["X012", "against"]) == (
        "Table 2",
        "Table 4: MedGemma-27B-text-it / Overall",
    )
    assert first.at["X088", "against"] == "Table 1: bold marks"


def test_rounding_explains_exactly_the_gaps_that_are_graded_so(audit):
    rows = audit.disagreements().dropna(subset=["gap"])
    assert len(rows) > 30
    explained = rows["gap"].abs() <= rows["reach"] + 1e-12
    assert (explained == (rows["grade"] == "within rounding")).all()


def test_kinds_and_documents_add_up(audit):
    for table in (audit.by_kind(), audit.by_document()):
        assert table[["agree", "disagree", "not derivable"]].sum().to_dict() == audit.counts
        assert table["claims"].sum() == 772
    assert audit.by_document().at["report", "disagree"] == 46


def test_records_hold_every_claim_with_a_verdict(audit):
    records = audit.records()
    assert len(records) == len({row["id"] for row in records}) == 772
    assert {row["verdict"] for row in records} == {"agrees", "differs", "not testable"}
    wrong = next(row for row in records if row["id"] == "P231")
    assert (wrong["published"], wrong["ours"], wrong["state"], wrong["group"]) == ("54.00", "54.33", "disagree", 3)
    json.dumps(records, allow_nan=False)


@pytest.mark.parametrize(
    ("identity", "change"),
    [
        ("P014", {"group": None, "grade": None}),  # a disagreement without a group
        ("P014", {"grade": "a matter of taste"}),
        ("P003", {"group": 1, "grade": "within rounding"}),  # an agreement with one
        ("P065", {"grade": "within rounding"}),
    ],
)
def test_claims_and_groups_must_fit(monkeypatch, identity, change):
    changed = tuple(replace(claim, **change) if claim.id == identity else claim for claim in published.claims())
    monkeypatch.setattr(auditing, "claims", lambda: changed)
    with pytest.raises(auditing.AuditError, match=identity):
        published.audit()


def test_a_group_without_claims_is_an_error(monkeypatch):
    kept = tuple(claim for claim in published.claims() if claim.group != 12)
    monkeypatch.setattr(auditing, "claims", lambda: kept)
    with pytest.raises(auditing.AuditError, match="group 12"):
        published.audit()


def test_summary_for_programs(audit):
    found = published.summary(audit)
    assert list(found)[:4] == ["claims", "agree", "disagree", "not_derivable"]
    assert [found[key] for key in list(found)[:4]] == [772, 664, 51, 57]
    assert len(found["groups"]) == 15
    assert sum(len(group["claims"]) for group in found["groups"]) == 51
    assert found["tables"]["averages"] == {"checked": 32, "agree": 29, "within rounding": 3, "disagree": 0}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_summary_for_people(audit):
    text = published.printed_summary(audit)
    assert text.startswith("772 claims, 664 agree, 51 disagree, 57 not derivable\n")
    assert text.count("[a conclusion changes]") == 7
    assert max(map(len, text.splitlines())) <= 130
    for row in audit.groups.to_dict("records"):
        assert row["title"] in text


def test_conclusions(audit):
    sizes, leads = granularity.granularity((3,)), noise.leads("MedPsy-4B", "MedGemma-27B-text-it")
    found = conclusions(audit, sizes, leads, first="MedPsy-4B", second="MedGemma-27B-text-it")
    assert {row["verdict"] for row in found} <= VERDICTS
    by_start = {row["text"].split(":")[0]: row for row in found}
    assert by_start["PubMedQA"]["verdict"] == "pattern holds"
    assert by_start["MMLU (Health)"]["verdict"] == "too few to tell"
    assert "pooled (1,089)" in by_start["MMLU (Health)"]["note"]
    assert found[0]["text"].startswith("664 of 715")
    assert found[-1]["verdict"] == "too few to tell"


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("MedPsy-1.7B", "MedGemma-1.5-4B-it", "pattern holds"),
        ("MedGemma-1.5-4B-it", "MedPsy-1.7B", "pattern fails"),
        ("MedPsy-1.7B", "Qwen3-4B-Thinking-2507", "too few to tell"),
    ],
)
def test_conclusion_about_a_lead(audit, first, second, verdict):
    sizes = granularity.granularity((3,)).head(1)
    assert conclusions(audit, sizes, noise.leads(first, second), first=first, second=second)[-1]["verdict"] == verdict


def test_the_audit_is_quick():
    start = time.process_time()
    published.audit()
    assert time.process_time() - start < 3
