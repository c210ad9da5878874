"""Supervised fine-tuning of one stage with TRL's SFTTrainer: loss on the completion, documents packed and kept apart.

A model in which they would not stay apart gets them one by one. A row that is longer than a pack is refused: TRL would
cut its answer off without a word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import SFTTrainer

from medpsy.corpus.rows import chat_form, example_lengths
from medpsy.engines.models import text_config
from medpsy.training.config import arguments
from medpsy.training.jobs import Job
from medpsy.training.save import Journal, ResumePoints, last_checkpoint, with_adapter

BOUNDED = {"full_attention", "sliding_attention"}  # kinds of layers that keep to a document's bounds


def packs(parent: Path) -> bool:
    """Return whether the documents of a pack stay apart in the model in `parent`. Its attention is told where they
    begin. Layers that carry a state along (Qwen3.5's linear attention, LFM2's convolutions) are told only by kernels
    that are not installed here: flash-linear-attention and causal-conv1d."""
    return set(text_config(parent).get("layer_types") or BOUNDED) <= BOUNDED


def examples(job: Job, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return the rows of the job's corpus as prompts and completions, in order; too long a one is a ValueError."""
    target = chat_form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)
    cache = str(Path(job.work) / "rows")  # on disk, not in memory, and gone with the work folder
    rows = load_dataset("parquet", data_files=list(job.data), split="train", cache_dir=cache)

    def written(columns: Mapping[str, list]) -> dict[str, list[str]]:
        batch = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        made = target.examples(tokenizer, batch)
        for row, size in zip(batch, example_lengths(tokenizer, made), strict=True):
            if size > max_length:
                raise ValueError(
                    f"row {row['id']!r} has {size} tokens and max_length is {max_length}; it would lose its answer: "
                    "filter the corpus with this packed_length (03_training_data) or raise it"
                )
        return {side: [example[side] for example in made] for side in ("prompt", "completion")}

    return rows.map(written, batched=True, remove_columns=rows.column_names)


def train(job: Job, *, processes: int = 1) -> tuple[SFTTrainer, dict[str, Any], None]:
    """Train the job's stage, from its last resume point if it has one.

    Returns:
        The trainer with its model; numbers for the record; and None, since nothing but these weights may stay.
    """
    config = arguments(job, processes=processes)
    config.packing = config.packing and packs(Path(job.parent))
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():  # the others read what it has written
        rows = examples(job, tokenizer, config.max_length)
    trainer = SFTTrainer(
        model=job.parent,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
        **with_adapter(job.lora, Path(job.parent)),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(job.work)))
    rows = trainer.train_dataset
    sizes = [size for pack in rows["seq_lengths"] for size in pack] if config.packing else map(len, rows["input_ids"])
    return trainer, {"document_tokens": float(np.mean(list(sizes))), "packed": config.packing}, None
