"""Who answers: the contract that every engine keeps.

An engine takes chat prompts and yields responses as they finish, in any order. It batches and schedules by
itself; callers never loop over prompts. It writes nothing and grades nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, Self

Message = dict[str, str]  # {"role": "user" | "assistant" | "system", "content": text}


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
        """Return the 31-bit seed of one prompt, so that its text does not depend on the batch it ran in."""
        digest = hashlib.sha256(f"{self.seed}/{prompt_id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


@dataclass(frozen=True)
class Response:
    """What a model wrote. `text` is raw: reasoning, `</think>` and answer together.

    Args:
        finish_reason: ``"stop"`` (end-of-turn token), ``"length"`` (token limit) or ``"failed"`` (no response).
        error: why there is no response.
        prompt_tokens, completion_tokens: counted with the model's own tokenizer.
        seconds: wall time from submission to completion, queueing included.
    """

    prompt_id: str
    text: str
    finish_reason: Literal["stop", "length", "failed"]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    error: str | None = None


class Engine(Protocol):
    """One loaded model. Use as a context manager: leaving it frees memory and stops any server."""

    kind: str  # as `medpsy.engines.engine_kind` names it: "transformers", "llama_cpp:bf16", "vllm", "openai", ...
    fingerprint: str  # digest of weights or revision, tokenizer and chat template

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield one response per prompt as it finishes.

        Raises:
            PromptTooLong: before anything is generated, when a prompt plus `max_tokens` does not fit the context.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class PromptTooLong(ValueError):
    """A prompt does not fit the model's context together with the tokens it may generate."""
