"""The engine for machines without a GPU, and for GGUF files: llama.cpp's server with many responses under way at once.

Prompts go to it as token ids and come back as token ids, so tokenizer and chat template are the model's own. Refuses
llama.cpp's own sampling defaults (min-p, penalties): a response depends on `Sampling` and nothing else.
"""

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.engines.cache_folder import cache_folder
from medpsy.engines.chat import Chat, Encoded
from medpsy.engines.concurrency import Work, bounded
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import fingerprint
from medpsy.engines.llama_server import LlamaServer, ServerOptions
from medpsy.engines.memory import token_budget
from medpsy.engines.session import Session
from medpsy.engines.weights import Model, gguf_file, model_folder, text_config
from medpsy.quantization import to_gguf

SLOTS = 32  # ours: on two cores 32 responses at once reach the highest throughput
WAITING = 8  # requests beyond the slots, so that a slot never waits for the next prompt
TOGETHER = 16  # prompts in a row that go to one server: what they have in common is read once
FIELDS = ("tokens", "stop_type")  # all we read of an answer; the rest (settings, the prompt again) is large


class LlamaCppEngine(Session):
    """A model served by llama.cpp. The server starts with the first prompts, since their length decides its memory.

    Args:
        gguf_dir: where converted models are kept; by default in the cache folder.
        outtype: number format of the converted weights: ``"f32"`` (exact), ``"bf16"``, ``"f16"`` or ``"q8_0"``.
        slots: responses generated at once; by default as many as the memory allows, at most 32.
        threads: CPU threads of a server; by default llama.cpp's choice.
        replicas: servers that share the prompts; for small models several with one thread each are faster than one
            with several threads.
        context: tokens that prompt and response together may have, if fewer than the model allows.
        start_timeout: seconds that loading may take.
    """

    kind = "llama_cpp"

    def __init__(
        self,
        model: Model,
        *,
        gguf_dir: Path | None = None,
        outtype: str = "f32",
        slots: int | None = None,
        threads: int | None = None,
        replicas: int = 1,
        context: int | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        folder = model_folder(model)
        self.fingerprint = fingerprint(model)
        self._chat = Chat(model, folder, context=context)
        self._config = text_config(folder)
        self._gguf = to_gguf(model, gguf_dir or cache_folder() / "gguf", outtype=outtype)
        if replicas < 1:
            raise ValueError(f"replicas: {replicas} is below 1; one server is the least")
        self._slots, self._threads, self._timeout, self._replicas = slots, threads, start_timeout, replicas
        exact = outtype == "f32" and gguf_file(folder) is None  # a GGUF file runs with llama.cpp's own cache
        self._cache_type = "f32" if exact else "f16"
        self._servers: list[LlamaServer] = []
        self._context = self._running = 0  # of the server: tokens per slot, slots
        self._closed = False

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            EngineError: the server does not start, or ends before all responses are there; shows the end of its log.
        """
        if self._closed:
            raise EngineError("the llama_cpp engine is closed; open it again")
        start = time.perf_counter()
        encoded = self._chat.encode(prompts, sampling)
        need = max((len(item.tokens) for item in encoded), default=0) + sampling.max_tokens
        return self._answer(encoded, sampling, need, start) if encoded else iter(())

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, need: int, start: float) -> Iterator[Response]:
        servers, slots = self._serving(need)

        @asynccontextmanager
        async def open_work() -> AsyncIterator[Work]:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=slots + WAITING)
            settings = {"timeout": None, "limits": limits, "trust_env": False}
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(
                        httpx.AsyncClient(base_url=server.url, headers=server.headers, **settings)
                    )
                    for server in servers
                ]

                async def work(numbered: tuple[int, Encoded]) -> Response:
                    place, prompt = numbered
                    return await self._one(clients[place // TOGETHER % len(clients)], prompt, sampling, start)

                yield work

        try:
            yield from bounded(enumerate(encoded), open_work, len(servers) * (slots + WAITING))
        except httpx.TransportError as error:
            dead = next((server for server in servers if not server.answers()), servers[0])
            failure = dead.error("stopped answering")
            self._stop()  # a dying server may still look alive; the next call starts others
            raise failure from error

    async def _one(self, client: httpx.AsyncClient, prompt: Encoded, sampling: Sampling, start: float) -> Response:
        answer = await client.post("/completion", json=request(prompt, sampling))
        seconds = time.perf_counter() - start
        if answer.status_code != httpx.codes.OK:
            error = f"llama-server answered {answer.status_code}: {answer.text[:300]}"
            return Response(prompt.id, "", "failed", len(prompt.tokens), 0, seconds, error)
        found = answer.json()
        return self._chat.response(prompt, found["tokens"], seconds, stopped=found["stop_type"] == "eos")

    def _serving(self, need: int) -> tuple[list[LlamaServer], int]:
        """Return servers whose slots hold `need` tokens, and their slots; smaller or dead ones are replaced."""
        whole = len(self._servers) == self._replicas and all(server.answers() for server in self._servers)
        if need > self._context or not whole:
            self._stop()
        if not self._servers:
            fits = token_budget(self._config, 4 if self._cache_type == "f32" else 2) // need // self._replicas
            self._running = self._slots or max(1, min(SLOTS, fits))
            most = self._replicas * (self._running + WAITING)  # all of them may meet at one server
            options = ServerOptions(self._running, need, self._cache_type, self._threads, self._timeout, most)
            for _ in range(self._replicas):
                self._servers.append(LlamaServer(self._gguf, options))
            self._context = need
        return list(self._servers), self._running

    def _stop(self) -> None:
        for server in self._servers:
            server.stop()
        self._servers.clear()

    def close(self) -> None:
        self._closed = True
        self._stop()


def request(prompt: Encoded, sampling: Sampling) -> dict[str, object]:
    """Return the body of a request whose only samplers are temperature, top-k and top-p, in that order."""
    return {
        "prompt": prompt.tokens.tolist(),
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "samplers": ["temperature", "top_k", "top_p"],
        "seed": sampling.prompt_seed(prompt.id),
        "return_tokens": True,
        "cache_prompt": True,
        "response_fields": list(FIELDS),
    }
