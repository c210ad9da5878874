"""The contract that every engine keeps: it takes chat prompts, batches and schedules by itself, and yields responses as
they finish, in any order. It writes nothing and grades nothing."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medpsy import strict

Message = dict[str, str]  # {"role": "user" | "assistant" | "system", "content": text}
LISTED = strict.read(Path(__file__).with_name("engines.yaml"))
FINISH_REASONS = {name: ours for ours, names in LISTED["finish_reasons"].items() for name in names}


class EngineError(RuntimeError):
    """An engine could not be started, or stopped working. A prompt without an answer is a failed response instead."""


@dataclass(frozen=True)
class Prompt:
    """A conversation to be continued; `id` is the caller's and comes back in the response."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Sampling:
    """Decoding settings. `temperature` 0 is greedy; `seed` makes sampling repeatable per prompt."""

    max_tokens: int
    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 20
    seed: int = 0

    def prompt_seed(self, prompt_id: str) -> int:
        """Return the 31-bit seed of one prompt: its text does not depend on the batch it ran in."""
        digest = hashlib.sha256(f"{self.seed}/{prompt_id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def check_sampling(sampling: Sampling) -> None:
    """Raise ValueError, naming setting and value, if `sampling` makes no sense."""
    for name, fits, fix in (
        ("max_tokens", sampling.max_tokens >= 1, "1 or more"),
        ("temperature", 0 <= sampling.temperature < float("inf"), "0 (greedy) or more"),
        ("top_p", 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("top_k", sampling.top_k >= 0, "0 (off) or more"),
    ):
        if not fits:
            raise ValueError(f"sampling.{name} is {getattr(sampling, name)}; it must be {fix}")


@dataclass(frozen=True)
class Response:
    """What a model wrote. `text` is raw: reasoning, `</think>` and answer together."""

    prompt_id: str
    text: str
    finish_reason: Literal["stop", "length", "failed"]  # end-of-turn token, token limit, or no response
    prompt_tokens: int  # counted, as the others, with the model's own tokenizer
    completion_tokens: int
    seconds: float  # from submission to completion, queueing included
    error: str | None = None  # why there is no response


class Engine(AbstractContextManager):
    """One loaded model. Use as a context manager: leaving it frees memory and stops any server."""

    kind: str  # as `medpsy.engines.engine_kind` names it when it is opened: "transformers", "llama_cpp:bf16", "openai"
    fingerprint: str  # digest of weights or revision, tokenizer and chat template
    _closed = False

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield one response per prompt as it finishes; leaving the iterator early stops what is under way. A prompt
        that does not fit the context together with `max_tokens` is a failed response and stops no other. Impossible
        sampling, a prompt id used twice, or messages that the chat template refuses are a ValueError before anything is
        generated; an engine that is closed, or ends before all responses are there, is an EngineError."""
        if self._closed:
            raise EngineError(f"the {self.kind} engine is closed; open it again")
        check_sampling(sampling)
        start = time.perf_counter()
        asked, refused = self._prepare(prompts, sampling)
        ids = Counter([*(item.id for item in asked), *(response.prompt_id for response in refused)])
        if twice := [prompt_id for prompt_id, times in ids.items() if times > 1]:
            raise ValueError(f"prompt id {twice[0]!r} is used twice; give each prompt its own id")
        answers = self._answer(asked, sampling, start) if asked else ()  # without any no model need be loaded

        def both() -> Iterator[Response]:  # a generator, since leaving it early closes the one inside
            yield from refused
            yield from answers

        return both()

    def _prepare(self, prompts: Iterable[Prompt], sampling: Sampling) -> tuple[Sequence[Any], Sequence[Response]]:
        """Return what is to be asked, each with its `id`, and failed responses to what does not fit."""
        raise NotImplementedError

    def _answer(self, asked: Sequence[Any], sampling: Sampling, start: float) -> Iterator[Response]:
        """Yield the responses to what was prepared; `start` is when it was asked, by ``perf_counter``."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Free what the engine holds, if anything; called again, do nothing."""

    def close(self) -> None:
        """Free what the engine holds; calling it again does nothing."""
        self._closed = True
        self._stop()

    def __exit__(self, *exc: object) -> None:
        self.close()
