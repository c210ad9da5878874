"""Choosing a token: by the definition of temperature, top-k and top-p, with one random number per row."""

import pytest
import torch
from medpsy.engines import Sampling
from medpsy.engines.sampling import choose, uniforms
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

LOGITS = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [0.2, 0.9, 1.0])
def test_distribution_is_that_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    sampling = Sampling(1, temperature=temperature, top_p=top_p, top_k=top_k)
    steps = [TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k or 40), TopPLogitsWarper(top_p)]
    expected = LogitsProcessorList(steps)(None, LOGITS.clone()).softmax(-1)
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    for row in range(len(LOGITS)):
        chosen = choose(LOGITS[row].expand(len(grid), -1), grid, sampling)
        found = torch.bincount(chosen, minlength=40) / len(grid)
        assert torch.allclose(found.float(), expected[row], atol=2e-4)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1 - 1e-16])
def test_the_ends_of_the_distribution_are_tokens_too(chance: float) -> None:
    chosen = choose(LOGITS, torch.full((3,), chance, dtype=torch.float64), Sampling(1, temperature=1, top_k=4, top_p=1))
    assert all(token in row.topk(4).indices for token, row in zip(chosen, LOGITS, strict=True))
    if chance == 0:
        assert chosen.tolist() == LOGITS.argmax(-1).tolist()


def test_greedy_takes_the_best_and_half_precision_is_fine() -> None:
    sampling = Sampling(1, temperature=0)
    assert choose(LOGITS.bfloat16(), torch.zeros(3), sampling).tolist() == LOGITS.bfloat16().argmax(-1).tolist()
    assert (
        choose(LOGITS.half(), torch.zeros(3, dtype=torch.float64), Sampling(1)).tolist() == LOGITS.argmax(-1).tolist()
    )


def test_a_row_of_numbers_depends_on_its_seed_only() -> None:
    several = uniforms([5, 6, 7], 10)
    assert torch.equal(uniforms([7], 10)[0], several[2])
    assert torch.equal(uniforms([6], 4)[0], several[1, :4])
    assert ((several >= 0) & (several < 1)).all()
