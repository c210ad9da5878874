"""Programs that work for this process: where llama.cpp's are, and how any is run so that it is sure to end with it.

A `Child` is stopped when its object is closed, collected or left at exit, and stops by itself when this process is
killed: a watchdog, this file run as ``python programs.py PIPE SECONDS COMMAND ...``, looks at a pipe that the starter
holds open. Its end means that the starter closed it or is dead, even by SIGKILL; the command then has SECONDS to end by
itself, as one does that reads its input to the end. Standard library only, since the watchdog has nothing else.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

VARIABLE = "MEDPSY_LLAMA_CPP"
RELEASE = "llama.cpp-0.3.36"  # as packed in llama-cpp-python 0.3.36
PROGRAMS = ("llama-server", "llama-quantize", "llama-imatrix")
CONVERTER = "convert_hf_to_gguf.py"

TAIL = 200_000  # bytes of a log that are read for an error: it may have grown for days
LINES, WIDTH = 20, 300  # of the log in an error: its last lines, each cut to this many characters
PATIENCE = 12.0  # seconds until what is left is killed; the watchdog takes 10 at most
ENDING = 5.0  # seconds that a process has to end by itself when its input ends, and again when it is told to
MOMENT = 1.0  # seconds in which a process that closed its pipes is gone
POLL = 0.2  # seconds between two looks of the watchdog
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CURES = dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), "somebody stopped it: run again") | {
    signal.SIGKILL: "most likely memory ran out: run less beside it, or give it less to do at once",
    signal.SIGILL: "it was built for another processor: `make setup` builds llama.cpp for this one",
}
# of a process that trains: glibc gives freed tensors back to the system and takes them again at every step,
# a fifth of the time
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/medpsy``, by default ``~/.cache/medpsy``; it may not exist yet. The one folder outside
    the project: what may be made again at any time (built tools, file digests, GGUF files)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medpsy"


def find(name: str) -> Path:
    """Return llama.cpp's program or script `name`: from the folder in ``MEDPSY_LLAMA_CPP``, else PATH, else the cache;
    FileNotFoundError where it is not there."""
    given, on_path = os.environ.get(VARIABLE), shutil.which(name)
    if on_path and not given:
        return Path(on_path)
    folder = Path(given) if given else cache_folder() / RELEASE
    for path in (folder / "bin" / name, folder / name):
        if path.is_file():
            return path
    if given:
        raise FileNotFoundError(f"{name} is not in the folder that {VARIABLE} names; correct or unset {VARIABLE}")
    raise FileNotFoundError(
        f"{name} of llama.cpp is neither on PATH nor built; run `make setup`, or install llama.cpp "
        f"(conda-forge), or let {VARIABLE} name a folder with bin/ and {CONVERTER}"
    )


class Child:
    """A process in a session of its own, so that Ctrl-C reaches this process only. What it writes to standard error is
    a log that is shown in errors only; without `talk` its standard output is too. With `talk` its standard input and
    output are pipes, and it must end when its input ends."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] = {}, talk: bool = False, cwd: Path | None = None
    ) -> None:
        self._command = list(command)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # has no name, and lives as long as the process
        watched, lifeline = os.pipe()  # its other end closes with this process, however that ends
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(watched), str(ENDING if talk else 0), *command],
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else self._log,
                stderr=self._log,
                env={**os.environ, **env},
                cwd=cwd,
                pass_fds=(watched,),
                start_new_session=True,
            )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(watched)
        self.pid, self.stdin, self.stdout = self._process.pid, self._process.stdin, self._process.stdout
        self._finalizer = weakref.finalize(self, _stop, self._process, lifeline, os.getpid())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        return self._process.wait()

    def send(self, messages: Iterable[object]) -> None:
        """Write `messages` to its standard input, as lines of JSON; OSError or ValueError where it takes no more."""
        for message in messages:
            self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def log(self, last: int | None = None) -> str:
        """Return what the process wrote to its log, or the `last` bytes of it."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, max(0, size - (last or size))).decode("utf-8", "replace")

    def log_tail(self) -> str:
        lines = self.log(TAIL).strip().splitlines()[-LINES:]
        return "\n".join(line[:WIDTH] for line in lines) or "(it wrote nothing)"

    def failure(self, what: str) -> str:
        """Return an error message: `what` went wrong, how it ended, what to do, its command, the end of its log."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(MOMENT)  # an exit may be under way
        status = self._process.poll()
        ended = "it still ran" if status is None else ending(status)
        command = shlex.join(map(str, self._command))  # no secret is in it: keys go by the environment
        return f"{what}; {ended}\nIts command: {command}\nIts log ends:\n{self.log_tail()}"

    def stop(self) -> None:
        """End the process and wait until it is gone; calling it again does nothing."""
        self._finalizer()


def ending(status: int) -> str:
    """Return how a process ended, by the exit code or minus the number of the signal, and what to do about it."""
    if status >= 0:
        return f"it ended with exit code {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    cure = CURES.get(-status, "the program fails on this machine: `medpsy doctor` says what works here")
    return f"it ended by {name} ({signal.strsignal(-status)}): {cure}"


def importable() -> dict[str, str]:
    """Return the environment variable that lets another Python process import this library."""
    lib = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": os.pathsep.join([lib, *filter(None, [os.environ.get("PYTHONPATH")])])}


def replies() -> Callable[[object], None]:
    """In a child that talks: return what writes a message as a line of JSON to standard output, which is for that only:
    whatever else is printed from now on goes to the log (standard error)."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return lambda message: print(json.dumps(message), file=output, flush=True)


def _stop(process: subprocess.Popen, lifeline: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a copy of the object in a forked process: not its server
    os.close(lifeline)
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):  # itself, or what it left behind
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _die_with_parent() -> None:
    """In the command, before it starts: let Linux kill it should the watchdog be killed; elsewhere do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watchdog() -> int:
    """Run the command; end as it ended, by the same signal or exit code, and leave nothing of what it started."""
    starter, pipe, seconds = os.getppid(), int(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    process = subprocess.Popen(sys.argv[3:], preexec_fn=_die_with_parent)
    try:
        # the starter's process id is looked at too: a process forked from it may hold its end of the pipe open
        while process.poll() is None and os.getppid() == starter:
            readable, _, _ = select.select([pipe], [], [], POLL)
            if readable and not os.read(pipe, 1):
                break
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING)
            os.killpg(0, signal.SIGKILL)  # what is left of its session, this process too
    if (status := process.wait()) < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command's memory is of interest, not this one's
        with contextlib.suppress(OSError):  # SIGKILL has no handler to take away
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(_watchdog())
