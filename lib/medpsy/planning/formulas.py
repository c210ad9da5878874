"""First principles: what a GPU must hold, how fast it writes and trains, and the hours that follow.

Pure arithmetic on sizes, tokens and shares of a GPU's data sheet; measures nothing.
"""

from medpsy.planning.costs import Gpu, Serving
from medpsy.planning.sizes import Size
from medpsy.training.effort import flops_per_token

TERA, GIGA, HOUR = 1e12, 1e9, 3600.0
NODE = 8  # GPUs that share one model at most without a network between them
SHARDINGS = {  # what is spread over the processes -> bytes per parameter that stay whole, and that are spread
    "nothing (DDP)": (16, 0),
    "optimizer (ZeRO-1, as in the report)": (6, 12),
    "optimizer, gradients (ZeRO-2)": (2, 16),
    "all (ZeRO-3, FSDP)": (0, 16),
}


def state_bytes(parameters: float, sharding: str, processes: int) -> float:
    """Return the bytes per GPU of weights, gradients and Adam's states in mixed precision.

    Without sharding 16 bytes per parameter (weights, gradients and two moments in float32); where the optimizer is
    spread, bfloat16 weights (2) stay whole and float32 master weights and moments (12) are spread, with float32
    gradients (4) whole or spread. Rajbhandari et al., ZeRO (2020), with gradients kept in float32 as Megatron does.
    """
    whole, spread = SHARDINGS[sharding]
    return parameters * (whole + spread / processes)


def training_rate(size: Size, gpu: Gpu, utilization: float, document: float) -> float:
    """Return the tokens per second that one GPU trains on, documents being of `document` tokens.

    Args:
        utilization: model FLOPs as a share of the GPU's peak, 0 to 1.
    """
    return gpu.peak * TERA * utilization / flops_per_token(size.shape, document)


def gpus_needed(size: Size, gpu: Gpu, serving: Serving) -> int:
    """Return how many GPUs hold the weights with as much room again for a tenth of cache: 1, 2, 4, 8 or more."""
    count = 1
    while 1.1 * size.weights > count * gpu.memory * GIGA * serving.memory:
        count *= 2
    return count


def at_once(size: Size, gpu: Gpu, serving: Serving, context: float, slots: int) -> float:
    """Return how many responses are written at a time by `gpus_needed` GPUs, each holding `context` tokens."""
    room = gpus_needed(size, gpu, serving) * gpu.memory * GIGA * serving.memory - size.weights
    return max(1.0, min(slots, room / (size.cache * context)))


def writing_rate(size: Size, gpu: Gpu, serving: Serving, context: float, slots: int = 0) -> float:
    """Return the tokens per second and GPU that a server writes.

    One step reads all weights and the cache of every response and writes a token of each, so it lasts as long as
    memory takes, or the operations if these take longer (the roofline of decoding). The experts of a mixture are all
    read, since many responses share a step.

    Args:
        context: tokens of prompt and response that lie in the cache on average.
        slots: responses at a time at most; those of `serving` by default.
    """
    held = at_once(size, gpu, serving, context, slots or serving.slots)
    count = gpus_needed(size, gpu, serving)
    memory = (size.weights + held * size.cache * context) / (count * gpu.bandwidth * TERA * serving.bandwidth)
    operations = held / (count * reading_rate(size, gpu, serving))
    return held / max(memory, operations) / count


def reading_rate(size: Size, gpu: Gpu, serving: Serving) -> float:
    """Return the tokens of prompts per second and GPU: 2 operations per active parameter, bound by the peak."""
    return gpu.peak * TERA * serving.compute / (2 * size.active)


def utilization(size: Size, gpu: Gpu, rate: float) -> float:
    """Return the share of the peak that writing `rate` tokens per second and GPU uses: 2 operations per parameter."""
    return 2 * size.active * rate / (gpu.peak * TERA)


def writing_hours(tokens: float, active: float, gpu: Gpu, utilization: float) -> float:
    """Return the GPU hours of writing `tokens` with a model of `active` parameters at `utilization` of the peak."""
    return 2 * active * tokens / (gpu.peak * TERA * utilization) / HOUR
