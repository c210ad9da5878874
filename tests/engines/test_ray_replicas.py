"""Real Ray on this machine: replicas that die, a run that goes on where another stopped, nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from conftest import Small
from medpsy.engines import Prompt, Response, Sampling, engine_kind, fingerprint, open_engine, ray_engine
from medpsy.engines.child import importable
from medpsy.responses import ResponseStore
from test_llama_server import gone
from test_vllm_engine import needs_vllm
from tiny_models import Spec

STUB = Path(__file__).with_name("ray_stub.py")
SAMPLING = Sampling(max_tokens=9, seed=5)
BATCH = 16


@pytest.fixture
def wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stub model that takes the place of vLLM."""
    folder = tmp_path / "stub"
    folder.mkdir()
    monkeypatch.setattr(ray_engine, "COMMAND", (str(STUB),))
    monkeypatch.setenv("STUB_FOLDER", str(folder))
    return folder


def asked(count: int) -> Iterator[Prompt]:
    return (Prompt(f"p{at}", ({"role": "user", "content": f"which drug {at}"},)) for at in range(count))


def notes(folder: Path) -> dict[str, list[str]]:
    """Return what each replica answered."""
    return {path.name: path.read_text().split() for path in folder.glob("done-*")}


def test_a_killed_replica_is_replaced_and_every_prompt_is_answered_once(wishes: Path, tiny: Spec) -> None:
    (wishes / "kill-p640").touch()
    with open_engine("ray", tiny, replicas=2, batch=BATCH) as engine:
        found = list(engine.generate(asked(5000), SAMPLING))
    assert Counter(one.prompt_id for one in found) == Counter(f"p{at}" for at in range(5000))
    for one in found:
        assert one.completion_tokens == 1 + SAMPLING.prompt_seed(one.prompt_id) % SAMPLING.max_tokens
    done = notes(wishes)
    assert len(done) == 3 and not (wishes / "kill-p640").exists()  # two replicas, and one in the place of the killed
    assert sum(map(len, done.values())) <= 5000 + 8 * BATCH  # no more is done again than the killed one had in hand


class Stopped:
    """Engine vllm on another machine, where it came no further than to the tenth prompt."""

    kind = "vllm"

    def __init__(self, model: Spec) -> None:
        self.fingerprint = fingerprint(model)

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> Iterator[Response]:
        yield from (Response(prompt.id, "done before", "stop", 1, 2, 0.1) for prompt in prompts[:10])
        raise KeyboardInterrupt


def test_a_cluster_goes_on_where_vllm_stopped(wishes: Path, tiny: Spec, tmp_path: Path) -> None:
    store, prompts = ResponseStore(tmp_path / "store"), [*asked(40), Prompt("odd", ({"role": "user", "content": "?"},))]
    settings = {"sampling": SAMPLING, "run": 0, "engine_kind": engine_kind("ray", tiny, {})}
    with pytest.raises(KeyboardInterrupt):
        store.answer(tiny, lambda: nullcontext(Stopped(tiny)), prompts, **settings)
    frame = store.answer(tiny, lambda: open_engine("ray", tiny, batch=BATCH), prompts, **settings)
    assert list(frame["prompt_id"]) == [prompt.id for prompt in prompts]
    assert (frame["text"] == "done before").sum() == 10
    assert sorted(sum(notes(wishes).values(), [])) == sorted(f"{prompt.id}#0" for prompt in prompts[10:])
    assert frame["finish_reason"].eq("failed").tolist() == [False] * 40 + [True]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from medpsy.engines import Prompt, Response, Sampling, engine_kind, fingerprint, open_engine, ray_engine
from tiny_models import Spec
ray_engine.COMMAND = ({stub!r},)
prompts = [Prompt(str(at), ({{"role": "user", "content": "which drug"}},)) for at in range(3000)]
engine = open_engine("ray", Spec("tiny", "models/tiny", Path({folder!r})), batch=16)
for response in engine.generate(prompts, Sampling(max_tokens=4)):
    print("answered", flush=True)
"""


def test_ray_listens_on_loopback_only_and_ends_with_whoever_started_it(wishes: Path, tiny: Spec) -> None:
    (wishes / "slow").touch()
    code = SCRIPT.format(tests=str(STUB.parent), stub=str(STUB), folder=str(tiny.folder))
    scratch = Path(tempfile.mkdtemp(prefix="t-"))
    env = {
        **os.environ,
        **importable(),
        "TMPDIR": str(scratch),
        "HOME": str(scratch / "home"),
        "XDG_CACHE_HOME": str(wishes),
    }
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"answered\n", run.stderr.read().decode()
        started = psutil.Process(run.pid).children(recursive=True)
        listening = {one.laddr.ip for each in started for one in each.net_connections() if one.status == "LISTEN"}
        assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        run.send_signal(signal.SIGKILL)
        assert [process for process in started if not gone(process)] == []
        run.communicate(timeout=60)
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


def rate(times: list[float], first: int, last: int) -> float:
    """Return responses per second between two of them."""
    return (last - first) / (times[last] - times[first])


@pytest.mark.slow
def test_a_hundred_thousand_prompts_take_linear_time_and_bounded_memory(wishes: Path, tiny: Spec) -> None:
    count, times, memory = 100_000, [], []
    with open_engine("ray", tiny, replicas=2, batch=128) as engine:
        for at, _ in enumerate(engine.generate(asked(count), SAMPLING)):
            times.append(time.perf_counter())
            if at % 5000 == 4999:
                memory.append(sum(each.memory_info().rss for each in here()) / 2**20)
    assert len(times) == count
    print(f"{rate(times, 0, count - 1):.0f} rows/s, {memory[0]:.0f} MiB at 5 %, {memory[-1]:.0f} at the end")
    assert max(memory) < memory[0] + 300  # shared pages count once per process
    assert rate(times, count // 2, count - 1) > 0.6 * rate(times, count // 10, count // 2)


def here() -> list[psutil.Process]:
    """Return this process and Ray's own, its replicas and servers left out."""
    own = psutil.Process()
    return [own, *(each for each in own.children(recursive=True) if STUB.name in " ".join(each.cmdline()))]


@needs_vllm
@pytest.mark.slow
def test_real_vllm_writes_what_transformers_writes(small: Small, prompts: list[Prompt]) -> None:
    greedy = Sampling(max_tokens=16, temperature=0)
    with open_engine("ray", small.spec, batch=4, rows=8, threads=1) as engine:
        found = {one.prompt_id: one for one in engine.generate(prompts, greedy)}
    expected = {prompt.id: small.text(small.greedy(prompt, greedy.max_tokens)) for prompt in prompts}
    same = [name for name, text in expected.items() if found[name].text == text]
    assert len(same) >= len(prompts) - 2  # two tokens may be tied; test_contract.py looks closer
    assert all(one.prompt_tokens == len(small.ids(prompt)) for prompt in prompts for one in [found[prompt.id]])


@needs_vllm
@pytest.mark.slow
def test_a_killed_vllm_is_replaced_and_the_texts_are_those_of_engine_vllm(small: Small) -> None:
    sampling, many = Sampling(max_tokens=32, seed=3), list(asked(600))
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
