"""How engine ray grows: responses per second with one replica and with two, each with one thread.

Measured over the middle of the responses, a minute, when every replica has its model: loading takes as long, and
differs from run to run. Responses come in bursts, so the slope of the line through all of them counts, not where it
begins and ends. Two replicas need two idle cores. What Ray itself takes counts too, some 20 ms of a core per response,
so responses should be long, and the model, of random weights, is large enough to keep a core busy by itself.
"""

import itertools
import statistics
import tempfile
import time
from pathlib import Path

from medpsy import engines
from medpsy.engines.base import Prompt, Sampling
from medpsy.study import ModelSpec

from bench.shape import random_model

OPTIONS = {"batch": 8, "rows": 16, "threads": 1}  # small, so that the end of a run is no idling
ROWS, FIRST, LAST = 160, 0.2, 0.8  # rows per replica; shares of them that bound what is measured
SHAPE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12, "head_dim": 64}
SHAPE |= {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
}  # some 40 million parameters


def rows_per_second(tokenizer: Path, prompts: list[Prompt], sampling: Sampling) -> tuple[float, float]:
    """Return the responses per second of two replicas, and twice those of one.

    Args:
        tokenizer: folder of a Qwen3 model of the miniature.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        model = ModelSpec("random", str(random_model(Path(folder) / "model", SHAPE, tokenizer)))
        one, two = (_measured(model, prompts, sampling, replicas) for replicas in (1, 2))
    return two, 2 * one


def _measured(model: ModelSpec, prompts: list[Prompt], sampling: Sampling, replicas: int) -> float:
    again, count = itertools.cycle(prompts), replicas * ROWS
    asked = [Prompt(str(number), prompt.messages) for number, prompt in zip(range(count), again, strict=False)]
    with engines.open_engine("ray", model, replicas=replicas, **OPTIONS) as engine:
        times = [time.perf_counter() for _ in engine.generate(asked, sampling)]
    middle = range(int(FIRST * count), int(LAST * count))
    return statistics.linear_regression([times[at] for at in middle], middle).slope
