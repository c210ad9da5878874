"""The engine for models behind an OpenAI-compatible endpoint: a hosted model, vLLM's or llama.cpp's server.

The key comes from an environment variable and goes into the request only: not into errors, logs or settings. Refuses to
let one failing prompt end a run.
"""

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai

from medpsy.engines import endpoint
from medpsy.engines.base import Prompt, PromptTooLong, Response, Sampling
from medpsy.engines.chat import Chat, check_ids, check_sampling
from medpsy.engines.concurrency import Work, bounded
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import fingerprint
from medpsy.engines.loopback import is_loopback
from medpsy.engines.session import Session
from medpsy.engines.weights import Model

NO_KEY = "none"  # sent where no key is set, as to most local servers; the client library insists on some text


class OpenAIEngine(Session):
    """A model that an endpoint serves under the name `model.path`.

    Args:
        key_env: environment variable that holds the key; a server on this machine may need none.
        concurrency: requests under way at once.
        timeout: seconds that one attempt may take.
        retries: further attempts after 408, 409, 429, 5xx, a timeout or a lost connection,
            after pauses that grow and are jittered.
        extended: send `top_k`, a `min_p` of 0 (llama.cpp's server assumes 0.05) and the chat template's switches, which
            vLLM, llama.cpp and most hosts take and OpenAI's own service refuses.
        tokenizer: folder with the served model's tokenizer, to count prompts before anything is sent.
        context: tokens that prompt and response together may have, if fewer than that folder says.
    """

    kind = "openai"

    def __init__(
        self,
        model: Model,
        *,
        key_env: str = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout: float = 600.0,
        retries: int = 6,
        extended: bool = True,
        tokenizer: str | None = None,
        context: int | None = None,
    ) -> None:
        if not model.base_url:
            raise ValueError(f"model {model.name!r} has no base_url; name its endpoint in study.yaml")
        if context and not tokenizer:
            raise ValueError("option context: tokens are counted with a tokenizer; give option `tokenizer` too")
        self.fingerprint = fingerprint(model)
        self._model, self._key_env, self._extended, self._concurrency = model, key_env, extended, concurrency
        self._chat = Chat(model, Path(tokenizer), context=context) if tokenizer else None
        self._settings = {"timeout": timeout, "max_retries": retries, "base_url": model.base_url}
        self._proxies = not is_loopback(model.base_url)
        self._unreachable = 0  # prompts in a row that found nobody at the address
        self._require_endpoint()

    def _require_endpoint(self) -> None:
        """Ask for the list of models once: a wrong address or key shows now and not after an hour of retries."""
        http = openai.DefaultHttpxClient(trust_env=self._proxies)
        with openai.OpenAI(api_key=self._key or NO_KEY, http_client=http, **self._settings) as client:
            try:
                client.with_options(max_retries=1, timeout=30.0).models.list()
            except openai.APIStatusError as error:
                if error.status_code in (401, 403):  # some endpoints have no such list, which is no harm
                    raise self._fatal(error) from None
            except openai.APIConnectionError as error:
                raise self._fatal(error) from None

    @property
    def _key(self) -> str | None:
        return os.environ.get(self._key_env)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            PromptTooLong: with a `tokenizer` before anything is sent; without one when the endpoint refuses the longest
                prompts, which are sent first.
            EngineError: the endpoint knows neither key nor model, or is gone.
        """
        start = time.perf_counter()
        check_sampling(sampling)
        asked = list(prompts)
        check_ids(prompt.id for prompt in asked)
        if self._chat:
            self._chat.encode(asked, sampling)
        asked.sort(key=lambda prompt: -sum(len(message["content"]) for message in prompt.messages))
        return self._answer(asked, sampling, start)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Yield the pieces of one response as the endpoint sends them; together they are what `generate` returns.

        Raises:
            PromptTooLong, EngineError: with the first piece; the endpoint refuses the prompt, or cannot answer.
        """
        check_sampling(sampling)
        http = openai.DefaultHttpxClient(trust_env=self._proxies)
        with openai.OpenAI(api_key=self._key or NO_KEY, http_client=http, **self._settings) as client:
            try:
                yield from endpoint.pieces(client.chat.completions.create(**self._body(prompt, sampling), stream=True))
            except openai.OpenAIError as error:
                why = self._failed(prompt, error, 0.0).error
                raise EngineError(f"model {self._model.name!r}: the endpoint broke off: {why}; ask again") from None

    def _answer(self, prompts: Sequence[Prompt], sampling: Sampling, start: float) -> Iterator[Response]:
        @asynccontextmanager
        async def open_work() -> AsyncIterator[Work]:
            http = openai.DefaultAsyncHttpxClient(trust_env=self._proxies)
            async with openai.AsyncOpenAI(api_key=self._key or NO_KEY, http_client=http, **self._settings) as client:

                async def work(prompt: Prompt) -> Response:
                    try:
                        answer = await client.chat.completions.create(**self._body(prompt, sampling))
                    except (openai.OpenAIError, ValueError) as error:  # ValueError: an answer that is no JSON
                        return self._failed(prompt, error, time.perf_counter() - start)
                    self._unreachable = 0
                    return endpoint.read(prompt.id, answer, time.perf_counter() - start)

                yield work

        yield from bounded(prompts, open_work, self._concurrency)

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        body = {
            "model": self._model.path,
            "messages": list(prompt.messages),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.prompt_seed(prompt.id),
        }
        if not self._extended:
            return {**body, "max_completion_tokens": sampling.max_tokens}
        switches = self._model.chat_template_kwargs
        extra = {"top_k": sampling.top_k, "min_p": 0.0, **({"chat_template_kwargs": switches} if switches else {})}
        return {**body, "max_tokens": sampling.max_tokens, "extra_body": extra}

    def _failed(self, prompt: Prompt, error: Exception, seconds: float) -> Response:
        """Return the failed response of one prompt, or raise where no prompt can succeed."""
        if endpoint.is_too_long(error):
            raise PromptTooLong(
                f"model {self._model.name!r}: the endpoint refuses prompt {prompt.id!r}: "
                f"{endpoint.explain(error, self._key)}; lower max_tokens or shorten the prompt"
            ) from None
        self._unreachable = self._unreachable + 1 if endpoint.is_unreachable(error) else 0
        if endpoint.is_unknown(error) or self._unreachable > self._concurrency:
            raise self._fatal(error) from None
        return Response(prompt.id, "", "failed", 0, 0, seconds, endpoint.explain(error, self._key))

    def _fatal(self, error: Exception) -> EngineError:
        where = f"model {self._model.name!r}: the endpoint {self._model.base_url}"
        why = endpoint.explain(error, self._key)
        if not endpoint.is_unknown(error):
            return EngineError(f"{where} cannot be reached: {why}; start the server or correct base_url")
        state = "is set" if self._key else "is not set"
        return EngineError(
            f"{where} refuses key or model name {self._model.path!r}: {why}; the key comes from the environment "
            f"variable {self._key_env}, which {state}"
        )

    def close(self) -> None:
        """Nothing is held between two calls."""
