"""Who is asked what, and under which key the response is kept.

The key holds all that can change a response: weights, chat template and its switches, engine, sampling, messages, run.
Refuses one prompt id for two conversations. Generates nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.study import ModelSpec

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("fingerprint", pa.string()),
        ("model", pa.string()),
        ("engine", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.large_string()),  # JSON
        ("sampling", pa.string()),  # JSON
        ("run", pa.int32()),
        ("text", pa.large_string()),  # large: a table of many responses may pass 2 GiB
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("error", pa.string()),
        ("created", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Request:
    """One prompt in one run; `key` names the response it wants."""

    key: str
    prompt: Prompt
    run: int

    @property
    def engine_id(self) -> str:
        """Id given to the engine. The run is part of it, so that each run draws from a seed of its own."""
        return f"{self.prompt.id}#{self.run}"


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how: all of a response's key but the messages and the run."""

    model: ModelSpec
    fingerprint: str
    engine_kind: str
    sampling: Sampling

    @property
    def sampling_json(self) -> str:
        settings = asdict(self.sampling)
        whole = ("max_tokens", "top_k", "seed")  # 1 and 1.0 are one temperature and must give one key
        plain = {name: int(number) if name in whole else float(number) for name, number in settings.items()}
        return json.dumps(plain, sort_keys=True)

    def keys(self, prompts: Iterable[Prompt], run: int) -> list[str]:
        """Return the key of each prompt in `run`: a SHA-256 over everything that can change the response."""
        same = [self.fingerprint, self.model.chat_template_kwargs, self.engine_kind, self.sampling_json]
        start = hashlib.sha256(json.dumps(same, sort_keys=True).encode())
        return [_extended(start, json.dumps([prompt.messages, run], sort_keys=True)) for prompt in prompts]

    def requests(self, prompts: Sequence[Prompt], runs: Sequence[int]) -> dict[str, Request]:
        """Return one request per distinct conversation and run; those of one prompt stand together: prefix caches."""
        by_run = [self.keys(prompts, run) for run in runs]
        requests: dict[str, Request] = {}
        for prompt, keys in zip(prompts, zip(*by_run, strict=True), strict=True):
            for key, run in zip(keys, runs, strict=True):
                requests.setdefault(key, Request(key, prompt, run))
        return requests

    def row(self, request: Request, response: Response) -> dict[str, object]:
        """Return the stored form of `response`."""
        return {
            "key": request.key,
            "fingerprint": self.fingerprint,
            "model": self.model.name,
            "engine": self.engine_kind,
            "prompt_id": request.prompt.id,
            "messages": json.dumps(request.prompt.messages),
            "sampling": self.sampling_json,
            "run": request.run,
            "text": storable(response.text),
            "finish_reason": response.finish_reason,
            "prompt_tokens": response.prompt_tokens,
            "completion_tokens": response.completion_tokens,
            "seconds": response.seconds,
            "error": None if response.error is None else storable(response.error),
            "created": datetime.now(UTC),
        }


def distinct(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return `prompts` without repetitions.

    Raises:
        ValueError: one id stands for two different conversations.
    """
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        if seen.setdefault(prompt.id, prompt).messages != prompt.messages:
            raise ValueError(f"prompt id {prompt.id!r} stands for two different conversations; give each its own id")
    return list(seen.values())


def storable(text: str) -> str:
    """Return `text` with half surrogates, which an endpoint's JSON may hold and UTF-8 cannot, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _extended(start: "hashlib._Hash", text: str) -> str:
    more = start.copy()
    more.update(text.encode())
    return more.hexdigest()
