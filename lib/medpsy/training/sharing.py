"""The command by which several processes share one training: `accelerate launch`, here or on each node of a Slurm job.

Asks for no nodes: they are those of the job in which the section runs (setup/slurm). Restarts are torchrun's, which
`accelerate launch` starts the processes with.
"""

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parent / "configs"
ALONE = "NO"  # accelerate's type of a config for one process, which it starts without torchrun
# Processes that start again must meet in a store of their own, or they wait for the addresses of the dead
# (pytorch #135712). So the store is not torchrun's, and the rendezvous not accelerate's own, `static`.
ANEW = ("env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")
STANDALONE = "PET_STANDALONE=1"  # torchrun's --standalone, for which accelerate has no word: c10d at a free port
# Without --cpu-bind=none each task would be held to one core.
ON_EVERY_NODE = ("srun", "--kill-on-bad-exit=1", "--cpu-bind=none")
# A task reads its own rank; task 0 is on the node where srun was called, whose address all of them know. It holds the
# store where they meet; by itself torchrun would compare names of machines. The others wait 600 s for it.
RANKED = (
    'exec "$0" -m accelerate.commands.launch --machine_rank "$SLURM_PROCID" '
    '--main_process_ip "$SLURM_LAUNCH_NODE_IPADDR" --rdzv_conf "is_host=$((SLURM_PROCID == 0)),read_timeout=600" "$@"'
)


@dataclass(frozen=True)
class Sharing:
    """How processes share a training.

    Args:
        processes: over all machines.
        config: file in `CONFIGS` (without ``.yaml``) that says how they share it, and on how many machines; empty for
            one process.
        restarts: how often all of them start again by themselves when one has died.
    """

    processes: int = 1
    config: str = ""
    restarts: int = 0

    def __post_init__(self) -> None:
        for name, least in (("processes", 1), ("restarts", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} must not be below {least}")
        if self.restarts and not self.config:
            raise ValueError(
                f"restarts: {self.restarts}, and nothing watches one process without a config; set restarts to 0 "
                "(calling the section again goes on from the last resume point too)"
            )

    def settings(self) -> dict[str, Any]:
        """Return what the config's file says.

        Raises:
            ValueError: there is no such file, or it does not go with the number of processes or of restarts.
        """
        path = CONFIGS / f"{self.config}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
            raise ValueError(f"launch config {self.config!r} is unknown; known are {known}")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if found["distributed_type"] == ALONE and (self.processes > 1 or self.restarts):
            raise ValueError(
                f"launch config {self.config!r} is for one process without restarts, and processes is "
                f"{self.processes}, restarts {self.restarts}; take another config"
            )
        if self.processes % found["num_machines"]:
            raise ValueError(
                f"processes: {self.processes} cannot be spread evenly over the {found['num_machines']} machines of "
                f"launch config {self.config!r}"
            )
        return found


def command(worker: Sequence[str], how: Sharing) -> list[str]:
    """Return the command that runs `worker` (arguments of Python) as `how` says.

    Raises:
        ValueError: the config is unknown or does not fit, or wants several machines and this is no job of Slurm.
    """
    if how.processes == 1 and not how.config:
        return [sys.executable, *worker]
    settings = how.settings()
    machines, path = settings["num_machines"], str(CONFIGS / f"{how.config}.yaml")
    # a port of its own: trainings side by side would meet at the usual one
    shared = ["--config_file", path, "--num_processes", str(how.processes), "--main_process_port", str(_free_port())]
    shared += ["--rdzv_backend", "c10d", "--max_restarts", str(how.restarts), *worker]
    if machines == 1:
        return [*ANEW, STANDALONE, sys.executable, "-m", "accelerate.commands.launch", *shared]
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise ValueError(
            f"launch config {how.config!r} shares the work among {machines} machines, and this is no job of Slurm: use "
            "`make report EXECUTOR=slurm`, or another config in `launching` of the profile's YAML"
        )
    return [*ANEW, *ON_EVERY_NODE, f"--ntasks={machines}", "bash", "-c", RANKED, sys.executable, *shared]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
