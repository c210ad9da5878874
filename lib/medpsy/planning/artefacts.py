"""What sections write beside responses and checkpoints of a training, and what they load besides servers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Files:
    """GGUF files of one model: their number, and the sum of their sizes against that of the model in bfloat16."""

    model: str
    count: int
    share: float


@dataclass(frozen=True)
class Merged:
    """Checkpoints of the size of `model` that are merged of two others."""

    model: str
    count: int


@dataclass(frozen=True)
class Loaded:
    """Processes that ask models through transformers, lm-evaluation-harness among them.

    Args:
        launches: times that processes are started and load their frameworks.
        tasks: times that a model is loaded and given one task, on as many processes as there are cores or GPUs.
    """

    launches: int
    tasks: int = 0
