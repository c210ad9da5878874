"""Start training in processes of its own, watch it, and see that every checkpoint stands at the end.

Sequences of jobs run side by side, as many as there are GPUs or cores, the jobs of one in turn. A killed or failed one
keeps its resume points; running it again goes on there. Schedules nothing: several processes for one job, and starting
them again by themselves, are the work of `accelerate launch`.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, dropwhile
from pathlib import Path

from medpsy.engines.child import KEEP_MEMORY, Child, importable
from medpsy.generation import replaying
from medpsy.noted import noted
from medpsy.provenance import cores, gpus
from medpsy.training import sharing
from medpsy.training.job import Job, summary, write_jobs
from medpsy.training.progress import told

WORKER = "medpsy.training.worker"
EVERY = 5.0  # seconds between two lines of progress
LOOK = 0.2  # seconds between two looks at the processes
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
# turns that a thread waits awake for another (GNU OpenMP; by default 30 times more): no slower alone, and beside
# other work a thread does not hold a core for nothing
PATIENCE = {"GOMP_SPINCOUNT": "10000"}


class TrainingError(RuntimeError):
    """A training process ended without its checkpoint; the message holds the last lines that it wrote."""


def launch(
    sequences: Sequence[Sequence[Job]],
    *,
    processes: int = 1,
    config: str = "",
    restarts: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict]:
    """Do all jobs that are not done yet; return the record of every checkpoint by name; in a replay, what was noted.

    Args:
        processes: per job; more than one are started by `accelerate launch`.
        config: file in ``configs`` (without ``.yaml``) that says how `processes` share the work.
        restarts: how often all processes of a job start again by themselves, from its last resume point, when one of
            them has died. Resume points also serve another number of processes that shares the global batch.

    Raises:
        TrainingError: a process failed; the others are stopped, and what was done so far is kept.
        ValueError: `processes`, `config` and `restarts` do not go together.
    """
    say = progress or (lambda _: None)
    if not replaying():
        train(sequences, sharing.Sharing(processes, config, restarts), say)
    every = chain.from_iterable(sequences)
    return {
        job.name: noted(Path(job.store), f"training-{job.name}", partial(summary, Path(job.folder))) for job in every
    }


def train(sequences: Sequence[Sequence[Job]], how: sharing.Sharing, say: Callable[[str], None]) -> None:
    """Do all jobs that are not done yet."""
    waiting = [list(dropwhile(Job.done, jobs)) for jobs in sequences]  # what follows a new parent is new too
    for job in (job for jobs, left in zip(sequences, waiting, strict=True) for job in jobs[: len(jobs) - len(left)]):
        say(f"{job.name}: stands already")
    devices = visible_gpus()
    queues = shared([jobs for jobs in waiting if jobs], max(1, len(devices) or cores()) // how.processes)
    own = [devices[place * how.processes :][: how.processes] for place in range(len(queues))]
    running = {id(jobs): (jobs, start(jobs, len(queues), how, some)) for jobs, some in zip(queues, own, strict=True)}
    try:
        watch(running, say)
    finally:
        for _, child in running.values():
            child.stop()


def shared(sequences: Sequence[list[Job]], most: int) -> list[list[Job]]:
    """Return at most `most` queues (at least one) that hold all `sequences`, each of them in its order."""
    queues: list[list[Job]] = [[] for _ in sequences[: max(1, most)]]
    for place, jobs in enumerate(sequences):
        queues[place % len(queues)] += jobs
    return queues


def visible_gpus() -> list[str]:
    """Return what the GPUs that this process may use are called in ``CUDA_VISIBLE_DEVICES``."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [str(number) for number in range(len(gpus()))]
        if given is None
        else [one for one in given.split(",") if one not in ("", "-1")]
    )


def start(jobs: Sequence[Job], beside: int, how: sharing.Sharing, devices: Sequence[str] = ()) -> Child:
    """Start the processes that do `jobs` in turn, one of `beside` queues, with `devices` as their GPUs if any."""
    first = Path(jobs[0].work)
    file = write_jobs(first.with_name(f"{first.name}.jobs.json"), list(jobs))
    command = sharing.command(["-m", WORKER, str(file)], how)
    threads = max(1, cores() // (beside * how.processes))
    environment = {**KEEP_MEMORY, **PATIENCE, **QUIET, **importable(), "OMP_NUM_THREADS": str(threads)}
    if len(devices) == how.processes:  # one machine; and a trainer alone would take all GPUs it sees
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return Child(command, env=environment)


def watch(running: dict[int, tuple[Sequence[Job], Child]], say: Callable[[str], None]) -> None:
    """Wait until every process has ended, saying now and then how far they are."""
    last, said, open_ones = time.monotonic(), {}, dict(running)
    while open_ones:
        for number, (jobs, child) in list(open_ones.items()):
            if not child.alive:
                check(jobs, child)
                del open_ones[number]
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            for jobs, _ in open_ones.values():
                line = next((text for job in reversed(jobs) if (text := told(Path(job.work)))), "")
                if line and said.get(jobs[0].name) != line:
                    said[jobs[0].name] = line
                    say(line)
        time.sleep(LOOK)


def check(jobs: Sequence[Job], child: Child) -> None:
    """Raise unless every one of `jobs` has left its checkpoint; a work folder is removed when that stands."""
    for job in jobs:
        if Path(job.work).exists() or summary(Path(job.folder)) is None:
            raise TrainingError(
                f"{job.name}: the training process ended without its checkpoint. What it had done is kept; run again "
                f"to go on from there. Its last lines:\n{child.log_tail()}"
            )
    Path(jobs[0].work).with_name(f"{Path(jobs[0].work).name}.jobs.json").unlink(missing_ok=True)
