"""What tests of training share: a corpus of a few rows and jobs on it, a root of their own, and a death on the way."""

import ast
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from medpsy import study
from medpsy.training import jobs
from medpsy.training.jobs import Job
from medpsy.training.save import last_checkpoint
from transformers import TrainerCallback

HUB = study.find_root() / "lib/medpsy/mini/hub"
CONFIG = {
    "num_train_epochs": 2.0, "max_length": 128, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 1,
    "learning_rate": 1e-3, "warmup_steps": 0.1, "lr_scheduler_type": "cosine_with_min_lr", "adam_beta2": 0.98,
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1}, "bf16": False, "model_init_kwargs": {"attn_implementation": "eager"},
    "gradient_checkpointing": False, "save_steps": 2, "seed": 3, "packing": True, "completion_only_loss": True,
    "shuffle_dataset": True,
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


def job(root: Path, data: Path, *, parent: str = "qwen3-small", name: str = "small-sft1", **changes: object) -> Job:
    paths = {"parent": str(HUB / parent), "folder": str(root / "models" / name), "work": str(root / "training" / name)}
    opens = parent in ("qwen3-large", "teacher-broad")
    return Job(
        name, "sft", **paths, data=(str(data),), store=str(root / "responses"), config={**CONFIG, **changes},
        opens_thinking=opens,
    )  # fmt: skip


def rooted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> study.Study:
    """Return the miniature's study with its outputs in `folder`."""
    monkeypatch.setenv("MEDPSY_ROOT", str(folder))
    for name in ("params", "lib", "notebooks"):
        (folder / name).symlink_to(Path(__file__).parents[2] / name)
    return study.load("mini")


def defined(notebook: str, name: str, **names: object):
    """Return the function `name` of a notebook; `names` stand for what its cells have defined before."""
    cells = nbformat.read(study.find_root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    nodes = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code")).body
    (function,) = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name]
    exec(compile(ast.Module([function], []), notebook, "exec"), names)
    return names[name]


def working_as(module: str, patch: pytest.MonkeyPatch) -> None:
    """Let training processes be those of a module of this folder."""
    patch.setattr(jobs, "WORKER", module)
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
        mine = str(work.parent).encode() in command and b"programs.py" not in command
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
