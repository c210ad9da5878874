"""One stage of reinforcement learning by TRL: DAPO, GRPO or GSPO, from questions to a checkpoint.

The prompt is left to TRL as a conversation, rendered by the tokenizer's own template with the study's switches, so a
policy sees what an engine would send. Refuses a template that behaves otherwise than the study says, and a stage
that does not fit the context. Every process of a launch calls `train`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from medpsy import prompts
from medpsy.benchmarks.question import Question
from medpsy.engines.fixed_day import dated
from medpsy.engines.weights import text_config
from medpsy.training.dapo import DapoTrainer
from medpsy.training.examples import form
from medpsy.training.job import Job
from medpsy.training.journal import Journal
from medpsy.training.lora import given
from medpsy.training.resume_points import ResumePoints, last_checkpoint
from medpsy.training.rewards import reward_functions
from medpsy.training.rl_asked import Asked, length_penalty, open_ended, reading, short_enough, unjudged_share
from medpsy.training.rl_config import chosen_generator, grpo_config, held_out_plan
from medpsy.training.rl_curves import HELD_OUT
from medpsy.training.rl_questions import read_questions
from medpsy.training.rl_settings import RlSettings


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
    A held-out question is answered once per evaluation, sampled as in training. Where a judge gives the reward, there
    is one file, of `medpsy.training.open_questions.write_open_questions`, and the last checkpoint is kept.

    Raises:
        ValueError: no question left, a question in both files or without gold, or a stage beyond the context.
    """
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)  # checks the template
    check_context(job, settings)
    with ExitStack() as stack:  # closes the judge's engine
        if settings.reward == "judge":
            asked = open_ended(job, settings, tokenizer, stack)
        else:
            asked = closed_ended(job, settings, tokenizer, processes)
        trainer = run(job, settings, asked, tokenizer, processes)
    counts = asked.counts | {"generator": chosen_generator(settings)}
    if settings.reward == "judge":
        counts |= {"unjudged_share": unjudged_share(trainer.state.log_history)}
    if settings.keep == "last":
        return RlOutcome(trainer, None, trainer.state.global_step, counts)
    return outcome(trainer, job, counts)


def run(
    job: Job, settings: RlSettings, asked: Asked, tokenizer: PreTrainedTokenizerBase, processes: int
) -> DapoTrainer:
    """Train on what is `asked` and return the trainer."""
    resume = last_checkpoint(Path(job.work))
    config = grpo_config(
        settings,
        Path(job.work),
        processes=processes,
        held_out=asked.batch,
        switches=dict(job.switches),
        generator=chosen_generator(settings),
    )
    config.eval_on_start = (
        resume is None and settings.keep == "best"
    )  # a resumed run has the parent's evaluation in its log
    trainer = DapoTrainer(
        rounds=settings.sampling_rounds if settings.dynamic_sampling else 0,
        model=job.parent,
        reward_funcs=asked.functions,
        args=config,
        train_dataset=asked.rows.select(settings.schedule(len(asked.rows))),
        eval_dataset=asked.held,
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
        **given(settings.lora, Path(job.parent)),
    )
    trainer.chat_template_kwargs = dated(job.switches)  # here: no clock can stand in a configuration, which is saved
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def closed_ended(job: Job, settings: RlSettings, tokenizer: PreTrainedTokenizerBase, processes: int) -> Asked:
    """Return the questions of the job's two files, rewarded by rules."""
    asked, apart = (read_questions(Path(file)) for file in job.data)
    known = by_name(asked, apart)
    rows, held = (fitting(part, tokenizer, job, settings.most_prompt_tokens) for part in (asked, apart))
    batch, evaluated = held_out_plan(len(held), processes, settings.held_out_batch)
    counts = {"questions": len(rows), "held_out": evaluated, "too_long": len(asked) - len(rows)}
    functions = rewards(job, settings, known, tokenizer)
    return Asked(rows, held.select(range(evaluated)), batch, functions, counts)


def rewards(job: Job, settings: RlSettings, known: dict[str, Question], tokenizer: PreTrainedTokenizerBase) -> list:
    """Return the reward functions in the order of the weights of `dapo_arguments`."""
    decode, ends = reading(job, tokenizer)
    answer, accuracy = reward_functions(known, decode, opens_thinking=job.opens_thinking, end_ids=ends)
    return [answer, accuracy, length_penalty(settings)]


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
    return short_enough(rows, tokenizer, job, most)


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
