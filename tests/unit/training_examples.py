"""What tests of training share: a corpus of a few rows and jobs on it, a root of their own, and a death on the way."""

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from medpsy import study
from medpsy.training.job import Job
from medpsy.training.resume_points import last_checkpoint
from transformers import TrainerCallback

HUB = study.ROOT / "lib/medpsy/mini/hub"
SETTINGS = {
    "epochs": 2.0, "packed_length": 128, "global_batch": 2, "micro_batch": 1, "learning_rate": 1e-3, "warmup": 0.1,
    "floor": 0.1, "weight_decay": 0.0, "beta2": 0.98, "clip": 1.0, "precision": "float32", "attention": "eager",
    "checkpointing": False,
    "save_every": 2, "seed": 3, "report_to": [],
}  # fmt: skip
NAMES = ("prubosk", "fladosk", "gretosk")


def corpus(folder: Path, rows: int = 12, words: int = 4) -> Path:
    """Write a corpus of `rows` short rows to `folder` and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "id": [f"row-{number}" for number in range(rows)],
        "messages": [[{"role": "user", "content": f"What is {NAMES[n % 3]} {n}?"}] for n in range(rows)],
        "reasoning": [f"Recall: {NAMES[n % 3]} is {n}." + " Again." * (n % words) for n in range(rows)],
        "answer": [f"It is {n}." for n in range(rows)],
        "tokens": pa.array([40] * rows, pa.int32()),
    }
    pq.write_table(pa.table(columns), folder / "part-00000.parquet")
    return folder / "part-00000.parquet"


def job(root: Path, data: Path, *, parent: str = "qwen3-small", name: str = "small-sft1", **settings: object) -> Job:
    paths = {"parent": str(HUB / parent), "folder": str(root / "models" / name), "work": str(root / "training" / name)}
    opens = parent in ("qwen3-large", "teacher-broad")
    one = Job(
        name, "sft", **paths, data=(str(data),), store=str(root / "responses"), settings=SETTINGS, opens_thinking=opens
    )
    return replace(one, settings={**SETTINGS, **settings})


def rooted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> study.Study:
    """Return the miniature's study with its outputs in `folder`."""
    monkeypatch.setattr(study, "ROOT", folder)
    for name in ("params", "lib", "notebooks"):
        (folder / name).symlink_to(Path(__file__).parents[2] / name)
    return study.load("mini")


def working_as(module: str, patch: pytest.MonkeyPatch) -> None:
    """Let training processes be those of a module of this folder."""
    patch.setattr(import_module("medpsy.training.launch"), "WORKER", module)  # the package has a function of that name
    patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


def killing(one, *, rank: str = "", kept: Path | None = None) -> None:
    """Start to wait for a whole resume point of `one`; copy it to `kept`, kill all processes or the one of `rank`."""
    threading.Thread(target=kill_after_a_resume_point, args=(Path(one.work), rank, kept), daemon=True).start()


def kill_after_a_resume_point(work: Path, rank: str, kept: Path | None) -> None:
    deadline = time.monotonic() + 600  # a busy machine is slow to start processes
    while not (point := last_checkpoint(work)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if kept:
        shutil.copytree(point, kept)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            known = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = str(work.parent).encode() in command and b"watchdog" not in command
        if mine and (not rank or f"RANK={rank}".encode() in known):
            os.kill(int(pid), signal.SIGKILL)


class Killed(Exception):
    pass


class Kill(TrainerCallback):
    """End a training before its step number `step`, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            raise Killed


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Keep tiny products from waiting for each other's threads; a module that imports this has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
