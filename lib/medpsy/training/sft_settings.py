"""What a stage of supervised fine-tuning is trained with, checked before anything starts. Imports no framework."""

from dataclasses import dataclass

from medpsy.training.lora_settings import Lora


@dataclass(frozen=True)
class SftSettings:
    """What one stage of SFT is trained with.

    Args:
        epochs: passes over the corpus.
        packed_length: tokens of a packed row, and the most a single row may have.
        global_batch: packed rows per optimizer step, over all processes; single rows where `medpsy.training.sft.packs`
            says no.
        micro_batch: packed rows that one process holds at a time.
        learning_rate: its peak; it falls along a cosine to `floor` times itself after `warmup` of all steps.
        clip: largest norm of the gradient.
        precision: ``"bfloat16"`` computes in bfloat16 over float32 weights; ``"float32"`` in float32.
        attention: implementation in transformers; on a CPU ``"eager"`` is the faster one for packs of 512 tokens.
        checkpointing: forget activations and compute them again, which saves memory and costs a fifth of the time.
        save_every: optimizer steps between two points from which a killed run can go on.
        lora: train an adapter instead of the weights; the checkpoint holds the merged model, and the adapter apart.
        report_to: trackers; ``"wandb"`` needs its package and ``WANDB_API_KEY`` in the environment.
    """

    epochs: float
    packed_length: int
    global_batch: int
    micro_batch: int
    learning_rate: float
    warmup: float
    floor: float
    weight_decay: float
    beta2: float
    clip: float
    precision: str
    attention: str
    checkpointing: bool
    save_every: int
    seed: int
    report_to: tuple[str, ...] = ("tensorboard",)
    lora: Lora | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "packed_length", "global_batch", "micro_batch", "learning_rate", "save_every", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be above 0")
        if self.precision not in ("bfloat16", "float32"):
            raise ValueError(f"precision: {self.precision!r} is unknown; it is bfloat16 or float32")
        if self.attention not in ("eager", "sdpa"):
            raise ValueError(f"attention: {self.attention!r} is unknown; it is eager or sdpa")
        if self.global_batch % self.micro_batch:
            raise ValueError(f"global_batch: {self.global_batch} is no multiple of micro_batch {self.micro_batch}")

    def accumulation(self, processes: int) -> int:
        """Return how many micro batches each of `processes` adds up for one optimizer step."""
        share = self.micro_batch * processes
        if self.global_batch % share:
            raise ValueError(
                f"global_batch: {self.global_batch} packed rows cannot be shared by {processes} processes with "
                f"{self.micro_batch} at a time; make it a multiple of {share}"
            )
        return self.global_batch // share
