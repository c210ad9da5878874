"""Continue a batch of prompts token by token with a key-value cache; rows that end make room for the others.

Refuses nothing and reads no text: token ids in, token ids out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medpsy.engines.base import Sampling
from medpsy.engines.sampling import choose, uniforms

DENSE = 0.75  # ours: rows are dropped from the cache when fewer than this share of them still run


@dataclass(frozen=True)
class Job:
    """One prompt to be continued: its place among all prompts, its token ids and its seed."""

    place: int
    tokens: Sequence[int]
    seed: int


class Decoding:
    """A batch under way; `step` returns the rows that ended with it.

    The loop is ours and not the library's `generate`, which keeps computing ended rows until the longest is done.
    """

    def __init__(self, model: Any, jobs: Sequence[Job], sampling: Sampling, *, stop_ids: frozenset[int], pad: int):
        from transformers import DynamicCache

        self._model, self._sampling = model, sampling
        self._cache = DynamicCache(config=model.config)
        self._stops = torch.tensor(sorted(stop_ids), device=model.device)
        self._places = [job.place for job in jobs]
        self._written: list[list[int]] = [[] for _ in jobs]
        self._chance = uniforms([job.seed for job in jobs], sampling.max_tokens).to(model.device)
        width = max(len(job.tokens) for job in jobs)
        padded = [[pad] * (width - len(job.tokens)) + list(job.tokens) for job in jobs]
        self._next = torch.tensor(padded, device=model.device)
        lengths = torch.tensor([len(job.tokens) for job in jobs], device=model.device)
        columns = torch.arange(width + sampling.max_tokens, device=model.device)
        self._mask = (columns >= width - lengths[:, None]).long()
        self._positions = (columns[:width] - (width - lengths[:, None])).clamp(min=0)
        self._running = [True] * len(jobs)
        self._width, self._count = width, 0

    @property
    def running(self) -> bool:
        return any(self._running)

    def written(self, row: int) -> list[int]:
        """Return the tokens that a row still in the batch has so far."""
        return self._written[row]

    @torch.inference_mode()
    def step(self) -> list[tuple[int, list[int]]]:
        """Write one token in every row; return (place, tokens) of the rows that ended: at a stop token or the limit."""
        made = self._forward()
        ended = torch.isin(made, self._stops).tolist()
        done = []
        for row, (token, stop) in enumerate(zip(made.tolist(), ended, strict=True)):
            if self._running[row]:
                self._written[row].append(token)
                if stop or len(self._written[row]) == self._sampling.max_tokens:
                    self._running[row] = False
                    done.append((self._places[row], self._written[row]))
        self._next, self._positions = made[:, None], self._positions[:, -1:] + 1
        self._width, self._count = self._width + 1, self._count + 1
        if done and 0 < sum(self._running) < DENSE * len(self._running):
            self._drop_ended()
        return done

    def _forward(self) -> torch.Tensor:
        logits = self._model(
            input_ids=self._next,
            attention_mask=self._mask[:, : self._width],
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return choose(logits[:, -1], self._chance[:, self._count], self._sampling)

    def _drop_ended(self) -> None:
        keep = [row for row, running in enumerate(self._running) if running]
        rows = torch.tensor(keep, device=self._next.device)
        self._cache.reorder_cache(rows)
        self._next, self._positions, self._mask = self._next[rows], self._positions[rows], self._mask[rows]
        self._chance = self._chance[rows]
        self._places = [self._places[row] for row in keep]
        self._written = [self._written[row] for row in keep]
        self._running = [True] * len(keep)
