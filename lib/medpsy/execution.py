"""Execute a notebook cell by cell through papermill, and show where it is.

A person sees a line per cell with its seconds, and now and then what a slow cell prints. The kernel is always the
Python that runs this, whatever kernel the file or the user's Jupyter names. Checks no parameter and judges no result;
that is `medpsy.run`'s.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from medpsy.engines.programs import ending
from medpsy.files import socket_folder

ENGINE = "medpsy"
START_SECONDS = 300  # a kernel that starts on a loaded machine takes its time; papermill's 60 are too few
GRACE = 5.0  # seconds that an interrupted cell has to store what it has and to close what it holds
NAMES = ("parameters", "injected-parameters")  # tags that name a cell better than the heading above it
EVERY = 10.0  # seconds between two lines that a cell prints
WIDTH = 100


@dataclass
class Progress:
    """Tells `stream` which cell of a notebook has run, and what the running one prints."""

    stream: TextIO
    prefix: str = ""  # tells sections apart that run side by side
    names: list[str] = field(default_factory=list)  # of all cells; prose has none
    running: int = 0
    echoed: float = 0.0

    def start(self, index: int) -> None:
        self.running, self.echoed = index, time.monotonic()

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
        code = [number for number, name in enumerate(self.names) if name]
        if self.running not in code:
            return "none"
        return f"{code.index(self.running) + 1} of {len(code)} ({self.names[self.running]})"

    def show(self, text: str) -> None:
        print(f"  {self.prefix}  {self.where():<40}  {text}"[:WIDTH], file=self.stream, flush=True)


def execute(
    notebook: Path, output: Path, values: Mapping[str, Any], progress: Progress, environment: Mapping[str, str]
) -> None:
    """Execute `notebook` with `values` injected, saving to `output` as it goes.

    The working directory is the notebook's own folder, as in JupyterLab.

    Raises:
        papermill.PapermillExecutionError: a cell raised.
        nbclient.exceptions.DeadKernelError: the kernel ended; says by which signal or with which exit code.
        KeyboardInterrupt, SystemExit: Ctrl-C or a polite kill (a batch system's, snakemake's) ended the kernel.
    """
    papermill_engines.register(ENGINE, _Engine)
    papermill.execute_notebook(
        notebook,
        output,
        dict(values),
        engine_name=ENGINE,
        kernel_name="python3",
        cwd=notebook.parent,
        progress_bar=False,
        progress=progress,
        environment={**os.environ, **environment},
    )


def _cell_names(cells: list) -> list[str]:
    """Return a name for every code cell, its tag or the heading above it; prose has none."""
    names, heading, seen = [], "start", Counter()
    for cell in cells:
        name = ""
        if cell.cell_type != "code":
            heading = next((line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")), heading)
        else:
            name = next((tag for tag in cell.metadata.get("tags", []) if tag in NAMES), heading)
            seen[name] += 1
            name += f" ({seen[name]})" * (seen[name] > 1)
        names.append(name)
    return names


class _ThisPython(KernelSpecManager):
    """Knows one kernel, this Python; the user's Jupyter may have another one under the same name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class _Client(PapermillNotebookClient):
    def __init__(self, *args: Any, progress: Progress, sockets: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.progress, self.sockets = progress, sockets

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
        self.progress.start(cell_index)
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
        progress.names = _cell_names(nb_man.nb.cells)
        with socket_folder("kernel-") as sockets:
            options = {"kernel_name": kernel_name, "startup_timeout": START_SECONDS, "timeout": None}  # may take hours
            options |= {"stdout_file": progress, "stderr_file": progress}
            client = _Client(nb_man, progress=progress, sockets=sockets, **options)
            with _stoppable(client):
                client.execute(env=dict(environment))


@contextlib.contextmanager
def _stoppable(client: _Client) -> Iterator[None]:
    """Let Ctrl-C and a polite kill end the kernel, and then this process.

    Nothing is raised where the signal arrives: there an exception would end a task of the client's event loop, and the
    client could not shut the kernel down any more.
    """
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        threading.Thread(target=client.stop, daemon=True).start()

    main = threading.current_thread() is threading.main_thread()  # only there signals can be taken
    taken = [n for n in (signal.SIGINT, signal.SIGTERM) if main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])
