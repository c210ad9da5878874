"""One stage of reinforcement learning: DAPO by TRL, from questions to the best checkpoint by held-out accuracy.

The prompt is left to TRL as a conversation, rendered by the tokenizer's own template with the study's switches, so a
policy sees what an engine would send. Refuses a template that behaves otherwise than the study says, and a stage
that does not fit the context. Every process of a launch calls `train`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl.rewards import get_soft_overlong_punishment

from medpsy import prompts
from medpsy.benchmarks.question import Question
from medpsy.engines.weights import eos_ids, text_config
from medpsy.training.dapo import DapoTrainer
from medpsy.training.examples import form
from medpsy.training.job import Job
from medpsy.training.journal import Journal
from medpsy.training.rewards import reward_functions
from medpsy.training.rl_config import chosen_generator, grpo_config, held_out_plan
from medpsy.training.rl_curves import HELD_OUT
from medpsy.training.rl_questions import read_questions
from medpsy.training.rl_settings import RlSettings
from medpsy.training.saving import last_checkpoint


@dataclass(frozen=True)
class RlOutcome:
    """A trained stage.

    Args:
        trainer: its model is the best checkpoint, unless that is the parent.
        weights: the parent's folder if no checkpoint was better on the held-out questions, else None.
        best_step: optimizer steps of the best checkpoint; 0 is the parent.
        numbers: for the record: counts of questions, accuracies in points.
    """

    trainer: DapoTrainer
    weights: Path | None
    best_step: int
    numbers: dict[str, Any]


def train(job: Job, settings: RlSettings, *, processes: int = 1) -> RlOutcome:
    """Train the job's stage, from its last resume point if it has one.

    The job's data are two files of `medpsy.training.rl_questions.write_questions`: to train on, and held out. The
    parent takes part in the choice of the best checkpoint: it is evaluated first, and stays if all others are worse.
    A held-out question is answered once per evaluation, sampled as in training.

    Raises:
        ValueError: no question left, a question in both files or without gold, or a stage beyond the context.
    """
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)  # checks the template
    check_context(job, settings)
    asked, apart = (read_questions(Path(file)) for file in job.data)
    known = by_name(asked, apart)
    rows, held = (fitting(part, tokenizer, job, settings.most_prompt_tokens) for part in (asked, apart))
    batch, evaluated = held_out_plan(len(held), processes, settings.held_out_batch)
    resume = last_checkpoint(Path(job.work))
    config = grpo_config(
        settings,
        Path(job.work),
        processes=processes,
        held_out=batch,
        switches=dict(job.switches),
        generator=chosen_generator(settings),
    )
    config.eval_on_start = (
        resume is None and settings.keep == "best"
    )  # a resumed run has the parent's evaluation in its log
    trainer = DapoTrainer(
        rounds=settings.sampling_rounds if settings.dynamic_sampling else 0,
        model=job.parent,
        reward_funcs=rewards(job, settings, known, tokenizer),
        args=config,
        train_dataset=rows.select(settings.schedule(len(rows))),
        eval_dataset=held.select(range(evaluated)),
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work))],
    )
    trainer.train(resume_from_checkpoint=resume)
    counts = {"questions": len(rows), "held_out": evaluated, "too_long": len(asked) - len(rows)}
    counts |= {"generator": chosen_generator(settings)}
    if settings.keep == "last":
        return RlOutcome(trainer, None, trainer.state.global_step, counts)
    return outcome(trainer, job, counts)


def rewards(job: Job, settings: RlSettings, known: dict[str, Question], tokenizer: PreTrainedTokenizerBase) -> list:
    """Return the reward functions in the order of the weights of `dapo_arguments`."""
    ends = frozenset({*eos_ids(Path(job.parent)), tokenizer.eos_token_id})
    decode = partial(tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    answer, accuracy = reward_functions(known, decode, opens_thinking=job.opens_thinking, end_ids=ends)
    return [answer, accuracy, get_soft_overlong_punishment(settings.max_new_tokens, settings.overlong_buffer)]


def by_name(asked: Sequence[Question], apart: Sequence[Question]) -> dict[str, Question]:
    """Return all questions by suite and id; one that occurs twice would be trained on and held out."""
    known = {name(question): question for question in (*asked, *apart)}
    if len(known) < len(asked) + len(apart):
        raise ValueError(f"{len(asked) + len(apart) - len(known)} questions occur twice, trained on or held out")
    return known


def name(question: Question) -> str:
    return f"{question.suite}/{question.id}"


def fitting(questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, job: Job, most: int) -> Dataset:
    """Return a row per question whose prompt has at most `most` tokens: the conversation and the question's name."""
    rows = [{"prompt": list(prompts.closed_ended(one)), "question_id": name(one)} for one in questions]
    sizes = [
        len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **job.switches)["input_ids"])
        for row in rows
    ]
    kept = [row for row, size in zip(rows, sizes, strict=True) if size <= most]
    if not kept:
        raise ValueError(f"{job.name}: no prompt has {most} tokens or fewer; raise most_prompt_tokens")
    return Dataset.from_list(kept)


def check_context(job: Job, settings: RlSettings) -> None:
    """Raise ValueError if prompt and response can exceed what the model was made for."""
    most, needed = text_config(Path(job.parent)).get("max_position_embeddings"), settings.most_prompt_tokens
    if most and needed + settings.max_new_tokens > most:
        raise ValueError(
            f"{job.name}: most_prompt_tokens {needed} and max_new_tokens {settings.max_new_tokens} make more than the "
            f"{most} tokens of the model's context; lower one of them"
        )


def outcome(trainer: DapoTrainer, job: Job, counts: dict[str, Any]) -> RlOutcome:
    """Return what came out; at equal accuracy the earliest checkpoint counts, and any checkpoint before the parent."""
    state = trainer.state
    start = next(row[HELD_OUT] for row in state.log_history if HELD_OUT in row)
    best, path = state.best_metric, state.best_model_checkpoint
    stays = best is None or path is None or best < start
    step = 0 if stays else int(Path(path).name.rpartition("-")[2])
    numbers = counts | {"best_step": step, "held_out_before": 100 * start, "held_out_best": 100 * max(start, best or 0)}
    return RlOutcome(trainer, Path(job.parent) if stays else None, step, numbers)
