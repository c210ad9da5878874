"""One running ``llama-server`` on the loopback interface, with a GGUF file loaded and a key only we know.

Refuses to be left running: see `medpsy.engines.child`. Knows nothing of prompts or sampling.
"""

import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from medpsy.engines import tools
from medpsy.engines.child import Child
from medpsy.engines.errors import EngineError

HOST = "127.0.0.1"
ATTEMPTS = 3  # another program may take the free port before the server does
WARNINGS = "2"  # llama-server's log level: errors and warnings, not four lines per request
GRAIN = 256  # llama.cpp rounds a slot's context up to a multiple of this
ASIDE = 4  # connections of those who ask how the server is


@dataclass(frozen=True)
class ServerOptions:
    """How a server is started.

    Args:
        slots: responses generated at the same time.
        context: tokens of prompt and response that each slot can hold.
        cache_type: number format of keys and values, ``"f32"`` or ``"f16"``; with ``"f32"`` flash attention is off too,
            since its rounding moves logits by about 0.01.
        threads: CPU threads; None leaves it to llama.cpp.
        timeout: seconds that loading may take.
        connections: as many as are left open at once; by default one per slot. Each keeps a thread of the server until
            five seconds after its last request, and with too few threads a request waits for that.
        extra: further arguments of llama-server.
    """

    slots: int
    context: int
    cache_type: str = "f32"
    threads: int | None = None
    timeout: float = 600.0
    connections: int | None = None
    extra: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        context = -(-self.context // GRAIN) * GRAIN
        made = ["--parallel", str(self.slots), "--ctx-size", str(context * self.slots)]
        made += ["--no-kv-unified", "--cache-ram", "0", "--no-webui", "--log-verbosity", WARNINGS]
        made += ["--threads-http", str((self.connections or self.slots) + ASIDE)]
        made += ["--cache-type-k", self.cache_type, "--cache-type-v", self.cache_type]
        made += ["--flash-attn", "off"] if self.cache_type == "f32" else []
        made += ["--threads", str(self.threads)] if self.threads else []
        return [*made, *self.extra]


class LlamaServer:
    """A server that answers; `url` is its address, `key` what it wants as bearer token.

    Raises:
        FileNotFoundError: llama-server is not installed; says how to get it.
        EngineError: it does not start; shows the end of its log.
    """

    def __init__(self, gguf: Path, options: ServerOptions) -> None:
        self.key = secrets.token_hex(16)
        self._gguf, self._options = gguf, options
        program = str(tools.find("llama-server"))
        for attempt in range(ATTEMPTS):
            port = _free_port()
            self.url = f"http://{HOST}:{port}"
            command = [program, "--model", str(gguf), "--host", HOST, "--port", str(port), *options.arguments()]
            self._child = Child(command, env={"LLAMA_API_KEY": self.key})
            try:
                return self._wait()
            except _PortTaken:
                if attempt == ATTEMPTS - 1:
                    raise

    def _wait(self) -> None:
        end = time.monotonic() + self._options.timeout
        try:
            with self.client(timeout=5.0) as client:
                while not self._healthy(client):
                    self._require_alive()
                    if time.monotonic() > end:
                        raise self.error(f"did not load {self._gguf.name} within {self._options.timeout:g} s")
                    time.sleep(0.05)
        except BaseException:  # Ctrl-C while loading, too
            self.stop()
            raise

    def _healthy(self, client: httpx.Client) -> bool:
        """Return whether our server answers: another one on this port would refuse our key."""
        try:
            return client.get("/props").status_code == httpx.codes.OK and self.alive
        except httpx.TransportError:
            return False

    def _require_alive(self) -> None:
        if not self.alive:
            taken = "couldn't bind" in self._child.log_tail()
            raise (_PortTaken if taken else EngineError)(self._text(f"ended while loading {self._gguf.name}"))

    def client(self, *, timeout: float | None) -> httpx.Client:
        """Return a client of this server; proxies named in the environment are not for the loopback interface."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout, trust_env=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def alive(self) -> bool:
        return self._child.alive

    @property
    def resident_bytes(self) -> int:
        """The memory that the server holds now, the mapped part of its file included."""
        import psutil

        return sum(one.memory_info().rss for one in psutil.Process(self._child.pid).children(recursive=True))

    def answers(self) -> bool:
        """Return whether the server still takes connections; a busy one does, one that just died does not."""
        try:
            with self.client(timeout=5.0) as client:
                client.get("/health")
        except httpx.TimeoutException:
            return self.alive
        except httpx.TransportError:
            return False
        return self.alive

    def error(self, what: str) -> EngineError:
        """Return an error that says `what` the server did and shows the end of its log."""
        return EngineError(self._text(what))

    def _text(self, what: str) -> str:
        return f"llama-server {what}; its log ends:\n{self._child.log_tail()}"

    def stop(self) -> None:
        self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _PortTaken(EngineError):
    pass


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
