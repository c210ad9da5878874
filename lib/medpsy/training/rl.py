"""One stage of reinforcement learning by TRL: DAPO, GRPO or GSPO, from questions to a checkpoint.

The prompt is left to TRL as a conversation, rendered by the tokenizer's own template with the study's switches, so a
policy sees what an engine would send. Every process of a launch calls `train`.
"""

import importlib.util
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl.rewards import get_soft_overlong_punishment

from medpsy import prompts
from medpsy.corpus.rows import chat_form
from medpsy.data.questions import Question
from medpsy.engines.chat import dated, render
from medpsy.engines.models import eos_ids, text_config
from medpsy.training import rewards
from medpsy.training.config import DapoConfig, arguments
from medpsy.training.data import OpenQuestion, read
from medpsy.training.jobs import Job
from medpsy.training.rewards import HELD_OUT, UNJUDGED_SHARE, reward_functions
from medpsy.training.save import Journal, ResumePoints, last_checkpoint, with_adapter

if TYPE_CHECKING:
    from medpsy.training.dapo import DapoTrainer


@dataclass(frozen=True)
class Asked:
    rows: Dataset  # a conversation and the question's name each
    held: Dataset | None  # the held-out ones, if any
    functions: list  # in the order of `reward_weights`
    counts: dict[str, int]  # for the record


def train(job: Job, *, processes: int = 1) -> tuple["DapoTrainer", dict[str, Any], Path | None]:
    """Train the job's stage, from its last resume point if it has one.

    The job's data are questions to train on, and held out; or, where a judge gives the reward, open questions. Where
    the best checkpoint is kept, the parent takes part in the choice: it is evaluated first, and stays if all others are
    worse. A held-out question is answered once per evaluation, sampled as in training.

    Returns:
        The trainer, whose model is the checkpoint that is kept; numbers for the record: counts of questions, accuracies
        in points; and the parent's folder if no checkpoint was better on the held-out questions, else None.
    """
    config = rollout_arguments(job, processes)
    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    chat_form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)  # checks the template
    most = text_config(Path(job.parent)).get("max_position_embeddings")
    if most and config.max_prompt_length + config.max_completion_length > most:
        raise ValueError(
            f"{job.name}: max_prompt_length {config.max_prompt_length} and max_completion_length "
            f"{config.max_completion_length} make more than the {most} tokens of the model's context; lower one of them"
        )
    with ExitStack() as stack:  # closes the judge's engine
        if job.judge:
            asked = open_ended(job, config, tokenizer, stack)
        else:
            asked = closed_ended(job, config, tokenizer, processes)
        trainer = run(job, config, asked, tokenizer)
    numbers = asked.counts | {"generator": config.vllm_mode if config.use_vllm else "transformers"}
    log = trainer.state.log_history
    if job.judge:
        unjudged = [row[UNJUDGED_SHARE] for row in log if row.get(UNJUDGED_SHARE) is not None]
        numbers |= {"unjudged_share": sum(unjudged) / len(unjudged) if unjudged else 0.0}  # 0 to 1, over rollouts
    if not config.load_best_model_at_end:
        return trainer, numbers | {"best_step": trainer.state.global_step}, None
    # at equal accuracy the earliest checkpoint counts, and any checkpoint before the parent
    start = next(row[HELD_OUT] for row in log if HELD_OUT in row)
    best, path = trainer.state.best_metric, trainer.state.best_model_checkpoint
    stays = best is None or path is None or best < start
    numbers |= {"best_step": 0 if stays else int(Path(path).name.rpartition("-")[2])}
    numbers |= {"held_out_before": 100 * start, "held_out_best": 100 * max(start, best or 0)}
    return trainer, numbers, Path(job.parent) if stays else None


def run(job: Job, config: DapoConfig, asked: Asked, tokenizer: PreTrainedTokenizerBase) -> "DapoTrainer":
    """Train on what is `asked` and return the trainer."""
    from medpsy.training.dapo import DapoTrainer  # here: TRL imports vLLM for it, which takes longer than all the rest

    resume = last_checkpoint(Path(job.work))
    order = schedule(config, len(asked.rows))
    config.max_steps, config.num_train_epochs = -1, 1  # the schedule is laid out as one long epoch
    config.eval_on_start = resume is None and config.load_best_model_at_end  # a resumed run has it in its log
    trainer = DapoTrainer(
        model=job.parent,
        reward_funcs=asked.functions,
        args=config,
        train_dataset=asked.rows.select(order),
        eval_dataset=asked.held,
        processing_class=tokenizer,
        callbacks=[Journal(job.name, Path(job.work)), ResumePoints()],
        **with_adapter(job.lora, Path(job.parent)),
    )
    trainer.chat_template_kwargs = dated(job.switches)  # here: no clock can stand in a configuration, which is saved
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def rollout_arguments(job: Job, processes: int = 1) -> DapoConfig:
    """Return the job's configuration as its trainer takes it: a row of the log per rollout, and vLLM if it can be had.
    vLLM without a GPU is a ValueError."""
    config = arguments(job, processes=processes, shuffle_dataset=False, chat_template_kwargs=dict(job.switches))
    config.logging_steps = config.updates
    if config.use_vllm:
        if not torch.cuda.is_available() or importlib.util.find_spec("vllm") is None:
            raise ValueError("use_vllm: true needs a GPU and vLLM; set it to false")
        # TRL's default, sequence_mask, drops a long response for a tiny gap per token between vLLM and the trainer
        config.vllm_importance_sampling_mode = "token_truncate"
        config.vllm_importance_sampling_clip_max = 2.0  # ours: a token's probability in the trainer over that in vLLM
        config.vllm_max_model_length = config.max_prompt_length + config.max_completion_length
    return config


def schedule(config: DapoConfig, questions: int) -> list[int]:
    """Return which of `questions` is asked when, rollout after rollout: shuffled anew for every epoch. It is laid out
    as a whole, so the place in it is known from the number of steps, also after a kill."""
    needed = config.rollouts(questions) * config.prompts
    order: list[int] = []
    while len(order) < needed:
        rng = random.Random(f"{config.seed}/epoch/{len(order) // questions}")
        order += rng.sample(range(questions), questions)
    return order[:needed]


def open_ended(job: Job, config: DapoConfig, tokenizer: PreTrainedTokenizerBase, stack: ExitStack) -> Asked:
    """Return the questions of the job's one file, rewarded by a judge, whose engine `stack` closes."""
    (file,) = job.data
    questions = read(file, OpenQuestion)
    rows = [{"prompt": list(question.messages), "question_id": question.id} for question in questions]
    kept = short_enough(rows, tokenizer, job, config.max_prompt_length)
    judge = rewards.judge_of(job)
    ask = rewards.asking(job, judge, stack)
    judged = rewards.reward_function(questions, judge, ask, reading(job, tokenizer))
    penalty = get_soft_overlong_punishment(config.max_completion_length, config.soft_punish_cache)
    counts = {"questions": len(kept), "held_out": 0, "too_long": len(rows) - len(kept)}
    return Asked(kept, None, [judged, penalty], counts)


def closed_ended(job: Job, config: DapoConfig, tokenizer: PreTrainedTokenizerBase, processes: int) -> Asked:
    """Return the questions of the job's two files, rewarded by rules; `config` gets the size of held-out batches."""
    asked, apart = (read(file, Question) for file in job.data)
    rows, held = (fitting(part, tokenizer, job, config.max_prompt_length) for part in (asked, apart))
    most = config.per_device_eval_batch_size
    config.per_device_eval_batch_size, evaluated = held_out_plan(len(held), processes, most)
    counts = {"questions": len(rows), "held_out": evaluated, "too_long": len(asked) - len(rows)}
    return Asked(rows, held.select(range(evaluated)), rule_rewards(job, config, [*asked, *apart], tokenizer), counts)


def rule_rewards(
    job: Job, config: DapoConfig, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase
) -> list[Callable[..., list[float]]]:
    """Return the reward functions in the order of `reward_weights`: answer, accuracy, length. A question that occurs
    twice, trained on and held out perhaps, is a ValueError."""
    named = {f"{question.suite}/{question.id}": question for question in questions}
    if len(named) < len(questions):
        raise ValueError(f"{len(questions) - len(named)} questions occur twice, trained on or held out")
    how = {"opens_thinking": job.opens_thinking, "reward": rewards.named(config.reward)}
    penalty = get_soft_overlong_punishment(config.max_completion_length, config.soft_punish_cache)
    return [*reward_functions(named, reading(job, tokenizer), **how), penalty]


def reading(job: Job, tokenizer: PreTrainedTokenizerBase) -> rewards.Read:
    """Return what reads token ids up to one that ends a response; a response without such a one was cut off."""
    ends = {*eos_ids(Path(job.parent)), tokenizer.eos_token_id}
    decode = partial(tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def read(ids: Sequence[int]) -> tuple[str, bool]:
        end = next((at for at, token in enumerate(ids) if token in ends), len(ids))
        return decode(ids[:end]), end < len(ids)

    return read


def fitting(questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, job: Job, most: int) -> Dataset:
    """Return a row per question whose prompt has at most `most` tokens: the conversation and the question's name."""
    rows = [{"prompt": list(prompts.closed_ended(one)), "question_id": f"{one.suite}/{one.id}"} for one in questions]
    return short_enough(rows, tokenizer, job, most)


def short_enough(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, job: Job, most: int) -> Dataset:
    """Return those of `rows` whose prompt has at most `most` tokens; none at all is an error."""
    texts = render(tokenizer, [row["prompt"] for row in rows], job.switches)
    sizes = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    kept = [row for row, size in zip(rows, sizes, strict=True) if size <= most]
    if not kept:
        raise ValueError(f"{job.name}: no prompt has {most} tokens or fewer; raise max_prompt_length")
    return Dataset.from_list(kept)


def held_out_plan(questions: int, processes: int, most: int) -> tuple[int, int]:
    """Return how many held-out questions a process answers at a time, and how many are used. TRL averages over batches,
    so these are all made equally large; a few questions may be left over."""
    if questions < processes:
        raise ValueError(f"held_out: {questions} questions cannot be shared by {processes} processes; hold out more")
    batches = -(-questions // (processes * most))
    size = questions // (processes * batches)
    return size, size * processes * batches
