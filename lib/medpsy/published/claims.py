"""The claims that the documents make, with their formulas over printed cells, and each one recomputed from them.

A claim agrees, disagrees, or is not derivable from printed numbers; there is no tolerance beyond the rule that it
carries itself. `compute` is the one evaluator of formulas in data files, those of `medpsy.claims` too.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from functools import cache
from types import CodeType

from medpsy.published.tables import SUITE_TITLES, THEMES, Cell, cells, grid, half_unit, look_up, read_data, sources

AGREE, DISAGREE, NOT_DERIVABLE = "agree", "disagree", "not derivable"
KINDS = {"P": "text", "R": "inside a table", "X": "between places", "A": "OpenMed card", "G": "GSPO card"}
CARD_PREFIXES = ("A", "G")  # of the claims of two model cards
PLAIN_VALUE = re.compile(r"~?([-+]?\d[\d,]*(?:\.\d+)?)[x%]?")
ROUNDED_UNITS = {"points", "%", "GB", "x", "tokens"}  # counts, names and settings are exact
LABELS = {"<7>": list(SUITE_TITLES), "<dims>": list(THEMES)}  # shorthands that operands use
CONTEXT = Context(prec=40, rounding=ROUND_HALF_UP, Emax=400, Emin=-400)

Number = Decimal | float
Value = Decimal | bool | str | list


# The language of formulas.


class ExpressionError(ValueError):
    """An expression is not in the language, or does not have a value."""


class NoValue(ExpressionError):
    """The arithmetic fails for these numbers, as a division by zero does."""


def rnd(number: Number, places: Number) -> Number:
    """Return `number` rounded to `places` decimals, ties away from zero."""
    return type(number)(Decimal(number).quantize(Decimal(1).scaleb(-int(places)), rounding=ROUND_HALF_UP))


def badbold(name: str, rows: list | None = None) -> int:
    """Return how many cells are bold but not the best of their column among `rows`, or the best but not bold."""
    shown = [grid(name)[row] for row in rows or grid(name)]
    best = {column: max(row[column].number for row in shown) for column in shown[0]}
    return sum(cell.bold != (cell.number == best[cell.column]) for row in shown for cell in row.values())


def multiples(suite: str, per_point: Decimal) -> list[int]:
    """Return [scores within 0.005 of a multiple of 1/`per_point`, all printed scores of the suite], as numbers."""
    tables = "healthbench" if suite == "HealthBench" else "closed_ended|_stages_"
    printed = [cell for cell in cells() if re.search(tables, cell.table) and suite in (cell.measure, "HealthBench")]
    gaps = [abs(rnd(cell.number * per_point, 0) / per_point - cell.number) for cell in printed]
    return [sum(gap <= Decimal("0.005") for gap in gaps), len(gaps)]


FUNCTIONS: dict[str, Callable] = {  # what every formula may call
    **{function.__name__: function for function in (max, min, abs, sum, len, sorted, all, rnd, badbold, multiples)},
    "mean": lambda numbers: sum(numbers) / len(numbers),
    "zip": lambda *lists: [list(items) for items in zip(*lists, strict=False)],  # the shortest sets the length
    "diff": lambda left, right: [a - b for a, b in zip(left, right, strict=True)],
    "equal": lambda left, right: sum(a == b for a, b in zip(left, right, strict=True)),
    "rank": lambda number, numbers: 1 + sum(other > number for other in numbers),  # equal ones share the better rank
    # within half a unit of the last printed digit; a tie counts
    "rounds_to": lambda recomputed, printed: abs(Decimal(recomputed) - printed) <= half_unit(printed),
}
GRAMMAR = (
    *(ast.Expression, ast.Name, ast.Load, ast.Store, ast.List, ast.Tuple, ast.Dict, ast.IfExp, ast.keyword),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.UnaryOp, ast.USub, ast.BoolOp, ast.And),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Slice),
    *(ast.GeneratorExp, ast.ListComp, ast.DictComp, ast.comprehension),
)
WRITTEN = "a written number"  # no formula can name it


class _Numbers(ast.NodeTransformer):
    """Turns every written number, but for those of places in a list, into what `WRITTEN` makes of its digits."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):
            return node
        return ast.Call(ast.Name(WRITTEN, ast.Load()), [ast.Constant(repr(node.value))], [])

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        return ast.Subscript(self.visit(node.value), node.slice, node.ctx)


def _allowed(node: ast.AST) -> bool:
    match node:
        case ast.Constant():
            return type(node.value) in (int, float, str)
        case ast.Call():
            return isinstance(node.func, ast.Name)
        case ast.Subscript():
            return isinstance(node.ctx, ast.Load)  # a loop must not write into a list
    return isinstance(node, GRAMMAR)


@cache
def _compiled(expression: str) -> CodeType:
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        if refused := [node for node in ast.walk(tree) if not _allowed(node)]:
            part = ast.get_source_segment(expression.strip(), refused[0]) or type(refused[0]).__name__
            raise ExpressionError(f"{expression!r}: {part!r} is not part of the language of formulas")
        return compile(ast.fix_missing_locations(_Numbers().visit(tree)), "formula", "eval")
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"{expression!r} is not an expression: {error}") from error


def compute(expression: str, names: Mapping[str, object], number: type = float) -> object:
    """Return the value of an expression, such as ``"sum(1 for x in diff(a, b) if x > 0)"``, which sees `names` and
    `FUNCTIONS`, no attribute of anything, and whose written numbers are of the type `number`; an ExpressionError where
    it is not in the language, other errors are those of its arithmetic."""
    return eval(_compiled(expression), {"__builtins__": {}, WRITTEN: number, **FUNCTIONS, **names})


@contextmanager
def _explained(expression: str) -> Iterator[None]:
    """Say of an error in which expression it arose."""
    try:
        yield
    except ExpressionError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise NoValue(f"{expression!r} has no value: {error}") from error
    except (TypeError, LookupError, NameError) as error:
        raise ExpressionError(f"{expression!r} cannot be computed: {error}") from error


def evaluate(expression: str, names: Mapping[str, Value]) -> Value:
    """Return the value of an expression over printed numbers: decimals with 40 digits, never floats; raises
    `ExpressionError` where it is refused or cannot be computed."""
    with localcontext(CONTEXT), _explained(expression):
        value = compute(expression, names, Decimal)
    items = value if isinstance(value, list) else [value]
    exact = [Decimal(item) if type(item) is int else item for item in items]
    if not all(isinstance(item, Value) for item in exact):
        raise ExpressionError(f"{expression!r} is no number, truth, text or list")
    return exact if isinstance(value, list) else exact[0]


def evaluate_each(expression: str, names: Mapping[str, Sequence]) -> list:
    """Return the values of an expression, one for each place of `names`, whose numbers are floats; raises as `evaluate`
    does, `NoValue` where the arithmetic fails in one of them."""
    with _explained(expression):
        rows = zip(*names.values(), strict=True)
        return [compute(expression, dict(zip(names, row, strict=True))) for row in rows]


# Claims.


@dataclass(frozen=True)
class Operand:
    """A named reference to cells; `row` and `column` as written: a label, a list of labels ``[a | b]``, or a shorthand:
    ``<7>`` for the seven suites, ``<dims>`` for the seven HealthBench themes, ``<rows>`` for all rows."""

    name: str
    table: str
    row: str
    column: str

    @property
    def is_list(self) -> bool:
        return self._labels(self.row) is not None or self._labels(self.column) is not None

    def _labels(self, text: str) -> list[str] | None:
        """Return the labels that `text` stands for, or None for a single label."""
        if text == "<rows>":
            return list(grid(self.table))
        return text[1:-1].split(" | ") if text.startswith("[") and text.endswith("]") else LABELS.get(text)

    def cells(self) -> list[Cell]:
        """Return the cells that are meant, in order; none where the column is the header of the rows. `UnknownCell`
        where there is no such table, row or column."""
        rows, columns = self._labels(self.row) or [self.row], self._labels(self.column) or [self.column]
        matched = [look_up(grid(self.table), row, f"row in {self.table}") for row in rows]
        if self.column == sources()[self.table]["row_header"]:
            return []
        return [look_up(row, column, f"column in {self.table}") for row in matched for column in columns]

    def value(self) -> Value:
        """Return what a formula sees: decimals, the printed text of cells that are not numbers, or row labels."""
        values = [cell.printed if cell.number is None else cell.number for cell in self.cells()]
        values = values or self._labels(self.row) or [self.row]
        return values if self.is_list else values[0]


def parse_operand(text: str) -> Operand:
    """Return the operand written as ``name=table:row:column``."""
    name, reference = text.split("=", 1)
    return Operand(name, *reference.split(":", 2))


@dataclass(frozen=True)
class Claim:
    """One statement with a number, or with an order that numbers decide."""

    id: str  # one of the letters of `KINDS` with a running number
    source: str  # document
    section: str  # where it stands, for example "4.2", "Table 6 caption" or "Table 2 vs Table 4"
    text: str  # what is claimed, in our words
    value: str  # as printed, as is `unit`; 1 or <=3 may be a rank, >0 a sign, 7 a count
    unit: str
    operands: tuple[Operand, ...]
    formula: str  # how to recompute it from `operands`; empty where nothing is printed to recompute it from
    rule: str  # expression over the result r, the printed value v and the operands; empty where it is not derivable
    group: int | None  # of a disagreement, as judged by us, as is `grade`
    grade: str | None
    note: str
    notebook: str  # section that answers for it
    profile: str  # the smallest one that tests its value, or else
    fact: str  # why no run can test it

    @property
    def number(self) -> Decimal | None:
        """The printed value with its decimals, or None where it is words, a rank limit or a sign."""
        plain = PLAIN_VALUE.fullmatch(self.value)
        return Decimal(plain[1].replace(",", "")) if plain else None

    @property
    def kind(self) -> str:
        return KINDS[self.id[0]]

    @property
    def printed(self) -> dict[str, Value]:
        return {operand.name: operand.value() for operand in self.operands}


def claims(section: str = "") -> tuple[Claim, ...]:
    """Return the claims that stand in a section (``"3.1"``, ``"Table 6"``) or compare it with another place, or all."""
    inside = re.compile(section and rf"(^| vs ){re.escape(section)}( |$)")
    audited = (claim for claim in every_claim() if not claim.id.startswith(CARD_PREFIXES))
    return tuple(claim for claim in audited if inside.search(claim.section))


def card_claims() -> tuple[Claim, ...]:
    """Return what two model cards claim and `claims` does not hold already: AFM-4.5B-OpenMed, Qwen3.5-Medical-GSPO."""
    return tuple(claim for claim in every_claim() if claim.id.startswith(CARD_PREFIXES))


@cache
def every_claim() -> tuple[Claim, ...]:
    """Return all claims, in the order of the text, those of the two cards last."""
    rows = read_data("claims.csv")
    for row in rows:
        row["text"], row["rule"] = row.pop("claim"), row.pop("agree")
        row["operands"] = tuple(parse_operand(text) for text in row["operands"].split("; ") if text)
        row["group"], row["grade"] = int(row["group"] or 0) or None, row["grade"] or None
    return tuple(Claim(**row) for row in rows)


@dataclass(frozen=True)
class Recomputed:
    """A claim with its state and recomputed value: None where nothing can be computed."""

    claim: Claim
    state: str
    result: Value | None

    @property
    def text(self) -> str:
        """The result to four decimals at most, and at least to those of the printed value."""
        places = 0 if self.claim.number is None else max(0, -self.claim.number.as_tuple().exponent)
        return "" if self.result is None else _written(self.result, places)

    @property
    def gap(self) -> Decimal | None:
        """Recomputed minus printed, where both are one number."""
        single = isinstance(self.result, Decimal) and self.claim.number is not None
        return self.result - self.claim.number if single else None

    @property
    def reach(self) -> Decimal | None:
        """The largest `gap` that rounding alone allows: half a unit of the claim's last digit, plus what half a unit of
        every operand's last digit does to the result (exact for sums, means and differences, else first order)."""
        if self.gap is None:
            return None
        slack, values = half_unit(self.claim.number), self.claim.printed
        for operand in self.claim.operands:
            for place, cell in enumerate(operand.cells()):
                if cell.unit in ROUNDED_UNITS and cell.number is not None:
                    given, results = values[operand.name], []
                    for step in (cell.half_unit, -cell.half_unit):
                        several = isinstance(given, list)
                        near = [*given[:place], given[place] + step, *given[place + 1 :]] if several else given + step
                        results.append(evaluate(self.claim.formula, values | {operand.name: near}))
                    slack += max(abs(result - self.result) for result in results)
        return slack


def recompute(claim: Claim) -> Recomputed:
    """Return `claim` with its formula evaluated on the printed cells and its rule applied; raises `ExpressionError` or
    `UnknownCell` where the data file of the claims is wrong."""
    if not claim.formula:
        return Recomputed(claim, NOT_DERIVABLE, None)
    names = claim.printed
    result = evaluate(claim.formula, names)
    names |= {"r": result} | ({} if claim.number is None else {"v": claim.number})
    agrees = bool(claim.rule) and evaluate(claim.rule, names)
    return Recomputed(claim, (AGREE if agrees else DISAGREE) if claim.rule else NOT_DERIVABLE, result)


def _written(result: Value, places: int) -> str:
    if isinstance(result, list):
        return " / ".join(_written(item, places) for item in result)
    if not isinstance(result, Decimal):
        return {True: "yes", False: "no"}.get(result, result)
    short = format(rnd(result, Decimal(4)).normalize(), "f")
    return short if len(short.partition(".")[2]) >= places else format(rnd(result, Decimal(places)), "f")
