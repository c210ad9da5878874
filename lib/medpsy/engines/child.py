"""Another process that serves this one, and is sure to end with it.

It is stopped when its object is closed, collected or left at exit, and stops by itself when this process is killed.
Refuses to read its output while it runs: the log is kept for errors only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

WATCHDOG = Path(__file__).with_name("watchdog.py")
READ = 200_000  # bytes of the log that are looked at
PATIENCE = 10.0  # seconds a process has to stop by itself; the watchdog gives its server 5
# of a process that trains: glibc gives freed tensors back to the system and takes them again at every step,
# a fifth of the time
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}
LINES, WIDTH = 20, 300  # of the log in an error: its last lines, each cut to this many characters


class Child:
    """A process in a session of its own, so that Ctrl-C reaches this process only.

    Args:
        command: program and arguments.
        talk: give the process its standard input and output as pipes; it must end when its input ends. Otherwise a
            watchdog runs it.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, talk: bool = False) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # has no name, and lives as long as the process
        watched = [] if talk else [sys.executable, "-I", "-S", str(WATCHDOG)]
        self._process = subprocess.Popen(
            [*watched, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if talk else self._log,
            stderr=self._log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _stop, self._process, os.getpid())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        return self._process.stdout

    def log_tail(self) -> str:
        """Return the last lines that the process wrote to its log, for an error message."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), READ, max(0, size - READ)).decode("utf-8", "replace").strip()
        return "\n".join(line[:WIDTH] for line in text.splitlines()[-LINES:]) or "(it wrote nothing)"

    def stop(self) -> None:
        """End the process and wait until it is gone; calling it again does nothing."""
        self._finalizer()


def importable() -> dict[str, str]:
    """Return the environment variable that lets another Python process import this library."""
    lib = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": os.pathsep.join([lib, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _stop(process: subprocess.Popen, owner: int) -> None:
    if os.getpid() != owner:
        return  # a copy of the object in a forked process: not its server
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):  # itself, or what it left behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
