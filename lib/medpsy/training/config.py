"""What a training is told, in TRL's own words: checked by name and type, carried by a job, made whole in its process.

A job carries the arguments that are not TRL's defaults. Its batch is that of one process; several share the
`gradient_accumulation_steps`, so that a checkpoint does not depend on how many have worked on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import torch
from transformers import TrainingArguments
from trl import DPOConfig, GRPOConfig, SFTConfig

from medpsy import strict
from medpsy.training.jobs import Job

ELSEWHERE = ("output_dir", "use_cpu", "steps_per_generation")  # arguments that a process sets or TRL works out itself
BY_THE_JOB = ("output_dir", "use_cpu", "seed")  # the seed is that of the checkpoint
# a loss that is no number must be seen
LOGGED = {"logging_steps": 1, "logging_nan_inf_filter": False, "disable_tqdm": True}
# float32 weights under whatever is computed in, as Megatron keeps them
LOADING = {"dtype": "float32", "attn_implementation": "sdpa"}


@dataclass
class DapoConfig(GRPOConfig):
    """`GRPOConfig`, and what it lacks of DAPO. A rollout is one round of sampling, followed by some updates.
    `loss_type`, `beta`, `epsilon_high` and the last of `reward_weights` (answer, accuracy, length; with a judge: judge,
    length) are four of DAPO's five parts; `importance_sampling_level` ``"sequence"`` makes it GSPO."""

    sampling_rounds: int = 2  # further rounds per rollout in which groups of equal rewards are replaced; 0 for none
    # tokens before `max_completion_length` where the length penalty sets in, as TRL calls them
    soft_punish_cache: int = 1
    max_prompt_length: int = 512  # questions whose prompt has more tokens are left out and counted
    # what a response earns: "package.module:function" or "file.py:function", called as this one is
    reward: str = "medpsy.training.rewards:report_reward"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_generation % self.gradient_accumulation_steps:
            raise ValueError(
                f"generation_batch_size: {self.generation_batch_size} responses are no whole number of updates of "
                f"{self.per_device_train_batch_size} x {self.gradient_accumulation_steps}"
            )
        if self.epsilon_high is not None and self.epsilon_high < self.epsilon:
            raise ValueError(f"epsilon_high: {self.epsilon_high} must not be below epsilon, {self.epsilon}")
        if not 0 < self.soft_punish_cache < self.max_completion_length:
            raise ValueError(f"soft_punish_cache {self.soft_punish_cache} must be above 0, below max_completion_length")
        if self.importance_sampling_level == "sequence" and self.loss_type == "dapo":
            raise ValueError("loss_type: dapo weighs responses by length, a sequence ratio all alike; set it to grpo")
        for name, steps in {"save_steps": self.save_steps, "max_steps": max(0, self.max_steps)}.items():
            if steps % self.updates:
                raise ValueError(f"{name}: {steps} must be a multiple of the {self.updates} updates of a rollout")

    @property
    def updates(self) -> int:
        """Optimizer steps on one rollout; with 1 the ratio to clip is always 1, so clipping is idle."""
        return self.steps_per_generation // self.gradient_accumulation_steps

    @property
    def prompts(self) -> int:
        """Questions of one rollout, over all processes."""
        return self.generation_batch_size // self.num_generations

    def rollouts(self, questions: int) -> int:
        """Return the length of a stage on so many questions: `max_steps` if given, or `num_train_epochs`."""
        if self.max_steps > 0:
            return self.max_steps // self.updates
        return max(1, int(questions * self.num_train_epochs // self.prompts))


CONFIGS: dict[str, type[TrainingArguments]] = {"sft": SFTConfig, "rl": DapoConfig, "dpo": DPOConfig}


def check(cls: type, file: str, **parameters: Mapping[str, Any]) -> None:
    """Raise strict.SettingsError unless all `parameters`, from `file`, are arguments of `cls` of the right type. Those
    in `BY_THE_JOB` are refused too."""
    known, kinds = [field.name for field in fields(cls) if field.init], get_type_hints(cls)
    for parameter, values in parameters.items():
        for name, value in values.items():
            place = strict.Place(file, (parameter, name))
            if name not in known:
                raise place.error(f"{cls.__name__} has no such argument; {strict.nearest(name, known)}")
            if name in BY_THE_JOB:
                raise place.error(f"leave it out; the job sets it ({', '.join(BY_THE_JOB)})")
            strict.value(value, kinds[name], place)


def given(config: TrainingArguments) -> dict[str, Any]:
    """Return the arguments of `config` that are not TRL's defaults, as JSON holds them."""
    default = type(config)(output_dir=config.output_dir, use_cpu=config.use_cpu).to_dict()
    values = {name: value for name, value in config.to_dict().items() if name not in ELSEWHERE}
    # TRL's default of the batch of a rollout follows from other arguments
    return {name: value for name, value in values.items() if value != default[name] or name == "generation_batch_size"}


def arguments(job: Job, *, processes: int = 1, **changed: Any) -> Any:
    """Return TRL's configuration for one of the processes that share `job`; `changed` go before the job's arguments."""
    values = {**LOGGED, **job.config, **changed}
    accumulated = values.get("gradient_accumulation_steps", 1)
    if accumulated % processes:
        raise ValueError(
            f"gradient_accumulation_steps: {accumulated} cannot be shared by {processes} processes; make it a multiple"
        )
    gpu, seed = torch.cuda.is_available(), values.get("seed", 42)
    here = {"output_dir": job.work, "use_cpu": not gpu, "dataloader_pin_memory": gpu, "data_seed": seed}
    here["gradient_accumulation_steps"] = accumulated // processes
    loading = LOADING | (values.get("model_init_kwargs") or {}) | {"trust_remote_code": False}
    return CONFIGS[job.method](**values | here | {"model_init_kwargs": loading})
