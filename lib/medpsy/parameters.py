"""The parameters of a notebook: what its tagged cell declares, and whether given values fit.

Refuses what papermill lets through: an unknown name, a value of another type, text where YAML was meant to hold a
number. Reads the cell as text; runs nothing of it.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Optional, Union, get_args, get_origin

import nbformat

from medpsy import strict
from medpsy.strict import Place

TAG = "parameters"  # papermill's tag of the cell
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "None": None, "Any": Any}
NOTHING = ("none", "null")  # how None is written on a command line
WRITTEN = {"true": True, "false": False}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``runs: int = 3  # report 4.1``."""

    name: str
    kind: Any  # int, float, str, bool, list[...], dict[...], any of them | None
    default: Any
    comment: str


def declared(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of `notebook` in their order, by name.

    Raises:
        SettingsError: no cell or several are tagged, or a line is not ``name: type = literal``.
    """
    place = Place(notebook.name)
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if TAG in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise place.error(f"{len(cells)} cells are tagged {TAG!r}; tag exactly one code cell")
    lines = cells[0].source.splitlines()
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise place.error(f"the parameters cell is not Python: {error}") from None
    found = [_parameter(statement, lines, place) for statement in statements if not _is_text(statement)]
    return {parameter.name: parameter for parameter in found}


def resolve(
    notebook: Path, profile: str, *, files: Sequence[tuple[Path, str]] = (), given: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the values to inject into `notebook`: those of `files`, later ones winning, then those `given`.

    Args:
        files: paths of YAML files, each with the name that errors call it.
        given: ``name=value`` as typed on a command line; the value is read as the declared type.

    Raises:
        SettingsError: names the file, the parameter, the value and the fix.
    """
    known, values = declared(notebook), {}
    for path, shown in files:
        values |= check(strict.read(path, shown), known, Place(shown), notebook.name)
    for text in given:
        values |= _typed(text, known, notebook.name)
    if "profile" in known and values.setdefault("profile", profile) != profile:
        raise Place(notebook.name, ("profile",)).error(
            f"{values['profile']!r} is given, but {profile!r} is run; choose it with --profile alone"
        )
    return {name: values[name] for name in known if name in values}


def check(raw: Mapping[str, Any], known: Mapping[str, Parameter], place: Place, notebook: str) -> dict[str, Any]:
    """Return `raw` with every value as the type its parameter declares."""
    _refuse_strangers(raw, known, place, notebook)
    return {name: fitted(value, known[name].kind, place.at(name)) for name, value in raw.items()}


def fitted(raw: Any, kind: Any, place: Place) -> Any:
    """Return `raw` as `kind`; a whole number passes for a float, nothing else is converted."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return None if raw is None and NoneType in inner else fitted(raw, _without_none(inner), place)
    if origin is list:
        if not isinstance(raw, list):
            raise place.error(f"{raw!r} must be a list; write [a, b] or one `- item` per line")
        return [fitted(item, inner[0] if inner else Any, place.at(index)) for index, item in enumerate(raw)]
    if origin is dict:
        if not isinstance(raw, dict):
            raise place.error(f"{raw!r} must be a mapping; write one `key: value` per line")
        return {key: fitted(item, inner[1] if inner else Any, place.at(key)) for key, item in raw.items()}
    return strict.value(raw, origin, place)


def _parameter(statement: ast.stmt, lines: list[str], place: Place) -> Parameter:
    line = lines[statement.lineno - 1]
    simple = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    if not (simple and statement.value is not None):
        raise place.error(f"{line!r} in the parameters cell must read `name: type = value  # why`")
    at = place.at(statement.target.id)
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise at.error(f"{line!r}: the default must be a literal; an expression keeps the old values") from None
    kind = _kind(statement.annotation, at)
    _, _, comment = lines[statement.end_lineno - 1][statement.end_col_offset :].partition("#")
    return Parameter(statement.target.id, kind, fitted(default, kind, at), comment.strip())


def _kind(node: ast.expr, place: Place) -> Any:
    """Return the type an annotation names, e.g. ``list[str] | None``, without evaluating it as code."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Name) and node.id in TYPES:
        return TYPES[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        kinds = [_kind(side, place) for side in (node.left, node.right)]
        if kinds.count(None) == 1:
            return next(kind for kind in kinds if kind is not None) | None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        generic = {"list": list, "dict": dict, "Optional": Optional}.get(node.value.id)
        if generic and len(inner) == (2 if generic is dict else 1):
            kinds = tuple(_kind(part, place) for part in inner)
            return generic[kinds if generic is dict else kinds[0]]
    raise place.error(f"type {ast.unparse(node)!r} is not allowed; use {', '.join(TYPES)}, list[...] or dict[...]")


def _typed(text: str, known: Mapping[str, Parameter], notebook: str) -> dict[str, Any]:
    """Return one ``name=value`` of the command line, its value read as the declared type."""
    name, equals, written = text.partition("=")
    place = Place("-p")
    if not equals:
        raise place.error(f"{text!r} must read name=value")
    _refuse_strangers([name], known, place, notebook)
    return {name: _read(written, known[name].kind, place.at(name))}


def _read(written: str, kind: Any, place: Place) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return None if written.lower() in NOTHING else _read(written, _without_none(get_args(kind)), place)
    if (get_origin(kind) or kind) in (list, dict):
        raise place.error(f"{written!r}: lists and mappings go into a YAML file; give it with -f")
    if kind is bool:
        return fitted(WRITTEN.get(written.lower(), written), bool, place)
    try:
        return fitted(kind(written), kind, place) if kind in (int, float) else written
    except ValueError as error:
        if isinstance(error, strict.SettingsError):
            raise
        raise place.error(f"{written!r} must be {strict.NAMES[kind]}") from None


def _refuse_strangers(names: Any, known: Mapping[str, Parameter], place: Place, notebook: str) -> None:
    for name in names:
        if name not in known:
            raise place.at(name).error(f"{notebook} has no such parameter; {strict.nearest(name, known)}")


def _without_none(kinds: tuple) -> Any:
    return next(kind for kind in kinds if kind is not NoneType)


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is a bare string, i.e. a comment of several lines."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
