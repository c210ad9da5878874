"""Supervised fine-tuning of one stage with TRL's SFTTrainer: loss on the completion, documents packed and kept apart.

A model in which they would not stay apart gets them one by one. Refuses a row that is longer than a pack: TRL would cut
its answer off without a word. Finds resume points by itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from medpsy.engines.weights import text_config
from medpsy.training.dpo_settings import DpoSettings
from medpsy.training.examples import form, lengths
from medpsy.training.job import Job
from medpsy.training.journal import Journal
from medpsy.training.lora import given
from medpsy.training.resume_points import ResumePoints, last_checkpoint
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings

BOUNDED = {"full_attention", "sliding_attention"}  # kinds of layers that keep to a document's bounds


def packs(parent: Path) -> bool:
    """Return whether the documents of a pack stay apart in the model in `parent`.

    Its attention is told where they begin. Layers that carry a state along (Qwen3.5's linear attention, LFM2's
    convolutions) are told only by kernels that are not installed here: flash-linear-attention and causal-conv1d.
    """
    return set(text_config(parent).get("layer_types") or BOUNDED) <= BOUNDED


def sft_config(settings: SftSettings, work: Path, *, processes: int = 1, packing: bool = True) -> SFTConfig:
    """Return TRL's configuration of `settings`; outputs of the trainer go to `work`.

    Args:
        packing: what `packs` says of the parent; without it every document is a row of its own, padded.
    """
    return SFTConfig(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.accumulation(processes),
        max_length=settings.packed_length,
        packing=packing,
        packing_strategy="bfd",
        shuffle_dataset=True,  # packs are made of what lies together, so kinds of rows are mixed before
        completion_only_loss=True,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings.floor},
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.clip,
        gradient_checkpointing=settings.checkpointing,
        model_init_kwargs=loading(settings.attention),
        **common(settings),
    )


def loading(attention: str) -> dict[str, Any]:
    """Return how the parent is loaded: float32 weights under whatever is computed in, as Megatron keeps them."""
    return {"dtype": "float32", "attn_implementation": attention, "trust_remote_code": False}


def common(settings: SftSettings | RlSettings | DpoSettings) -> dict[str, Any]:
    """Return the arguments that every trainer of ours shares."""
    return {
        "bf16": settings.precision == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "seed": settings.seed,
        "data_seed": settings.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number must be seen
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "report_to": list(settings.report_to),
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def examples(job: Job, tokenizer: PreTrainedTokenizerBase, packed_length: int) -> Dataset:
    """Return the rows of the job's corpus as prompts and completions, in a stable order.

    Raises:
        ValueError: no rows, or one that does not fit a pack; names it.
    """
    target = form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)
    if not sum(pq.read_metadata(file).num_rows for file in job.data):
        raise ValueError(f"{job.name}: its corpus has no rows; run 03_training_data")
    cache = str(Path(job.work) / "rows")  # on disk, not in memory, and gone with the work folder
    rows = load_dataset("parquet", data_files=list(job.data), split="train", cache_dir=cache)
    names = rows["id"]
    found = rows.map(lambda row: target.example(tokenizer, row), remove_columns=rows.column_names)
    for start in range(0, len(found), 1000):
        sizes = lengths(tokenizer, list(found.select(range(start, min(start + 1000, len(found))))))
        check_fit(sizes, names[start : start + len(sizes)], packed_length)
    return found


def check_fit(sizes: Sequence[int], names: Sequence[str], packed_length: int) -> None:
    """Raise ValueError for the longest row that is longer than a pack."""
    size, name = max(zip(sizes, names, strict=True))
    if size > packed_length:
        raise ValueError(
            f"row {name!r} has {size} tokens and packed_length is {packed_length}; it would lose its answer: "
            "filter the corpus with this packed_length (03_training_data) or raise it"
        )


def train(job: Job, settings: SftSettings, *, processes: int = 1) -> SFTTrainer:
    """Train the job's stage, from its last resume point if it has one, and return the trainer with its model."""
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():  # the others read what it has written
        rows = examples(job, tokenizer, settings.packed_length)
    trainer = SFTTrainer(
        model=job.parent,
        args=sft_config(settings, Path(job.work), processes=processes, packing=packs(Path(job.parent))),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
        **given(settings.lora, Path(job.parent)),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(job.work)))
    return trainer
