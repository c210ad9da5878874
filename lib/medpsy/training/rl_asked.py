"""What a stage of reinforcement learning asks and how responses are rewarded; open questions are judged by a model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.rewards import get_soft_overlong_punishment

from medpsy.engines.fixed_day import dated
from medpsy.engines.weights import eos_ids
from medpsy.training import judge_reward
from medpsy.training.job import Job
from medpsy.training.open_questions import read_open_questions
from medpsy.training.rl_curves import UNJUDGED_SHARE
from medpsy.training.rl_settings import RlSettings


@dataclass(frozen=True)
class Asked:
    """What a stage asks and how it is rewarded.

    Args:
        rows: a conversation and the question's name each, as `held`, the held-out ones; these may be missing.
        batch: held-out questions that one process answers at a time.
        functions: in the order of the weights of `medpsy.training.rl_config.dapo_arguments`.
        counts: for the record.
    """

    rows: Dataset
    held: Dataset | None
    batch: int
    functions: list
    counts: dict[str, int]


def open_ended(job: Job, settings: RlSettings, tokenizer: PreTrainedTokenizerBase, stack: ExitStack) -> Asked:
    """Return the questions of the job's one file, rewarded by a judge, whose engine `stack` closes."""
    (file,) = job.data
    questions = read_open_questions(Path(file))
    rows = [{"prompt": list(one.messages), "question_id": one.id} for one in questions]
    kept = short_enough(rows, tokenizer, job, settings.most_prompt_tokens)
    ask = stack.enter_context(judge_reward.asking(job, settings.judge))
    decode, ends = reading(job, tokenizer)
    judged = judge_reward.reward_function(questions, settings.judge, ask, decode, end_ids=ends)
    counts = {"questions": len(kept), "held_out": 0, "too_long": len(rows) - len(kept)}
    return Asked(kept, None, 1, [judged, length_penalty(settings)], counts)


def reading(job: Job, tokenizer: PreTrainedTokenizerBase) -> tuple[Callable[[Sequence[int]], str], frozenset[int]]:
    """Return what makes text of token ids, special tokens kept, and the tokens that end a response."""
    decode = partial(tokenizer.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return decode, frozenset({*eos_ids(Path(job.parent)), tokenizer.eos_token_id})


def length_penalty(settings: RlSettings) -> Callable[..., list[float]]:
    return get_soft_overlong_punishment(settings.max_new_tokens, settings.overlong_buffer)


def short_enough(rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, job: Job, most: int) -> Dataset:
    """Return those of `rows` whose prompt has at most `most` tokens; none at all is an error."""
    sizes = [
        len(
            tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **dated(job.switches))["input_ids"]
        )
        for row in rows
    ]
    kept = [row for row, size in zip(rows, sizes, strict=True) if size <= most]
    if not kept:
        raise ValueError(f"{job.name}: no prompt has {most} tokens or fewer; raise most_prompt_tokens")
    return Dataset.from_list(kept)


def unjudged_share(log: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of responses that no judge gave a reward, 0 to 1; a mean over rollouts."""
    found = [row[UNJUDGED_SHARE] for row in log if row.get(UNJUDGED_SHARE) is not None]
    return sum(found) / len(found) if found else 0.0
