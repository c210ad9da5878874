"""Engine ray but for Ray: how prompts reach its process, how answers come back, what is refused before it starts.

What Ray itself does is seen in test_ray_replicas.py.
"""

import math
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from medpsy.engines import (
    EngineError,
    Prompt,
    PromptTooLong,
    Sampling,
    engine_kind,
    open_engine,
    ray_engine,
    ray_worker,
)
from medpsy.engines.chat import CHUNK
from medpsy.engines.ray_engine import RayEngine, environment
from medpsy.engines.ray_prompts import write_prompts
from tiny_models import Spec

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
def engine(tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayEngine:
    """The engine with a process that answers as Ray's does, and `tmp_path` for its prompts."""
    monkeypatch.setattr(ray_engine, "COMMAND", ("-c", ECHO))
    with open_engine("ray", tiny, scratch=str(tmp_path)) as opened:
        yield opened


def asked(*names: str) -> list[Prompt]:
    return [Prompt(name, ({"role": "user", "content": "which drug"},)) for name in names]


def test_every_answer_becomes_the_response_to_its_prompt(engine: RayEngine, tmp_path: Path) -> None:
    found = {one.prompt_id: one for one in engine.generate(asked("a", "odd"), SAMPLING)}
    assert (found["a"].finish_reason, found["a"].completion_tokens, found["a"].prompt_tokens > 5) == ("stop", 3, True)
    assert (found["odd"].finish_reason, found["odd"].error, found["odd"].completion_tokens) == ("failed", "no luck", 0)
    cut = next(engine.generate(asked("a"), Sampling(max_tokens=3)))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)
    assert list(tmp_path.iterdir()) == []


def test_an_early_end_is_an_error_that_shows_the_log(engine: RayEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Ray ended before 2 responses were there; its log ends:\nout of luck"):
        list(engine.generate(asked("a", "die", "b"), SAMPLING))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("leave", ["close the iterator", "close the engine"])
def test_leaving_early_ends_the_process_and_takes_the_prompts_away(
    engine: RayEngine, tmp_path: Path, leave: str
) -> None:
    responses = engine.generate(asked("wait", "b"), SAMPLING)
    assert next(responses).prompt_id == "wait"
    engine.close() if leave == "close the engine" else None
    responses.close()
    assert [each for each in psutil.Process().children() if "out of luck" in " ".join(each.cmdline())] == []
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_checked_before_anything_starts(engine: RayEngine, tmp_path: Path) -> None:
    many = asked(*map(str, range(CHUNK + 1)))
    with pytest.raises(ValueError, match="'0' is used twice"):
        engine.generate([*many, many[0]], SAMPLING)
    with pytest.raises(PromptTooLong, match="'long' has .* tokens"):
        engine.generate([*many, Prompt("long", ({"role": "user", "content": "the " * 600},))], SAMPLING)
    with pytest.raises(ValueError, match="temperature is 2.5; vLLM takes 0 to 2"):
        engine.generate(many, Sampling(max_tokens=4, temperature=2.5))
    with pytest.raises(ValueError, match="sampling.temperature is inf"):
        engine.generate([], Sampling(max_tokens=4, temperature=math.inf))
    assert list(engine.generate([], SAMPLING)) == []
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_written_in_files_of_bounded_size(engine: RayEngine, tmp_path: Path) -> None:
    many = asked(*map(str, range(2 * CHUNK + 1)))
    assert write_prompts(tmp_path, engine._chat, iter(many), SAMPLING) == len(many)
    tables = [pq.read_table(path) for path in sorted(tmp_path.iterdir())]
    assert [table.num_rows for table in tables] == [CHUNK, CHUNK, 1]
    last = tables[-1].to_pylist()[0]
    assert last["seed"] == SAMPLING.prompt_seed(last["id"])
    assert last["tokenized_prompt"] == engine._chat.encode(many[-1:], SAMPLING)[0].tokens.tolist()
    assert last["size"] == len(last["tokenized_prompt"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas: 0 is below 1"),
        ({"rows": 0}, "rows: 0 is below 1"),
        ({"address": "auto"}, "address: 'auto' wants `scratch` too, a folder that all nodes of the cluster see"),
        ({"slots": 2}, "'ray' has no option 'slots'; it takes address, batch, context"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tiny: Spec, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine("ray", tiny, **options)


def test_gpus_that_are_not_there_are_named_before_a_model_loads() -> None:
    for wanted in ((0, 4, 1), (8, 4, 2)):
        ray_worker.require(*wanted)
    for gpus, tensor_parallel, message in ((4, 1, "replicas 8 .* want 8 GPUs; Ray has 4"), (0, 2, "want 16 .* has 0")):
        with pytest.raises(SystemExit, match=message):
            ray_worker.require(gpus, 8, tensor_parallel)


@pytest.mark.parametrize(("gpus", "replicas", "tensor_parallel"), [(0, 3, 1), (8, 2, 4)])
def test_rays_vllm_stage_takes_what_it_is_given(
    engine: RayEngine, gpus: int, replicas: int, tensor_parallel: int
) -> None:
    settings = {**engine._job["settings"], "tensor_parallel": tensor_parallel, "rows": 40}
    made = ray_worker.configuration({**engine._job, "replicas": replicas, "settings": settings}, gpus)
    assert (made.concurrency, made.batch_size, made.max_concurrent_batches) == ((replicas, replicas), 16, 5)
    assert made.engine_kwargs["tensor_parallel_size"] == tensor_parallel
    assert made.engine_kwargs["dtype"] == ("bfloat16" if gpus else "float32")
    assert (made.placement_group_config is None) == bool(gpus)
    assert not any(getattr(made, stage) for stage in ray_worker.OF_TEXT)


def test_responses_are_kept_as_those_of_vllm(engine: RayEngine, tiny: Spec) -> None:
    assert (engine.kind, engine_kind("ray", tiny), engine_kind("ray", tiny, {})) == ("vllm", "ray", "vllm")
    assert engine_kind("ray", tiny, {"dtype": "bfloat16", "replicas": 8}) == "vllm:bfloat16"


def test_a_ray_of_its_own_has_a_secret_and_one_that_is_joined_keeps_its_own() -> None:
    own, joined = environment(None), environment("auto")
    assert len(own["RAY_AUTH_TOKEN"]) == 64 != environment(None)["RAY_AUTH_TOKEN"] and "RAY_AUTH_MODE" not in joined
    assert own["RAY_USAGE_STATS_ENABLED"] == joined["RAY_USAGE_STATS_ENABLED"] == "0"
