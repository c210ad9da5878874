"""The process that trains: `python -m medpsy.training.worker JOBS.json`, or the same under `accelerate launch`."""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler
from torch.distributed.elastic.multiprocessing.errors import record as record_error
from transformers import Trainer, set_seed

from medpsy.training.flops import ceiling, flops_per_token, shape
from medpsy.training.jobs import Job, versions
from medpsy.training.save import drop_half_written, save

KEY = "key.json"  # of the job whose resume points lie in a work folder


class WholeError(ErrorHandler):
    """Puts what a process died of in its place in one step: torchrun reads it while others still die."""

    def _get_error_file_path(self) -> str | None:
        path = super()._get_error_file_path()
        return path and f"{path}.part"

    def record_exception(self, e: BaseException) -> None:
        super().record_exception(e)
        if part := self._get_error_file_path():
            os.replace(part, part.removesuffix(".part"))


@partial(record_error, error_handler=WholeError())  # under torchrun: what a process died of ends the log
def main() -> None:
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    jobs = [Job(**entry) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    if not any(job.judge or job.config.get("use_vllm") for job in jobs):
        sys.modules["vllm"] = None  # TRL imports it wherever it is installed, which takes longer than a short stage
    for job in jobs:
        if job.done():  # processes that were started again begin with the first job
            shutil.rmtree(job.work, ignore_errors=True)
        else:
            do(job)


def do(job: Job) -> None:
    """Do one job, from where a killed process left it if that was the same job."""
    begun, key, work = time.monotonic(), job.key(), Path(job.work)
    everyone = PartialState(cpu=not torch.cuda.is_available())
    if everyone.is_main_process:
        note = work / KEY
        if work.exists() and (not note.is_file() or json.loads(note.read_text(encoding="utf-8")) != key):
            shutil.rmtree(work)  # resume points of another job
        work.mkdir(parents=True, exist_ok=True)
        drop_half_written(work)
        note.write_text(json.dumps(key), encoding="utf-8")
    everyone.wait_for_everyone()  # the others must not find what is about to be thrown away
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(work.with_name("tensorboard") / job.name)
    set_seed(job.config.get("seed", 42))
    # each method's module imports its own trainer: the others would double the time that a process takes to start
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    trainer, numbers, weights = import_module(f"medpsy.training.{job.method}").train(job, processes=processes)
    done = record(trainer, job, key, processes, begun) | numbers
    done |= use(trainer, done) if job.method == "sft" else {}
    save(trainer, job, done, weights=weights)
    if trainer.is_world_process_zero():
        shutil.rmtree(work, ignore_errors=True)
    PartialState().wait_for_everyone()  # the next job may start from this one's checkpoint


def record(trainer: Trainer, job: Job, key: str, processes: int, begun: float) -> dict[str, Any]:
    """Return what was done: settings, steps, tokens, seconds, speed, memory (GiB), and the log."""
    log = trainer.state.log_history
    tokens = [0, *(row["num_tokens"] for row in log if "loss" in row and "num_tokens" in row)]
    # TRL's count for SFT begins anew after a resume
    total = int(sum(now - before if now >= before else now for before, now in pairwise(tokens)))
    seconds = max((row.get("seconds", 0.0) for row in log), default=0.0)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # each machine counts what failed there
    restarts = gather_object([int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if first else 0])
    return {
        "key": key,
        "name": job.name,
        "method": job.method,
        "parent": Path(job.parent).name,
        "settings": dict(job.config),
        "steps": trainer.state.global_step,
        "tokens": total,
        "seconds": seconds,
        "whole_seconds": time.monotonic() - begun,
        "memory_gib": peak_memory(),
        "processes": processes,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "restarts": sum(restarts),
        "tokens_per_second": total / seconds if seconds else 0.0,
        "versions": versions(),
        "log": log,
    }


def use(trainer: Trainer, done: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the machine's ceiling that the model's own operations took (model FLOPs utilization)."""
    weights = list(trainer.model.parameters())
    model = shape(trainer.model.config.get_text_config().to_dict(), sum(weight.numel() for weight in weights))
    frozen = sum(weight.numel() for weight in weights if not weight.requires_grad)
    flops = flops_per_token(model, done["document_tokens"]) - 2 * frozen  # their own gradients are not computed
    most = ceiling("bfloat16" if trainer.args.bf16 else "float32")
    share = done["tokens_per_second"] * flops / most / done["processes"]
    return {"flops_per_token": flops, "ceiling": most, "mfu": share}


def peak_memory() -> float:
    """Return the most memory this process has held, GiB: of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
