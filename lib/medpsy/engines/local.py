"""The engine that needs nothing but torch and transformers, and the reference of the others: batches of similar length.

The decoding loop is ours and not the library's `generate`, which keeps computing ended rows until the longest is done:
`Decoding` lets go of them. Each row brings its own random numbers, so a text depends on its seed and its model only.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch

from medpsy.engines.base import EngineError, Response, Sampling
from medpsy.engines.chat import ChatEngine, Encoded
from medpsy.engines.models import Model, free_bytes, text_config, token_budget

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROWS = {"cpu": 64, "cuda": 512}  # ours: more rows gain little and their logits (rows x vocabulary) take memory
DENSE = 0.75  # ours: rows are dropped from the cache when fewer than this share of them still run


class Job(NamedTuple):
    place: int  # among all prompts
    tokens: Sequence[int]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Options:
    device: str | None = None  # "cpu" or "cuda:N"; by default a GPU if there is one
    dtype: Literal[*DTYPES] | None = None  # by default bfloat16 on a GPU and float32 on a CPU
    batch_tokens: int | None = None  # of prompts and responses in a batch; by default what half the memory holds
    batch_rows: int | None = None  # prompts in a batch
    context: int | None = None  # tokens of prompt and response together, if fewer than the model allows


class TransformersEngine(ChatEngine):
    """A model run by transformers; its weights are loaded with the first prompt that fits."""

    def __init__(self, model: Model, options: Options) -> None:
        super().__init__(model, options)
        self._device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = self._device.split(":")[0]
        self._dtype = options.dtype or ("float32" if kind == "cpu" else "bfloat16")
        self._rows = options.batch_rows or ROWS.get(kind, ROWS["cpu"])

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForCausalLM

        kind = {"dtype": DTYPES[self._dtype], "use_safetensors": True, "trust_remote_code": False}
        return AutoModelForCausalLM.from_pretrained(self._folder, **kind).to(self._device).eval()

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        itemsize = self._model.dtype.itemsize  # loads the weights: what is free beside them counts
        free, config = free_bytes(self._device), text_config(self._folder)
        tokens = self._options.batch_tokens or token_budget(config, itemsize, free)
        jobs = [Job(place, item.tokens, sampling.prompt_seed(item.id)) for place, item in enumerate(encoded)]
        stops = self.stop_ids
        waiting = batches(jobs, sampling.max_tokens, tokens=tokens, rows=self._rows)[::-1]
        while waiting:
            batch, ended, decoding = waiting.pop(), set(), None  # the cache of the batch before is let go of first
            try:
                decoding = Decoding(self._model, batch, sampling, stop_ids=stops, pad=min(stops, default=0))
                while decoding.running:
                    for place, written in decoding.step():
                        ended.add(place)
                        yield self._response(encoded[place], written, time.perf_counter() - start)
                continue
            except torch.OutOfMemoryError:
                decoding = None  # the error holds the frames that hold the batch: its memory is free once both are gone
            if len(batch) == 1:
                what = f"one prompt of {len(batch[0].tokens)} tokens does not fit into the memory of {self._device}"
                fix = "lower max_tokens, use dtype bfloat16 or a larger device"
                raise EngineError(f"model {self._spec.name!r}: {what}; {fix}")
            self._rows = half = len(batch) // 2  # later batches are no larger either
            _free()
            left = [job for job in batch if job.place not in ended]
            waiting += [part for part in (left[half:], left[:half]) if part]

    def _stop(self) -> None:
        self.__dict__.pop("_model", None)
        _free()


def batches(jobs: Sequence[Job], max_tokens: int, *, tokens: int, rows: int) -> list[list[Job]]:
    """Return `jobs` in batches of similar length, longest first, so that a budget that is too large shows at once: of
    `rows` at most, and rows x (longest prompt + `max_tokens`) within `tokens` but for a single prompt."""
    made: list[list[Job]] = []
    room = 0
    for job in sorted(jobs, key=lambda job: -len(job.tokens)):
        if not made or len(made[-1]) >= room:
            made.append([])
            room = max(1, min(rows, tokens // (len(job.tokens) + max_tokens)))
        made[-1].append(job)
    return made


def _free() -> None:
    """Give back a GPU's memory; a CPU's is free with the last name of it, and looking for more takes half a second."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class Decoding:
    """A batch under way, continued token by token with a key-value cache; rows that end make room for the others."""

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


def uniforms(seeds: list[int], count: int) -> torch.Tensor:
    """Return one row of `count` numbers in [0, 1) per seed, drawn on the CPU so that every device sees the same."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def choose(logits: torch.Tensor, chance: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return one token id per row of `logits` (rows, vocabulary), by `chance` (rows,) in [0, 1), unused when greedy:
    temperature, top-k, top-p as transformers and vLLM order them, then the inverse of the cumulative distribution."""
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
