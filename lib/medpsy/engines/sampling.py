"""Choose the next token of every row of a batch. Each row brings its own random number, so a text depends on its seed
and its model only, never on the rows beside it.
"""

import torch

from medpsy.engines.base import Sampling


def uniforms(seeds: list[int], count: int) -> torch.Tensor:
    """Return one row of `count` numbers in [0, 1) per seed, drawn on the CPU so that every device sees the same."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def choose(logits: torch.Tensor, chance: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return one token id per row.

    Temperature, then top-k, then top-p, as transformers and vLLM order them; then the inverse of the cumulative
    distribution over tokens from the most to the least probable.

    Args:
        logits: (rows, vocabulary), any float type.
        chance: (rows,) numbers in [0, 1), unused when greedy.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    kept = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    scores, ids = logits.float().topk(kept, dim=-1)  # sorted, most probable first
    probabilities = (scores / sampling.temperature).softmax(dim=-1, dtype=torch.float64)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= sampling.top_p, 0)
    cumulative = probabilities.cumsum(dim=-1)
    target = chance.to(cumulative)[:, None] * cumulative[:, -1:]
    at = (cumulative <= target).sum(dim=-1, keepdim=True).clamp(max=kept - 1)
    return ids.gather(-1, at)[:, 0]
