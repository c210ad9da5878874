"""Short trainings on a model of Qwen3-1.7B's shape, for what they take: SFT undisturbed and by part, GRPO by part.

The trainers are those that users run. The model has random weights, so nothing is downloaded, and its responses never
end: a rollout of reinforcement learning is as long as its limit.
"""

import io
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from medpsy import study
from medpsy.training import rl, rl_set, sft, worker
from medpsy.training.dapo import DapoTrainer
from medpsy.training.data import write
from medpsy.training.flops import memory, shape
from medpsy.training.jobs import Job
from medpsy.training.save import ResumePoints
from transformers import PreTrainedModel, Trainer, TrainerCallback
from trl import GRPOTrainer, SFTTrainer

from bench import training
from bench.gpu_parts import OPTIMIZER, Parts, operations
from bench.shape import QWEN3_1_7B, random_model

SFT_PARTS = {
    (Trainer, "get_batch_samples"): "data",
    (SFTTrainer, "compute_loss"): "forward",
    (SFTTrainer, "training_step"): "backward",
    (Trainer, "_clip_grad_norm"): "norm of the gradient",
    OPTIMIZER: "optimizer",
}
GRPO_PARTS = {
    (DapoTrainer, "_generate_single_turn"): "generation",
    (DapoTrainer, "_calculate_rewards"): "reward",
    (GRPOTrainer, "_prepare_inputs"): "advantages and old probabilities",
    (GRPOTrainer, "training_step"): "forward and backward",
    (Trainer, "_clip_grad_norm"): "norm of the gradient",
    OPTIMIZER: "optimizer",
}
ON_GPU = {"bf16": True, "max_completion_length": 512, "per_device_train_batch_size": 8, "gradient_checkpointing": True}
ON_GPU |= {"gradient_accumulation_steps": 4, "use_vllm": True}


@dataclass(frozen=True)
class Sizes:
    """How large the measured trainings are; for the defaults `medpsy.training.flops.memory` expects 42 GiB.

    Args:
        shape: of the model, as in its configuration.
        document: words of a row; 1,110 tokens are what the report's small final model learned to write (report 4.6).
        packs: packed rows per optimizer step of SFT, `micro_batch` of them at a time.
        warm, steps: optimizer steps of SFT before those that are measured, and of these.
        rl: what differs from the arguments of reinforcement learning in `bench.training`.
    """

    shape: Mapping[str, Any] = field(default_factory=lambda: QWEN3_1_7B)
    packed_length: int = 4096
    document: int = 750
    packs: int = 8
    micro_batch: int = 2
    checkpointing: bool = False
    precision: str = "bfloat16"
    attention: str = "sdpa"
    warm: int = 3
    steps: int = 12
    rl: Mapping[str, Any] = field(default_factory=lambda: ON_GPU)

    def sft(self) -> dict[str, Any]:
        """Return arguments of `trl.SFTConfig`."""
        told = {"max_length": self.packed_length, "per_device_train_batch_size": self.micro_batch}
        told |= {"gradient_accumulation_steps": self.packs // self.micro_batch, "num_train_epochs": 1.0}
        told |= {"gradient_checkpointing": self.checkpointing, "bf16": self.precision == "bfloat16"}
        return training.CONFIG | told | {"model_init_kwargs": {"attn_implementation": self.attention}}

    def grpo(self) -> dict[str, Any]:
        """Return arguments of `medpsy.training.config.DapoConfig`: all questions of a rollout stay."""
        return training.RL | dict(self.rl)

    def updates(self) -> int:
        """Return the optimizer steps on one rollout."""
        told = self.grpo()
        responses = told["per_device_train_batch_size"] * told.get("gradient_accumulation_steps", 1)
        return told["generation_batch_size"] // responses


def sft_speed(sizes: Sizes, folder: Path) -> dict[str, float]:
    """Return what SFT reaches undisturbed: ``tokens_per_second`` after `Sizes.warm` steps, and its use of the machine.

    That is ``flops_per_token``, ``ceiling`` (operations per second of matrix products here), ``mfu`` against it,
    ``memory_gib`` and ``expected_gib``, its forecast.
    """
    trainer, numbers, _ = trained(sizes, folder)
    log = [row for row in trainer.state.log_history if "loss" in row]
    first, last = log[sizes.warm - 1], log[-1]
    rate = (last["num_tokens"] - first["num_tokens"]) / (last["seconds"] - first["seconds"])
    done = {"tokens_per_second": rate, "processes": 1, **numbers}
    held = {"memory_gib": worker.peak_memory(), "expected_gib": expected(sizes, trainer.model)}
    return {"tokens_per_second": rate, **held, **worker.use(trainer, done)}


def expected(sizes: Sizes, model: PreTrainedModel) -> float:
    """Return the GiB that SFT is expected to take."""
    own = shape(model.config.to_dict(), sum(one.numel() for one in model.parameters()))
    return memory(own, sizes.packed_length * sizes.micro_batch, checkpointing=sizes.checkpointing)


def sft_parts(sizes: Sizes, folder: Path) -> tuple[Parts, dict[str, float]]:
    """Return the seconds of SFT by part, and those of one forward and backward pass by kind of operation."""
    parts = Parts(sizes.warm)
    with operations(SFTTrainer, "training_step") as kinds, parts.of(SFT_PARTS):
        trained(sizes, folder)
    return parts, kinds


def trained(sizes: Sizes, folder: Path) -> Any:
    """Train a stage of SFT and return what a training process has of it; nothing is saved."""
    with undisturbed(SFTTrainer, folder) as scratch:
        data = corpus(sizes, scratch)
        return sft.train(job("sft", sizes.sft(), scratch, model(sizes, folder), data))


def grpo_parts(sizes: Sizes, folder: Path) -> Parts:
    """Return the seconds of reinforcement learning by part, from the second rollout on, without dynamic sampling."""
    told, updates = sizes.grpo(), sizes.updates()
    parts = Parts(updates)
    with undisturbed(GRPOTrainer, folder) as scratch:
        asked = told["max_steps"] // updates * told["generation_batch_size"] // told["num_generations"]
        known = rl_set(study.load("mini"), size=asked, held_out=1, seed=told["seed"])
        files = [
            write(scratch / name, rows)
            for name, rows in (("train.parquet", known.train), ("held_out.parquet", known.held_out))
        ]
        with parts.of(GRPO_PARTS):
            rl.train(job("rl", told, scratch, model(sizes, folder), *files))
    return parts


@contextmanager
def undisturbed(trainer: type, folder: Path) -> Iterator[Path]:
    """Give a scratch folder in `folder`; trainers of the class neither save there nor print while it is there."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        patch.object(trainer, "_save_checkpoint"),
        patch.object(ResumePoints, "on_save", TrainerCallback.on_save),  # which does nothing: there are none
        redirect_stdout(io.StringIO()),
    ):
        yield Path(scratch)


def model(sizes: Sizes, folder: Path) -> Path:
    """Return the model in `folder`, made where it is not there yet."""
    place = folder / "model"
    tokenizer = study.load("mini").model(training.PARENT).local_dir
    return place if place.exists() else random_model(place, sizes.shape, tokenizer)


def corpus(sizes: Sizes, folder: Path) -> Path:
    """Write rows of `Sizes.document` words, enough for all steps, and return their file."""
    short = pq.read_table(training.rows(folder / "short")).to_pylist()
    words = itertools.cycle(word for row in short for word in row["reasoning"].split())
    needed = (sizes.warm + sizes.steps) * sizes.packs * sizes.packed_length // sizes.document
    rows = [
        row | {"id": str(number), "reasoning": " ".join(itertools.islice(words, sizes.document))}
        for number, row in zip(range(needed), itertools.cycle(short), strict=False)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows")
    return folder / "rows"


def job(method: str, config: Mapping[str, Any], scratch: Path, parent: Path, *data: Path) -> Job:
    (scratch / "work").mkdir()
    paths = {"parent": str(parent), "folder": str(scratch / "out"), "work": str(scratch / "work")}
    files = tuple(map(str, data))
    return Job("bench", method, **paths, data=files, store=str(scratch), config=config, opens_thinking=True)
