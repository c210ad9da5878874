"""The engine that needs nothing but torch and transformers: batches of similar length, left padded.

The reference the other engines are checked against. Refuses pickled weights and code that comes with a model.
"""

import gc
import time
from collections.abc import Iterable, Iterator, Sequence

import torch

from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.engines.chat import Chat, Encoded
from medpsy.engines.decoding import Decoding, Job
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import fingerprint
from medpsy.engines.memory import token_budget
from medpsy.engines.session import Session
from medpsy.engines.weights import Model, model_folder, text_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROWS = {"cpu": 64, "cuda": 512}  # ours: more rows gain little and their logits (rows x vocabulary) take memory


class TransformersEngine(Session):
    """A model run by transformers.

    Args:
        device: ``"cpu"`` or ``"cuda:N"``; by default a GPU if there is one.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default bfloat16 on a GPU and float32 on a CPU.
        batch_tokens: tokens (prompts and responses) that a batch may hold; by default what half the memory holds.
        batch_rows: prompts that a batch may hold.
        context: tokens that prompt and response together may have, if fewer than the model allows.
    """

    kind = "transformers"

    def __init__(
        self,
        model: Model,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
        context: int | None = None,
    ) -> None:
        folder = model_folder(model)
        self.fingerprint = fingerprint(model)
        self._chat = Chat(model, folder, context=context)
        self._name = model.name
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = self._device.split(":")[0]
        self._model = _load(folder, dtype or ("float32" if kind == "cpu" else "bfloat16"), self._device)
        itemsize = self._model.dtype.itemsize
        self._budget = batch_tokens or token_budget(text_config(folder), itemsize, self._device)
        self._rows = batch_rows or ROWS.get(kind, ROWS["cpu"])

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Yield responses as they finish; contract in `medpsy.engines.base`.

        Raises:
            EngineError: the engine is closed, or one prompt alone does not fit into memory.
        """
        self._require_open()
        start = time.perf_counter()
        encoded = self._chat.encode(prompts, sampling)
        jobs = [Job(place, item.tokens, sampling.prompt_seed(item.id)) for place, item in enumerate(encoded)]
        return self._answer(encoded, jobs, sampling, start)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Return the pieces of one response while it is written; together they are the text of `generate`."""
        self._require_open()
        (encoded,) = self._chat.encode([prompt], sampling)
        return self._pieces(Job(0, encoded.tokens, sampling.prompt_seed(prompt.id)), sampling)

    def _pieces(self, job: Job, sampling: Sampling) -> Iterator[str]:
        stops = self._chat.stop_ids
        decoding = Decoding(self._model, [job], sampling, stop_ids=stops, pad=min(stops, default=0))
        detokenize = self._chat.detokenizer()
        while decoding.running:
            decoding.step()
            token = decoding.written(0)[-1]
            if token not in stops and (piece := detokenize(token)):
                yield piece

    def _answer(
        self, encoded: Sequence[Encoded], jobs: Sequence[Job], sampling: Sampling, start: float
    ) -> Iterator[Response]:
        waiting = batches(jobs, sampling.max_tokens, tokens=self._budget, rows=self._rows)[::-1]
        while waiting:
            batch, done, fits = waiting.pop(), set(), True
            try:
                for place, tokens in self._decode(batch, sampling):
                    done.add(place)
                    yield self._chat.response(encoded[place], tokens, time.perf_counter() - start)
            except torch.OutOfMemoryError:
                fits = False  # its frames hold the batch's memory, so nothing can be freed before they are gone
            if not fits:
                waiting += self._halved([job for job in batch if job.place not in done])

    def _decode(self, batch: Sequence[Job], sampling: Sampling) -> Iterator[tuple[int, list[int]]]:
        stops = self._chat.stop_ids
        decoding = Decoding(self._model, batch, sampling, stop_ids=stops, pad=min(stops, default=0))
        while decoding.running:
            yield from decoding.step()

    def _halved(self, jobs: Sequence[Job]) -> list[Sequence[Job]]:
        """Return `jobs` as two batches, for batches from now on too, after a batch that was too large for memory."""
        if len(jobs) < 2:
            raise EngineError(
                f"model {self._name!r}: one prompt of {len(jobs[0].tokens)} tokens does not fit into the memory of "
                f"{self._device}; lower max_tokens, use dtype bfloat16 or a larger machine"
            )
        self._rows = half = len(jobs) // 2
        _free()
        return [jobs[half:], jobs[:half]]

    def _require_open(self) -> None:
        if self._model is None:
            raise EngineError(f"model {self._name!r}: the engine is closed; open it again")

    def close(self) -> None:
        self._model = None
        _free()


def batches(jobs: Sequence[Job], max_tokens: int, *, tokens: int, rows: int) -> list[list[Job]]:
    """Return `jobs` in batches of similar length, longest first, so that a budget that is too large shows at once.

    Args:
        tokens: rows x (longest prompt + `max_tokens`) of a batch stay within this; one prompt is always allowed.
        rows: prompts that a batch may hold.
    """
    made: list[list[Job]] = []
    room = 0
    for job in sorted(jobs, key=lambda job: -len(job.tokens)):
        if not made or len(made[-1]) >= room:
            made.append([])
            room = max(1, min(rows, tokens // (len(job.tokens) + max_tokens)))
        made[-1].append(job)
    return made


def _load(folder, dtype: str, device: str):
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[dtype], use_safetensors=True, trust_remote_code=False
    )
    return model.to(device).eval()


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
