"""Run one notebook: parameters checked first, executed apart, named `notebook.ipynb` only when its record appeared.

`result.json` alone means done: the last one is set aside before the first cell runs, so that a run that fails never
leaves it behind as its own. Of parameters it refuses what papermill lets through: an unknown name, a value of another
type, text where YAML was meant to hold a number. Reads cells as text and never changes a notebook.
"""

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TextIO, get_args, get_origin

import nbformat

from medpsy import strict, study
from medpsy.strict import Place

RECIPE_VERSION = 1  # raised by hand when the same parameters and responses begin to give other records
TAG = "parameters"  # papermill's tag of the cell
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "Any": Any}

RESULT = "result.json"
PREVIOUS = "result.previous.json"  # the last record, until a new one takes its place
RUNNING = "running.ipynb"
DONE = "notebook.ipynb"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# of the kernel: tqdm's bars fill a page, and where ipywidgets is absent it warns of that with a path of this machine
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}
LINES = 15  # of a traceback; the innermost frames and the message are at its end


class RunError(RuntimeError):
    """A notebook did not come to its end; the message says where it stopped and what to look at."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``runs: int = 3  # report 4.1``."""

    kind: Any  # int, float, str, bool, list[...], dict[...], any of them | None
    default: Any


def declared(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of `notebook` in their order, by name; refuse what is not ``name: type = literal``."""
    place, parameters = Place(notebook.name), {}
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if TAG in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise place.error(f"{len(cells)} cells are tagged {TAG!r}; tag exactly one code cell")
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise place.error(f"the parameters cell is not Python: {error}") from None
    for statement in statements:
        line = ast.unparse(statement)
        match statement:
            case ast.Expr(ast.Constant()):  # a comment of several lines
                continue
            case ast.AnnAssign(target=ast.Name(name), annotation=annotation, value=ast.expr() as value):
                at = place.at(name)
            case _:
                raise place.error(f"{line!r} in the parameters cell must read `name: type = value  # why`")
        kind = _kind(annotation, at)
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise at.error(f"{line!r}: the default must be a literal; an expression keeps the old values") from None
        parameters[name] = Parameter(kind, strict.value(default, kind, at))
    return parameters


def resolve(
    notebook: Path, profile: str, *, files: Sequence[tuple[Path, str]] = (), given: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the values to inject into `notebook`: those of `files`, later ones winning, then those `given`.

    Args:
        files: paths of YAML files, each with the name that errors call it.
        given: ``name=value`` as typed on a command line; the value is read as the declared type.
    """
    known, values = declared(notebook), {}
    for path, shown in files:
        values |= _checked(strict.read(path, shown), known, Place(shown), notebook.name)
    for text in given:
        values |= _checked(_typed(text, known), known, Place("-p"), notebook.name)
    if "profile" in known and values.setdefault("profile", profile) != profile:
        raise Place(notebook.name, ("profile",)).error(
            f"{values['profile']!r} is given, but {profile!r} is run; choose it with --profile alone"
        )
    return {name: values[name] for name in known if name in values}


def profile_parameters(notebook: Path, profile: str, root: Path) -> dict[str, Any]:
    """Return the values that `notebook` has under `profile`: its defaults, and those of the profile's file."""
    file = f"params/{profile}/{notebook.stem}.yaml"
    defaults = {name: parameter.default for name, parameter in declared(notebook).items()}
    return defaults | resolve(notebook, profile, files=[(root / file, file)])


def _checked(raw: Mapping[str, Any], known: Mapping[str, Parameter], place: Place, notebook: str) -> dict[str, Any]:
    """Return `raw` with every value as the type its parameter declares, and within the bounds of its name."""
    for name in raw:
        if name not in known:
            raise place.at(name).error(f"{notebook} has no such parameter; {strict.nearest(name, known)}")
    values = {name: strict.value(value, known[name].kind, place.at(name)) for name, value in raw.items()}
    strict.bounded(values, place)
    return values


def _kind(node: ast.expr, place: Place) -> Any:
    """Return the type an annotation names, e.g. ``list[str] | None``, without evaluating it as code."""
    match node:
        case ast.Name(name) if name in TYPES:
            return TYPES[name]
        case ast.BinOp(left, ast.BitOr(), ast.Constant(None)):
            return _kind(left, place) | None
        case ast.Subscript(ast.Name("list"), inner):
            return list[_kind(inner, place)]
        case ast.Subscript(ast.Name("dict"), ast.Tuple([key, inner])):
            return dict[_kind(key, place), _kind(inner, place)]
    fix = f"use {', '.join(TYPES)}, list[...] or dict[...], each with `| None` where it may be absent"
    raise place.error(f"type {ast.unparse(node)!r} is not allowed; {fix}")


def _typed(text: str, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return one ``name=value`` of the command line, its value read as the declared type; still to be checked."""
    name, equals, written = text.partition("=")
    if not equals:
        raise Place("-p").error(f"{text!r} must read name=value")
    kind = known[name].kind if name in known else str
    if NoneType in get_args(kind):
        if written.lower() in ("none", "null"):
            return {name: None}
        kind = get_args(kind)[0]
    if (get_origin(kind) or kind) in (list, dict):
        raise Place("-p", (name,)).error(f"{written!r}: lists and mappings go into a YAML file; give it with -f")
    if kind is bool:
        return {name: {"true": True, "false": False}.get(written.lower(), written)}
    for number in (int, float) if kind in (int, float) else ():
        with contextlib.suppress(ValueError):
            return {name: number(written)}
    return {name: written}


def set_aside_altered(profile: str) -> list[str]:
    """Set aside every record of `profile` that was made with parameters other than the profile's; return the sections.

    Such a record is what ``medpsy run -p`` leaves, or a cell changed in JupyterLab; it must not pass for the profile's.
    """
    root, altered = study.find_root(), []
    for section, notebook in notebooks(root).items():
        folder = root / "outputs" / profile / section
        if (folder / RESULT).is_file() and (root / "params" / profile / f"{section}.yaml").is_file():
            wanted = profile_parameters(notebook, profile, root)
            made = [_read(folder / RESULT, "settings"), _read(folder / DONE, "metadata", "papermill", "parameters")]
            if any(values[name] != wanted[name] for values in made for name in wanted.keys() & values.keys()):
                os.replace(folder / RESULT, folder / PREVIOUS)
                altered.append(section)
    return altered


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """Return the mapping under `keys` of a JSON file, or an empty one where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


def notebooks(root: Path | None = None) -> dict[str, Path]:
    """Return the notebooks of the project by section, in reading order."""
    return {path.stem: path for path in sorted(((root or study.find_root()) / "notebooks").glob("[0-9]*.ipynb"))}


def cells_digest(section: str) -> str:
    """Return a digest of the cells of a notebook without their outputs: another one makes its record again."""
    cells = nbformat.read(notebooks()[section], as_version=4).cells
    return hashlib.sha256(json.dumps([(cell.cell_type, cell.source) for cell in cells]).encode()).hexdigest()


def find(name: str) -> Path:
    """Return the notebook called `name`: a number, a section, a section without its number, or a path."""
    known, wanted, hits = notebooks(), Path(name).name.removesuffix(".ipynb"), []
    for section, path in known.items():
        number, _, rest = section.partition("_")
        if wanted in (section, rest) or (wanted.isdecimal() and int(wanted) == int(number)):
            hits.append(path)
    if len(hits) != 1:
        raise strict.SettingsError(f"notebook {name!r}: {strict.nearest(wanted, known)}")
    return hits[0]


def run_notebook(
    section: str,
    profile: str,
    files: Sequence[Path] = (),
    params: Sequence[str] = (),
    *,
    stream: TextIO = sys.stderr,
) -> Path:
    """Execute the notebook `section` under `profile` and return the path of its `result.json`.

    Args:
        files: YAML files whose values go before those of ``params/<profile>/<notebook>.yaml``.
        params: ``name=value``, going before both.

    Raises:
        strict.SettingsError: unknown notebook, profile or parameter, or a value of the wrong type; nothing ran.
        RunError: a cell failed, the kernel died, or the notebook ended without its record.
    """
    notebook = find(section)
    loaded = study.load(profile)  # a slip in the study must show before a kernel starts
    file = f"params/{profile}/{notebook.stem}.yaml"
    sources = [(loaded.root / file, file), *((path, str(path)) for path in files)]
    values = resolve(notebook, profile, files=sources, given=params)
    folder = loaded.section_dir(notebook.stem)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _run(notebook, folder, values, stream, loaded.root)


def _run(notebook: Path, folder: Path, values: dict, stream: TextIO, root: Path) -> Path:
    """Execute `notebook` in `folder`, which is this process's alone."""
    from nbclient.exceptions import DeadKernelError  # late: these take seconds, a slip in a parameter does not
    from papermill import PapermillExecutionError

    from medpsy.execution import Progress, execute

    result, number, started = folder / RESULT, notebook.stem.partition("_")[0], time.monotonic()
    progress = Progress(stream, number)
    if result.exists():
        os.replace(result, folder / PREVIOUS)
    print(f"  {number}  {notebook.stem}, profile {folder.parent.name}", file=stream, flush=True)
    try:
        execute(notebook, folder / RUNNING, values, progress, {"MEDPSY_ROOT": str(root), **QUIET})
        problem = _problem_of_record(result)
    except PapermillExecutionError as error:
        trace = COLOURS.sub("", "\n".join(error.traceback)).splitlines()
        problem = "\n    ".join([f"cell {progress.where()} failed: {error.ename}", *trace[-LINES:]])
    except DeadKernelError as error:
        problem = f"the kernel ended in cell {progress.where()}: {error} (without a signal, a cell called exit)"
    if problem:
        kept = f"; the last record is kept as {PREVIOUS}" if (folder / PREVIOUS).exists() else ""
        raise RunError(f"{notebook.name}: {problem}\n  Executed so far: {_shown(folder)}/{RUNNING}{kept}")
    os.replace(folder / RUNNING, folder / DONE)
    (folder / PREVIOUS).unlink(missing_ok=True)
    print(f"  {number}  done in {time.monotonic() - started:.1f} s", file=stream, flush=True)
    return result


def _problem_of_record(result: Path) -> str:
    try:
        json.loads(result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        why = "a cell left early (exit, quit), or the last cell does not write the record of this section and profile"
        return f"all went through, but there is no {RESULT}: {why}"
    except ValueError as error:
        return f"{RESULT} is not JSON: {error}"
    return ""


def _shown(folder: Path) -> str:
    """Return the folder of a section as it is called below the root."""
    return "/".join(folder.parts[-3:])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go of it even if the process is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{_shown(folder)}: another run is under way here; wait for it") from None
        yield
    finally:
        os.close(handle)
