"""The command by which several processes share one training: `accelerate launch`, here or on each node of a Slurm job.

Asks for no nodes: they are those of the job in which the section runs (setup/slurm).
"""

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

CONFIGS = Path(__file__).parent / "configs"
# Without --cpu-bind=none each task would be held to one core.
ON_EVERY_NODE = ("srun", "--kill-on-bad-exit=1", "--cpu-bind=none")
# A task reads its own rank; task 0 is on the node where srun was called, whose address all of them know.
RANKED = (
    'exec "$0" -m accelerate.commands.launch --machine_rank "$SLURM_PROCID" '
    '--main_process_ip "$SLURM_LAUNCH_NODE_IPADDR" "$@"'
)


def command(worker: Sequence[str], processes: int, config: str) -> list[str]:
    """Return the command that runs `worker` (arguments of Python) in `processes` processes.

    Args:
        config: file in `CONFIGS` (without ``.yaml``) that says how they share the work, and on how many machines.

    Raises:
        ValueError: there is no such file, or it wants several machines and this is no job of Slurm.
    """
    path = CONFIGS / f"{config}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
        raise ValueError(f"launch config {config!r} is unknown; known are {known}")
    machines = yaml.safe_load(path.read_text(encoding="utf-8"))["num_machines"]
    shared = ["--config_file", str(path), "--num_processes", str(processes)]
    if machines == 1:
        return [sys.executable, "-m", "accelerate.commands.launch", *shared, *worker]
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise ValueError(
            f"launch config {config!r} shares the work among {machines} machines, and this is no job of Slurm: use "
            "`make report EXECUTOR=slurm`, or another config in `launching` of the profile's YAML"
        )
    nodes = [*ON_EVERY_NODE, f"--ntasks={machines}", "bash", "-c", RANKED, sys.executable]
    return [*nodes, *shared, "--main_process_port", str(_free_port()), *worker]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
