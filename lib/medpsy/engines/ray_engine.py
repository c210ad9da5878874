"""The engine for many GPUs: copies of vLLM under Ray Data, on this machine or on a cluster.

Prompts go to Ray as Parquet files of token ids, and responses come back as they finish. Ray Data streams, holds back
and retries: it replaces a copy that dies and hands its prompts to others, which draw from the same seeds. It loads the
model anew for every call of `generate`: ask for many prompts in one call.

Ray is one per process and its vLLM stage imports vLLM, so it runs in a process of its own, this module run as
``python -m medpsy.engines.ray_engine``: one JSON object in, many out; when its input ends it ends with all that Ray
started. In: ``{"prompts": FOLDER, "model": FOLDER, "options": {...}, "sampling": {...}}``. Out: ``{"id": ...,
"size": 12, "made": [tokens], "error": ""}`` as batches finish.
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from medpsy.engines import vllm_engine
from medpsy.engines.base import EngineError, Response, Sampling
from medpsy.engines.chat import CHUNK, Encoded
from medpsy.engines.models import Model
from medpsy.engines.programs import Child, importable, replies
from medpsy.engines.vllm_engine import sampling_settings
from medpsy.files import socket_folder
from medpsy.provenance import cores

COMMAND = ("-m", "medpsy.engines.ray_engine")
# with the first of them off, Ray takes 127.0.0.1 for its address, whatever the system
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_USE_DATASOURCE_V2": "0",  # which starts a crowd of processes to read the footers of files we know
}
STORE = 2**29  # ours: bytes of a local Ray's shared memory; what does not fit waits or goes to disk
OF_TEXT = ("chat_template_stage", "tokenize_stage", "detokenize_stage", "prepare_multimodal_stage")
PATIENCE = 5.0  # seconds that processes have to end after Ray
SPARE = 2  # CPUs of a local Ray beside those of the replicas, to read files; Ray only counts, it binds nobody


@dataclass(frozen=True, kw_only=True)
class Options(vllm_engine.Options):
    """How replicas of a model are fed; what is not named here is that of each replica, as in engine ``vllm``.

    Args:
        replicas: copies of the model that share the prompts.
        address: ``"auto"`` or ``"HOST:PORT"`` of a running Ray cluster; all its nodes see the model's folder and
            `scratch`. By default a Ray of its own on this machine, on the loopback interface only.
        scratch: folder for the prompts under way, taken away at the end; needed with `address`.
        batch: prompts that go to a replica together and come back together; a replica that dies loses no others.
        rows: responses that one replica generates at once.
        threads: on a CPU, threads of each replica; by default its share of the cores.
    """

    replicas: int = 1
    address: str | None = None
    scratch: str | None = None
    batch: int = 16
    rows: int = 256

    def __post_init__(self) -> None:
        for name in ("replicas", "tensor_parallel", "batch", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1; one is the least")
        if self.address and not self.scratch:
            raise ValueError(
                f"address: {self.address!r} wants `scratch` too, a folder that all nodes of the cluster see"
            )


class RayEngine(vllm_engine.VllmEngine):
    """A model run by vLLM in several processes or on several machines; `options` are those of `Options`."""

    Options = Options

    def __init__(self, model: Model, **options: Any) -> None:
        super().__init__(model, **options)
        given = self._options
        settled = {"context": self._chat.context, "threads": given.threads or max(1, cores() // given.replicas)}
        self._job = {"model": str(self._folder), "options": asdict(given) | settled}

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        scratch, waiting = self._options.scratch, len(encoded)
        with tempfile.TemporaryDirectory(prefix="prompts-", dir=scratch, ignore_cleanup_errors=True) as folder:
            write_prompts(Path(folder), encoded, sampling)
            asked = {"prompts": folder, "sampling": sampling_settings(sampling, self._chat.stop_ids)}
            command, env = (sys.executable, *COMMAND), environment(self._options.address)
            self._child = child = Child(command, env=env, talk=True)
            try:
                with contextlib.suppress(OSError):  # it ended already: its log says why
                    child.send([{**self._job, **asked}])
                for line in child.stdout:
                    yield self._response(json.loads(line), sampling.max_tokens, time.perf_counter() - start)
                    waiting -= 1
                if waiting:
                    raise EngineError(child.failure(f"Ray ended before {waiting} responses were there"))
            finally:
                child.stop()

    def _response(self, answer: dict, max_tokens: int, seconds: float) -> Response:
        if answer["error"]:
            return Response(answer["id"], "", "failed", answer["size"], 0, seconds, answer["error"])
        made = answer["made"]
        return self._chat.response(answer["id"], answer["size"], made, seconds, stopped=len(made) < max_tokens)


def environment(address: str | None) -> dict[str, str]:
    """Return the environment of Ray's process; a Ray of its own listens on loopback only, to who has its secret."""
    own = {**LOOPBACK, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**importable(), **QUIET, **({} if address else own)}


def write_prompts(folder: Path, prompts: Sequence[Encoded], sampling: Sampling) -> None:
    """Write `prompts` to `folder`, `CHUNK` to a file.

    Columns: ``id``, ``size`` (tokens), ``tokenized_prompt`` (as Ray's vLLM stage calls it) and ``seed``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for start in range(0, len(prompts), CHUNK):
        chunk = prompts[start : start + CHUNK]
        columns = {
            "id": pa.array([prompt.id for prompt in chunk], pa.string()),
            "size": pa.array([prompt.size for prompt in chunk], pa.int64()),
            "tokenized_prompt": pa.array([prompt.tokens.tolist() for prompt in chunk], pa.list_(pa.int32())),
            "seed": pa.array([sampling.prompt_seed(prompt.id) for prompt in chunk], pa.int64()),
        }
        pq.write_table(pa.table(columns), folder / f"{start:09}.parquet", compression="zstd")


@contextlib.contextmanager
def cluster(address: str | None, replicas: int, folder: str) -> Iterator[int]:
    """Join the Ray at `address`, or start one on this machine and end it afterwards; yields its number of GPUs.

    Args:
        folder: for the files of a Ray of our own.
    """
    import ray

    alone = {"num_cpus": replicas + SPARE, "object_store_memory": STORE, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, **({} if address else {**alone, "_temp_dir": folder}))
        yield int(ray.cluster_resources().get("GPU", 0))
    finally:
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        end(psutil.wait_procs(started, PATIENCE)[1])  # vLLM's own processes, say


def end(processes: list[psutil.Process]) -> None:
    """Kill `processes` and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, PATIENCE)


def generator(job: dict[str, Any], gpus: int) -> Callable[[Any], Any]:
    """Return what turns a data set of prompts into one with generated tokens: vLLM, `replicas` times."""
    from ray.data.llm import build_processor

    sampling = {**job["sampling"], "detokenize": False}
    given = {"preprocess": lambda row: {"sampling_params": {**sampling, "seed": row["seed"]}}}
    return build_processor(configuration(job, gpus), **given)


def configuration(job: dict[str, Any], gpus: int) -> Any:
    """Return the configuration of Ray's vLLM processor; text stays out of it: that is `medpsy.engines.chat`'s work."""
    from ray.data.llm import vLLMEngineProcessorConfig

    options = Options(**job["options"])
    require(gpus, options.replicas, options.tensor_parallel)
    return vLLMEngineProcessorConfig(
        model_source=job["model"],
        engine_kwargs=options.arguments(gpu=bool(gpus)),
        batch_size=options.batch,
        concurrency=(options.replicas, options.replicas),
        max_concurrent_batches=math.ceil(2 * options.rows / options.batch),  # full, even while a batch ends
        should_continue_on_error=True,
        log_engine_metrics=False,
        placement_group_config=None if gpus else {"bundles": [{"CPU": 1}]},
        runtime_env={"env_vars": options.environment(gpu=bool(gpus))},
        **dict.fromkeys(OF_TEXT, False),
    )


def require(gpus: int, replicas: int, tensor_parallel: int) -> None:
    """End with a message where there are GPUs, but too few; without any, a model runs on the CPU."""
    wanted = replicas * tensor_parallel
    if wanted > gpus and (gpus or tensor_parallel > 1):
        sys.exit(f"replicas {replicas} x tensor_parallel {tensor_parallel} want {wanted} GPUs; Ray has {gpus}")


def answers(job: dict[str, Any], generate: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
    """Yield one answer per prompt as their batches finish."""
    import ray

    prompts = ray.data.read_parquet(job["prompts"]).repartition(target_num_rows_per_block=job["options"]["batch"])
    for block in generate(prompts).map(_answer).iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from block.to_pylist()


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    error = row["__inference_error__"]
    made = [] if error else [int(token) for token in row["generated_tokens"]]
    return {"id": row["id"], "size": int(row["size"]), "made": made, "error": error}


def clear_up(*folders: str) -> None:
    """At the end of standard input, end all that this process started, remove `folders` and end itself: whoever asked
    may have been killed.
    """
    os.read(sys.stdin.fileno(), 1)  # no method of `sys.stdin`, whose lock this thread would hold when Python ends
    end(psutil.Process().children(recursive=True))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> None:
    reply, job = replies(), json.loads(sys.stdin.readline())
    with socket_folder("ray-") as folder:
        threading.Thread(target=clear_up, args=(folder, job["prompts"]), daemon=True).start()
        with cluster(job["options"]["address"], job["options"]["replicas"], folder) as gpus:
            for answer in answers(job, generator(job, gpus)):
                reply(answer)


if __name__ == "__main__":
    main()
