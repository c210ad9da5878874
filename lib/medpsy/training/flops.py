"""What a training costs: operations, memory, and how fast this machine multiplies, which is measured, not looked up."""

import time
from dataclasses import dataclass
from pathlib import Path

from medpsy.engines.models import text_config, weight_files

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices
PRODUCTS, SECONDS = 8, 1.0  # at most; a CPU without instructions for bfloat16 takes seconds for one product
RUNTIME = 0.9  # GiB that a process of torch, transformers and trl takes before it holds a model; ours: measured
ADAM = 16  # bytes per parameter: weights, gradients and two moments in float32


@dataclass(frozen=True)
class Shape:
    parameters: int
    layers: int
    hidden: int
    attention: int  # heads times their size


def shape(config: dict, parameters: int) -> Shape:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    return Shape(parameters, config["num_hidden_layers"], config["hidden_size"], heads * size)


def model_shape(folder: Path | str) -> Shape:
    """Return the shape of the model in `folder`, its parameters counted from the sizes of its files."""
    config = text_config(Path(folder))
    width = 4 if config.get("dtype") == "float32" else 2
    return shape(config, sum(path.stat().st_size for path in weight_files(Path(folder))) // width)


def flops_per_token(shape: Shape, tokens: float) -> float:
    """Return the operations of training on one token of a document of `tokens` tokens. 6 N + 12 L H Q T of Chowdhery et
    al., PaLM, appendix B (2022): N parameters, L layers, H Q the width of attention, T the length, here of a document,
    since documents in a pack do not see each other."""
    return 6 * shape.parameters + 12 * shape.layers * shape.attention * tokens


def ceiling(precision: str) -> float:
    """Return the most operations per second that one process reaches here in `precision`, of some matrix products."""
    import torch  # takes seconds, and plans need none of it

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = SIDE[device]
    matrix = torch.randn(side, side, device=device).to(getattr(torch, precision))
    took: list[float] = []
    while len(took) < PRODUCTS and sum(took) < SECONDS:
        begun = time.perf_counter()
        matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begun)
    return 2 * side**3 / min(took)


def memory(shape: Shape, tokens: int, *, checkpointing: bool, processes: int = 1, states: float = ADAM) -> float:
    """Return the GiB that one process is expected to take at most with `tokens` tokens at a time.

    Activations of 34 bytes per token, hidden unit and layer (Korthikanti et al., Reducing Activation Recomputation in
    Large Transformer Models, 2022, without the scores of attention), or their inputs alone with `checkpointing`; the
    states, `states` bytes per parameter, are spread over the processes.
    """
    activations = tokens * shape.hidden * shape.layers * (2 if checkpointing else 34)
    return RUNTIME + (states * shape.parameters / processes + activations) / 2**30
