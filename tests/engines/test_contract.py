"""One contract, four engines, one real model: what `medpsy.engines.base` promises holds for each of them.

Tolerance: an engine may leave transformers' greedy text only at a token where the two best logits lie closer than
`TIE`; there the order of float32 additions decides.
"""

import math
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import Small
from medpsy.engines import ENGINES, Engine, Prompt, Response, Sampling, fingerprint
from scipy.stats import chisquare
from training_examples import one_thread  # noqa: F401

TIE = 1e-3  # measured: the engines' logits differ by less than 2e-5 in float32
GREEDY = Sampling(max_tokens=32, temperature=0)
SAMPLED = Sampling(max_tokens=48, temperature=1.0, top_p=0.95, top_k=20, seed=11)


def answers(engine: Engine, prompts: list[Prompt], sampling: Sampling) -> dict[str, Response]:
    found = list(engine.generate(prompts, sampling))
    assert Counter(response.prompt_id for response in found) == Counter(prompt.id for prompt in prompts)
    assert [response.error for response in found if response.finish_reason == "failed"] == []
    return {response.prompt_id: response for response in found}


def tied_at(small: Small, prompt: Prompt, tokens: list[int]) -> int | None:
    """Return the place of the first token whose rival is as good, or None."""
    start = small.ids(prompt)
    best = small.logits(start + tokens)[len(start) - 1 : -1].topk(2).values
    return next((at for at, gap in enumerate((best[:, 0] - best[:, 1]).tolist()) if gap < TIE), None)


def comparable(engine: Engine, text: str) -> str:
    """Return `text` as it can be compared: an endpoint parts the reasoning and loses where exactly its tags stood."""
    if engine.kind != "openai":
        return text
    return "".join(text.replace("<think>", "").replace("</think>", "").split())


def test_greedy_text_is_that_of_transformers(engine, small, prompts):
    found = answers(engine, prompts, GREEDY)
    same = 0
    for prompt in prompts:
        tokens, response = small.greedy(prompt, GREEDY.max_tokens), found[prompt.id]
        ended = tokens[-1] == small.tokenizer.eos_token_id
        expected = (comparable(engine, small.text(tokens)), "stop" if ended else "length", len(tokens))
        if (comparable(engine, response.text), response.finish_reason, response.completion_tokens) == expected:
            same += 1
            continue
        tie = tied_at(small, prompt, tokens)
        assert tie is not None, f"{prompt.id}: {response} is not {expected}, and no two tokens were tied"
        assert comparable(engine, response.text).startswith(comparable(engine, small.text(tokens[:tie])))
    assert same >= len(prompts) - 2  # ties are rare


def test_counts_are_those_of_the_models_own_tokenizer(engine, small, prompts):
    found = answers(engine, prompts, replace(GREEDY, max_tokens=3))
    for prompt, one in ((prompt, found[prompt.id]) for prompt in prompts):
        assert one.prompt_tokens == len(small.ids(prompt))
        assert 1 <= one.completion_tokens <= 3
        assert (one.finish_reason == "length") <= (one.completion_tokens == 3)


def test_both_finish_reasons_occur_and_the_end_token_is_no_text(engine, small, prompts):
    found = answers(engine, prompts, replace(SAMPLED, max_tokens=120, temperature=1.5, top_k=0, top_p=1.0))
    short = answers(engine, prompts, replace(SAMPLED, max_tokens=1))
    reasons = [response.finish_reason for response in [*found.values(), *short.values()]]
    assert set(reasons) == {"stop", "length"}
    for response in found.values():
        assert response.finish_reason == "stop" or response.completion_tokens == 120
        assert not response.text.endswith(small.tokenizer.eos_token)


def test_a_text_depends_on_seed_and_prompt_only(engine, prompts):
    found = answers(engine, prompts, SAMPLED)
    again = answers(engine, prompts[::-1], SAMPLED)
    alone = answers(engine, prompts[4:5], SAMPLED)
    assert {key: response.text for key, response in found.items()} == {key: again[key].text for key in found}
    assert alone["p4"].text == found["p4"].text
    twins = [replace(prompts[3], id=name) for name in "abcd"]
    texts = {response.text for response in answers(engine, twins, SAMPLED).values()}
    other = {response.text for response in answers(engine, twins, replace(SAMPLED, seed=12)).values()}
    assert len(texts | other) > len(texts) > 1


def test_many_long_prompts_with_seeds_are_all_answered(engine, small):
    asked = [long_prompt(small, f"long{number}", 100) for number in range(100)]  # more than vLLM reads in one step
    found = answers(engine, asked, Sampling(temperature=1.0, max_tokens=2, seed=1))
    assert len(found) == 100 and {one.finish_reason for one in found.values()} <= {"stop", "length"}


def heat(small: Small, prompt: Prompt) -> float:
    """Return a temperature at which the first token is anybody's guess, or the highest that all engines take."""
    logits = small.logits(small.ids(prompt))[-1]
    return next((heat for heat in (1.0, 1.5) if (logits / heat).softmax(0).max() < 0.4), 2.0)


@pytest.mark.parametrize(("factor", "top_k", "top_p"), [(1.0, 0, 1.0), (1.0, 4, 1.0), (1.0, 0, 0.6), (0.7, 20, 0.95)])
def test_first_tokens_are_distributed_as_sampling_says(engine, small, prompts, factor, top_k, top_p):
    if engine.kind == "openai" and top_k != 4:
        pytest.skip("the order of temperature and top-p, and how half a character looks, is the server's business")
    temperature = factor * heat(small, prompts[0])
    sampling = Sampling(max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, seed=3)
    draws = [replace(prompts[0], id=f"draw{at}") for at in range(400)]
    found = Counter(response.text.lstrip() for response in answers(engine, draws, sampling).values())
    expected = expectation(small, prompts[0], sampling)
    assert set(found) <= set(expected)
    common = [text for text, probability in expected.items() if probability * len(draws) >= 5]  # as chi-square wants
    counts = [found[text] for text in common] + [len(draws) - sum(found[text] for text in common)]
    shares = [expected[text] for text in common]
    shares.append(max(1 - sum(shares), 1e-9))
    assert chisquare(counts, [share / sum(shares) * len(draws) for share in shares]).pvalue > 1e-4


def expectation(small: Small, prompt: Prompt, sampling: Sampling) -> dict[str, float]:
    """Return text -> probability of the first token, by the definition of temperature, top-k and top-p."""
    logits = small.logits(small.ids(prompt))[-1].double() / sampling.temperature
    order = logits.argsort(descending=True)[: sampling.top_k or None]
    share = logits[order].softmax(0)
    kept = share[(share.cumsum(0) - share) < sampling.top_p - 1e-9]
    texts: dict[str, float] = {}
    for token, probability in zip(order.tolist(), (kept / kept.sum()).tolist(), strict=False):
        text = small.text([token]).lstrip()  # an endpoint may take white space at the beginning away
        texts[text] = texts.get(text, 0.0) + probability
    return texts


def test_responses_come_as_they_finish(engine, prompts):
    """Of more prompts than are handled at a time the first response is here before the last has finished, by the clock
    of the engine: on a busy machine both may be late, and none of what others do turns their order round."""
    start, arrived, finished = time.perf_counter(), [], []
    for response in engine.generate(prompts, replace(SAMPLED, max_tokens=100)):
        arrived.append(time.perf_counter() - start)
        finished.append(response.seconds)
        assert 0 < response.seconds <= arrived[-1]
    assert len(arrived) == len(prompts)
    assert arrived[0] < max(finished)


def long_prompt(small: Small, name: str, tokens: int) -> Prompt:
    """Return a prompt of exactly `tokens` tokens."""
    words = tokens
    while True:
        prompt = Prompt(name, ({"role": "user", "content": " ".join(["the"] * words)},))
        over = len(small.ids(prompt)) - tokens
        if over <= 0:
            assert over == 0, "the filler is not one token per word"
            return prompt
        words -= max(1, over // 2)


def test_a_prompt_that_does_not_fit_fails_and_stops_no_other(engine, small, prompts):
    if engine.kind == "openai":
        pytest.skip("an endpoint says itself what fits")
    size = small.context - GREEDY.max_tokens + 2
    found = list(engine.generate(iter([long_prompt(small, "long", size), *prompts]), GREEDY))
    (failed,) = [response for response in found if response.finish_reason == "failed"]
    assert (failed.prompt_id, failed.text, failed.completion_tokens) == ("long", "", 0)
    assert f"{size} tokens" in failed.error
    assert len(found) == len(prompts) + 1
    fits = long_prompt(small, "fits", small.context - 8)  # a full context is used to the last token
    found = answers(engine, [fits], replace(GREEDY, max_tokens=8))["fits"]
    assert found.finish_reason == "stop" or found.completion_tokens == 8


def test_leaving_early_or_by_an_error_leaves_the_engine_usable(engine, prompts):
    expected = answers(engine, prompts[:3], GREEDY)
    responses = engine.generate(prompts, replace(SAMPLED, max_tokens=200))
    next(responses)
    responses.close()
    with pytest.raises(KeyError, match="mine"):
        for _ in engine.generate(prompts, GREEDY):
            raise KeyError("mine")
    found = answers(engine, prompts[:3], GREEDY)
    assert {key: found[key].text for key in found} == {key: expected[key].text for key in expected}


WRONG = [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": math.inf}, {"top_p": 0.0}, {"top_k": -1}]


def test_what_cannot_be_asked_is_refused_at_once(engine, prompts):
    assert list(engine.generate([], GREEDY)) == []
    with pytest.raises(ValueError, match="'p1' is used twice"):
        engine.generate([prompts[1], prompts[1]], GREEDY)
    for wrong in WRONG:
        with pytest.raises(ValueError, match=f"sampling.{next(iter(wrong))} is"):
            engine.generate(prompts[:1], replace(GREEDY, **wrong))
    assert len(answers(engine, prompts[:1], replace(GREEDY, max_tokens=2))) == 1


def test_kind_and_fingerprint_say_who_answers(engine, small):
    assert engine.kind in ENGINES
    assert len(engine.fingerprint) == 64
    assert (engine.fingerprint == fingerprint(small.spec)) == (engine.kind != "openai")
    assert torch.is_inference_mode_enabled() is False
