"""The engine for many GPUs: copies of vLLM under Ray Data, on this machine or on a cluster.

Prompts go to Ray as Parquet files of token ids, and responses come back as they finish; what is held here does not grow
with their number, ids apart. Ray replaces a copy that dies and hands its prompts to others; they draw from the same
seeds. Refuses to import Ray or vLLM into this process.

Ray Data loads the model anew for every call of `generate`: ask for many prompts in one call.
"""

import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.engines.chat import Chat
from medpsy.engines.child import Child, importable
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import fingerprint
from medpsy.engines.ray_prompts import Sent, write_prompts
from medpsy.engines.session import Session
from medpsy.engines.vllm_settings import Settings, require_vllm, sampling_settings
from medpsy.engines.weights import Model, model_folder
from medpsy.provenance import cores

COMMAND = ("-m", "medpsy.engines.ray_worker")
# with the first of them off, Ray takes 127.0.0.1 for its address, whatever the system
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_USE_DATASOURCE_V2": "0",  # which starts a crowd of processes to read the footers of files we know
}


class RayEngine(Session):
    """A model run by vLLM in several processes or on several machines, fed by Ray Data.

    Args:
        replicas: copies of the model that share the prompts.
        tensor_parallel: GPUs that share one copy.
        address: ``"auto"`` or ``"HOST:PORT"`` of a running Ray cluster; all its nodes see the model's folder and
            `scratch`. By default a Ray of its own on this machine, on the loopback interface only.
        scratch: folder for the prompts under way, taken away at the end; needed with `address`.
        batch: prompts that go to a replica together and come back together; a replica that dies loses no others.
        rows: responses that one replica generates at once.
        dtype, context, gpu_memory, kv_gib: of each replica, as in engine ``vllm``.
        threads: on a CPU, threads of each replica; by default its share of the cores.
    """

    kind = "vllm"  # that is who answers

    def __init__(
        self,
        model: Model,
        *,
        replicas: int = 1,
        tensor_parallel: int = 1,
        address: str | None = None,
        scratch: str | None = None,
        batch: int = 16,
        rows: int = 256,
        dtype: str | None = None,
        context: int | None = None,
        gpu_memory: float = 0.9,
        kv_gib: int = 1,
        threads: int | None = None,
    ) -> None:
        require_vllm()
        counts = {"replicas": replicas, "tensor_parallel": tensor_parallel, "batch": batch, "rows": rows}
        for name, number in counts.items():
            if number < 1:
                raise ValueError(f"{name}: {number} is below 1; one is the least")
        if address and not scratch:
            raise ValueError(f"address: {address!r} wants `scratch` too, a folder that all nodes of the cluster see")
        folder = model_folder(model)
        self.fingerprint = fingerprint(model)
        self._chat = Chat(model, folder, context=context)
        self._scratch, self._address = scratch, address
        threads = threads or max(1, cores() // replicas)
        settings = Settings(dtype, self._chat.context, rows, tensor_parallel, gpu_memory, kv_gib, threads)
        self._job = {"model": str(folder), "settings": asdict(settings), "replicas": replicas, "batch": batch}
        self._children: set[Child] = set()  # those under way

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            ValueError: the temperature is higher than vLLM takes.
            EngineError: Ray ended before all responses were there; shows the end of its log.
        """
        start = time.perf_counter()
        folder = tempfile.TemporaryDirectory(prefix="prompts-", dir=self._scratch, ignore_cleanup_errors=True)
        try:
            count = write_prompts(Path(folder.name), self._chat, prompts, sampling)
            given = {"prompts": folder.name, "sampling": sampling_settings(sampling, self._chat.stop_ids)}
        except BaseException:
            folder.cleanup()
            raise
        return self._answer(folder, {**self._job, **given}, count, start)

    def _answer(self, folder: tempfile.TemporaryDirectory, job: dict, count: int, start: float) -> Iterator[Response]:
        with folder:
            if count:
                yield from self._read(job, count, start)

    def _read(self, job: dict, count: int, start: float) -> Iterator[Response]:
        child = self._started(job)
        try:
            for line in child.stdout:
                yield self._response(json.loads(line), job["sampling"]["max_tokens"], time.perf_counter() - start)
                count -= 1
            if count:
                raise EngineError(f"Ray ended before {count} responses were there; its log ends:\n{child.log_tail()}")
        finally:
            self._children.discard(child)
            child.stop()

    def _started(self, job: dict) -> Child:
        child = Child((sys.executable, *COMMAND), env=environment(self._address), talk=True)
        self._children.add(child)
        with contextlib.suppress(OSError):  # it ended already: its log says why
            child.stdin.write(json.dumps({**job, "address": self._address}).encode() + b"\n")
            child.stdin.flush()
        return child

    def _response(self, answer: dict, max_tokens: int, seconds: float) -> Response:
        if answer["error"]:
            return Response(answer["id"], "", "failed", answer["size"], 0, seconds, answer["error"])
        made = answer["made"]
        return self._chat.response(Sent(answer["id"], answer["size"]), made, seconds, stopped=len(made) < max_tokens)

    def close(self) -> None:
        for child in list(self._children):
            child.stop()


def environment(address: str | None) -> dict[str, str]:
    """Return the environment of Ray's process; a Ray of its own listens on loopback only, to who has its secret."""
    own = {**LOOPBACK, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**importable(), **QUIET, **({} if address else own)}
