"""Run a server and stop it when whoever started this is gone: ``python watchdog.py COMMAND ...``.

Standard input is a pipe that the starter holds open; its end means the starter closed it or is dead, even by SIGKILL.
Run by path as a process of its own, with the standard library only. Refuses to outlive its server.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL = 0.2  # seconds between two looks at the server
PATIENCE = 5.0  # seconds a server has to stop by itself


def die_with_parent() -> None:
    """In the server, before it starts: let Linux kill it should this process be killed; elsewhere do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def watch(server: subprocess.Popen, starter: int) -> None:
    """Return when the server ended, the pipe was closed or the starter is gone.

    The starter's process id is looked at too, since a process forked from it may hold its end of the pipe open.
    """
    while server.poll() is None and os.getppid() == starter:
        readable, _, _ = select.select([sys.stdin], [], [], POLL)
        if readable and not os.read(sys.stdin.fileno(), 1):
            return


def main() -> int:
    starter = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        watch(server, starter)
    finally:
        if server.poll() is None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(PATIENCE)
            server.kill()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
