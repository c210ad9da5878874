"""The expression evaluator: its arithmetic, and everything it must refuse."""

from decimal import Decimal as D

import pytest
from medpsy.published.evaluator import evaluate
from medpsy.published.expression import MAX_DEPTH, MAX_LENGTH, ExpressionError
from medpsy.published.vocabulary import FUNCTIONS

NAMES = {"a": D("70.54"), "b": D("69.95"), "xs": [D(3), D(1), D(2)], "ys": [D(1), D(1), D(5)], "word": "yes"}
MANY = {"a": [D(number) for number in range(200)]}


def value(expression, names=NAMES):
    return evaluate(expression, names, FUNCTIONS)


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ("a-b", D("0.59")),
        ("0.1+0.2", D("0.3")),  # decimal, not binary
        ("-xs[0]+2*3", D(3)),
        ("2**-2", D("0.25")),
        ("1/3*3 == 1", False),  # 40 digits, not a fraction
        ("(a+b)/2", D("70.245")),
        ("29-0+1", D(30)),
        ("mean(xs)", D(2)),
        ("max(1, 2.5)", D("2.5")),
        ("min(xs)", D(1)),
        ("sum(xs)", D(6)),
        ("abs(b-a)", D("0.59")),
        ("len(xs)", D(3)),
        ("len(('SFT', 'DPO'))", D(2)),
        ("sorted(xs)[-2]", D(2)),
        ("xs[1:]", [D(1), D(2)]),
        ("xs[:-1]", [D(3), D(1)]),
        ("xs+[a]", [D(3), D(1), D(2), D("70.54")]),
        ("diff(xs, ys)", [D(2), D(0), D(-3)]),
        ("equal(xs, ys)", D(1)),
        ("rank(3, xs)", D(1)),
        ("rank(1, xs)", D(3)),
        ("rank(1, ys)", D(2)),  # equal numbers share the better rank
        ("rnd(2.345, 2)", D("2.35")),
        ("rnd(-2.345, 2)", D("-2.35")),
        ("rnd(12.5, 0)", D(13)),
        ("all(x >= 1 for x in xs)", True),
        ("sum(1 for x, y in zip(xs, ys) if x == y)", D(1)),
        ("[x*x for x in xs if x > 1 and x < 3]", [D(4)]),
        ("sum(1 for x in xs if x == word)", D(0)),
        ("a if a == b else a-b", D("0.59")),
        ("1 < 2 < 3", True),
        ("1 < 2 > 3", False),
        ("not 1 == 2 or 1/0 == 1", True),  # the second part is never reached
        ("2 in xs", True),
        ("word == 'yes'", True),
        ("[1.0, 63] == [1, 63.00]", True),
        ("rounds_to(72.7243, 72.73)", False),
        ("rounds_to(-0.145, -0.15)", True),  # a tie counts
        ("rounds_to(2.35, 2)", True),
    ],
)
def test_values(expression, want):
    found = value(expression)
    assert found == want
    assert type(found) is type(want)


def test_a_comprehension_does_not_leak_its_name():
    with pytest.raises(ExpressionError, match="unknown name 'x'"):
        value("[x for x in xs] + [x]")


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__",
        "a.as_tuple()",
        "xs.append(1)",
        "'{0.__class__}'.format(a)",
        "open('data/cells.csv')",
        "eval('1')",
        "getattr(a, 'real')",
        "(lambda: 1)()",
        "[max][0](1, 2)",
        "max",
        "nothing + 1",
        "(c := 1)",
        "f'{a}'",
        "{'a': 1}",
        "{1, 2}",
        "{x for x in xs}",
        "max(*xs)",
        "sorted(xs, reverse=1)",
        "[y for x in xs for y in ys]",
        "[x async for x in xs]",
        "[x.y for x in xs]",
        "[0 for xs[0] in ys]",
        "yield a",
        "await a",
        "import os",
        "a = 1",
        "a; b",
        "True",
        "None",
        "...",
        "b'a'",
        "1e9",
        "0x10",
        "1_000",
        "2j",
        "~1",
        "7 // 2",
        "7 % 2",
        "1 << 9",
        "a @ b",
        "1 & 1",
        "a is a",
        "a not in xs",
        "'a' * 9",
        "xs * 1000000",
        "'a' + 'b'",
        "xs + 1",
        "-xs",
        "-word",
        "not a",
        "a and b",
        "1 if a else 2",
        "'a' < 'b'",
        "xs < ys",
        "1 in 1",
        "xs[0.5]",
        "xs[word]",
        "a[0]",
        "[x for x in a]",
        "[x for x, y in xs]",
        "",
        "1 1",
        "(1",
        "a\0b",
    ],
)
def test_refused(expression):
    with pytest.raises(ExpressionError):
        value(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "1/0",
        "0**-1",
        "2**33",
        "2**1000000",
        "9**9**9",
        "(10**32)**32",  # beyond 1e400
        "rnd(1, 10**30)",
        "rnd(1, 100)",
        "max([])",
        "mean([])",
        "xs[3]",
        "xs[::0]",
        "sorted([1, 'a'])",
        "sum(['a'])",
        "diff(xs, [1])",
        "rank(1)",
        "badbold('no_such_table')",
        "(0-2)**0.5",
    ],
)
def test_without_a_value(expression):
    with pytest.raises(ExpressionError):
        value(expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(" * 150 + "1" + ")" * 150, "nested|not an expression|depth"),
        ("-" * (MAX_DEPTH + 1) + "1", "nested deeper"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
        ("1" + "+1" * 100, "nested deeper"),
        ("1" * (MAX_LENGTH + 1), "characters"),
        ("(" * 100_000, "characters"),
        ("sum(sum(1 for y in a) for x in a)", "steps"),
        ("len([a+a+a+a+a+a for x in a])", "steps"),
    ],
)
def test_limits(expression, why):
    if expression.startswith("(((") and len(expression) <= MAX_LENGTH:
        assert evaluate(expression, {}, {}) == 1  # parentheses alone make no tree
        return
    with pytest.raises(ExpressionError, match=why):
        evaluate(expression, MANY, FUNCTIONS)


def test_the_message_names_what_is_unknown_and_what_is_known():
    with pytest.raises(ExpressionError, match=r"'a - zz': unknown name 'zz'; known: a"):
        evaluate("a - zz", {"a": D(1)}, {})
    with pytest.raises(ExpressionError, match=r"unknown function 'median'; known: .*mean"):
        value("median(xs)")


def test_the_callers_decimal_context_does_not_matter():
    from decimal import localcontext

    with localcontext() as context:
        context.prec = 3
        assert value("72.7243 + 0.0001") == D("72.7244")
