"""The process in which Ray Data runs: ``python -m medpsy.engines.ray_worker``, one JSON object in, many out.

In: ``{"prompts": FOLDER, "model": FOLDER, "address": null, "replicas": 2, "batch": 16, "settings": {...},
"sampling": {...}}``. Out: ``{"id": ..., "size": 12, "made": [tokens], "error": ""}`` as batches finish.

A process of its own, since Ray is one per process and its vLLM stage imports vLLM. It ends, with all that Ray started,
when its input does. Refuses to queue or schedule anything itself: Ray Data streams, holds back and retries.
"""

import contextlib
import json
import math
import os
import select
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import psutil

from medpsy.engines.vllm_settings import Settings
from medpsy.engines.vllm_worker import private_output
from medpsy.folders import socket_folder

STORE = 2**29  # ours: bytes of a local Ray's shared memory; what does not fit waits or goes to disk
OF_TEXT = ("chat_template_stage", "tokenize_stage", "detokenize_stage", "prepare_multimodal_stage")
POLL = 0.2  # seconds between two looks at the driver
PATIENCE = 5.0  # seconds that processes have to end after Ray
SPARE = 2  # CPUs of a local Ray beside those of the replicas, to read files; Ray only counts, it binds nobody


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
        end(started, PATIENCE)  # vLLM's own processes, say


def end(processes: list[psutil.Process], patience: float) -> None:
    """Wait `patience` seconds for `processes` to end, then kill those that are left."""
    for process in psutil.wait_procs(processes, patience)[1]:
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

    settings, replicas, batch = Settings(**job["settings"]), job["replicas"], job["batch"]
    require(gpus, replicas, settings.tensor_parallel)
    return vLLMEngineProcessorConfig(
        model_source=job["model"],
        engine_kwargs=settings.arguments(gpu=bool(gpus)),
        batch_size=batch,
        concurrency=(replicas, replicas),
        max_concurrent_batches=math.ceil(2 * settings.rows / batch),  # full, even while batches wait for their last row
        should_continue_on_error=True,
        log_engine_metrics=False,
        placement_group_config=None if gpus else {"bundles": [{"CPU": 1}]},
        runtime_env={"env_vars": settings.environment(gpu=bool(gpus))},
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

    prompts = ray.data.read_parquet(job["prompts"]).repartition(target_num_rows_per_block=job["batch"])
    for block in generate(prompts).map(_answer).iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from block.to_pylist()


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    error = row["__inference_error__"]
    made = [] if error else [int(token) for token in row["generated_tokens"]]
    return {"id": row["id"], "size": int(row["size"]), "made": made, "error": error}


def watch(driver: int) -> None:
    """Return when the process `driver` has ended; at the end of standard input, end it and all that it started."""
    while not os.waitpid(driver, os.WNOHANG)[0]:
        readable, _, _ = select.select([sys.stdin], [], [], POLL)
        if readable and not os.read(sys.stdin.fileno(), 1):
            end(psutil.Process().children(recursive=True), 0)
            return


def drive(job: dict[str, Any], folder: str, output: IO[str]) -> None:
    with cluster(job["address"], job["replicas"], folder) as gpus:
        for answer in answers(job, generator(job, gpus)):
            output.write(json.dumps(answer) + "\n")
            output.flush()


def main() -> None:
    """Let a second process drive Ray, which may end it at any time; this one clears up behind it."""
    output, job = private_output(), json.loads(sys.stdin.readline())
    with socket_folder("ray-") as folder:
        if not (driver := os.fork()):  # before there is a thread
            return drive(job, folder, output)
        try:
            watch(driver)
        finally:
            shutil.rmtree(job["prompts"], ignore_errors=True)  # whoever asked may have been killed


if __name__ == "__main__":
    main()
