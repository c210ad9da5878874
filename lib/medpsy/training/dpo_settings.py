"""What a stage of preference training is trained with, checked before anything starts. Imports no framework."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DpoSettings:
    """What one stage of DPO is trained with; the loss is the sigmoid one (Rafailov et al., 2023, equation 7).

    Args:
        epochs: passes over the pairs.
        global_batch: pairs per optimizer step, over all processes.
        micro_batch: pairs that one process holds at a time.
        learning_rate: its peak; it falls in a line to 0 after `warmup` of all steps (a share, 0 up to 1).
        beta: how strongly the policy is held to its parent.
        clip: largest norm of the gradient.
        max_length: tokens that prompt and completion may have together; a longer pair is refused.
        precision: ``"bfloat16"`` computes in bfloat16 over float32 weights; ``"float32"`` in float32.
        checkpointing: forget activations and compute them again.
        save_every: optimizer steps between two points from which a killed run can go on.
        report_to: trackers, as for SFT.
    """

    epochs: float
    global_batch: int
    micro_batch: int
    learning_rate: float
    warmup: float
    beta: float
    clip: float
    max_length: int
    precision: str
    checkpointing: bool
    save_every: int
    seed: int
    report_to: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        above = ("epochs", "global_batch", "micro_batch", "learning_rate", "beta", "clip", "max_length", "save_every")
        for name in above:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be above 0")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: {self.warmup} is a share of all steps; it must be at least 0 and below 1")
        if self.precision not in ("bfloat16", "float32"):
            raise ValueError(f"precision: {self.precision!r} is unknown; it is bfloat16 or float32")

    def accumulation(self, processes: int) -> int:
        """Return how many micro batches each of `processes` adds up for one optimizer step."""
        share = self.micro_batch * processes
        if self.global_batch % share:
            raise ValueError(
                f"global_batch: {self.global_batch} pairs cannot be shared by {processes} processes with "
                f"{self.micro_batch} at a time; make it a multiple of {share}"
            )
        return self.global_batch // share
