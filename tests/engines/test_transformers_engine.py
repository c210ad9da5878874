"""Batches of the transformers engine: what goes into one, and that nobody can tell from a text who was in it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medpsy.engines import EngineError, Prompt, Sampling, open_engine, transformers_engine
from medpsy.engines.decoding import Decoding, Job
from medpsy.engines.transformers_engine import batches
from tiny_models import ARCHITECTURES, Spec, save_tiny

SAMPLED = Sampling(max_tokens=24, temperature=1.2, top_p=0.95, top_k=20, seed=4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_does_not_depend_on_its_batch(architecture: str, prompts: list[Prompt], tmp_path: Path) -> None:
    spec = Spec(architecture, architecture, save_tiny(tmp_path / "model", architecture))
    with (
        open_engine("transformers", spec, batch_rows=6) as many,
        open_engine("transformers", spec, batch_rows=1) as one,
    ):
        for sampling in (SAMPLED, replace(SAMPLED, temperature=0)):
            together = {response.prompt_id: response.text for response in many.generate(prompts[:6], sampling)}
            alone = {response.prompt_id: response.text for response in one.generate(prompts[:6], sampling)}
            assert together == alone


@pytest.mark.parametrize(
    ("lengths", "tokens", "rows", "expected"),
    [
        ([], 100, 4, []),
        ([5, 9, 7, 1], 1000, 2, [[9, 7], [5, 1]]),  # longest first, neighbours of similar length
        ([30, 2, 2, 2], 44, 9, [[30], [2, 2, 2]]),  # 30 + 10 tokens leave no room; 3 x (2 + 10) do
        ([500, 3], 100, 4, [[500], [3]]),  # one prompt is always allowed
        ([4] * 5, 28, 64, [[4, 4], [4, 4], [4]]),
    ],
)
def test_batches(lengths: list[int], tokens: int, rows: int, expected: list[list[int]]) -> None:
    jobs = [Job(place, [1] * length, 0) for place, length in enumerate(lengths)]
    found = batches(jobs, 10, tokens=tokens, rows=rows)
    assert [[len(job.tokens) for job in batch] for batch in found] == expected
    assert sorted(job.place for batch in found for job in batch) == list(range(len(lengths)))


def test_rows_that_ended_are_not_computed_on(
    tiny: Spec, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    forward = Decoding._forward
    monkeypatch.setattr(Decoding, "_forward", lambda self: widths.append(len(self._next)) or forward(self))
    with open_engine("transformers", tiny) as engine:
        found = list(engine.generate(prompts, replace(SAMPLED, max_tokens=150, temperature=2.0, top_k=0, top_p=1)))
    needed = sum(response.completion_tokens for response in found)
    assert needed <= sum(widths) < 1.4 * needed  # at most a third of the rows of a step have ended
    assert widths[0] == len(prompts) > widths[-1]


def test_a_batch_too_large_for_memory_is_halved(
    tiny: Spec, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, sizes = Decoding.step, []

    def limited(self: Decoding) -> list:
        sizes.append(len(self._running))
        if len(self._running) > 3 and self._count == 5:
            raise torch.OutOfMemoryError("as if the GPU were full")
        return step(self)

    with open_engine("transformers", tiny) as engine:
        expected = {response.prompt_id: response.text for response in engine.generate(prompts, SAMPLED)}
        monkeypatch.setattr(Decoding, "step", limited)
        found = [(response.prompt_id, response.text) for response in engine.generate(prompts, SAMPLED)]
    assert len(found) == len(prompts)
    assert dict(found) == expected
    assert sizes[0] == 12 and max(sizes[-10:]) <= 3


def test_one_prompt_too_large_for_memory_is_an_error_that_says_what_to_do(
    tiny: Spec, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Decoding) -> list:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Decoding, "step", full)
    with open_engine("transformers", tiny) as engine, pytest.raises(EngineError, match="'tiny'.*lower max_tokens"):
        list(engine.generate(prompts[:2], SAMPLED))


def test_a_closed_engine_says_so(tiny: Spec, prompts: list[Prompt]) -> None:
    engine = open_engine("transformers", tiny)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate(prompts, SAMPLED)


@pytest.mark.parametrize(("dtype", "expected"), [(None, torch.float32), ("bfloat16", torch.bfloat16)])
def test_number_format(tiny: Spec, dtype: str | None, expected: torch.dtype) -> None:
    with open_engine("transformers", tiny, dtype=dtype, device="cpu") as engine:
        assert engine._model.dtype == expected


def test_an_unknown_number_format_is_refused(tiny: Spec) -> None:
    with pytest.raises(ValueError, match="'fp8' is unknown; choose one of float32"):
        open_engine("transformers", tiny, dtype="fp8")


def test_code_and_pickles_of_a_model_are_never_asked_for(tiny: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def watched(folder: Path, **given: object) -> object:
        asked.update(given)
        raise InterruptedError

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", watched)
    with pytest.raises(InterruptedError):
        transformers_engine._load(tiny.folder, "float32", "cpu")
    assert asked["trust_remote_code"] is False and asked["use_safetensors"] is True
