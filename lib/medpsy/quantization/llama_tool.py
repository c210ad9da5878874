"""Run one of llama.cpp's programs to its end, in a folder of its own.

Files are named relative to that folder: what a program writes about its inputs then holds no path of this machine.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from medpsy.engines import tools
from medpsy.engines.errors import EngineError

SHOWN = 1500  # characters of a program's log in an error
LOG = "program.log"
ATTEMPTS = 5  # ours: with an idle core the first one nearly always does


def run(program: str, arguments: Sequence[object], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `program` and return its two outputs, ``stdout`` and ``stderr``.

    Raises:
        FileNotFoundError: the program is not built; says how to get it.
        EngineError: it failed; shows the end of its log.
    """
    command = [str(tools.find(program)), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise _failed(program, done.returncode, done.stdout + done.stderr)
    return done


def run_logged(program: str, arguments: Sequence[object], *, folder: Path, whole: Callable[[str], object]) -> str:
    """Return the log of `program`, which must be `whole`; errors as of `run`.

    llama-perplexity writes its log in a thread of its own and may end before the last lines are out. It is run again
    then, a few times at most, with the log in a file, which is the fastest to write.
    """
    command = [str(tools.find(program)), *map(str, arguments), "--log-file", LOG]
    for _ in range(ATTEMPTS):
        (folder / LOG).unlink(missing_ok=True)
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace") if (folder / LOG).is_file() else ""
        if done.returncode:
            raise _failed(program, done.returncode, text)
        if whole(text):
            return text
    raise EngineError(f"{program} ended {ATTEMPTS} times before its log was whole; the log ends:\n{text[-SHOWN:]}")


def _failed(program: str, status: int, log: str) -> EngineError:
    return EngineError(f"{program} failed ({status}); its log ends:\n{log[-SHOWN:]}")
