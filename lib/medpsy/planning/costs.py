"""What one unit costs, read from ``costs.yaml``: GPUs, serving, tokens per request, the reference machine.

Holds no number of its own.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from medpsy import strict

FILE = Path(__file__).with_name("costs.yaml")


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU: `peak` in TFLOP/s (bfloat16), `bandwidth` in TB/s, `memory` in GB, `price` in dollars/hour."""

    peak: float
    bandwidth: float
    memory: float
    price: float


@dataclass(frozen=True)
class Serving:
    """How much of a GPU generation uses, as shares of 0 to 1, how many responses at a time, and GGUF seconds per GB."""

    bandwidth: float
    compute: float
    memory: float
    slots: int
    gguf_slots: int
    gguf: float


@dataclass(frozen=True)
class Lengths:
    """Tokens per request, and how many requests there are to each other; pairs are (read, written).

    Args:
        reply: tokens of a reply in a conversation against those of an answer.
        criteria: of the rubric of a conversation.
        unread, unjudged: shares of answers and criteria that differ from one another, so that a model is asked.
        learnable: share of the questions that stage 1 of reinforcement learning takes.
        resampled: tokens sampled for those trained on.
        written: tokens of an answer where ``models.csv`` does not name the model; 0 where it must.
    """

    question: float
    conversation: float
    criteria: float
    reading: tuple[float, ...]
    verdict: tuple[float, ...]
    seed: float
    row: float
    attempt: tuple[float, ...]
    reply: float
    unread: float
    unjudged: float
    rl_set: int
    learnable: float
    resampled: float
    written: float = 0.0


@dataclass(frozen=True)
class Cpu:
    """What the reference machine takes, in seconds where no other unit is said.

    Args:
        reference: GFLOP/s of `medpsy.planning.machine.speed` there.
        train: GFLOP/s of a training process; sampled: tokens per second of one of reinforcement learning.
        memory: GiB of a notebook and the servers behind it.
    """

    reference: float
    notebook: float
    convert: float
    serve: float
    read: float
    token: float
    train: float
    sampled: float
    start: float
    build: float
    measure: float
    memory: float


@dataclass(frozen=True)
class Disk:
    """Bytes per token in the store of responses."""

    token: float


@dataclass(frozen=True)
class Costs:
    """All of ``costs.yaml``.

    Args:
        usual: profile -> its kind of GPU.
        updates: share of a GPU's peak that updates of reinforcement learning reach, 0 to 1.
        whole: profile -> section -> seconds on the reference machine, where `medpsy.planning.work` has no rule.
    """

    gpus: dict[str, Gpu]
    usual: dict[str, str]
    serving: Serving
    updates: float
    hub: Lengths
    mini: Lengths
    cpu: Cpu
    disk: Disk
    whole: dict[str, dict[str, float]]


@cache
def costs() -> Costs:
    """Return the costs per unit.

    Raises:
        strict.SettingsError: names the key of ``costs.yaml`` and the fix.
    """
    return strict.build(Costs, strict.read(FILE), strict.Place(FILE.name))


def gpu_name(name: str) -> str:
    """Return `name`, written in any case, as ``costs.yaml`` writes it.

    Raises:
        ValueError: it is unknown; the nearest is offered.
    """
    known = {one.lower(): one for one in costs().gpus}
    if name.lower() not in known:
        fix = f"{strict.nearest(name, costs().gpus)}; another one is a line in {FILE.name}"
        raise ValueError(f"gpu {name!r} is unknown; {fix}")
    return known[name.lower()]


def digests() -> dict[str, str]:
    """Return the SHA-256 digest of every data file of the package."""
    files = sorted(path for path in FILE.parent.iterdir() if path.suffix in (".yaml", ".csv"))
    return {f"planning/{path.name}": sha256(path.read_bytes()).hexdigest() for path in files}
