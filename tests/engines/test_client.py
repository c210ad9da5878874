"""The client against endpoints that misbehave: odd replies, retries, limits, refusals, and a key that stays secret."""

import asyncio
import gzip
import itertools
import json
import logging
import re
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from case_rows import cases
from medpsy.engines import Engine, EngineError, Prompt, Response, Sampling, client, engine_kind, open_engine
from medpsy.engines.client import bounded
from medpsy.study import ModelSpec
from stub_endpoint import Reply, Stub, completion, serving

SECRET = "sk-very-secret-key-0123456789"
SAMPLING = Sampling(max_tokens=9, temperature=0.5, top_p=0.8, top_k=7, seed=3)
GOOD = (200, completion())


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr(client, "_key_names", set())
    monkeypatch.setattr(client, "PAUSE", 0.01)


def ask(count: int) -> list[Prompt]:
    return [Prompt(f"p{at}", ({"role": "user", "content": f"question {at}"},)) for at in range(count)]


def opened(url: str, **options: Any) -> Engine:
    return open_engine("openai", ModelSpec("far", "big", base_url=url), **{"retries": 2, "timeout": 60.0, **options})


def answered(stub: Stub, count: int = 1, sampling: Sampling = SAMPLING, **options: Any) -> dict[str, Response]:
    with serving(stub) as url, opened(url, **options) as engine:
        return {response.prompt_id: response for response in engine.generate(ask(count), sampling)}


def only_first(reply: Reply) -> Callable[[dict, int], Reply]:
    """Answer the first prompt with `reply`, the others well."""
    return lambda body, _: reply if body["messages"][0]["content"] == "question 0" else GOOD


def reading(body: dict | str) -> Response:
    """Return what is read out of a reply's body."""
    text = body if isinstance(body, str) else json.dumps(body)
    return client.read("p0", client._parsed(text.replace("{key}", SECRET)), 0.0)


@pytest.mark.parametrize("case", cases("endpoint"))
def test_cases_of_public_reports(case):
    want, reply = case["expected"], (case["status"], case["body"], {"Content-Type": case["content_type"]})
    of_models = case["request"] == "GET /models"
    answers = answered(Stub(models=reply) if of_models else Stub(only_first(reply)), 2)
    first = answers["p0"]
    assert answers["p1"].text == "A"
    if of_models:
        assert first.text == "A"
        return
    assert first.finish_reason in want.get("finish_reason_one_of", [want.get("finish_reason")])
    assert bool(first.error) == (first.finish_reason == "failed")
    assert want.get("text_has", "") in first.text.partition("</think>")[2] or want.get("text_has", "") in first.text
    assert want.get("reasoning_has", "") in first.text.partition("</think>")[0]


@pytest.mark.parametrize("case", cases("endpoint_replies"))
def test_what_was_paid_for_is_read_and_what_is_no_answer_says_why(case):
    client._key_names.add("OPENAI_API_KEY")
    found = reading(case["body"])
    if "text" in case:
        assert (found.text, found.finish_reason, found.error) == (case["text"], case["finish_reason"], None)
    else:
        assert found.finish_reason == "failed" and case["error"] in found.error and len(found.error) <= 300
        assert SECRET[:9] not in found.error


NESTED = f'{{"choices": [{{"message": {{"content": {"[" * 600}{"]" * 600}}}}}]}}'


@pytest.mark.parametrize("body", ["<html>a page</html>", "\ufeff<html>", "1" * 5000, "[" * 100_000, NESTED])
def test_a_reply_that_is_none_fails_alone(body):
    found = answered(Stub(only_first((200, body))), 2)
    assert found["p0"].finish_reason == "failed" and len(found["p0"].error) <= 300
    assert re.match("the reply is no JSON: [<1]|the reply is nested too deeply|.*reason None", found["p0"].error)
    assert found["p1"].text == "A"


@pytest.mark.parametrize("count", [None, "7", -1, float("nan"), float("inf"), 10**30, [7], {}])
def test_a_count_that_is_none_is_zero(count):
    usage = {"prompt_tokens": count, "completion_tokens": 3.0}
    found = [reading({**completion(), "usage": odd}) for odd in (usage, count)]
    assert [(one.prompt_tokens, one.completion_tokens) for one in found] == [(0, 3), (0, 0)]


def dripping() -> Iterator[bytes]:
    while True:
        yield b" "
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("pieces", "headers", "error"),
    [
        (dripping, {}, "not whole after 2 s"),
        (lambda: itertools.repeat(bytes(2**16), 4800), {}, "longer than 100,000 bytes"),  # 300 MB
        (lambda: [json.dumps(completion("x" * 20 * 2**20)).encode()], {}, "longer than 100,000 bytes"),
        (lambda: [gzip.compress(bytes(100 * 2**20))], {"Content-Encoding": "gzip"}, "packed as 'gzip'"),
        (lambda: [b"cut"], {"Content-Length": "99"}, "RemoteProtocolError"),
    ],
    ids=["drip", "long body", "long content", "bomb", "cut off"],
)
def test_a_hostile_reply_is_bounded_and_fails_alone(pieces, headers, error):
    written = pieces()
    stub = Stub(only_first((200, iter(written) if isinstance(written, list) else written, headers)))
    tracemalloc.start()
    with serving(stub) as url, opened(url, timeout=2.0, max_bytes=100_000, retries=0) as engine:
        answering = engine.generate(ask(2), SAMPLING)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found = {response.prompt_id: response for response in answering}
        peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert found["p0"].finish_reason == "failed" and error in found["p0"].error
    assert found["p1"].text == "A"
    assert peak < 4 * 2**20


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status):
    packed = {"Content-Encoding": "gzip"}  # what it says cannot be read
    stub = Stub(lambda _, times: (status, "busy", packed if times == 1 else {}) if times < 3 else GOOD)
    assert answered(stub)["p0"].text == "A"
    assert len(stub.asked) == 3


def test_a_pause_that_the_endpoint_asks_for_is_kept_within_reason():
    odd = dict.fromkeys(("-1", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", ""))
    for asked, seconds in ({"7": 7, "86400": client.LONGEST_PAUSE} | odd).items():
        assert client._refusal(429, "busy", {"retry-after": asked}).pause == seconds


@pytest.mark.parametrize(
    ("status", "body", "tries"),
    [(400, {"error": {"message": "no"}}, 1), (413, "too large", 1), (403, "flagged", 1), (500, "broken", 3)],
)
def test_a_prompt_that_is_refused_at_once_or_keeps_failing_fails_alone(status, body, tries):
    stub = Stub(only_first((status, body)))
    found = answered(stub, 3)
    assert (found["p0"].finish_reason, found["p0"].text) == ("failed", "") and str(status) in found["p0"].error
    assert [found["p1"].text, found["p2"].text] == ["A", "A"] and len(stub.asked) == 2 + tries


@pytest.mark.parametrize("concurrency", [1, 4])
def test_never_more_requests_at_once_than_allowed(concurrency):
    stub = Stub(pause=0.05)
    assert len(answered(stub, 12, concurrency=concurrency)) == 12
    assert stub.most == concurrency


def test_what_is_sent():
    stub, spec = Stub(), ModelSpec("far", "big", chat_template_kwargs={"enable_thinking": True})
    more = {"reasoning_effort": "low", "temperature": None}
    with serving(stub) as url:
        spec = replace(spec, base_url=url)
        for options in ({}, {"extended": False}, {"extended": False, "extra_body": more}):
            with open_engine("openai", spec, **options) as engine:
                list(engine.generate(ask(1), SAMPLING))
        with opened(url) as other:
            (found,) = other.generate([Prompt("odd", ({"role": "user", "content": "half \ud83d"},))], SAMPLING)
    assert found.text == "A" and stub.asked.pop()["messages"][0]["content"] == "half \ud83d"
    common = {"model": "big", "messages": [*ask(1)[0].messages], "top_p": 0.8, "seed": SAMPLING.prompt_seed("p0")}
    extended = {"max_tokens": 9, "top_k": 7, "min_p": 0.0, "chat_template_kwargs": {"enable_thinking": True}}
    plain = {**common, "max_completion_tokens": 9}
    assert stub.asked == [
        {**common, "temperature": 0.5, **extended},
        {**plain, "temperature": 0.5},
        {**plain, "reasoning_effort": "low"},
    ]
    assert engine.kind == engine_kind("vllm", spec, {"extra_body": more}) != engine_kind("vllm", spec)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_name_ends_the_run_after_what_was_answered(status):
    stub = Stub(lambda *_: (status, {"error": {"message": f"unknown {SECRET}"}}))
    with pytest.raises(EngineError, match="'far'.*refuses key or model.*'big'.*OPENAI_API_KEY, which is set") as caught:
        answered(stub, 50, concurrency=2)
    assert len(stub.asked) < 7
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_what_is_under_way_when_the_endpoint_is_given_up_is_kept():
    def answer(body: dict, _: int) -> Reply:
        slow = body["messages"][0]["content"] == "question 0"
        time.sleep(0.5 if slow else 0)
        return GOOD if slow else (404, "no such model")

    found = []
    with serving(Stub(answer)) as url, opened(url, concurrency=3) as engine, pytest.raises(EngineError):
        for response in engine.generate(ask(50), SAMPLING):
            found.append(response)  # kept although it ends with an error
    assert [one.prompt_id for one in found if one.text] == ["p0"] and len(found) < 10


def test_a_key_that_is_refused_or_no_header_can_carry_shows_when_the_engine_is_opened_and_is_not_shown(monkeypatch):
    for given, message in ((f"{SECRET}\nmore", "OPENAI_API_KEY holds"), ("", "OPENAI_API_KEY, which is not set")):
        monkeypatch.setenv("OPENAI_API_KEY", given)
        with serving(Stub(models=401)) as url, pytest.raises(EngineError, match=message) as caught:
            opened(url)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_redirects_are_not_followed():
    with serving(elsewhere := Stub()) as other:
        moved = (307, "", {"Location": f"{other}/chat/completions"})
        with pytest.raises(EngineError, match="another address .307."):
            answered(Stub(models=moved))
        found = answered(Stub(lambda *_: moved))["p0"]
    assert found.finish_reason == "failed" and "another address" in found.error and elsewhere.asked == []


def test_an_endpoint_that_is_gone_ends_the_run_and_is_missed_when_an_engine_is_opened():
    with serving(Stub()) as url:
        engine = opened(url, concurrency=2, retries=0)
    found = []
    with pytest.raises(EngineError, match="does not answer"):
        found += engine.generate(ask(500), SAMPLING)
    assert len(found) < 10
    with pytest.raises(EngineError, match="'far': the endpoint http://127.0.0.1.* does not answer.*correct base_url"):
        opened(url)


def test_options_that_cannot_be_meant_are_refused():
    for options, message in (
        ({"key_env": SECRET}, "key_env: this is no name of an environment variable"),
        ({"concurrency": 0}, "engine_options.concurrency: 0 must be greater than or equal to 1"),
        ({"timeout": "ten"}, "engine_options.timeout: 'ten' must be a number"),
        ({"extra_body": {"day": date(2026, 1, 1)}}, "engine_options: .*put the value in quotes"),
        ({"extra_body": {"messages": []}}, "extra_body.messages: this field is not yours to set"),
        ({"tiemout": 3}, "engine_options.tiemout: unknown key; did you mean 'timeout'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            opened("http://127.0.0.1:1/v1", **options)
        assert SECRET not in str(caught.value)


def test_keys_go_into_requests_and_nowhere_else(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTHER_KEY", other := "another-secret-key")
    stub = Stub(lambda *_: (400, {"error": {"message": f"what is {SECRET} or {other}?"}}))
    with serving(stub) as url, opened(url) as engine, opened(url, key_env="OTHER_KEY") as second:
        found = [response for each in (engine, second) for response in each.generate(ask(1), SAMPLING)]
        seen = f"{found} {engine!r} {vars(engine)} {caplog.text}"
    assert [each["authorization"] for each in stub.headers] == [f"Bearer {SECRET}", f"Bearer {other}"]
    assert "what is [key] or [key]?" in found[0].error
    assert SECRET not in seen and other not in seen


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9/"])
def test_a_proxy_that_cannot_be_used_is_named_and_is_not_for_the_loopback(proxy, monkeypatch):
    monkeypatch.setenv("all_proxy", proxy)
    assert answered(Stub())["p0"].text == "A"
    with pytest.raises(EngineError, match=r"http://host.example/v1 cannot be asked.*all_proxy.*socksio"):
        opened("http://host.example/v1")


def slept(items: Iterable[float], limit: int, cancelled: list[float]) -> Iterator[float]:
    """Answer every item after so many milliseconds, `limit` at a time."""

    async def work(item: float) -> float:
        if item < 0:
            raise ValueError(f"{item} is negative")
        try:
            await asyncio.sleep(item / 1000)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    return bounded(items, work, limit, nullcontext())


def test_results_come_as_they_finish_and_items_are_taken_only_when_there_is_room():
    assert list(slept([300, 10, 100], 3, [])) == [10, 100, 300]
    taken = []
    results = slept((taken.append(at) or 20 for at in range(100)), 2, [])
    next(results)
    assert len(taken) <= 6
    results.close()


def test_an_error_or_leaving_early_cancels_the_rest_and_leaves_no_thread():
    cancelled, before, start = [], threading.active_count(), time.monotonic()
    with pytest.raises(ValueError, match="-1 is negative"):
        list(slept([60_000, 60_000, -1], 3, cancelled))
    results = slept([5, *[60_000] * 9], 4, cancelled)
    assert next(results) == 5
    results.close()
    assert time.monotonic() - start < 50 and len(cancelled) >= 5  # not the minute that they would take
    assert threading.active_count() == before
