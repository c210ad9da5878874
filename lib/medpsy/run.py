"""Run one notebook through papermill: parameters checked first, executed apart, done when its record appeared.

`result.json` alone means done: the last one is set aside before the first cell runs. Of parameters it refuses what
papermill lets through: an unknown name, a value of another type, text where YAML was meant to hold a number. The kernel
is the Python that runs this, whatever kernel the file or the user's Jupyter names. Never changes a notebook.
"""

import ast
import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, TextIO, get_args, get_origin

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from medpsy import prompts, strict, study
from medpsy.engines.programs import ending
from medpsy.files import socket_folder
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
ENGINE = "medpsy"
START_SECONDS = 300  # a kernel that starts on a loaded machine takes its time; papermill's 60 are too few
GRACE = 5.0  # seconds that an interrupted cell has to store what it has and to close what it holds
EVERY = 10.0  # seconds between two lines that a cell prints
WIDTH = 100


class RunError(RuntimeError):
    """A notebook did not come to its end; the message says where it stopped and what to look at."""


# Parameters: what the tagged cell declares, and what files and the command line give.


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
    """Return the values to inject into `notebook`: those of `files` (path, name in errors), later ones winning, then
    those `given` as ``name=value`` on a command line, read as the declared type."""
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
    raise place.error(
        f"type {ast.unparse(node)!r} is not allowed; use {', '.join(TYPES)}, list[...], dict[...], | None"
    )


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
    """Set aside every record of `profile` that was made with parameters other than the profile's, by ``medpsy run -p``,
    or with cells other than the notebook's; return the sections."""
    root, altered = study.find_root(), []
    for section, notebook in notebooks(root).items():
        folder = root / "outputs" / profile / section
        if (folder / RESULT).is_file() and (root / "params" / profile / f"{section}.yaml").is_file():
            wanted = profile_parameters(notebook, profile, root)
            made = [_read(folder / RESULT, "settings"), _read(folder / DONE, "metadata", "papermill", "parameters")]
            given = any(values[name] != wanted[name] for values in made for name in wanted.keys() & values.keys())
            if given or _sources(folder / DONE) not in ([], _sources(notebook)):
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


def _sources(notebook: Path) -> list[str]:
    """Return the sources of the cells of `notebook`, without those that papermill put in."""
    cells = _read(notebook).get("cells", [])
    return ["".join(cell["source"]) for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", [])]


# Running one.


def notebooks(root: Path | None = None) -> dict[str, Path]:
    """Return the notebooks of the project by section, in reading order."""
    return {path.stem: path for path in sorted(((root or study.find_root()) / "notebooks").glob("[0-9]*.ipynb"))}


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
    so_far: bool = False,
    stream: TextIO = sys.stderr,
) -> Path:
    """Execute the notebook `section` under `profile` and return the path of its `result.json`; values of `files` go
    before those of ``params/<profile>/<notebook>.yaml``, `params` (``name=value``) before both; `so_far` asks nothing
    and leaves the record of what is answered. A strict.SettingsError (unknown notebook, profile or parameter, wrong
    type) says that nothing ran, a RunError that a cell failed, the kernel died, the notebook ended without its record,
    or that of what is to be shown `so_far` there is nothing, or all."""
    notebook = find(section)
    loaded = study.load(profile)  # a slip in the study must show before a kernel starts,
    if any("open_ended(" in source for source in _sources(notebook)):
        prompts.grader(loaded)  # and a prompt that is not there
    file = f"params/{profile}/{notebook.stem}.yaml"
    sources = [(loaded.root / file, file), *((path, str(path)) for path in files)]
    values = resolve(notebook, profile, files=sources, given=params)
    folder = loaded.section_dir(notebook.stem)
    folder.mkdir(parents=True, exist_ok=True)
    shown, environment = "/".join(folder.parts[-3:]), {"MEDPSY_ROOT": str(loaded.root), **QUIET}
    record, asking = folder / (study.SO_FAR_RECORD if so_far else RESULT), {study.SO_FAR: "1"} if so_far else {}
    progress, started = Progress(stream, notebook.stem.partition("_")[0]), time.monotonic()
    with _alone(folder, shown):
        if so_far and (folder / RESULT).exists():
            raise RunError(f"{shown}: all of it is there; `medpsy site --profile {profile}` shows it")
        if so_far:
            record.unlink(missing_ok=True)
        elif record.exists():
            os.replace(record, folder / PREVIOUS)
        print(f"  {progress.prefix}  {notebook.stem}, profile {profile}", file=stream, flush=True)
        if problem := _executed(notebook, record, values, progress, environment | asking):
            kept = f"; the last record is kept as {PREVIOUS}" if (folder / PREVIOUS).exists() else ""
            raise RunError(f"{notebook.name}: {problem}\n  Executed so far: {shown}/{RUNNING}{kept}")
        os.replace(folder / RUNNING, folder / DONE)
        if not so_far:
            (folder / PREVIOUS).unlink(missing_ok=True)
    print(f"  {progress.prefix}  done in {time.monotonic() - started:.1f} s", file=stream, flush=True)
    return record


def _executed(notebook: Path, record: Path, values: dict, progress: "Progress", environment: Mapping[str, str]) -> str:
    """Execute `notebook` in its own folder, saving beside `record` as it goes; return what kept it from leaving a whole
    record. KeyboardInterrupt or SystemExit: Ctrl-C or a polite kill (a batch system's, snakemake's) ended the kernel.
    """
    papermill_engines.register(ENGINE, _Engine)
    how = {"engine_name": ENGINE, "kernel_name": "python3", "cwd": notebook.parent, "progress_bar": False}
    how |= {"progress": progress, "environment": {**os.environ, **environment}}
    try:
        papermill.execute_notebook(notebook, record.with_name(RUNNING), values, **how)
    except papermill.PapermillExecutionError as error:
        if study.SO_FAR in environment and error.ename == "NotStored":
            return f"nothing to show so far: {error.evalue}"
        trace = COLOURS.sub("", "\n".join(error.traceback)).splitlines()
        return "\n    ".join([f"cell {progress.where()} failed: {error.ename}", *trace[-LINES:]])
    except (KeyboardInterrupt, SystemExit):
        command = f"medpsy run {progress.prefix} --profile {record.parts[-3]}"
        print(f"  stopped: {command} goes on, with --so-far it shows what is there", file=progress.stream, flush=True)
        raise
    except DeadKernelError as error:
        return f"the kernel ended in cell {progress.where()}: {error} (without a signal, a cell called exit)"
    try:
        json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        why = "a cell left early (exit, quit), or the last cell does not write the record of this section and profile"
        return f"all went through, but there is no {record.name}: {why}"
    except ValueError as error:
        return f"{record.name} is not JSON: {error}"
    return ""


@contextlib.contextmanager
def _alone(folder: Path, shown: str) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go of it even if the process is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{shown}: another run is under way here; wait for it") from None
        yield
    finally:
        os.close(handle)


@dataclass
class Progress:
    """Tells `stream` which cell of a notebook has run, and now and then what the running one prints."""

    stream: TextIO
    prefix: str = ""  # tells sections apart that run side by side
    names: list[str] = field(default_factory=list)  # of all cells: the heading above; prose has none
    running: int = -1
    echoed: float = 0.0

    def write(self, text: str) -> None:
        """Show the last line of what a cell printed, not too often."""
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        if lines and time.monotonic() - self.echoed >= EVERY:
            self.echoed = time.monotonic()
            self.show(lines[-1])

    def flush(self) -> None:
        self.stream.flush()

    def where(self) -> str:
        """Return the running cell, e.g. ``3 of 9 (Ours beside Table 1)``."""
        number, count = (sum(map(bool, names)) for names in (self.names[: self.running + 1], self.names))
        return "none" if self.running < 0 else f"{number} of {count} ({self.names[self.running]})"

    def show(self, text: str) -> None:
        print(f"  {self.prefix}  {self.where():<40}  {text}"[:WIDTH], file=self.stream, flush=True)


def _cell_names(cells: list) -> list[str]:
    names, heading = [], "start"
    for cell in cells:
        if cell.cell_type != "code":
            heading = next((line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")), heading)
        names.append(heading if cell.cell_type == "code" else "")
    return names


class _ThisPython(KernelSpecManager):
    """Knows one kernel, this Python; the user's Jupyter may have another one under the same name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class _Client(PapermillNotebookClient):
    progress: Progress
    sockets: str

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        manager.kernel_spec_manager = _ThisPython()
        # files, not ports: two kernels that start at the same time may choose the same port, and one of them dies
        manager.transport, manager.ip = "ipc", os.path.join(self.sockets, "kernel")
        return manager

    def stop(self) -> None:
        """Interrupt the cell, and kill a kernel that goes on all the same, or that was only about to start."""
        self.shutdown_kernel = "immediate"  # nothing is left to be done behind the cell
        self._send(signal.SIGINT)
        while not time.sleep(GRACE) and not self._send(signal.SIGKILL):
            pass

    def _send(self, number: signal.Signals) -> bool:
        try:
            self.km.provisioner.process.send_signal(number)
        except AttributeError:  # there is no kernel, not yet or not any more
            return False
        return True

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        if cell.cell_type != "code":
            return super().execute_cell(cell, cell_index, **options)
        started = time.monotonic()
        self.progress.running, self.progress.echoed = cell_index, started
        try:
            return super().execute_cell(cell, cell_index, **options)
        except DeadKernelError:
            raise DeadKernelError(ending(self.km.provisioner.process.poll())) from None
        finally:
            self.progress.show(f"{time.monotonic() - started:.1f} s")


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, progress: Progress, environment: Mapping[str, str], **_: Any
    ) -> None:
        """Execute; let Ctrl-C and a polite kill end the kernel, and then this process. Nothing is raised where the
        signal arrives: there an exception would end a task of the client's event loop, and the client could not shut
        the kernel down any more."""
        progress.names, received, before = _cell_names(nb_man.nb.cells), [], {}
        with socket_folder("kernel-") as sockets:
            options = {"kernel_name": kernel_name, "startup_timeout": START_SECONDS, "timeout": None}  # may take hours
            options |= {"stdout_file": progress, "stderr_file": progress}
            client = _Client(nb_man, **options)
            client.progress, client.sockets = progress, sockets

            def stop(number: int, _frame: object) -> None:
                received.append(number)
                threading.Thread(target=client.stop, daemon=True).start()

            if threading.current_thread() is threading.main_thread():  # only there signals can be taken
                taken = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
                before = {number: signal.signal(number, stop) for number in taken}
            try:
                client.execute(env=dict(environment))
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                if received:
                    raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])
