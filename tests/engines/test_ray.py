"""Engine ray: how prompts reach its process and answers come back; and real Ray on this machine, whose replicas die."""

import math
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from medpsy.engines import EngineError, Prompt, Sampling, engine_kind, open_engine, ray_engine
from medpsy.engines.chat import CHUNK
from medpsy.engines.programs import importable
from medpsy.engines.ray_engine import environment, write_prompts
from test_llama_cpp import gone
from test_vllm_engine import needs_vllm

ECHO = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
job = json.loads(sys.stdin.readline())
for path in sorted(Path(job["prompts"]).iterdir()):
    for row in pq.read_table(path).to_pylist():
        if row["id"] == "die":
            sys.exit("out of luck")
        error = "no luck" if row["id"] == "odd" else ""
        print(json.dumps({"id": row["id"], "size": row["size"], "made": [5] * 3, "error": error}), flush=True)
        if row["id"] == "wait":
            sys.stdin.read()
"""
SAMPLING = Sampling(max_tokens=4, temperature=1.0, seed=3)


@pytest.fixture
def engine(tiny, tmp_path, monkeypatch):
    """The engine with a process that answers as Ray's does, and `tmp_path` for its prompts."""
    monkeypatch.setattr(ray_engine, "COMMAND", ("-c", ECHO))
    with open_engine("ray", tiny, scratch=str(tmp_path)) as opened:
        yield opened


def named(*names: str) -> list[Prompt]:
    return [Prompt(name, ({"role": "user", "content": "which drug"},)) for name in names]


def test_every_answer_becomes_the_response_to_its_prompt(engine, tmp_path):
    found = {one.prompt_id: one for one in engine.generate(named("a", "odd"), SAMPLING)}
    assert (found["a"].finish_reason, found["a"].completion_tokens, found["a"].prompt_tokens > 5) == ("stop", 3, True)
    assert (found["odd"].finish_reason, found["odd"].error, found["odd"].completion_tokens) == ("failed", "no luck", 0)
    cut = next(engine.generate(named("a"), Sampling(max_tokens=3)))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)
    assert list(tmp_path.iterdir()) == []


def test_an_early_end_is_an_error_that_shows_the_log(engine, tmp_path):
    with pytest.raises(
        EngineError, match="(?s)Ray ended before 2 responses were there; it ended .*Its log ends:\nout of luck"
    ):
        list(engine.generate(named("a", "die", "b"), SAMPLING))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("leave", ["close the iterator", "close the engine"])
def test_leaving_early_ends_the_process_and_takes_the_prompts_away(engine, tmp_path, leave):
    responses = engine.generate(named("wait", "b"), SAMPLING)
    assert next(responses).prompt_id == "wait"
    engine.close() if leave == "close the engine" else None
    responses.close()
    assert [each for each in psutil.Process().children() if "out of luck" in " ".join(each.cmdline())] == []
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_checked_before_anything_starts(engine, tmp_path):
    many = named(*map(str, range(CHUNK + 1)))
    with pytest.raises(ValueError, match="'0' is used twice"):
        engine.generate([*many, many[0]], SAMPLING)
    with pytest.raises(ValueError, match="temperature is 2.5; vLLM takes 0 to 2"):
        engine.generate(many, Sampling(max_tokens=4, temperature=2.5))
    with pytest.raises(ValueError, match="sampling.temperature is inf"):
        engine.generate([], Sampling(max_tokens=4, temperature=math.inf))
    assert list(engine.generate([], SAMPLING)) == []
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_written_in_files_of_bounded_size(engine, tmp_path):
    encoded, _ = engine._chat.encode(named(*map(str, range(2 * CHUNK + 1))), SAMPLING)
    write_prompts(tmp_path, encoded, SAMPLING)
    tables = [pq.read_table(path) for path in sorted(tmp_path.iterdir())]
    assert [table.num_rows for table in tables] == [CHUNK, CHUNK, 1]
    (last,) = tables[-1].to_pylist()
    assert last["seed"] == SAMPLING.prompt_seed(last["id"])
    assert last["size"] == len(last["tokenized_prompt"]) and last["tokenized_prompt"] == encoded[-1].tokens.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas: 0 is below 1"),
        ({"rows": 0}, "rows: 0 is below 1"),
        ({"address": "auto"}, "address: 'auto' wants `scratch` too, a folder that all nodes of the cluster see"),
        ({"slots": 2}, "'ray' has no option 'slots'; known are address, batch, context"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        open_engine("ray", tiny, **options)


def test_gpus_that_are_not_there_are_named_before_a_model_loads():
    for wanted in ((0, 4, 1), (8, 4, 2)):
        ray_engine.require(*wanted)
    for gpus, tensor_parallel, message in ((4, 1, "replicas 8 .* want 8 GPUs; Ray has 4"), (0, 2, "want 16 .* has 0")):
        with pytest.raises(SystemExit, match=message):
            ray_engine.require(gpus, 8, tensor_parallel)


@pytest.mark.parametrize(("gpus", "replicas", "tensor_parallel"), [(0, 3, 1), (8, 2, 4)])
def test_rays_vllm_stage_takes_what_it_is_given(engine, gpus, replicas, tensor_parallel):
    options = {**engine._job["options"], "replicas": replicas, "tensor_parallel": tensor_parallel, "rows": 40}
    made = ray_engine.configuration({**engine._job, "options": options}, gpus)
    assert (made.concurrency, made.batch_size, made.max_concurrent_batches) == ((replicas, replicas), 16, 5)
    assert made.engine_kwargs["tensor_parallel_size"] == tensor_parallel
    assert made.engine_kwargs["dtype"] == ("bfloat16" if gpus else "float32")
    assert (made.placement_group_config is None) == bool(gpus)
    assert not any(getattr(made, stage) for stage in ray_engine.OF_TEXT)


def test_responses_are_kept_as_those_of_vllm(engine, tiny):
    assert (engine.kind, engine_kind("ray", tiny), engine_kind("ray", tiny, {})) == ("vllm", "ray", "vllm")
    assert engine_kind("ray", tiny, {"dtype": "bfloat16", "replicas": 8}) == "vllm:bfloat16"


def test_a_ray_of_its_own_has_a_secret_and_one_that_is_joined_keeps_its_own():
    own, joined = environment(None), environment("auto")
    assert len(own["RAY_AUTH_TOKEN"]) == 64 != environment(None)["RAY_AUTH_TOKEN"] and "RAY_AUTH_MODE" not in joined
    assert own["RAY_USAGE_STATS_ENABLED"] == joined["RAY_USAGE_STATS_ENABLED"] == "0"


STUB = Path(__file__).with_name("ray_stub.py")
BATCH = 16


@pytest.fixture
def wishes(tmp_path, monkeypatch):
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


def test_a_killed_replica_is_replaced_and_every_prompt_is_answered_once(wishes, tiny):
    (wishes / "kill-p640").touch()
    with open_engine("ray", tiny, replicas=2, batch=BATCH) as engine:
        found = list(engine.generate(asked(5000), SAMPLING))
    assert Counter(one.prompt_id for one in found) == Counter(f"p{at}" for at in range(5000))
    for one in found:
        assert one.completion_tokens == 1 + SAMPLING.prompt_seed(one.prompt_id) % SAMPLING.max_tokens
    done = notes(wishes)
    assert len(done) == 3 and not (wishes / "kill-p640").exists()  # two replicas, and one in the place of the killed
    assert sum(map(len, done.values())) <= 5000 + 8 * BATCH  # no more is done again than the killed one had in hand


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


def test_ray_listens_on_loopback_only_and_ends_with_whoever_started_it(wishes, tiny):
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
        run.communicate(timeout=120)
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


@needs_vllm
@pytest.mark.slow
def test_a_killed_vllm_is_replaced_and_the_texts_are_those_of_engine_vllm(small):
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
