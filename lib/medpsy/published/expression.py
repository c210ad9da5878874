"""Read one expression of the claims table into a syntax tree.

Refuses text that is too long or nested too deeply. Which kinds of nodes may occur is the evaluator's business; nothing
is compiled or executed here or there.
"""

import ast
from functools import lru_cache

MAX_LENGTH = 400  # characters; the longest formula of the claims table has 131
MAX_DEPTH = 30  # nested nodes


class ExpressionError(ValueError):
    """An expression is not in the language, or does not have a value."""


@lru_cache(maxsize=512)
def parse(expression: str) -> ast.expr:
    """Return the syntax tree of one expression.

    Raises:
        ExpressionError: it is longer than `MAX_LENGTH`, deeper than `MAX_DEPTH`, or not an expression.
    """
    if len(expression) > MAX_LENGTH:
        raise ExpressionError(f"{expression[:40]!r}... has {len(expression)} characters; {MAX_LENGTH} are allowed")
    try:
        body = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"{expression!r} is not an expression: {error}") from error
    if _depth(body) > MAX_DEPTH:
        raise ExpressionError(f"{expression!r} is nested deeper than {MAX_DEPTH}")
    return body


def _depth(node: ast.AST) -> int:
    """Return how many levels of nodes hang below `node`, itself included; level by level, so that none is too deep."""
    level, depth = [node], 0
    while level:
        level, depth = ([child for parent in level for child in ast.iter_child_nodes(parent)], depth + 1)
    return depth
