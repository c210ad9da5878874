"""One training stage as a job: the key by which its checkpoint is recognised, and the processes that do it.

A checkpoint is done when its folder holds `SUMMARY`, which is written with it in one step. A killed or failed job keeps
its resume points; running it again goes on there. Several processes for one job, and starting them again by themselves,
are the work of `accelerate launch`, here or on each node of the Slurm job in which the section runs (setup/slurm).
"""

import json
import os
import shutil
import socket
import sys
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any, Literal

import yaml

from medpsy import strict
from medpsy.engines.models import check_folder, digest, file_digest, weights_digest
from medpsy.engines.programs import KEEP_MEMORY, Child, importable
from medpsy.files import write_text
from medpsy.licences import UNKNOWN, of_folder
from medpsy.provenance import cores, gpus
from medpsy.store import Progress, noted, replaying
from medpsy.study import find_root

SUMMARY = "training.json"
RECIPE_VERSION = 1  # raised by hand when the same inputs begin to give another checkpoint
DECIDING = ("torch", "transformers", "trl", "accelerate", "peft")  # packages whose version can change a checkpoint


@dataclass(frozen=True)
class Job:
    """One stage of one target, ready to be handed to another process."""

    name: str  # of the checkpoint, e.g. "large-sft1"
    method: Literal["sft", "rl", "dpo"]
    parent: str  # folder with the weights it starts from
    folder: str  # where the checkpoint lands
    work: str  # folder for what is needed to resume; removed when the checkpoint stands
    data: tuple[str, ...]
    store: str  # folder of the study's responses, beside which is noted what the training was like
    config: Mapping[str, Any]  # as `medpsy.training.config.given` returns it; the batch is that of one process
    opens_thinking: bool  # how the target's chat template behaves, as in the study, like `switches`
    switches: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)  # arguments of `peft.LoraConfig`, where an adapter is trained
    judge: Mapping[str, Any] = field(default_factory=dict)  # where a judge gives the reward: all that decides it
    made_of: Mapping[str, str] = field(default_factory=dict)  # the backbone -> its licence

    def key(self) -> str:
        """Return a digest of everything that decides the checkpoint: weights, data, arguments, versions."""
        require(Path(self.parent), self.name)
        parts = {"parent": weights_digest(Path(self.parent)), "data": [file_digest(Path(file)) for file in self.data]}
        fields = ("config", "method", "lora", "opens_thinking", "switches", "judge")
        parts |= {name: getattr(self, name) for name in fields} | {"recipe": RECIPE_VERSION, "versions": versions()}
        if (reward := self.config.get("reward", "").rpartition(":")[0]).endswith(".py"):
            parts["reward"] = file_digest(find_root() / reward)
        return digest(parts)

    def licences(self) -> dict[str, str]:
        """Return source -> licence of all that the checkpoint is made of: backbone, what its parent learned, data."""
        data = [of_folder(folder) or {folder.name: UNKNOWN} for folder in {Path(file).parent for file in self.data}]
        return dict(self.made_of) | of_folder(Path(self.parent)) | dict(ChainMap(*data))

    def done(self) -> bool:
        """Return whether the checkpoint stands and is the one that this job would make."""
        record = summary(Path(self.folder))
        return record is not None and Path(self.parent).is_dir() and record["key"] == self.key()


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in DECIDING}


def require(folder: Path, name: str) -> None:
    """Raise FileNotFoundError unless `folder` holds a model that `name` can start from, data and no code."""
    shown = "/".join(folder.parts[-2:])
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{name}: it starts from {shown}, which holds no model; run the section that leaves it first "
            "(backbones: `make minihub`; sft1, sft2: 04_sft; rl1, rl2: 05_rl; o1: 12_gspo_judge; openmed: 13_openmed)"
        )
    check_folder(folder, f"{name}: {shown}")


def summary(folder: Path) -> dict[str, Any] | None:
    """Return what was recorded of the checkpoint in `folder`, or None if there is none."""
    try:
        return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{folder.name}/{SUMMARY} is not JSON ({error}); delete the folder and train again") from None


CONFIGS = Path(__file__).parent / "configs"
LISTED = strict.read(Path(__file__).with_name("launch.yaml"))
ANEW, STANDALONE, ON_EVERY_NODE, RANKED = (LISTED[name] for name in ("anew", "standalone", "on_every_node", "ranked"))


@dataclass(frozen=True)
class Sharing:
    """How processes share a training. Resume points also serve another number of them that shares the global batch."""

    processes: int = 1  # per job, over all machines; more than one are started by `accelerate launch`
    config: str = ""  # of ``configs``, without ``.yaml``: how they share the work, on how many machines; empty for one
    restarts: int = 0  # how often all of a job start again from its last resume point when one has died

    @property
    def alone(self) -> bool:
        """Whether nothing but the one process itself is started, which nobody would start again."""
        return self.processes == 1 and not self.config and not self.restarts

    def machines(self) -> int:
        """Return on how many machines the config runs; fields that do not go together are a ValueError."""
        told = f"processes: {self.processes}, restarts: {self.restarts}"
        if self.processes < 1 or self.restarts < 0:
            raise ValueError(f"{told}; give at least 1 process and 0 restarts")
        if self.alone:
            return 1
        if not self.config:
            raise ValueError(f"{told}: only a launch config starts several processes, or any again; name one")
        known = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
        if self.config not in known:
            raise ValueError(f"launch config {self.config!r} is unknown; known are {', '.join(known)} ({told})")
        settings = yaml.safe_load((CONFIGS / f"{self.config}.yaml").read_text(encoding="utf-8"))
        if settings["distributed_type"] == "NO" and (self.processes > 1 or self.restarts):  # without torchrun
            raise ValueError(f"launch config {self.config!r} is for one process without restarts; {told}")
        if self.processes % settings["num_machines"]:
            machines = f"the {settings['num_machines']} machines of launch config {self.config!r}"
            raise ValueError(f"{told}: they cannot be spread evenly over {machines}")
        return settings["num_machines"]


def launch_command(worker: Sequence[str], how: Sharing) -> list[str]:
    """Return the command that runs `worker` (arguments of Python) as `how` says."""
    machines = how.machines()
    if how.alone:
        return [sys.executable, *worker]
    with socket.socket() as probe:  # a port of its own: trainings side by side would meet at the usual one
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    shared = ["--config_file", str(CONFIGS / f"{how.config}.yaml"), "--num_processes", str(how.processes)]
    shared += ["--main_process_port", str(port), "--rdzv_backend", "c10d", "--max_restarts", str(how.restarts), *worker]
    if machines == 1:
        return [*ANEW, STANDALONE, sys.executable, "-m", "accelerate.commands.launch", *shared]
    if "SLURM_JOB_ID" not in os.environ or not shutil.which("srun"):
        raise ValueError(
            f"launch config {how.config!r} shares the work among {machines} machines, and this is no job of Slurm: use "
            "`make report EXECUTOR=slurm`, or another config in `launching` of the profile's YAML"
        )
    return [*ANEW, *ON_EVERY_NODE, f"--ntasks={machines}", "bash", "-c", RANKED, sys.executable, *shared]


WORKER = "medpsy.training.worker"
PROGRESS = "progress.txt"  # in a work folder: the newest line, for who watches
PROGRESS_SECONDS = 5.0  # between two lines of progress
LOOK_SECONDS = 0.2  # between two looks at the processes
ENVIRONMENT = KEEP_MEMORY | LISTED["environment"]


class TrainingError(RuntimeError):
    """A training process ended without its checkpoint; the message holds the last lines that it wrote."""


def launch(sequences: Sequence[Sequence[Job]], *, progress: Progress = None, **sharing: Any) -> dict[str, dict]:
    """Do all jobs that are not done yet; return the record of every checkpoint by name; in a replay, what was noted.
    `sharing`: fields of `Sharing`.

    A process that fails is a TrainingError: the others are stopped, and what was done so far is kept.
    """
    if not replaying():
        train(sequences, Sharing(**sharing), progress or (lambda _: None))
    return {
        job.name: noted(Path(job.store), f"training-{job.name}", partial(summary, Path(job.folder)))
        for job in chain.from_iterable(sequences)
    }


def train(sequences: Sequence[Sequence[Job]], how: Sharing, say: Callable[[str], None]) -> None:
    """Do the jobs that are not done yet, those of a sequence one after the other, in as many queues side by side as
    the machine has GPUs or cores for; `say` is told what stands already and how the others go on."""
    how.machines()  # refuses what does not go together
    waiting = [list(dropwhile(Job.done, jobs)) for jobs in sequences]  # what follows a new parent is new too
    for jobs, left in zip(sequences, waiting, strict=True):
        for job in jobs[: len(jobs) - len(left)]:
            say(f"{job.name}: stands already")
    devices = visible_gpus()
    queues = shared([jobs for jobs in waiting if jobs], (len(devices) or cores()) // how.processes)
    threads = max(1, cores() // (max(1, len(queues)) * how.processes))
    running: list[tuple[Path, Sequence[Job], Child]] = []
    try:
        for place, jobs in enumerate(queues):
            # from which a process reads what it does in turn
            file = write_text(Path(f"{jobs[0].work}.jobs.json"), json.dumps([asdict(job) for job in jobs]))
            environment = {**ENVIRONMENT, **importable(), "OMP_NUM_THREADS": str(threads)}
            mine = devices[place * how.processes :][: how.processes]
            if len(mine) == how.processes:  # one machine; and a trainer alone would take all GPUs it sees
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
            running.append((file, jobs, Child(launch_command(["-m", WORKER, str(file)], how), env=environment)))
        watch(running, say)
    finally:
        for *_, child in running:
            child.stop()


def shared(sequences: Sequence[list[Job]], most: int) -> list[list[Job]]:
    """Return at most `most` queues (at least one) that hold all `sequences`, each of them in its order."""
    most = max(1, most)
    return [list(chain.from_iterable(sequences[place::most])) for place in range(min(most, len(sequences)))]


def visible_gpus() -> list[str]:
    """Return what the GPUs that this process may use are called in ``CUDA_VISIBLE_DEVICES``."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(len(gpus()))) if given is None else given.split(",")
    return [name for name in names if name not in ("", "-1")]


def watch(running: Sequence[tuple[Path, Sequence[Job], Child]], say: Callable[[str], None]) -> None:
    """Wait until every process has left all its checkpoints, saying now and then how far they are."""
    last, shown, waiting = time.monotonic(), set(), list(running)
    while waiting:
        for file, jobs, child in [queue for queue in waiting if not queue[2].alive]:
            for job in jobs:  # a work folder is removed when the checkpoint stands
                if Path(job.work).exists() or summary(Path(job.folder)) is None:
                    what = child.failure(f"{job.name}: the training process ended without its checkpoint")
                    raise TrainingError(f"{what}\nWhat it had done is kept; run again to go on from there.")
            file.unlink(missing_ok=True)
            waiting.remove((file, jobs, child))
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            for file in [Path(job.work) / PROGRESS for _, jobs, _ in waiting for job in jobs]:
                with suppress(FileNotFoundError):  # not begun, or done
                    if (line := file.read_text(encoding="utf-8")) and line not in shown:
                        say(line)
                        shown.add(line)
        time.sleep(LOOK_SECONDS)
