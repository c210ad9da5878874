"""The engine of transformers: batches turn many prompts into one, and nobody can tell from a text who was in it."""

from dataclasses import replace

import pytest
import torch
from medpsy.engines import EngineError, Sampling, open_engine
from medpsy.engines.local import Decoding, Job, batches, choose, uniforms
from medpsy.study import ModelSpec
from tiny_models import ARCHITECTURES, save_tiny
from training_examples import one_thread  # noqa: F401
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

SAMPLED = Sampling(max_tokens=24, temperature=1.2, top_p=0.95, top_k=20, seed=4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_does_not_depend_on_its_batch(architecture, prompts, tmp_path):
    spec = ModelSpec(architecture, str(save_tiny(tmp_path / "model", architecture)))
    with (
        open_engine("transformers", spec, batch_rows=6) as many,
        open_engine("transformers", spec, batch_rows=1) as one,
    ):
        for sampling in (SAMPLED, replace(SAMPLED, temperature=0)):
            together = {response.prompt_id: response.text for response in many.generate(prompts[:6], sampling)}
            alone = {response.prompt_id: response.text for response in one.generate(prompts[:6], sampling)}
            assert together == alone


def test_batches():
    for lengths, tokens, rows, expected in (
        ([5, 9, 7, 1], 1000, 2, [[9, 7], [5, 1]]),  # longest first, neighbours of similar length
        ([30, 2, 2, 2], 44, 9, [[30], [2, 2, 2]]),  # 30 + 10 tokens leave no room; 3 x (2 + 10) do
        ([500, 3], 100, 4, [[500], [3]]),  # one prompt is always allowed
    ):
        jobs = [Job(place, [1] * length, 0) for place, length in enumerate(lengths)]
        found = batches(jobs, 10, tokens=tokens, rows=rows)
        assert [[len(job.tokens) for job in batch] for batch in found] == expected
        assert sorted(job.place for batch in found for job in batch) == list(range(len(lengths)))


def test_rows_that_ended_are_not_computed_on(tiny, prompts, monkeypatch):
    widths = []
    forward = Decoding._forward
    monkeypatch.setattr(Decoding, "_forward", lambda self: widths.append(len(self._next)) or forward(self))
    with open_engine("transformers", tiny) as engine:
        found = list(engine.generate(prompts, replace(SAMPLED, max_tokens=150, temperature=2.0, top_k=0, top_p=1)))
    needed = sum(response.completion_tokens for response in found)
    assert needed <= sum(widths) < 1.4 * needed  # at most a third of the rows of a step have ended
    assert widths[0] == len(prompts) > widths[-1]


def test_a_batch_too_large_for_memory_is_halved_and_a_single_prompt_too_large_is_named(tiny, prompts, monkeypatch):
    room, step, sizes = [3], Decoding.step, []

    def bounded(self: Decoding) -> list:
        if self._count > 1 and len(self._next) > room[0]:  # the batch has begun, and some of it may have ended
            raise torch.OutOfMemoryError
        sizes.append(len(self._next))
        return step(self)

    with open_engine("transformers", tiny) as engine:
        expected = {one.prompt_id: one.text for one in engine.generate(prompts, SAMPLED)}
        monkeypatch.setattr(Decoding, "step", bounded)
        assert {one.prompt_id: one.text for one in engine.generate(prompts, SAMPLED)} == expected
        sizes.clear()
        list(engine.generate(prompts, SAMPLED))
        assert max(sizes) == 3  # what is known of the memory holds for later calls
        room[0] = 0
        with pytest.raises(EngineError, match="'tiny': one prompt of .* does not fit .* lower max_tokens, use dtype"):
            list(engine.generate(prompts[:2], SAMPLED))


def test_the_number_format_is_the_one_asked_for(tiny):
    for dtype, expected in ((None, torch.float32), ("bfloat16", torch.bfloat16)):
        with open_engine("transformers", tiny, dtype=dtype, device="cpu") as engine:
            assert engine._model.dtype == expected
    with pytest.raises(ValueError, match="dtype: 'fp8' must be 'float32'"):
        open_engine("transformers", tiny, dtype="fp8")


LOGITS = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [0.2, 0.9, 1.0])
def test_distribution_is_that_of_transformers(temperature, top_k, top_p):
    sampling = Sampling(1, temperature=temperature, top_p=top_p, top_k=top_k)
    steps = [TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k or 40), TopPLogitsWarper(top_p)]
    expected = LogitsProcessorList(steps)(None, LOGITS.clone()).softmax(-1)
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    for row in range(len(LOGITS)):
        chosen = choose(LOGITS[row].expand(len(grid), -1), grid, sampling)
        found = torch.bincount(chosen, minlength=40) / len(grid)
        assert torch.allclose(found.float(), expected[row], atol=2e-4)


def test_a_row_of_numbers_depends_on_its_seed_only():
    several = uniforms([5, 6, 7], 10)
    assert torch.equal(uniforms([7], 10)[0], several[2])
    assert torch.equal(uniforms([6], 4)[0], several[1, :4])
    assert ((several >= 0) & (several < 1)).all()


def test_the_ends_of_the_distribution_are_tokens_too_and_greedy_takes_the_best():
    best, zeros = LOGITS.argmax(-1).tolist(), torch.zeros(3, dtype=torch.float64)
    last = choose(LOGITS, zeros + 1 - 1e-16, Sampling(1, temperature=1, top_k=4, top_p=1))
    assert all(token in row.topk(4).indices for token, row in zip(last, LOGITS, strict=True))
    assert choose(LOGITS.half(), zeros, Sampling(1)).tolist() == best
    assert choose(LOGITS.half(), zeros + 0.9, Sampling(1, temperature=0)).tolist() == best
