"""Run one of llama.cpp's programs to its end, in a folder of its own.

Files are named relative to that folder: what a program writes about its inputs then holds no path of this machine.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from medpsy.engines import tools
from medpsy.engines.errors import EngineError

SHOWN = 1500  # characters of a program's log in an error


def run(program: str, arguments: Sequence[object], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `program` and return its two outputs, ``stdout`` and ``stderr``.

    Raises:
        FileNotFoundError: the program is not built; says how to get it.
        EngineError: it failed; shows the end of its log.
    """
    command = [str(tools.find(program)), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        log = (done.stdout + done.stderr)[-SHOWN:]
        raise EngineError(f"{program} failed ({done.returncode}); its log ends:\n{log}")
    return done
