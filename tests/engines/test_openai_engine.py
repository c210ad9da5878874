"""The openai engine against an endpoint that misbehaves: retries, limits, refusals, and a key that stays secret."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from medpsy.engines import Engine, EngineError, Prompt, PromptTooLong, Response, Sampling, open_engine
from stub_endpoint import Reply, Stub, completion, serving
from tiny_models import Spec

SECRET = "sk-very-secret-key-0123456789"
SAMPLING = Sampling(max_tokens=9, temperature=0.5, top_p=0.8, top_k=7, seed=3)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def ask(count: int) -> list[Prompt]:
    return [Prompt(f"p{at}", ({"role": "user", "content": f"question {at}"},)) for at in range(count)]


def opened(url: str, **options: Any) -> Engine:
    return open_engine("openai", Spec("far", "big", base_url=url), **{"retries": 2, "timeout": 5.0, **options})


def answered(stub: Stub, count: int = 1, sampling: Sampling = SAMPLING, **options: Any) -> dict[str, Response]:
    with serving(stub) as url, opened(url, **options) as engine:
        return {response.prompt_id: response for response in engine.generate(ask(count), sampling)}


@pytest.mark.parametrize(
    ("body", "text", "finish"),
    [
        (completion("The answer is B."), "The answer is B.", "stop"),
        (completion("cut", "length"), "cut", "length"),
        (completion("B", reasoning_content="It is B."), "<think>\nIt is B.\n</think>\nB", "stop"),
        (completion("B", reasoning="It is B."), "<think>\nIt is B.\n</think>\nB", "stop"),
        (completion("B", reasoning_content="", reasoning=None), "B", "stop"),
        (completion("B", reasoning={"effort": "high"}), "B", "stop"),  # settings, not text
        (completion("", "length", reasoning_content="It may"), "<think>\nIt may", "length"),  # cut off while reasoning
        (completion(None, "length", reasoning_content="It may"), "<think>\nIt may", "length"),
        (completion("", "stop", reasoning_content="Done."), "<think>\nDone.\n</think>\n", "stop"),
        (completion("<think>\nraw</think>B"), "<think>\nraw</think>B", "stop"),
        (completion(None), "", "stop"),
        (completion("half", "max_tokens"), "half", "length"),
        (completion("whole", "eos"), "whole", "stop"),
    ],
)
def test_answers_become_responses(body: dict, text: str, finish: str) -> None:
    found = answered(Stub(lambda *_: (200, body)))["p0"]
    assert (found.text, found.finish_reason, found.error) == (text, finish, None)
    assert (found.prompt_tokens, found.completion_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (completion("", "content_filter"), "'content_filter'"),
        (completion("", None), "None"),
        ({**completion(), "choices": []}, "holds no choices"),
        ({"unexpected": True}, "holds no choices"),
        ("<html>a page</html>", "holds no choices|Expecting value"),
    ],
)
def test_answers_that_are_none_fail_alone(body: dict | str, error: str) -> None:
    stub = Stub(lambda asked, _: (200, body if asked["messages"][0]["content"] == "question 0" else completion()))
    found = answered(stub, 2)
    assert found["p0"].finish_reason == "failed"
    assert any(part in found["p0"].error for part in error.split("|"))
    assert found["p1"].text == "A"


def test_missing_counts_are_zero() -> None:
    found = answered(Stub(lambda *_: (200, {**completion(), "usage": None})))["p0"]
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("A", 0, 0)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    stub = Stub(lambda _, times: (status, "busy") if times < 3 else (200, completion()))
    assert answered(stub)["p0"].text == "A"
    assert len(stub.asked) == 3


def test_a_prompt_that_keeps_failing_fails_alone() -> None:
    stub = Stub(
        lambda body, _: (500, "broken") if body["messages"][0]["content"] == "question 1" else (200, completion())
    )
    found = answered(stub, 4)
    assert [found[name].finish_reason for name in ("p0", "p1", "p2", "p3")] == ["stop", "failed", "stop", "stop"]
    assert "500" in found["p1"].error and found["p1"].text == ""
    assert len(stub.asked) == 3 + 3  # two retries of one prompt


def test_a_refusal_is_not_tried_again() -> None:
    stub = Stub(lambda *_: (400, {"error": {"message": "no such parameter"}}))
    found = answered(stub)["p0"]
    assert found.finish_reason == "failed" and "no such parameter" in found.error
    assert len(stub.asked) == 1


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    stub = Stub(lambda *_: (200, completion()), pause=2.0)
    found = answered(stub, timeout=0.2, retries=1)["p0"]
    assert found.finish_reason == "failed" and "timed out" in found.error.lower()
    assert len(stub.asked) == 2


@pytest.mark.parametrize("concurrency", [1, 4])
def test_never_more_requests_at_once_than_allowed(concurrency: int) -> None:
    stub = Stub(lambda *_: (200, completion()), pause=0.05)
    assert len(answered(stub, 12, concurrency=concurrency)) == 12
    assert stub.most == concurrency


def test_what_is_sent() -> None:
    stub = Stub(lambda *_: (200, completion()))
    spec = Spec("far", "big", chat_template_kwargs={"enable_thinking": True})
    with serving(stub) as url:
        for extended in (True, False):
            with open_engine("openai", replace(spec, base_url=url), extended=extended) as engine:
                list(engine.generate(ask(1), SAMPLING))
    common = {
        "model": "big",
        "messages": [{"role": "user", "content": "question 0"}],
        "temperature": 0.5,
        "top_p": 0.8,
        "seed": SAMPLING.prompt_seed("p0"),
    }
    more = {"max_tokens": 9, "top_k": 7, "min_p": 0.0, "chat_template_kwargs": {"enable_thinking": True}}
    assert stub.asked == [{**common, **more}, {**common, "max_completion_tokens": 9}]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_name_ends_the_run(status: int) -> None:
    stub = Stub(lambda *_: (status, {"error": {"message": f"unknown {SECRET}"}}))
    with pytest.raises(
        EngineError, match="'far'.*refuses key or model name 'big'.*OPENAI_API_KEY, which is set"
    ) as caught:
        answered(stub, 50, concurrency=2)
    assert len(stub.asked) < 6
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_shows_when_the_engine_is_opened(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    missing = pytest.raises(EngineError, match="environment variable OPENAI_API_KEY, which is not set")
    with serving(Stub(lambda *_: (200, completion()), models=status)) as url, missing:
        opened(url)


@pytest.mark.parametrize("status", [404, 405, 500])
def test_an_endpoint_without_a_list_of_models_will_do(status: int) -> None:
    assert answered(Stub(lambda *_: (200, completion()), models=status))["p0"].text == "A"


def test_nobody_at_the_address_shows_when_the_engine_is_opened() -> None:
    with serving(Stub(lambda *_: (200, completion()))) as url:
        pass
    with pytest.raises(EngineError, match="'far': the endpoint http://127.0.0.1.* cannot be reached.*correct base_url"):
        opened(url)


def test_an_endpoint_that_is_gone_ends_the_run() -> None:
    with serving(Stub(lambda *_: (200, completion()))) as url:
        engine = opened(url, concurrency=2, retries=0)
    found = []
    with pytest.raises(EngineError, match="cannot be reached"):
        found += engine.generate(ask(500), SAMPLING)
    assert len(found) < 10


def too_long(message: str, status: int = 400) -> Callable[[dict, int], Reply]:
    return lambda body, _: (status, {"error": {"message": message}}) if len(str(body)) > 900 else (200, completion())


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("This model's maximum context length is 512 tokens", 400),
        ("exceed_context_size_error: the request exceeds the available context size", 400),
        ("context_length_exceeded", 422),
        ("payload too large", 413),
    ],
)
def test_a_prompt_that_the_endpoint_finds_too_long_ends_the_run_at_once(message: str, status: int) -> None:
    long = Prompt("long", ({"role": "user", "content": "the " * 300},))
    stub = Stub(too_long(message, status))
    refused = pytest.raises(PromptTooLong, match="'far': the endpoint refuses prompt 'long'.*lower max_tokens")
    with serving(stub) as url, opened(url, concurrency=1) as engine, refused:
        list(engine.generate([*ask(20), long], SAMPLING))
    assert len(stub.asked) == 1  # the longest was sent first


def test_with_a_tokenizer_nothing_is_sent_when_a_prompt_is_too_long(tiny: Spec) -> None:
    stub = Stub(lambda *_: (200, completion()))
    long = Prompt("long", ({"role": "user", "content": "the " * 40},))
    refused = pytest.raises(PromptTooLong, match="context holds 40")
    with serving(stub) as url, opened(url, tokenizer=str(tiny.folder), context=40) as engine, refused:
        engine.generate([*ask(2), long], SAMPLING)
    assert stub.asked == []


def test_a_context_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="option context: tokens are counted with a tokenizer"):
        opened("http://127.0.0.1:1/v1", context=100)


def test_the_key_goes_into_the_request_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stub = Stub(lambda *_: (400, {"error": {"message": f"what is {SECRET}?"}}))
    with serving(stub) as url, opened(url) as engine:
        (found,) = engine.generate(ask(1), SAMPLING)
        seen = f"{found} {engine!r} {vars(engine)} {caplog.text}"
    assert stub.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert "what is [key]?" in found.error
    assert SECRET not in seen


def test_another_variable_may_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "other-secret")
    stub = Stub(lambda *_: (200, completion()))
    answered(stub, key_env="OTHER_KEY")
    assert stub.headers[0]["authorization"] == "Bearer other-secret"
