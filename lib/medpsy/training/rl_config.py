"""From settings of reinforcement learning to TRL's arguments; every part of DAPO is a switch. Trains nothing."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from medpsy.training.rl_curves import HELD_OUT
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft import common, loading

LARGEST_RATIO = 2.0  # ours: cap of a token's probability under the trainer over that under vLLM


def grpo_config(
    settings: RlSettings,
    work: Path,
    *,
    processes: int = 1,
    held_out: int = 1,
    switches: dict[str, Any] | None = None,
    generator: str = "transformers",
) -> GRPOConfig:
    """Return TRL's configuration of `settings`; outputs of the trainer go to `work`.

    Args:
        held_out: held-out questions that one process answers at a time.
        generator: what `chosen_generator` chose.
    """
    accumulation = settings.accumulation(processes)
    shared = common(settings) | {"logging_steps": settings.updates_per_rollout}  # a row per rollout
    return GRPOConfig(
        output_dir=str(work),
        num_train_epochs=1,  # the schedule is laid out as one long epoch
        shuffle_dataset=False,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=settings.updates_per_rollout * accumulation,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        chat_template_kwargs=switches or {},
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        gradient_checkpointing=settings.checkpointing,
        model_init_kwargs=loading("sdpa"),
        **choosing(settings, held_out),
        **dapo_arguments(settings),
        **generation(settings, generator),
        **shared,
    )


def choosing(settings: RlSettings, held_out: int) -> dict[str, Any]:
    """Return the arguments by which the best checkpoint is chosen, by accuracy alone, one response per question.

    Where the last checkpoint is kept, nothing is evaluated.
    """
    if settings.keep == "last":
        return {"eval_strategy": "no"}
    return {
        "eval_strategy": "steps",
        "eval_steps": settings.save_every,
        "num_generations_eval": 1,
        "per_device_eval_batch_size": held_out,
        "load_best_model_at_end": True,
        "metric_for_best_model": HELD_OUT,
        "greater_is_better": True,
    }


def dapo_arguments(settings: RlSettings) -> dict[str, Any]:
    """Return the arguments that DAPO's switches stand for; dynamic sampling is no argument but `DapoTrainer`'s."""
    length = 1.0 if settings.overlong_penalty else 0.0
    return {
        "importance_sampling_level": settings.ratio,
        "loss_type": "dapo" if settings.token_level_loss else "grpo",
        "beta": 0.0 if settings.no_kl else settings.beta,
        "epsilon": settings.epsilon,
        "epsilon_high": settings.epsilon_high if settings.clip_higher else settings.epsilon,
        # answer, accuracy, length; or judge, length
        "reward_weights": [1.0, 0.0, length] if settings.reward == "answer" else [1.0, length],
        "scale_rewards": "group",
    }


def generation(settings: RlSettings, generator: str) -> dict[str, Any]:
    """Return the arguments that say what samples a rollout."""
    if generator == "transformers":
        return {"use_vllm": False}
    arguments = {
        "use_vllm": True,
        "vllm_mode": generator,
        # TRL's default, sequence_mask, drops a long response for a tiny gap per token between vLLM and the trainer
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": LARGEST_RATIO,
        "vllm_max_model_length": settings.most_prompt_tokens + settings.max_new_tokens,
    }
    if generator == "server":
        return arguments | {"vllm_server_base_url": settings.server_url}
    return arguments | {"vllm_gpu_memory_utilization": settings.gpu_share}


def chosen_generator(settings: RlSettings) -> str:
    """Return what samples here: with ``"auto"``, vLLM inside the process where there are a GPU and vLLM.

    Raises:
        ValueError: vLLM is asked for, and TRL cannot use it without a GPU.
    """
    can = torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None
    if settings.generator == "auto":
        return "colocate" if can else "transformers"
    if settings.generator != "transformers" and not can:
        raise ValueError(f"generator: {settings.generator!r} needs a GPU and vLLM; set it to transformers or auto")
    return settings.generator


def held_out_plan(questions: int, processes: int, most: int) -> tuple[int, int]:
    """Return how many held-out questions a process answers at a time, and how many are used.

    TRL averages over batches, so these are all made equally large; a few questions may be left over.

    Raises:
        ValueError: fewer questions than processes.
    """
    if questions < processes:
        raise ValueError(f"held_out: {questions} questions cannot be shared by {processes} processes; hold out more")
    batches = -(-questions // (processes * most))
    size = questions // (processes * batches)
    return size, size * processes * batches
