"""The client of every OpenAI-compatible endpoint: a hosted model, vLLM's or llama.cpp's server.

What an endpoint sends is taken for hostile: time and bytes of a reply are bounded, packed replies and redirects are
refused, and keys are struck out of whatever comes back. A bad reply is one failed response that says why.
"""

import asyncio
import contextlib
import itertools
import json
import os
import queue
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import httpx
from anyio.from_thread import start_blocking_portal
from pydantic import Field

from medpsy.engines.base import FINISH_REASONS, Engine, EngineError, Prompt, Response, Sampling
from medpsy.engines.models import Model, fingerprint
from medpsy.files import storable

T, R = TypeVar("T"), TypeVar("R")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
AGAIN = (408, 409, 429)  # and 5xx: may pass
NOT_OURS = (401, 403, 404)  # key, access or model: hardly any prompt can succeed
REASONING = ("reasoning_content", "reasoning", "thinking")  # fields and types of parts: vLLM, OpenRouter, Mistral
RESERVED = ("model", "messages", "prompt", "stream", "n")  # fields of a request that are not the user's to set
CONNECTING = 30.0  # seconds until somebody answers at an address
PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds before the first further attempt, and before any
SHOWN = 300  # characters of an endpoint's message in an error
SHORTEST = 8  # characters of a key that is struck out; shorter ones are placeholders such as EMPTY
COUNTED = 2**40  # no response has so many tokens

_key_names: set[str] = set()  # environment variables that hold a key, of all endpoints in use


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an endpoint is asked: `engine_options` of a model with `base_url`."""

    key_env: str = "OPENAI_API_KEY"  # environment variable that holds the key; a server on this machine may need none
    concurrency: Annotated[int, Field(ge=1)] = 32  # requests under way at once
    timeout: Annotated[float, Field(gt=0)] = 600.0  # seconds that one attempt may take, to the end of the reply
    retries: Annotated[int, Field(ge=0)] = 6  # after 408, 409, 429, 5xx and lost connections, after growing pauses
    max_bytes: Annotated[int, Field(ge=1)] = 4 * 2**20  # of a reply; 16,384 tokens take some 100 kB
    # send `top_k`, a `min_p` of 0 (llama.cpp's server assumes 0.05) and the chat template's switches, which vLLM,
    # llama.cpp and most hosts take and OpenAI's own service refuses
    extended: bool = True
    # of every request, e.g. {"reasoning_effort": "high"}; they win over ours, a null takes a field out, and responses
    # are kept apart by them
    extra_body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_env, re.ASCII):  # may be the key itself: not shown
            raise ValueError("key_env: this is no name of an environment variable; name the one that holds the key")
        if taken := sorted(self.extra_body.keys() & set(RESERVED)):
            raise ValueError(f"extra_body.{taken[0]}: this field is not yours to set; take it away")


class Failure(Exception):
    """Why there is no response: with what HTTP status, if any, and whether it may pass (`again`), after what `pause` in
    seconds; `lost` says nothing about the prompt, so that the next one will hardly fare better."""

    def __init__(
        self, why: str, *, status: int = 0, again: bool = False, lost: bool = False, pause: float | None = None
    ):
        super().__init__(clean(why)[:SHOWN])
        self.status, self.again, self.lost, self.pause = status, again, lost, pause


class Client(Engine):
    """A model that an endpoint serves under the name `model.path`. ValueError where no endpoint is named, EngineError
    where nobody answers there, the key is refused, or the environment names a proxy that cannot be used."""

    def __init__(self, model: Model, options: Options) -> None:
        if not model.base_url:
            raise ValueError(f"model {model.name!r} has no base_url; name its endpoint in study.yaml")
        self._options, self._model, self.fingerprint = options, model, fingerprint(model)
        self._lost = 0  # failures in a row that say nothing about their prompts
        _key_names.add(options.key_env)
        if not (key := _key(options.key_env)).isascii() or not key.isprintable():
            raise EngineError(f"the key in {options.key_env} holds characters that none may have; set it anew")
        try:
            status = ask_for_models(model.base_url, key=key)
            if status in (401, 403) or 300 <= status < 400:  # some endpoints have no such list, which is no harm
                raise _refusal(status, "")
        except Failure as failure:
            raise self._fatal(failure) from None

    def _prepare(self, prompts: Iterable[Prompt], sampling: Sampling) -> tuple[list[Prompt], list[Response]]:
        return list(prompts), []

    def _answer(self, prompts: Sequence[Prompt], sampling: Sampling, start: float) -> Iterator[Response]:
        patience = max(1, min(self._options.concurrency, len(prompts) - 1))
        fatal: list[Failure] = []
        http = _http(self._model.base_url, _key(self._options.key_env))

        async def answer(prompt: Prompt) -> Response:
            try:
                response, self._lost = await self._request(http, prompt, sampling, start), 0
                return response
            except Failure as failure:
                self._lost = self._lost + 1 if failure.lost else 0
                if self._lost > patience:
                    fatal.append(failure)
                return _failed(prompt.id, str(failure), time.perf_counter() - start)

        going_on = itertools.takewhile(lambda _: not fatal, prompts)  # what is under way then is paid for: waited for
        yield from bounded(going_on, answer, self._options.concurrency, http)
        if fatal:
            raise self._fatal(fatal[0])

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        body = {"model": self._model.path, "messages": list(prompt.messages), "seed": sampling.prompt_seed(prompt.id)}
        body |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if self._options.extended:
            body |= {"max_tokens": sampling.max_tokens, "top_k": sampling.top_k, "min_p": 0.0}
            body |= {"chat_template_kwargs": self._model.chat_template_kwargs or None}
        else:
            body |= {"max_completion_tokens": sampling.max_tokens}
        return {name: value for name, value in (body | self._options.extra_body).items() if value is not None}

    async def _request(self, http: httpx.AsyncClient, prompt: Prompt, sampling: Sampling, start: float) -> Response:
        """Return the endpoint's response to `prompt`, asked for again where that may help, or raise Failure."""
        content = json.dumps(self._body(prompt, sampling)).encode()  # all in ASCII: a prompt may hold half a character
        for attempt in itertools.count():
            try:
                asked = http.stream("POST", "chat/completions", content=content)
                async with asyncio.timeout(self._options.timeout), asked as answer:
                    try:
                        reply = await _content(answer, self._options.max_bytes)
                    except Failure as unread:
                        if answer.is_success:
                            raise
                        reply = str(unread)  # the status says what to do
                if answer.is_success:
                    return read(prompt.id, _parsed(reply), time.perf_counter() - start)
                failure = _refusal(answer.status_code, reply, answer.headers)
            except RecursionError:
                raise Failure("the reply is nested too deeply") from None
            except TimeoutError:
                raise Failure(f"the reply was not whole after {self._options.timeout:g} s", lost=True) from None
            except httpx.HTTPError as error:
                failure = Failure(repr(error), again=True, lost=True)
            if not failure.again or attempt == self._options.retries:
                raise failure
            grown = min(PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)
            await asyncio.sleep(grown if failure.pause is None else failure.pause)

    def _fatal(self, failure: Failure) -> EngineError:
        where = f"model {self._model.name!r}: the endpoint {self._model.base_url}"
        if failure.status not in NOT_OURS:
            return EngineError(f"{where} does not answer: {failure}; start the server or correct base_url")
        return EngineError(
            f"{where} refuses key or model name {self._model.path!r}: {failure}; the key comes from the environment "
            f"variable {self._options.key_env}, which is {'set' if _key(self._options.key_env) else 'not set'}"
        )


def ask_for_models(base_url: str, *, key: str = "", timeout: float = CONNECTING) -> int:
    """Return the HTTP status of an endpoint's list of models; what it lists is not read, since hosts differ in it."""
    http = _http(base_url, key)

    async def status(path: str) -> int:
        async with asyncio.timeout(timeout), http.stream("GET", path) as answer:
            return answer.status_code

    try:
        return next(bounded(["models"], status, 1, http))
    except (httpx.HTTPError, TimeoutError) as error:
        raise Failure(repr(error), lost=True) from None


def _http(base_url: str, key: str) -> httpx.AsyncClient:
    """Return a client of one endpoint; no proxy that the environment names leads to the loopback interface."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    address = urlsplit(base_url)
    try:
        return httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECTING),
            limits=httpx.Limits(max_connections=None),
            trust_env=address.hostname not in LOOPBACK,
            verify=address.scheme == "https",  # without TLS there is nothing to verify, and loading takes 0.1 s
        )
    except (ImportError, ValueError, httpx.InvalidURL):  # no package for SOCKS, an unknown scheme, no port
        names = [name for name in os.environ if re.fullmatch("(all|https?)_proxy", name, re.IGNORECASE)]
        fix = f"correct base_url, or the proxies that the environment names ({', '.join(names) or 'none'})"
        raise EngineError(f"{base_url} cannot be asked; {fix}: unset them, or install socksio for SOCKS") from None


async def _content(answer: httpx.Response, most: int) -> str:
    """Return the body of `answer`, of `most` bytes at most."""
    if (packing := answer.headers.get("content-encoding", "identity").lower()) != "identity":
        raise Failure(f"the reply is packed as {packing!r}, which was not asked for")
    content = bytearray()  # a list of pieces of one byte each would take fifty times their memory
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > most:
            raise Failure(f"the reply is longer than {most:,} bytes (option max_bytes)")
    return content.decode("utf-8-sig", "replace")


def _refusal(status: int, text: str, headers: Mapping[str, str] = {}) -> Failure:
    if 300 <= status < 400:
        return Failure(f"it sends us to another address ({status}); prompts and key go to base_url alone", lost=True)
    again, pause = status in AGAIN or status >= 500, None
    with contextlib.suppress(ValueError):  # a date, or nonsense
        seconds = float(headers.get("retry-after", ""))
        pause = min(seconds, LONGEST_PAUSE) if seconds >= 0 else None
    return Failure(f"{status}: {text}", status=status, again=again, lost=again or status in NOT_OURS, pause=pause)


def _parsed(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        raise Failure(f"the reply is no JSON: {text}") from None


def read(prompt_id: str, reply: object, seconds: float) -> Response:
    """Return a reply of the (chat) completions interface as a response, whatever JSON it is. Reasoning that the server
    parsed out is put back between ``<think>`` and ``</think>``; counts of tokens are its own, 0 where it gives none."""
    usage = _mapping(_mapping(reply).get("usage"))
    counts = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    choices = _mapping(reply).get("choices")
    if not isinstance(choices, list) or not choices:
        return _failed(prompt_id, f"the reply holds no choices: {json.dumps(reply)}", seconds, *counts)
    choice = _mapping(choices[0])
    message = choice.get("message")
    reasoning, answer = _parts(message) if isinstance(message, dict) else ("", choice.get("text"))
    if not isinstance(answer, str):
        return _failed(prompt_id, "the reply's choice holds no message", seconds, *counts)
    reason = choice.get("finish_reason") or ("stop" if answer else None)  # some servers state none
    finish = FINISH_REASONS.get(reason.lower()) if isinstance(reason, str) else None
    if finish is None:
        return _failed(prompt_id, f"the endpoint ended the response for the reason {reason!r}", seconds, *counts)
    if reasoning:  # not closed where it was cut off: that would pass it off as done
        answer = f"<think>\n{reasoning}" + ("" if finish == "length" and not answer else f"\n</think>\n{answer}")
    return Response(prompt_id, clean(answer), finish, *counts, seconds)


def _failed(prompt_id: str, why: str, seconds: float, *counts: int) -> Response:
    return Response(prompt_id, "", "failed", *(counts or (0, 0)), seconds, clean(why)[:SHOWN])


def _parts(message: Mapping[str, Any]) -> tuple[str, str]:
    content = message.get("content") or message.get("refusal") or ""
    parts = [_mapping(part) or {"text": part} for part in (content if isinstance(content, list) else [content])]
    thoughts = [_text(part) for part in parts if part.get("type") in REASONING]
    reasoning = next((message[name] for name in REASONING if isinstance(message.get(name), str) and message[name]), "")
    return reasoning + "".join(thoughts), "".join(_text(part) for part in parts if part.get("type") not in REASONING)


def _text(part: object) -> str:
    """Return the text of a typed part, which may hold parts itself; empty for a picture or the like."""
    if isinstance(part, list):
        return "".join(map(_text, part))
    if isinstance(part, dict):
        return _text(part.get("text") or part.get(str(part.get("type"))))
    return part if isinstance(part, str) else ""


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < COUNTED else 0


def _key(name: str) -> str:
    return os.environ.get(name, "").strip()


def clean(text: str) -> str:
    """Return `text` without keys, and with half surrogates, which JSON may hold and UTF-8 cannot, as U+FFFD. Called
    before a text is cut: of a key that was cut the beginning would remain."""
    text = storable(text)
    for key in map(_key, _key_names):
        text = text.replace(key, "[key]") if len(key) >= SHORTEST else text
    return text


def bounded(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], limit: int, shared: AbstractAsyncContextManager
) -> Iterator[R]:
    """Yield the results of asynchronous `work` on `items` as they finish, `limit` at a time; in a notebook too, since
    the event loop lives in a thread of its own, where `shared`, a client, is entered and left. The first error of any
    work is raised after the rest has been cancelled, as it is when the iterator is left."""
    results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()  # a result, or False once all have ended
    waiting = iter(items)

    async def each() -> None:
        for item in waiting:
            results.put((True, await work(item)))

    async def all_of_them() -> None:
        async with shared, asyncio.TaskGroup() as group:
            for _ in range(limit):
                group.create_task(each())

    with start_blocking_portal() as portal:
        under_way = portal.start_task_soon(all_of_them)
        under_way.add_done_callback(lambda _: results.put((False, None)))
        try:
            while (got := results.get())[0]:
                yield got[1]
            error = under_way.exception()
            while isinstance(error, BaseExceptionGroup):  # of the group of tasks
                error = error.exceptions[0]
            if error:
                raise error
        finally:
            under_way.cancel()
