"""The loop that carries an engine's responses to disk as they finish.

Refuses to lose count: every request ends as one row, a failed one where the engine gave nothing, and a response nobody
asked for stops the run. Decides neither what is missing nor what a response means.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medpsy.asking import Asked, Request
from medpsy.engines.base import Engine, Prompt, Response
from medpsy.shard_writer import ShardWriter

EVERY = 5.0  # seconds between two reports of progress
REPLAY = "MEDPSY_REPLAY"  # environment variable: set, nothing is generated and no model is looked for


class NotStored(RuntimeError):
    """Something is not stored, and this is a replay: nothing is generated. The message names the model."""


@dataclass(frozen=True)
class Progress:
    """How far one session is; `total` counts what is generated now, `stored` what was there before."""

    model: str
    done: int
    total: int
    stored: int
    failed: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.total:
            return f"{self.model}: all {self.stored:,} responses are stored"
        parts = [f"{self.model}: {self.done:,} of {self.total:,} responses"]
        parts += [f"{self.stored:,} stored before"] if self.stored else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.tokens / self.seconds:,.0f} tokens/s, {self.seconds:,.0f} s"] if self.tokens else []
        return ", ".join(parts)


def replaying() -> bool:
    """Return whether generation is forbidden: only what is stored is read, and no engine is opened."""
    return bool(os.environ.get(REPLAY))


def refuse(what: str) -> None:
    """Refuse to go on in a replay because of `what`, a clause that says what is not stored.

    Raises:
        NotStored: with the way out.
    """
    if replaying():
        raise NotStored(
            f"replay: {what}. Nothing is generated in a replay: take a bundle that was exported after this section had "
            "run, or run the section with its models"
        )


def missing_responses(model: str, requests: Sequence[Request]) -> str:
    """Return which responses of `model` are missing, as a clause."""
    suites = Counter(request.prompt.id.split("/")[0] for request in requests)
    where = ", ".join(f"{suite} {number:,}" for suite, number in suites.items())
    first = f"first {requests[0].prompt.id!r} in run {requests[0].run}"
    return f"{len(requests):,} responses of model {model!r} are not stored ({where}; {first})"


def generate(
    asked: Asked, engine: Engine, requests: Sequence[Request], writer: ShardWriter, report: Callable[[Response], None]
) -> set[str]:
    """Carry the engine's responses to `writer` as they finish; return the keys of those that failed.

    Raises:
        RuntimeError: the engine is another one than asked for, or answered what nobody asked.
        PromptTooLong: as the engine raised it, before anything was generated.
    """
    _same_engine(asked, engine)
    waiting = {request.engine_id: request for request in requests}
    prompts = [Prompt(engine_id, request.prompt.messages) for engine_id, request in waiting.items()]
    failed = set()
    for response in engine.generate(prompts, asked.sampling):
        request = waiting.pop(response.prompt_id, None)
        if request is None:
            raise RuntimeError(f"engine {engine.kind} answered {response.prompt_id!r} twice or unasked; report it")
        writer.add(asked.row(request, response))
        failed |= {request.key} if response.finish_reason == "failed" else set()
        report(response)
    for request in waiting.values():
        response = Response(request.engine_id, "", "failed", 0, 0, 0.0, f"engine {engine.kind} returned no response")
        writer.add(asked.row(request, response))
        report(response)
    return failed | {request.key for request in waiting.values()}


def _same_engine(asked: Asked, engine: Engine) -> None:
    for what, wanted, got in (
        ("kind", asked.engine_kind, engine.kind),
        ("fingerprint", asked.fingerprint, engine.fingerprint),
    ):
        if wanted != got:
            fix = "the responses would be kept under a wrong key; open the engine for this model with this kind"
            raise RuntimeError(f"{asked.model.name}: {what} of the engine is {got!r}, not {wanted!r}; {fix}")


def reporter(asked: Asked, total: int, stored: int, progress: Callable[[Progress], None]) -> Callable[[Response], None]:
    """Return a function to call with each response; it passes on the state every `EVERY` seconds and at the end."""
    state = {"done": 0, "failed": 0, "tokens": 0}
    start = last = time.monotonic()

    def report(response: Response) -> None:
        nonlocal last
        state["done"] += 1
        state["failed"] += response.finish_reason == "failed"
        state["tokens"] += response.completion_tokens
        now = time.monotonic()
        if now - last >= EVERY or state["done"] == total:
            last = now
            progress(Progress(asked.model.name, total=total, stored=stored, seconds=now - start, **state))

    return report
