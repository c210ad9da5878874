"""Set the project up, or find within a fraction of a second that it is. ``make`` calls this before everything else.

Uses the standard library only. Installs into ``.venv`` and the user's cache folder, nowhere else.
"""

import contextlib
import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"setup: Python 3.11, 3.12 or 3.13 is needed, {sys.executable} is {version}.\n"
        "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13)\n"
        "or say where it is: make PYTHON=/path/to/python3"
    )

import fcntl
import os
import subprocess
import time

import environment
import llama_tools
import machine


def main() -> None:
    """Do what is missing, one caller at a time."""
    if environment.ready() and llama_tools.ready():
        return
    started = time.monotonic()
    with locked(environment.SETUP):
        if not environment.ready():
            environment.make()
        llama_tools.cache().mkdir(parents=True, exist_ok=True)
        with locked(llama_tools.cache()):
            if not llama_tools.ready():
                llama_tools.make()
    environment.say(f"complete after {time.monotonic() - started:.0f} s; the next call skips all this")


@contextlib.contextmanager
def locked(folder):
    """Hold `folder` for this process; another set-up waits, and a killed one lets go."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            environment.say("another set-up is under way; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    try:
        main()
    except machine.Missing as error:
        sys.exit(f"setup: {error}.")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; the next call goes on where this one stopped.")
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"setup: {error}. Call make again; it goes on where it stopped.")
