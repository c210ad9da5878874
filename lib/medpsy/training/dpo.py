"""Preference training of one stage with TRL's DPOTrainer, against the parent as reference.

Refuses a pair of which one side is longer than `max_length`: TRL would cut its end off without a word. Finds resume
points by itself.
"""

from pathlib import Path

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from medpsy.training.dpo_settings import DpoSettings
from medpsy.training.examples import Form, form, lengths, tools_of
from medpsy.training.job import Job
from medpsy.training.journal import Journal
from medpsy.training.pairs import Pair, read_pairs
from medpsy.training.resume_points import ResumePoints, last_checkpoint
from medpsy.training.sft import common, loading


def dpo_config(settings: DpoSettings, work: Path, *, processes: int = 1) -> DPOConfig:
    """Return TRL's configuration of `settings`; outputs of the trainer go to `work`."""
    return DPOConfig(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.accumulation(processes),
        loss_type=["sigmoid"],
        beta=settings.beta,
        max_length=None,  # nothing is cut: what is too long was refused
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup,
        max_grad_norm=settings.clip,
        gradient_checkpointing=settings.checkpointing,
        model_init_kwargs=loading("sdpa"),
        **common(settings),
    )


def preferences(job: Job, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return the pairs of the job's files as ``prompt``, ``chosen`` and ``rejected``, in the chat template.

    Raises:
        ValueError: no pair, or one that is longer than `max_length`; names it.
    """
    pairs = read_pairs([Path(file) for file in job.data])
    if not pairs:
        raise ValueError(f"{job.name}: its files hold no pair; write them again")
    target = form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)
    rows = [written(target, tokenizer, pair) for pair in pairs]
    for side in ("chosen", "rejected"):
        sizes = lengths(tokenizer, [{"prompt": row["prompt"], "completion": row[side]} for row in rows])
        size, name = max(zip(sizes, (pair.id for pair in pairs), strict=True))
        if size > max_length:
            raise ValueError(
                f"pair {name!r}: prompt and {side} response have {size} tokens and max_length is {max_length}; "
                "leave the pair out or raise it"
            )
    return Dataset.from_list(rows)


def written(target: Form, tokenizer: PreTrainedTokenizerBase, pair: Pair) -> dict[str, str]:
    """Return `pair` as the model of `tokenizer` sees it, with the end of the turn behind both responses."""
    prompt = target.prompt(tokenizer, pair.messages, tools_of({"id": pair.id, "prompt_tools": pair.prompt_tools}))
    sides = {side: getattr(pair, side).rstrip() for side in ("chosen", "rejected")}
    return {"prompt": prompt} | {side: text.removesuffix(target.end) + target.end for side, text in sides.items()}


def train(job: Job, settings: DpoSettings, *, processes: int = 1) -> DPOTrainer:
    """Train the job's stage, from its last resume point if it has one, and return the trainer with its model.

    The log has TRL's numbers of either side, among them ``rewards/margins``: by how much more the policy than its
    parent prefers the chosen response, times beta (nats).
    """
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    trainer = DPOTrainer(
        model=job.parent,
        args=dpo_config(settings, Path(job.work), processes=processes),
        train_dataset=preferences(job, tokenizer, settings.max_length),
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(job.work)))
    return trainer
