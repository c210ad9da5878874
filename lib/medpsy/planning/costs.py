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
    """How much of a GPU generation uses, as shares of 0 to 1, how many responses at a time, and what else takes time.

    Args:
        start: seconds until a model is served; gguf, merge: seconds per GB of a GGUF file, of a merged checkpoint.
    """

    bandwidth: float
    compute: float
    memory: float
    slots: int
    gguf_slots: int
    start: float
    gguf: float
    merge: float


@dataclass(frozen=True)
class Documents:
    """A task of lm-evaluation-harness: its documents, its parts (each of which a limit counts), tokens of a request."""

    documents: float
    parts: int
    read: float
    written: float = 0.0


@dataclass(frozen=True)
class Lengths:
    """Tokens per request, and how many requests there are to each other; pairs are (read, written).

    Args:
        reply: tokens of a reply in a conversation against those of an answer.
        criteria: of the rubric of a conversation.
        unread, unjudged: shares of answers and criteria that differ from one another, so that a model is asked.
        learnable: share of the questions that stage 1 of reinforcement learning takes.
        o1: tokens of a row of medical-o1 in all its languages; open: of one in the first, that a model is asked.
        trace, call: tokens of a trace of tool calls with all its turns; of a prompt that wants a call, and the call.
        paired: share of questions with a right and a wrong attempt.
        o1_set, trace_set: rows of medical-o1 per language, and traces, where a parameter says all.
        harness: task -> its documents.
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
    o1: float
    open: tuple[float, ...]
    o1_set: int
    trace: float
    trace_set: int
    call: tuple[float, ...]
    paired: float
    harness: dict[str, Documents]
    written: float = 0.0


@dataclass(frozen=True)
class Cpu:
    """What the reference machine takes, in seconds where no other unit is said.

    Args:
        reference: GFLOP/s of `medpsy.planning.machine.speed` there.
        train: GFLOP/s of a training process by number format; sampled: tokens per second of one of reinforcement
            learning; update: seconds of an optimizer step beside its operations, there.
        task: seconds of a process that gives a model one task through transformers; merge: per merged checkpoint;
            drawn: per response that a notebook's tables are made of.
        memory: GiB of a notebook and the servers behind it.
        beside: time of sections side by side on several cores, against one after another.
    """

    reference: float
    notebook: float
    drawn: float
    serve: float
    read: float
    token: float
    train: dict[str, float]
    sampled: float
    update: float
    start: float
    task: float
    merge: float
    build: float
    measure: float
    memory: float
    beside: float


@dataclass(frozen=True)
class Store:
    """What a row costs beside being written by a model.

    Args:
        token: bytes per token, read or written, in the store of responses.
        key, file: seconds per stored row, and per shard, to learn what is stored; text: per token of rows that are
            read.
        sift: seconds per row of all filters; index: bytes per row of the index of duplicates.
        held: bytes per prompt that is under way, in the process that asks.
        weights: GB per second at which a copy of a model is read.
    """

    token: float
    key: float
    file: float
    text: float
    sift: float
    index: float
    held: float
    weights: float


@dataclass(frozen=True)
class Costs:
    """All of ``costs.yaml``.

    Args:
        usual: profile -> its kind of GPU.
        updates: share of a GPU's peak that updates of reinforcement learning reach, 0 to 1.
        sampled: tokens per second that a process of it samples on a GPU.
        resampled: tokens sampled for those trained on, with dynamic sampling.
    """

    gpus: dict[str, Gpu]
    usual: dict[str, str]
    serving: Serving
    updates: float
    sampled: float
    resampled: float
    hub: Lengths
    mini: Lengths
    cpu: Cpu
    store: Store


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
