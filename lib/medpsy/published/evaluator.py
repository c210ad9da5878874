"""Evaluate the formulas of the claims table: arithmetic, comparisons and a few named functions, on decimals.

Refuses everything else: attributes, keyword arguments, lambdas, assignments, any name or function it was not given,
and any expression that is too long, too deep, too costly or too large. Nothing is compiled or executed by Python.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext

from medpsy.published.expression import ExpressionError, parse

Value = Decimal | bool | str | list

MAX_STEPS = 20_000  # visited nodes and list items
MAX_POWER = 32  # |exponent|
CONTEXT = Context(prec=40, rounding=ROUND_HALF_UP, Emax=400, Emin=-400)  # numbers beyond 1e400 are refused

ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
ORDER = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
PLAIN_NUMBER = re.compile(r"\d+(\.\d+)?")


def evaluate(expression: str, names: Mapping[str, Value], functions: Mapping[str, Callable[..., Value]]) -> Value:
    """Return the value of `expression`; numbers are decimals with 40 digits, never floats.

    Args:
        expression: for example ``"(a+b)/2"`` or ``"sum(1 for x in diff(a, b) if x > 0)"``.
        names: values that the expression may read.
        functions: functions that it may call, with positional arguments only.

    Raises:
        ExpressionError: the expression is refused or cannot be computed; the message quotes it.
    """
    tree = parse(expression.strip())
    try:
        with localcontext(CONTEXT):
            return _Evaluation(expression, functions).value(tree, dict(names))
    except ExpressionError:
        raise
    except (ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise ExpressionError(f"{expression!r} has no value: {type(error).__name__} {error}") from error


class _Evaluation:
    """One walk over one tree, with a budget of steps."""

    def __init__(self, expression: str, functions: Mapping[str, Callable[..., Value]]) -> None:
        self.expression, self.functions, self.steps = expression.strip(), functions, 0

    def refuse(self, why: str) -> ExpressionError:
        return ExpressionError(f"{self.expression!r}: {why}")

    def spend(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise self.refuse(f"needs more than {MAX_STEPS} steps")

    def value(self, node: ast.AST, names: dict[str, Value]) -> Value:
        self.spend()
        handler = getattr(self, f"on_{type(node).__name__.lower()}", None)
        if handler is None:
            raise self.refuse(f"{type(node).__name__} is not part of the language")
        return handler(node, names)

    def number(self, node: ast.AST, names: dict[str, Value]) -> Decimal:
        return self.checked(self.value(node, names), Decimal, "a number")

    def truth(self, node: ast.AST, names: dict[str, Value]) -> bool:
        return self.checked(self.value(node, names), bool, "true or false")

    def items(self, node: ast.AST, names: dict[str, Value]) -> list:
        return self.checked(self.value(node, names), list, "a list")

    def whole(self, node: ast.AST, names: dict[str, Value]) -> int:
        value = self.number(node, names)
        if value != value.to_integral_value():
            raise self.refuse(f"{value} is not a whole number")
        return int(value)

    def finite(self, value: Decimal) -> Decimal:
        if not value.is_finite():  # a negative power of zero is infinite without an error
            raise self.refuse("the result is not finite")
        return value

    def checked(self, value: Value, kind: type, wanted: str) -> Value:
        if not isinstance(value, kind):
            raise self.refuse(f"{value!r} is not {wanted}")
        return value

    def on_constant(self, node: ast.Constant, names: dict[str, Value]) -> Value:
        if isinstance(node.value, str):
            return node.value
        written = ast.get_source_segment(self.expression, node) or ""
        if not PLAIN_NUMBER.fullmatch(written):  # also turns away True, None, 1e9, 0x10, 1_000 and 2j
            raise self.refuse(f"{written!r} is not a plain number")
        return Decimal(written)

    def on_name(self, node: ast.Name, names: dict[str, Value]) -> Value:
        if node.id not in names:
            raise self.refuse(f"unknown name {node.id!r}; known: {', '.join(sorted(names)) or 'none'}")
        return names[node.id]

    def on_binop(self, node: ast.BinOp, names: dict[str, Value]) -> Value:
        left, right = self.value(node.left, names), self.value(node.right, names)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            self.spend(len(left) + len(right))
            return left + right
        self.checked(left, Decimal, "a number")
        self.checked(right, Decimal, "a number")
        if isinstance(node.op, ast.Pow):
            if abs(right) > MAX_POWER:
                raise self.refuse(f"exponent {right} is beyond {MAX_POWER}")
            return self.finite(left**right)
        if type(node.op) not in ARITHMETIC:
            raise self.refuse(f"operator {type(node.op).__name__} is not part of the language")
        return ARITHMETIC[type(node.op)](left, right)

    def on_unaryop(self, node: ast.UnaryOp, names: dict[str, Value]) -> Value:
        if isinstance(node.op, ast.Not):
            return not self.truth(node.operand, names)
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise self.refuse(f"operator {type(node.op).__name__} is not part of the language")
        operand = self.number(node.operand, names)
        return -operand if isinstance(node.op, ast.USub) else operand

    def on_boolop(self, node: ast.BoolOp, names: dict[str, Value]) -> bool:
        decide = all if isinstance(node.op, ast.And) else any
        return decide(self.truth(part, names) for part in node.values)

    def on_compare(self, node: ast.Compare, names: dict[str, Value]) -> bool:
        left = self.value(node.left, names)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part, names)
            if not self.holds(op, left, right):
                return False
            left = right
        return True

    def holds(self, op: ast.cmpop, left: Value, right: Value) -> bool:
        if isinstance(op, ast.Eq | ast.NotEq):
            return (left == right) is isinstance(op, ast.Eq)
        if isinstance(op, ast.In):
            return left in self.checked(right, list, "a list")
        if type(op) not in ORDER:
            raise self.refuse(f"comparison {type(op).__name__} is not part of the language")
        return ORDER[type(op)](self.checked(left, Decimal, "a number"), self.checked(right, Decimal, "a number"))

    def on_ifexp(self, node: ast.IfExp, names: dict[str, Value]) -> Value:
        return self.value(node.body if self.truth(node.test, names) else node.orelse, names)

    def on_list(self, node: ast.List | ast.Tuple, names: dict[str, Value]) -> list:
        return [self.value(item, names) for item in node.elts]

    on_tuple = on_list

    def on_subscript(self, node: ast.Subscript, names: dict[str, Value]) -> Value:
        items = self.items(node.value, names)
        if isinstance(node.slice, ast.Slice):
            ends = (node.slice.lower, node.slice.upper, node.slice.step)
            return items[slice(*(None if end is None else self.whole(end, names) for end in ends))]
        return items[self.whole(node.slice, names)]

    def on_generatorexp(self, node: ast.GeneratorExp | ast.ListComp, names: dict[str, Value]) -> list:
        if len(node.generators) != 1 or node.generators[0].is_async:
            raise self.refuse("a comprehension has exactly one 'for'")
        loop, produced = node.generators[0], []
        for item in self.items(loop.iter, names):
            scope = names | self.bound(loop.target, item)
            if all(self.truth(test, scope) for test in loop.ifs):
                produced.append(self.value(node.elt, scope))
        return produced

    on_listcomp = on_generatorexp

    def bound(self, target: ast.AST, item: Value) -> dict[str, Value]:
        """Return the names that one round of a comprehension binds: ``x`` or ``x, y``."""
        if isinstance(target, ast.Name):
            return {target.id: item}
        if not isinstance(target, ast.Tuple) or not all(isinstance(part, ast.Name) for part in target.elts):
            raise self.refuse("a comprehension binds plain names only")
        parts = self.checked(item, list, "a list")
        return {part.id: value for part, value in zip(target.elts, parts, strict=True)}

    def on_call(self, node: ast.Call, names: dict[str, Value]) -> Value:
        if not isinstance(node.func, ast.Name) or node.func.id not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise self.refuse(f"unknown function {ast.unparse(node.func)!r}; known: {known or 'none'}")
        if node.keywords:
            raise self.refuse("keyword arguments are not part of the language")
        arguments = [self.value(argument, names) for argument in node.args]
        self.spend(sum(len(argument) for argument in arguments if isinstance(argument, list)))
        return self.functions[node.func.id](*arguments)
