"""The engine for machines without a GPU, and for GGUF files: llama.cpp's server with many responses under way at once.

Prompts and responses are token ids, so tokenizer and chat template are the model's own. llama.cpp's own sampling
defaults (min-p, penalties) are off: a response depends on `Sampling` and nothing else. A server listens on the loopback
interface, answers to a key only we know, and ends with this process.
"""

import contextlib
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import psutil
from pydantic import Field

from medpsy.engines import programs
from medpsy.engines.base import EngineError, Response, Sampling
from medpsy.engines.chat import ChatEngine, Encoded
from medpsy.engines.client import bounded
from medpsy.engines.convert import to_gguf
from medpsy.engines.models import Model, free_bytes, gguf_file, text_config, token_budget

SLOTS = 32  # ours: on two cores 32 responses at once reach the highest throughput
WAITING = 8  # requests beyond the slots, so that a slot never waits for the next prompt
IDLE = 2.0  # seconds a connection is kept; the server closes it after 5, which a request on its way must not meet
TOGETHER = 16  # prompts in a row that go to one server: what they have in common is read once
HOST = "127.0.0.1"
ATTEMPTS = 3  # at starting, where another program may take the free port first, and at a request
GRAIN = 256  # llama.cpp rounds a slot's context up to a multiple of this
FREE = re.compile(r"\(\d+ MiB, (\d+) MiB free\)")  # of a device in what --list-devices prints
ASIDE = 4  # connections of those who ask how the server is


@dataclass(frozen=True)
class ServerOptions:
    """How a server is started; with `cache_type` f32 without flash attention, whose rounding moves logits by 0.01."""

    slots: int  # responses generated at the same time
    context: int  # tokens of prompt and response that each slot can hold
    cache_type: str = "f32"  # number format of keys and values, or "f16"
    threads: int | None = None  # of the CPU; by default llama.cpp's choice
    timeout: float = 600.0  # seconds that loading may take
    # left open at once, by default one per slot. Each keeps a thread of the server until five seconds after its last
    # request, and with too few threads a request waits for that
    connections: int | None = None
    extra: tuple[str, ...] = ()  # further arguments of llama-server

    def arguments(self) -> list[str]:
        context = -(-self.context // GRAIN) * GRAIN
        line = f"--parallel {self.slots} --ctx-size {context * self.slots} --no-kv-unified --cache-ram 0 --no-webui"
        line += f" --log-verbosity 2 --threads-http {(self.connections or self.slots) + ASIDE}"  # 2: warnings
        line += " --no-jinja --chat-template chatml"  # prompts come as tokens: the model's own template stays unread
        line += f" --cache-type-k {self.cache_type} --cache-type-v {self.cache_type}"
        line += " --flash-attn off" if self.cache_type == "f32" else ""
        line += f" --threads {self.threads}" if self.threads else ""
        return [*line.split(), *self.extra]


class LlamaServer(contextlib.AbstractContextManager):
    """A server that answers; `url` is its address, `key` what it wants as bearer token. FileNotFoundError where
    llama-server is not installed; EngineError where it does not start, with the end of its log."""

    def __init__(self, gguf: Path, options: ServerOptions) -> None:
        self.key, program = secrets.token_hex(16), str(programs.find("llama-server"))
        self.headers = {"Authorization": f"Bearer {self.key}"}
        for left in reversed(range(ATTEMPTS)):
            port = _free_port()
            self.url = f"http://{HOST}:{port}"
            command = [program, "--model", str(gguf), "--host", HOST, "--port", str(port), *options.arguments()]
            self._child = programs.Child(command, env={"LLAMA_API_KEY": self.key})
            try:
                if self._loaded(gguf.name, options.timeout, again=left > 0):
                    return
            except BaseException:  # Ctrl-C while loading, too
                self.stop()
                raise

    def _loaded(self, name: str, timeout: float, *, again: bool) -> bool:
        """Wait until the server answers; return False where its port was taken and it may try `again`."""
        end = time.monotonic() + timeout
        with self.client(timeout=5.0) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):  # another server on this port would refuse our key
                    if client.get("/props").status_code == httpx.codes.OK and self._child.alive:
                        return True
                if not self._child.alive:
                    if again and "couldn't bind" in self._child.log_tail():
                        return False
                    raise self.error(f"ended while loading {name}")
                if time.monotonic() > end:
                    raise self.error(f"did not load {name} within {timeout:g} s")
                time.sleep(0.05)

    def client(self, *, timeout: float | None) -> httpx.Client:
        """Return a client of this server; proxies named in the environment are not for the loopback interface."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout, trust_env=False)

    @property
    def resident_bytes(self) -> int:
        """The memory that the server holds now, the mapped part of its file included."""
        return sum(each.memory_info().rss for each in psutil.Process(self._child.pid).children(recursive=True))

    def answers(self) -> bool:
        """Return whether the server still takes connections; a busy one does, one that just died does not."""
        try:
            with self.client(timeout=5.0) as client, contextlib.suppress(httpx.TimeoutException):
                client.get("/health")
        except httpx.TransportError:
            return False
        return self._child.alive

    def error(self, what: str) -> EngineError:
        return EngineError(self._child.failure(f"llama-server {what}"))

    def stop(self) -> None:
        self._child.stop()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@dataclass(frozen=True, kw_only=True)
class Options:
    gguf_dir: Path | None = None  # where converted models are kept; by default in the cache folder
    outtype: str = "f32"  # number format of the converted weights: exact, or "bf16", "f16", "q8_0"
    slots: int | None = None  # responses generated at once; by default as many as memory allows, at most 32
    threads: int | None = None  # CPU threads of a server; by default llama.cpp's choice
    replicas: Annotated[int, Field(ge=1)] = 1  # servers that share the prompts; faster with small models
    context: int | None = None  # tokens of prompt and response together, if fewer than the model allows


class LlamaCppEngine(ChatEngine):
    """A model served by llama.cpp. The server starts with the first prompts, since their length decides its memory."""

    def __init__(self, model: Model, options: Options) -> None:
        super().__init__(model, options)
        gguf_dir = options.gguf_dir or programs.cache_folder() / "gguf"
        self._gguf = to_gguf(model, gguf_dir, outtype=options.outtype)
        exact = options.outtype == "f32" and gguf_file(self._folder) is None  # a GGUF file runs with llama.cpp's cache
        self._cache_type = "f32" if exact else "f16"
        self._servers: list[LlamaServer] = []
        self._context = self._running = 0  # of the server: tokens per slot, slots

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        servers = self._serving(max(len(item.tokens) for item in encoded) + sampling.max_tokens)
        limit = len(servers) * (self._running + WAITING)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=limit, keepalive_expiry=IDLE)
        http = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)

        async def answer(numbered: tuple[int, Encoded]) -> Response:
            place, prompt = numbered
            server = servers[place // TOGETHER % len(servers)]
            asked = {"url": f"{server.url}/completion", "headers": server.headers, "json": request(prompt, sampling)}
            for left in reversed(range(ATTEMPTS)):
                try:
                    answer = await http.post(**asked)
                    break
                except (httpx.NetworkError, httpx.RemoteProtocolError):  # it closed a connection just before this
                    if not (left and server.answers()):
                        raise
            seconds = time.perf_counter() - start
            if answer.status_code != httpx.codes.OK:
                return prompt.failed(f"llama-server answered {answer.status_code}: {answer.text[:300]}", seconds)
            made = answer.json()
            return self._response(prompt, made["tokens"], seconds, stopped=made["stop_type"] == "eos")

        try:
            yield from bounded(enumerate(encoded), answer, limit, http)
        except httpx.TransportError as error:
            dead = next((server for server in servers if not server.answers()), servers[0])
            failure = dead.error("stopped answering")
            self._stop()  # a dying server may still look alive; the next call starts others
            raise failure from error

    def _serving(self, need: int) -> list[LlamaServer]:
        """Return servers whose slots hold `need` tokens; smaller or dead ones are replaced."""
        given = self._options
        whole = len(self._servers) == given.replicas and all(server.answers() for server in self._servers)
        if need > self._context or not whole:
            self._stop()
        if not self._servers:
            itemsize = 4 if self._cache_type == "f32" else 2
            fits = token_budget(text_config(self._folder), itemsize, self._free()) // need // given.replicas
            self._running = given.slots or max(1, min(SLOTS, fits))
            most = given.replicas * (self._running + WAITING)  # all of them may meet at one server
            options = ServerOptions(self._running, need, self._cache_type, given.threads, connections=most)
            for _ in range(given.replicas):
                self._servers.append(LlamaServer(self._gguf, options))
            self._context = need
        return [*self._servers]

    def _free(self) -> int:
        """Return the bytes left where the model will be held: by GPUs once per server, by the host once for all."""
        command = [str(programs.find("llama-server")), "--list-devices"]
        listed = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60.0).stdout
        gpus, weights = sum(map(int, FREE.findall(listed))) * 2**20, self._gguf.stat().st_size
        return gpus - weights * self._options.replicas if gpus else free_bytes() - weights

    def _stop(self) -> None:
        for server in self._servers:
            server.stop()
        self._servers.clear()


def request(prompt: Encoded, sampling: Sampling) -> dict[str, object]:
    """Return the body of a request whose only samplers are temperature, top-k and top-p, in that order."""
    samplers = ("temperature", "top_k", "top_p")
    return {
        "prompt": prompt.tokens.tolist(),
        "n_predict": sampling.max_tokens,
        **{name: getattr(sampling, name) for name in samplers},
        "samplers": samplers,
        "seed": sampling.prompt_seed(prompt.id),
        "return_tokens": True,
        "cache_prompt": True,
        "response_fields": ["tokens", "stop_type"],  # all we read of it; the rest (settings, the prompt again) is large
    }
