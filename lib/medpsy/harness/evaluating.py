"""Run lm-evaluation-harness on models of the study, in processes of its own, and tell what it found.

What stands already is not run again, and a replay tells what was noted. Imports neither lm_eval nor torch.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from medpsy.engines.child import Child, importable
from medpsy.engines.weights import read_json
from medpsy.files import write_text
from medpsy.generation import replaying
from medpsy.harness import results
from medpsy.harness.job import RECORD, Job, jobs
from medpsy.harness.settings import Settings
from medpsy.noted import noted
from medpsy.provenance import cores, gpus
from medpsy.study import ModelSpec, Study
from medpsy.training.launch import shared

LOOK = 0.2  # seconds between two looks at the process
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
STRIPPED, LEFT_IN, CUT = "reasoning stripped", "reasoning left in", "budget of {} tokens"
Say = Callable[[str], None] | None


class HarnessError(RuntimeError):
    """The harness ended without results; the message holds the last lines that it wrote."""


def evaluate(
    study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], *, settings: Settings, progress: Say = None
) -> pd.DataFrame:
    """Return what the harness says of `models` on `tasks`, groups and their parts included.

    Results lie in ``outputs/<profile>/harness/<model>/<task>-<key>/`` as the harness writes them, and are taken from
    there if model, task, settings, documents and versions are those of the run.

    Returns:
        Columns model, task, metric, value, stderr (both in points; stderr missing where the harness knows none), n
        (documents), shots (examples in the prompt), seconds (of the task, or of the group it was asked in).

    Raises:
        HarnessError: it stopped; what other models had finished is kept.
        OSError, ValueError: a model is not to be had, or no task is named.
    """
    return pd.DataFrame(_found(study, models, tasks, settings, progress)["scores"]).astype({"stderr": float})


def documents(
    study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], *, settings: Settings, progress: Say = None
) -> pd.DataFrame:
    """Return what each document scored, so that models can be compared document by document; runs what is missing.

    Returns:
        Columns model, task, metric, document, value (points). Documents of a task count for each of its groups too.
    """
    frame = pd.DataFrame(_found(study, models, tasks, settings, progress)["documents"])
    long = frame.rename(columns={"documents": "document", "values": "value"}).explode(["document", "value"])
    return long.astype({"value": float}).reset_index(drop=True)


def handlings(
    study: Study,
    models: Sequence[ModelSpec],
    tasks: Sequence[str],
    *,
    settings: Settings,
    short: int,
    by_document: bool = False,
    progress: Say = None,
) -> pd.DataFrame:
    """Return scores of `tasks` that have text written, under three handlings of reasoning: one right, two wrong.

    Reasoning stripped as `settings` say; left in, so that instructions are checked on it; stripped, but with a budget
    of `short` tokens (the harness stops at 256 where neither task nor caller says more), which cuts responses within
    their reasoning, and what is cut there counts whole as the answer.

    Args:
        by_document: what each document scored, so that handlings can be compared document by document.

    Returns:
        Columns of `evaluate` (or of `documents`), preceded by handling.
    """
    ways = {STRIPPED: settings, LEFT_IN: replace(settings, think_end_token=None)}
    ways |= {CUT.format(short): replace(settings, max_gen_toks=short)}
    if not replaying():  # all at once: a process takes longer to start than to ask
        _fill(study, models, tasks, list(ways.values()), progress)
    ask = documents if by_document else evaluate
    frames = {name: ask(study, models, tasks, settings=one, progress=progress) for name, one in ways.items()}
    return pd.concat(frames, names=["handling"]).reset_index("handling").reset_index(drop=True)


def _found(study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], settings: Settings, say: Say) -> dict:
    asked = [[model.name for model in models], list(tasks), asdict(settings)]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return noted(study.store_dir, f"harness-{name}", partial(_made, study, models, tasks, settings, say))


def _made(study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], settings: Settings, say: Say) -> dict:
    found: dict[str, list] = {"scores": [], "documents": []}
    for job in chain.from_iterable(_fill(study, models, tasks, [settings], say)):
        seconds = {"seconds": read_json(Path(job.folder) / RECORD)["seconds"]}
        found["scores"] += [row | seconds for row in results.scores(Path(job.folder), job.name)]
        found["documents"] += results.documents(Path(job.folder), job.name)
    return found


def _fill(
    study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], several: Sequence[Settings], say: Say
) -> list[list[Job]]:
    """Do what is missing under each of `several` settings; return all jobs, a list per model."""
    told = [jobs(study, models, tasks, settings) for settings in several]
    wanted = [list(chain.from_iterable(own)) for own in zip(*told, strict=True)]
    missing = [left for own in wanted if (left := [job for job in own if not job.done()])]
    if missing:
        run(missing, study.outputs / "harness", offline=study.source == "mini", say=say or (lambda _: None))
    return wanted


def run(missing: Sequence[list[Job]], root: Path, *, offline: bool, say: Callable[[str], None]) -> None:
    """Do the jobs, those of one model in turn; models side by side, one per core, unless a GPU takes them all.

    Raises:
        HarnessError: a job left no results.
    """
    queues = shared(missing, 1 if gpus() else cores())
    every, told, children = [job for queue in queues for job in queue], set(), []
    try:
        for queue in queues:
            children.append(start(queue, root, offline, max(1, cores() // len(queues))))
        while any(child.alive for child in children):
            time.sleep(LOOK)
            for job in (job for job in every if job.key not in told and job.done()):
                told.add(job.key)
                say(f"harness: {job.name}, {job.task}; {len(told)} of {len(every)}")
    finally:
        for child in children:
            child.stop()
        for queue in queues:
            job_file(queue, root).unlink(missing_ok=True)
    tails = [child.log_tail() for queue, child in zip(queues, children, strict=True) if not all(map(Job.done, queue))]
    if tails:
        undone = ", ".join(f"{job.name} on {job.task}" for job in every if not job.done())
        raise HarnessError(f"the harness left no results of {undone}; its last lines:\n{tails[0]}")


def start(queue: Sequence[Job], root: Path, offline: bool, threads: int) -> Child:
    """Start the process that does the jobs of `queue` in turn."""
    file = write_text(job_file(queue, root), json.dumps([asdict(job) for job in queue]))
    environment = {**QUIET, **importable(), "OMP_NUM_THREADS": str(threads)}
    if offline:  # documents lie here already; what the harness makes of them stays here too
        environment |= {**dict.fromkeys(OFFLINE, "1"), "HF_DATASETS_CACHE": str(root / "cache")}
    return Child([sys.executable, "-m", "medpsy.harness.worker", str(file)], env=environment)


def job_file(queue: Sequence[Job], root: Path) -> Path:
    """Return the file through which the process of `queue` learns its jobs."""
    return root / f"jobs-{queue[0].key[:12]}.json"
