"""Claims: loading, recomputing, choosing by section."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal as D

import pytest
from medpsy import published
from medpsy.published.claim import recompute
from medpsy.published.expression import ExpressionError
from medpsy.published.rounding import reach

CLAIMS = {claim.id: claim for claim in published.claims()}


def test_how_many_of_which_kind():
    assert Counter(claim.kind for claim in CLAIMS.values()) == {
        "text": 435,
        "inside a table": 248,
        "between places": 89,
    }


def test_every_claim_says_what_it_is_and_how_it_is_decided():
    for claim in CLAIMS.values():
        assert claim.text and claim.section and claim.value and claim.source
        assert claim.formula or not claim.rule  # a rule needs a result


@pytest.mark.parametrize(
    ("identity", "text", "state"),
    [
        ("P001", "2.3529", "agree"),  # printed 2
        ("P014", "42.67", "disagree"),
        ("P103", "5.67 / 8", "disagree"),
        ("P135", "13.7771", "agree"),  # from unrounded means
        ("P157", "30", "agree"),
        ("P158", "240", "disagree"),
        ("P193", "yes", "agree"),
        ("P205", "6", "disagree"),
        ("P305", "-0.145", "agree"),  # printed -0.15: a tie counts
        ("P402", "28 / 28", "not derivable"),
        ("P401", "162 / 162", "agree"),
        ("R002", "72.7243", "disagree"),
        ("R033", "72.43", "not derivable"),
        ("R245", "8.8228", "not derivable"),
        ("X040", "66.475", "disagree"),
        ("X089", "8", "disagree"),
        ("P065", "", "not derivable"),  # nothing is printed to recompute it from
    ],
)
def test_recomputed(identity, text, state):
    found = recompute(CLAIMS[identity])
    assert (found.text, found.state) == (text, state)


def test_text_keeps_the_decimals_of_the_print():
    assert recompute(CLAIMS["P010"]).text == "70.33"
    assert recompute(CLAIMS["P134"]).text == "5.80"
    assert recompute(replace(CLAIMS["P134"], value="5.8")).text == "5.8"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("+11.42", D("11.42")),
        ("-0.29", D("-0.29")),
        ("~1,110", D(1110)),
        ("2.4", D("2.4")),
        ("64%", D(64)),
        ("<=3", None),
        ("6-12", None),
        (">30M", None),
        ("1:2", None),
        ("63.10 / 63", None),
        ("match", None),
    ],
)
def test_printed_value_as_a_number(value, number):
    found = replace(CLAIMS["P001"], value=value).number
    assert found == number
    assert number is None or found.as_tuple().exponent == number.as_tuple().exponent


def test_a_digit_changed_in_a_claim_is_found():
    claim = CLAIMS["P003"]
    assert recompute(claim).state == "agree"
    assert recompute(replace(claim, value="62.63")).state == "disagree"
    assert recompute(replace(claim, rule="")).state == "not derivable"


def test_a_broken_formula_is_an_error_and_not_a_disagreement():
    with pytest.raises(ExpressionError, match="unknown name"):
        recompute(replace(CLAIMS["P003"], formula="a-z"))


@pytest.mark.parametrize(
    ("section", "inside", "outside"),
    [
        ("3.1", {"P108", "P134", "R005", "X001", "X073"}, {"P148", "P167"}),
        ("Table 1", {"P193", "R013", "X021", "X088"}, {"R240", "X089", "P361"}),  # not Table 10
        ("4.2", {"P170", "X032"}, {"P200"}),
        ("4.5", {"P270", "X033"}, {"P283"}),
        ("Key Highlights", {"P001"}, {"P050"}),
    ],
)
def test_claims_of_a_section(section, inside, outside):
    found = {claim.id for claim in published.claims(section)}
    assert inside <= found
    assert not outside & found


def test_claims_of_a_document():
    assert len(published.claims(source="news")) == 8
    assert published.claims("no such section") == ()


@pytest.mark.parametrize(
    ("identity", "want"),
    [
        ("P003", D("0.010")),  # one cell and the claim, two decimals each
        ("P134", D("0.015")),  # a difference of two
        ("R005", D("0.010")),  # a mean of seven
        ("P158", D("0.5")),  # nodes and GPUs are counted, not rounded
        ("P417", D("0.05")),  # a model's name is no rounding
    ],
)
def test_what_rounding_can_explain(identity, want):
    assert reach(CLAIMS[identity]) == pytest.approx(want)


def test_rounding_explains_nothing_without_a_number():
    assert reach(CLAIMS["P103"]) is None
    assert reach(CLAIMS["P065"]) is None
