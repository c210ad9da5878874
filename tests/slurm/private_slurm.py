"""A real Slurm for one test session: its daemons, key and queue in one folder, on the loopback address only.

Four nodes of 8 GPUs are names on this machine, so that what a profile asks for can be granted; no GPU is behind them.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("srun", "scontrol")  # called within a job, where the plugin has removed SLURM_CONF
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
NODES = 4
PATIENCE = 30  # seconds until all nodes are ready
# Of setup/slurm/cluster.yaml, here: no accounting, no waiting for a queue or a shared file system.
QUICK = {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 1, "latency-wait": 10, "jobs": 2}
CONF = Path(__file__).with_name("slurm.conf")


class PrivateSlurm:
    """Started by `with`; gone, with all its jobs, after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.environment |= {"PATH": os.pathsep.join([str(folder / "bin"), SEARCHED])}
        self._running: list[subprocess.Popen] = []

    def __enter__(self) -> "PrivateSlurm":
        self._write()
        try:
            munge = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *munge)
            self._wait(lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D", "-i")
            for number in range(NODES):
                self._start("slurmd", "-D", "-N", f"n{number}", log=f"n{number}")
            self._wait(lambda: self("sinfo", "-h", "-o", "%T %D", check=False) == f"idle {NODES}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self("scancel", "--user", str(os.getuid()), check=False)
        self._wait(lambda: not self("squeue", "-h", check=False), strict=False)
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __call__(self, *command: str, check: bool = True) -> str:
        """Return what `command` of Slurm prints."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """Return the last state of every rule's job by the comment that Snakemake's plugin gives it."""
        rows = self("squeue", "-h", "--states=all", "--sort=i", "-O", "Comment:80,State:20").splitlines()
        return dict(row.split() for row in rows)

    def _write(self) -> None:
        for name in ("bin", "state", *(f"n{number}" for number in range(NODES))):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)  # munged refuses a socket that others may replace
        host = socket.gethostname().partition(".")[0]
        port, *ports = _free_ports(NODES + 1)
        values = {"host": host, "user": os.getuid(), "folder": self.folder, "port": port, "last": NODES - 1}
        values["ports"] = ",".join(map(str, ports))
        (self.folder / "slurm.conf").write_text(CONF.read_text().format_map(values))
        for number in range(8):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-7]\n")
        (self.folder / "munge.key").touch(mode=0o600)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        for name in COMMANDS:
            script = self.folder / "bin" / name
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(name)} "$@"\n')
            script.chmod(0o755)

    def _start(self, daemon: str, *words: str, log: str = "") -> None:
        with (self.folder / f"{log or daemon}.out").open("wb") as out:
            command = [shutil.which(daemon, path=SEARCHED), *words]
            environment = os.environ | self.environment
            self._running.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))

    def _wait(self, ready: Callable[[], bool], strict: bool = True) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            dead = [process.args[0] for process in self._running if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                said = "".join(path.read_text()[-1000:] for path in self.folder.glob("*.out"))
                assert not strict, f"Slurm did not start ({dead or 'too slow'}):\n{said}"
                return
            time.sleep(0.2)


def missing() -> list[str]:
    """Return the programs of Slurm that are not on this machine."""
    return [name for name in (*DAEMONS, *COMMANDS, "sbatch") if not shutil.which(name, path=SEARCHED)]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return sorted(server.getsockname()[1] for server in servers)
