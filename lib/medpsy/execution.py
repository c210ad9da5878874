"""Execute a notebook cell by cell through papermill, telling a listener where it is.

The kernel is always the Python that runs this, whatever kernel the file or the user's Jupyter names. Checks no
parameter and judges no result; that is `medpsy.run`'s.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from medpsy.folders import socket_folder

ENGINE = "medpsy"
START_SECONDS = 300  # a kernel that starts on a loaded machine takes its time; papermill's 60 are too few
NAMES = ("parameters", "injected-parameters")  # tags that name a cell better than the heading above it


class Listener(Protocol):
    """What is told about an execution; `write` and `flush` receive what the cells print."""

    def begin(self, cells: list[str]) -> None: ...

    def start(self, index: int) -> None: ...

    def finish(self, index: int, seconds: float) -> None: ...

    def write(self, text: str) -> object: ...

    def flush(self) -> None: ...


def execute(
    notebook: Path, output: Path, values: Mapping[str, Any], *, listener: Listener, environment: Mapping[str, str]
) -> None:
    """Execute `notebook` with `values` injected, saving to `output` as it goes.

    The working directory is the notebook's own folder, as in JupyterLab.

    Raises:
        papermill.PapermillExecutionError: a cell raised.
        nbclient.exceptions.DeadKernelError: the kernel was killed, for want of memory perhaps.
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
        listener=listener,
        environment={**os.environ, **environment},
    )


def cell_names(cells: list) -> list[str]:
    """Return a name for every cell: its tag, its ``papermill_description``, or the heading above it."""
    names, heading, seen = [], "start", {}
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = next((line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")), heading)
        name = _own_name(cell) or heading
        seen[name] = seen.get(name, 0) + (cell.cell_type == "code")
        names.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return names


def _own_name(cell: Any) -> str | None:
    tags = cell.metadata.get("tags", [])
    marks = [*tags, *cell.source.split()] if cell.cell_type == "code" else []
    described = (mark.partition("papermill_description=")[2] for mark in marks)
    return next(filter(None, described), None) or next((tag for tag in tags if tag in NAMES), None)


class _ThisPython(KernelSpecManager):
    """Knows one kernel, this Python; the user's Jupyter may have another one under the same name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class _Client(PapermillNotebookClient):
    def __init__(self, *args: Any, listener: Listener, sockets: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.listener, self.sockets = listener, sockets

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        manager.kernel_spec_manager = _ThisPython()
        # files, not ports: two kernels that start at the same time may choose the same port, and one of them dies
        manager.transport, manager.ip = "ipc", os.path.join(self.sockets, "kernel")
        return manager

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        if cell.cell_type != "code":
            return super().execute_cell(cell, cell_index, **options)
        started = time.monotonic()
        self.listener.start(cell_index)
        try:
            return super().execute_cell(cell, cell_index, **options)
        finally:
            self.listener.finish(cell_index, time.monotonic() - started)


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, listener: Listener, environment: Mapping[str, str], **_: Any
    ) -> None:
        listener.begin([name if cell.cell_type == "code" else "" for cell, name in _named(nb_man.nb.cells)])
        with socket_folder("kernel-") as sockets:
            client = _Client(
                nb_man,
                listener=listener,
                sockets=sockets,
                kernel_name=kernel_name,
                startup_timeout=START_SECONDS,
                timeout=None,  # a cell may take hours
                stdout_file=listener,
                stderr_file=listener,
            )
            client.execute(env=dict(environment))


def _named(cells: list) -> list[tuple[Any, str]]:
    return list(zip(cells, cell_names(cells), strict=True))
