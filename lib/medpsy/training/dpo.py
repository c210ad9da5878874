"""Preference training of one stage with TRL's DPOTrainer, against the parent as reference.

A pair of which one side is longer than `max_length` is refused: TRL would cut its end off without a word.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOTrainer

from medpsy.corpus.rows import Form, chat_form, example_lengths
from medpsy.training.config import arguments
from medpsy.training.data import Pair, read
from medpsy.training.jobs import Job
from medpsy.training.save import Journal, ResumePoints, last_checkpoint

SIDES = ("chosen", "rejected")


def preferences(job: Job, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return the pairs of the job's files as ``prompt``, ``chosen`` and ``rejected``, in the chat template. A pair that
    is longer than `max_length` is a ValueError that names it."""
    pairs = [pair for file in job.data for pair in read(file, Pair)]
    target = chat_form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)
    prompts = target.prompts(tokenizer, [asdict(pair) for pair in pairs])
    rows = [written(target, prompt, pair) for prompt, pair in zip(prompts, pairs, strict=True)]
    for side in SIDES:
        sizes = example_lengths(tokenizer, [{"prompt": row["prompt"], "completion": row[side]} for row in rows])
        size, name = max(zip(sizes, (pair.id for pair in pairs), strict=True))
        if size > max_length:
            raise ValueError(
                f"pair {name!r}: prompt and {side} response have {size} tokens and max_length is {max_length}; "
                "leave the pair out or raise it"
            )
    return Dataset.from_list(rows)


def written(target: Form, prompt: str, pair: Pair) -> dict[str, str]:
    """Return `pair` as the target sees it after its `prompt`, with the end of the turn behind both responses."""
    texts = {side: getattr(pair, side).rstrip().removesuffix(target.end) + target.end for side in SIDES}
    return {"prompt": prompt} | texts


def train(job: Job, *, processes: int = 1) -> tuple[DPOTrainer, dict[str, Any], None]:
    """Train the job's stage, from its last resume point if it has one; returns as `medpsy.training.sft.train` does. In
    the log, ``rewards/margins`` is by how much more the policy than its parent prefers the chosen response, times beta
    (nats)."""
    config = arguments(job, processes=processes)
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    trainer = DPOTrainer(
        model=job.parent,
        args=config,
        train_dataset=preferences(job, tokenizer, config.max_length),
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(job.work)))
    return trainer, {"pairs": len(trainer.train_dataset)}, None
