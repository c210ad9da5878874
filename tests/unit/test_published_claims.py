"""Claims: the language of their formulas, what it refuses, and recomputing."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal as D
from decimal import localcontext

import pytest
from case_rows import cases
from medpsy import published
from medpsy.published import recompute
from medpsy.published.claims import ExpressionError, NoValue, evaluate, evaluate_each

CLAIMS = {claim.id: claim for claim in published.claims()}
CARD_CLAIMS = {claim.id: claim for claim in published.card_claims()}
NAMES = {"a": D("70.54"), "b": D("69.95"), "xs": [D(3), D(1), D(2)], "ys": [D(1), D(1), D(5)], "word": "yes"}


@pytest.mark.parametrize(("expression", "value"), cases("formulas", "expression", "value"))
def test_values(expression, value):
    with localcontext(prec=3):  # the caller's context does not matter
        result = evaluate(expression, NAMES)
    wanted = [D(each) for each in value] if isinstance(value, list) else D(value) if isinstance(value, str) else value
    assert result == wanted and type(result) is type(wanted)


@pytest.mark.parametrize("expression", [*cases("formulas_refused", "expression"), "(" * 100_000])
def test_refused(expression):
    with pytest.raises(ExpressionError):
        evaluate(expression, NAMES)
    assert NAMES["xs"] == [3, 1, 2]


def test_replicates_are_computed_one_by_one_as_floats():
    names = {"a": [4.0, 2.0, 1.0], "xs": [[1.0, 3.0], [2.0, 2.0], [5.0, 0.0]], "v": [D("2.0")] * 3}
    assert evaluate_each("a/2 - min(xs)", names) == [1.0, -1.0, 0.5]
    assert evaluate_each("sum(1 for x in xs if x > a)", names) == [0, 0, 1]
    assert evaluate_each("rounds_to(a, v) and rnd(a/3, 1) == 0.7", names) == [False, True, False]
    with pytest.raises(NoValue, match="division"):
        evaluate_each("1/(a-2)", names)
    with pytest.raises(ExpressionError, match="nothing"):
        evaluate_each("a-nothing", names)


def test_every_claim_says_what_it_is_and_how_it_is_decided():
    kinds = Counter(claim.kind for claim in CLAIMS.values())
    assert kinds == {"text": 435, "inside a table": 248, "between places": 89}
    assert Counter(claim.kind for claim in CARD_CLAIMS.values()) == {"OpenMed card": 45, "GSPO card": 14}
    for claim in (*CLAIMS.values(), *CARD_CLAIMS.values()):
        assert claim.text and claim.section and claim.source
        assert claim.formula or not claim.rule  # a rule needs a result
        assert claim.notebook and bool(claim.profile) != bool(claim.fact)  # tested somewhere, or a reason
    assert Counter(recompute(claim).state for claim in CARD_CLAIMS.values()) == {"agree": 28, "not derivable": 31}
    rows = set(published.table("openmed_mmlu_breakdown").index)
    assert len(rows) == 13 and rows <= {operand.row for claim in CARD_CLAIMS.values() for operand in claim.operands}


@pytest.mark.parametrize(("identity", "text", "state"), cases("recomputed_claims", "identity", "text", "state"))
def test_recomputed(identity, text, state):
    recomputed = recompute(CLAIMS[identity])
    assert (recomputed.text, recomputed.state) == (text, state)


def test_a_digit_changed_in_a_claim_is_found():
    claim = CLAIMS["P003"]
    assert recompute(claim).state == "agree"
    assert recompute(replace(claim, value="62.63")).state == "disagree"
    assert recompute(replace(claim, rule="")).state == "not derivable"
    with pytest.raises(ExpressionError, match="'z'"):
        recompute(replace(claim, formula="a-z"))  # an error, not a disagreement


@pytest.mark.parametrize(("value", "number"), cases("printed_values", "value", "number"))
def test_printed_value_as_a_number(value, number):
    parsed = replace(CLAIMS["P001"], value=value).number
    assert (parsed and str(parsed)) == number


@pytest.mark.parametrize(("section", "inside", "outside"), cases("claims_of_sections", "section", "inside", "outside"))
def test_claims_of_a_section(section, inside, outside):
    chosen = {claim.id for claim in published.claims(section)}
    assert chosen.issuperset(inside) and chosen.isdisjoint(outside)
    assert published.claims("no such section") == ()


@pytest.mark.parametrize(("identity", "reach"), cases("rounding_reach", "identity", "reach"))
def test_what_rounding_can_explain(identity, reach):
    assert recompute(CLAIMS[identity]).reach == (reach and pytest.approx(D(reach)))
