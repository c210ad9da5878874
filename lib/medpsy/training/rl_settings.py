"""What a stage of reinforcement learning is trained with, checked before anything starts. Imports no framework."""

import random
from dataclasses import dataclass

from medpsy.training.judge_settings import Judge
from medpsy.training.lora_settings import Lora

WITH_VLLM = ("colocate", "server")
GENERATORS = ("auto", "transformers", *WITH_VLLM)
CHOICES = {
    "precision": ("bfloat16", "float32"),
    "keep": ("best", "last"),
    "generator": GENERATORS,
    "ratio": ("token", "sequence"),
    "reward": ("answer", "judge"),
}


@dataclass(frozen=True)
class RlSettings:
    """What one stage is trained with. A rollout is one round of sampling, followed by some updates.

    By default it is DAPO; with its switches off it is plain GRPO, and with `ratio` ``"sequence"`` GSPO.

    Args:
        epochs, rollouts: length of the stage, in passes over the questions or in rollouts; one of them is 0.
        prompts_per_rollout, group_size: questions of a rollout, and responses to each.
        updates_per_rollout: optimizer steps on one rollout; with 1 the ratio to clip is always 1, so clipping is idle
            and GSPO no other than GRPO.
        micro_batch: responses that one process holds at a time in an update.
        warmup: optimizer steps until the learning rate is reached; it stays constant after them.
        clip: largest norm of the gradient.
        max_new_tokens: hard limit of a response; `overlong_buffer` tokens before it the length penalty sets in.
        most_prompt_tokens: questions with longer prompts are left out and counted.
        token_level_loss: mean over all tokens of a rollout instead of over responses.
        no_kl: no pull back to the parent; otherwise a KL term of weight `beta`.
        clip_higher: clip ratios at 1 + `epsilon_high` instead of 1 + `epsilon`; below always at 1 - `epsilon`.
        overlong_penalty: add the length penalty to the reward; without it the penalty is only logged.
        dynamic_sampling: replace groups of equal rewards, in at most `sampling_rounds` further rounds per rollout.
        evaluate_every: rollouts between two evaluations on the held-out questions, each with a resume point.
        held_out_batch: held-out questions that one process answers at a time.
        keep: the ``"best"`` checkpoint by held-out accuracy, or the ``"last"`` one without any evaluation.
        generator: ``"transformers"``; vLLM as ``"colocate"`` or ``"server"``; ``"auto"`` is colocate where it can be.
        server_url: of vLLM's server; needed for ``"server"``.
        gpu_share: share of the GPU's memory for vLLM when it is colocated, 0 to 1.
        precision: ``"bfloat16"`` computes in bfloat16 over float32 weights; ``"float32"`` in float32.
        checkpointing: forget activations and compute them again.
        ratio: what is weighed and clipped, the probability of a ``"token"`` or of a ``"sequence"`` by its length
            (GSPO, section 4; its clip range is 3e-4 and 4e-4); the latter needs `token_level_loss` off.
        reward: the ``"answer"`` to a closed-ended question, read by rules, or what a ``"judge"`` makes of a conclusion.
        judge: who judges; the last checkpoint is kept then, since nothing is held out.
        lora: train an adapter, without dropout: that would change the ratios, whose clip range is narrow.
    """

    prompts_per_rollout: int
    group_size: int
    updates_per_rollout: int
    micro_batch: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip: float
    max_new_tokens: int
    overlong_buffer: int
    most_prompt_tokens: int
    evaluate_every: int
    held_out_batch: int
    precision: str
    checkpointing: bool
    seed: int
    epochs: float = 0.0
    rollouts: int = 0
    token_level_loss: bool = True
    no_kl: bool = True
    clip_higher: bool = True
    overlong_penalty: bool = True
    dynamic_sampling: bool = True
    beta: float = 0.04  # GRPO: DeepSeekMath, section 4.2
    epsilon: float = 0.2  # DAPO, section 4.1
    epsilon_high: float = 0.28  # DAPO, section 4.1
    sampling_rounds: int = 2
    temperature: float = 1.0  # DAPO's released recipe
    keep: str = "best"
    generator: str = "auto"
    server_url: str = ""
    gpu_share: float = 0.3
    report_to: tuple[str, ...] = ("tensorboard",)
    ratio: str = "token"
    reward: str = "answer"
    judge: Judge | None = None
    lora: Lora | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        if bool(self.epochs) == bool(self.rollouts):
            raise ValueError(
                f"epochs: {self.epochs} and rollouts: {self.rollouts}; give one of them, leave the other 0"
            )
        if self.group_size < 2:
            raise ValueError(f"group_size: {self.group_size}; a group needs 2 responses to compare")
        if self.responses % self.updates_per_rollout:
            raise ValueError(f"updates_per_rollout: {self.updates_per_rollout} cannot share {self.responses} responses")
        if self.overlong_buffer >= self.max_new_tokens:
            raise ValueError(f"overlong_buffer: {self.overlong_buffer} must be below max_new_tokens")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: {getattr(self, name)!r} is unknown; known are {', '.join(known)}")
        self._check_recipe()
        if self.generator == "server" and not self.server_url:
            raise ValueError("server_url: it is empty, and generator is server; give the address of vLLM's server")

    def _check_recipe(self) -> None:
        if self.ratio == "sequence" and self.token_level_loss:
            raise ValueError(
                "ratio: sequence weighs whole responses, and a token-level loss weighs them by length; "
                "set token_level_loss: false"
            )
        if (self.reward == "judge") != (self.judge is not None):
            given = "missing" if self.judge is None else "given"
            raise ValueError(
                f"judge: it is {given}, and reward is {self.reward!r}; give a judge with reward: judge alone"
            )
        if self.reward == "judge" and self.keep != "last":
            raise ValueError(f"keep: {self.keep!r} needs held-out questions with a gold; with a judge set keep: last")
        if self.lora and self.lora.dropout:
            raise ValueError(f"lora.dropout: {self.lora.dropout} would change the ratios that are clipped; set it to 0")

    def _check_numbers(self) -> None:
        above = ("prompts_per_rollout", "group_size", "updates_per_rollout", "micro_batch", "learning_rate", "clip")
        above += ("max_new_tokens", "overlong_buffer", "most_prompt_tokens", "evaluate_every", "held_out_batch")
        for name in (*above, "epsilon", "epsilon_high", "sampling_rounds", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be above 0")
        for name in ("epochs", "rollouts", "warmup", "weight_decay", "beta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} must not be below 0")
        if self.clip_higher and self.epsilon_high <= self.epsilon:
            raise ValueError(
                f"epsilon_high: {self.epsilon_high} must be above epsilon {self.epsilon}, or clip_higher off"
            )

    @property
    def responses(self) -> int:
        """Responses of one rollout, over all processes."""
        return self.prompts_per_rollout * self.group_size

    @property
    def save_every(self) -> int:
        """Optimizer steps between two resume points; always at the end of a rollout, so none is generated twice."""
        return self.evaluate_every * self.updates_per_rollout

    def accumulation(self, processes: int) -> int:
        """Return how many micro batches each of `processes` adds up for one optimizer step."""
        share, per_update = self.micro_batch * processes, self.responses // self.updates_per_rollout
        if per_update % share:
            raise ValueError(
                f"micro_batch: {processes} processes with {self.micro_batch} responses at a time cannot share the "
                f"{per_update} of an update; make it a divisor of {per_update} / {processes}"
            )
        return per_update // share

    def schedule(self, questions: int) -> list[int]:
        """Return which of `questions` is asked when, rollout after rollout: shuffled anew for every epoch.

        It is laid out as a whole, so the place in it is known from the number of steps, also after a kill.
        """
        size = self.prompts_per_rollout
        rollouts = self.rollouts or max(1, int(questions * self.epochs // size))
        order: list[int] = []
        while len(order) < rollouts * size:
            rng = random.Random(f"{self.seed}/epoch/{len(order) // questions}")
            order += rng.sample(range(questions), questions)
        return order[: rollouts * size]
