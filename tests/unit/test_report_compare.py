"""Verdicts: what counts as agreement, and what is too little to say anything."""

import pytest
from medpsy.report.compare import VERDICTS, Measured, all_hold, claim, mode, pattern_verdict, value_verdict


@pytest.mark.parametrize(
    ("published", "ours", "margin", "verdict"),
    [
        (62.62, 62.62, 0.0, "agrees"),
        (62.62, 61.0, 2.0, "agrees"),
        (62.62, 60.62, 2.0, "agrees"),  # exactly at the margin, whatever binary fractions make of it
        (0.3, 0.1, 0.2, "agrees"),
        (62.62, 59.62, 3.0, "agrees"),  # a margin of exactly the resolution still resolves
        (62.62, 62.62, 3.01, "too few to tell"),  # equal by luck: the run could not have told otherwise
        (62.62, 58.0, 12.0, "too few to tell"),
        (62.62, 40.0, 12.0, "differs"),  # too few to agree, yet enough to differ
        (62.62, 60.6, 2.0, "differs"),
        (None, 60.0, 1.0, "not testable"),
        (62.62, None, 1.0, "not testable"),
        (62.62, float("nan"), 1.0, "not testable"),
        (62.62, 62.0, None, "too few to tell"),
        (62.62, 62.0, float("nan"), "too few to tell"),
        (62.62, 62.0, float("inf"), "too few to tell"),
    ],
)
def test_a_value_agrees_only_inside_a_margin_that_resolves_it(published, ours, margin, verdict):
    assert value_verdict(published, ours, margin) == verdict


def test_the_resolution_is_the_callers_to_choose():
    assert value_verdict(62.62, 62.0, 2.0, resolution=1.0) == "too few to tell"
    assert value_verdict(62.62, 62.0, 5.0, resolution=6.0) == "agrees"


@pytest.mark.parametrize(
    ("difference", "margin", "verdict"),
    [
        (2.0, 1.0, "pattern holds"),
        (2.0, 0.0, "pattern holds"),
        (1.0, 1.0, "too few to tell"),
        (0.0, 0.0, "too few to tell"),
        (-0.5, 1.0, "too few to tell"),
        (-2.0, 1.0, "pattern fails"),
        (2.0, float("nan"), "too few to tell"),
        (2.0, None, "too few to tell"),
        (float("nan"), 1.0, "not testable"),
        (None, 1.0, "not testable"),
    ],
)
def test_a_pattern_needs_a_difference_beyond_its_margin(difference, margin, verdict):
    assert pattern_verdict(difference, margin) == verdict


@pytest.mark.parametrize("judge", [lambda m: value_verdict(1.0, 1.0, m), lambda m: pattern_verdict(1.0, m)])
def test_a_negative_margin_is_refused(judge):
    with pytest.raises(ValueError, match="margin -0.5 is negative"):
        judge(-0.5)


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        (["pattern holds", "pattern holds"], "pattern holds"),
        (["pattern holds", "too few to tell"], "too few to tell"),
        (["too few to tell", "pattern fails"], "pattern fails"),
        (["pattern holds", "not testable"], "not testable"),
        ([], "not testable"),
    ],
)
def test_a_pattern_of_several_is_as_strong_as_its_weakest(verdicts, together):
    assert all_hold(verdicts) == together


@pytest.mark.parametrize(
    ("profile", "measured", "verdict"),
    [
        ("review", Measured(62.62, 62.0, 1.0), "agrees"),
        ("paper", Measured(2.46, -1.0, 1.0, difference=True), "differs"),
        ("mini", Measured(62.62, 62.62, 1.0), "not testable"),  # other models: equal values mean nothing
        ("mini", Measured(2.46, 9.0, 1.0, difference=True), "pattern holds"),
        ("mini", Measured(-2.46, -9.0, 1.0, difference=True), "pattern holds"),
        ("mini", Measured(-2.46, 9.0, 1.0, difference=True), "pattern fails"),
        ("smoke", Measured(2.46, 0.5, 1.0, difference=True), "too few to tell"),
        ("mini", Measured(0.0, 0.5, 1.0, difference=True), "pattern holds"),  # a printed zero claims no change
        ("mini", Measured(0.0, 0.5, 0.1, difference=True), "pattern fails"),
        ("smoke", Measured(0.0, 0.5, 8.0, difference=True), "too few to tell"),
        ("mini", Measured(2.46, None, None, difference=True), "not testable"),
    ],
)
def test_a_claim_is_judged_as_its_profile_allows(profile, measured, verdict):
    row = claim("P132", "One leads another.", measured, profile=profile, note="seven suites")
    assert row["verdict"] == verdict
    assert row["verdict"] in VERDICTS
    assert (row["id"], row["published"], row["ours"], row["note"]) == (
        "P132",
        measured.published,
        measured.ours,
        "seven suites",
    )


def test_a_profile_of_ones_own_is_judged_by_where_its_suites_come_from(monkeypatch):
    from types import SimpleNamespace

    from medpsy import study

    monkeypatch.setattr(study, "load", lambda name: SimpleNamespace(source={"lab": "hub", "toy": "mini"}[name]))
    assert (mode("lab"), mode("toy"), mode("mini"), mode("paper")) == ("values", "patterns", "patterns", "values")
