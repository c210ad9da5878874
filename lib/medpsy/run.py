"""Run one notebook: parameters checked first, executed apart, named `notebook.ipynb` only when its record appeared.

`result.json` alone means done: the last one is set aside before the first cell runs, so that a run that fails never
leaves it behind as its own. Computes nothing and never changes a notebook.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from medpsy import parameters, strict, study
from medpsy.progress import Progress

RESULT = "result.json"
PREVIOUS = "result.previous.json"  # the last record, until a new one takes its place
RUNNING = "running.ipynb"
DONE = "notebook.ipynb"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LINES = 15  # of a traceback; the innermost frames and the message are at its end


class RunError(RuntimeError):
    """A notebook did not come to its end; the message says where it stopped and what to look at."""


def notebooks() -> dict[str, Path]:
    """Return the notebooks of the project by section, in reading order."""
    return {path.stem: path for path in sorted((study.ROOT / "notebooks").glob("[0-9]*.ipynb"))}


def find(name: str) -> Path:
    """Return the notebook called `name`: a number, a section, a section without its number, or a path.

    Raises:
        strict.SettingsError: no notebook or several have that name; the nearest is offered.
    """
    known, wanted = notebooks(), Path(name).name.removesuffix(".ipynb")
    hits = [
        path
        for section, path in known.items()
        if wanted in (section, section.partition("_")[2])
        or (wanted.isdecimal() and int(wanted) == int(section.partition("_")[0]))
    ]
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
        stream: where progress is written.

    Raises:
        strict.SettingsError: unknown notebook, profile or parameter, or a value of the wrong type; nothing ran.
        RunError: a cell failed, the kernel died, or the notebook ended without its record.
    """
    notebook = find(section)
    study.load(profile)  # a slip in the study must show before a kernel starts
    own = f"params/{profile}/{notebook.stem}.yaml"
    sources = [(study.ROOT / own, own), *((path, str(path)) for path in files)]
    values = parameters.resolve(notebook, profile, files=sources, given=params)
    folder = study.ROOT / "outputs" / profile / notebook.stem
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), _stoppable():
        return _run(notebook, folder, values, stream)


def _run(notebook: Path, folder: Path, values: dict, stream: TextIO) -> Path:
    """Execute `notebook` in `folder`, which is this process's alone."""
    result, number, started = folder / RESULT, notebook.stem.partition("_")[0], time.monotonic()
    progress = Progress(stream, number)
    if result.exists():
        os.replace(result, folder / PREVIOUS)
    print(f"  {number}  {notebook.stem}, profile {folder.parent.name}", file=stream, flush=True)
    try:
        _execute(notebook, folder / RUNNING, values, progress)
        _check_record(result, notebook)
    except RunError as error:
        raise RunError(f"{error}\n{_what_is_left(folder)}") from None
    os.replace(folder / RUNNING, folder / DONE)
    (folder / PREVIOUS).unlink(missing_ok=True)
    slow = f"; slowest: {progress.slowest()}" if progress.slowest() else ""
    print(f"  {number}  done in {time.monotonic() - started:.1f} s{slow}", file=stream, flush=True)
    return result


def _execute(notebook: Path, output: Path, values: dict, progress: Progress) -> None:
    from nbclient.exceptions import DeadKernelError  # late: these take seconds, a slip in a parameter does not
    from papermill import PapermillExecutionError

    from medpsy.execution import execute

    try:
        execute(notebook, output, values, listener=progress, environment={"MEDPSY_ROOT": str(study.ROOT)})
    except PapermillExecutionError as error:
        trace = COLOURS.sub("", "\n".join(error.traceback)).splitlines()
        what = "\n".join(f"    {line}" for line in trace[-LINES:])
        raise RunError(f"{notebook.name}: cell {progress.where()} failed: {error.ename}\n{what}") from None
    except DeadKernelError:
        raise RunError(
            f"{notebook.name}: the kernel ended in cell {progress.where()}: memory ran out "
            "(run fewer things beside it, or a smaller profile), or a cell called exit"
        ) from None


def _check_record(result: Path, notebook: Path) -> None:
    """Check that the notebook wrote its record, whole."""
    try:
        json.loads(result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{notebook.name}: all went through, but there is no {RESULT}: a cell left early (exit, quit), "
            "or the last cell does not write the record of this section and profile"
        ) from None
    except ValueError as error:
        raise RunError(f"{notebook.name}: {RESULT} is not JSON: {error}") from None


def _what_is_left(folder: Path) -> str:
    shown = folder.relative_to(study.ROOT)
    kept = f"; the last record is kept as {PREVIOUS}" if (folder / PREVIOUS).exists() else ""
    return f"  Executed so far: {shown / RUNNING}{kept}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go of it even if the process is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder.relative_to(study.ROOT)}: another run is under way here; wait for it") from None
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let a polite kill (a batch system's, snakemake's) end the kernel too, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
        yield
        return

    def stop(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
