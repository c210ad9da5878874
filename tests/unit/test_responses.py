"""The response store: nothing generated twice, nothing lost but the open shard, nothing unreadable passed over."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_engine import FakeEngine, finished, prompt, prompts
from medpsy import asking, engines, shards
from medpsy.engines.base import Prompt, PromptTooLong, Response, Sampling
from medpsy.responses import ResponseStore
from medpsy.shards import DamagedShardWarning
from medpsy.study import ModelSpec

MODEL = ModelSpec("anna", "models/anna")
SAMPLING = Sampling(max_tokens=16, seed=7)
COLUMNS = [
    "key",
    "prompt_id",
    "model",
    "run",
    "text",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
    "error",
]


@pytest.fixture(autouse=True)
def fingerprints(monkeypatch):
    """Let every model's fingerprint be ``fp`` unless the test says otherwise."""
    known = {}
    monkeypatch.setattr(engines, "fingerprint", lambda model: known.get(model.name, "fp"), raising=False)
    return known


@pytest.fixture
def store(tmp_path):
    return ResponseStore(tmp_path / "responses")


def answer(store, engine, asked, **changes):
    settings = {"sampling": SAMPLING, "run": 0, "engine_kind": engine.kind} | changes
    return store.answer(settings.pop("model", MODEL), engine, asked, **settings)


def shard_paths(store):
    return sorted(store.root.glob("shards/*/*.parquet"))


def test_answers_come_in_prompt_order_with_the_agreed_columns(store):
    frame = answer(store, FakeEngine(), prompts(5))
    assert list(frame.columns) == COLUMNS
    assert list(frame["prompt_id"]) == [f"medqa/{number}" for number in range(5)]
    assert [text.split(" seed ")[0] for text in frame["text"]] == [f"What is medqa/{number}?" for number in range(5)]
    assert set(frame["model"]) == {"anna"}
    assert set(frame["run"]) == {0}
    assert frame["error"].isna().all()


def test_only_what_is_missing_is_generated_and_the_engine_stays_shut_otherwise(store):
    first, second = FakeEngine(), FakeEngine()
    answer(store, first, prompts(4))
    answer(store, second, prompts(6))
    assert sorted(asked.id for asked in second.asked) == ["medqa/4#0", "medqa/5#0"]

    def never():
        raise AssertionError("the engine was opened although nothing is missing")

    again = ResponseStore(store.root).answer(
        MODEL, never, prompts(6), sampling=SAMPLING, run=0, engine_kind="transformers"
    )
    assert len(again) == 6
    assert (first.opened, first.closed) == (1, 1)


def test_no_prompts_no_engine(store):
    engine = FakeEngine()
    frame = answer(store, engine, [])
    assert list(frame.columns) == COLUMNS
    assert (len(frame), engine.opened) == (0, 0)


def test_one_conversation_is_generated_once_however_often_it_is_asked(store):
    engine = FakeEngine()
    twice = [
        prompt("medqa/1", "same"),
        prompt("medqa/2", "same"),
        prompt("medqa/1", "same"),
        prompt("medqa/3", "other"),
    ]
    frame = answer(store, engine, twice)
    assert list(frame["prompt_id"]) == ["medqa/1", "medqa/2", "medqa/3"]
    assert frame["key"].nunique() == len(engine.asked) == 2
    assert frame["text"][0] == frame["text"][1] != frame["text"][2]


def test_one_id_for_two_conversations_is_refused(store):
    with pytest.raises(ValueError, match="'medqa/1' stands for two"):
        answer(store, FakeEngine(), [prompt("medqa/1", "a"), prompt("medqa/1", "b")])


@pytest.mark.parametrize(
    ("changes", "kwargs", "fingerprint", "same"),
    [
        ({}, {}, "fp", True),
        ({"sampling": Sampling(max_tokens=16, seed=7, temperature=0.6)}, {}, "fp", True),
        ({"sampling": Sampling(max_tokens=16, seed=8)}, {}, "fp", False),
        ({"sampling": Sampling(max_tokens=17, seed=7)}, {}, "fp", False),
        ({"sampling": Sampling(max_tokens=16, seed=7, top_p=0.9)}, {}, "fp", False),
        ({"run": 1}, {}, "fp", False),
        ({"engine_kind": "vllm"}, {}, "fp", False),
        ({}, {"enable_thinking": False}, "fp", False),
        ({}, {}, "other weights", False),
    ],
)
def test_everything_that_can_change_a_response_changes_its_key(store, fingerprints, changes, kwargs, fingerprint, same):
    answer(store, FakeEngine(), prompts(1))
    fingerprints["bert"] = fingerprint
    engine = FakeEngine(fingerprint, kind=changes.get("engine_kind", "transformers"))
    answer(store, engine, prompts(1), model=ModelSpec("bert", "x", chat_template_kwargs=kwargs), **changes)
    assert engine.opened == (0 if same else 1)


def test_whole_and_decimal_temperatures_are_one_setting(store):
    answer(store, FakeEngine(), prompts(1), sampling=Sampling(max_tokens=16, temperature=1, top_p=1))
    engine = FakeEngine()
    answer(store, engine, prompts(1), sampling=Sampling(max_tokens=16, temperature=1.0, top_p=1.0))
    assert engine.opened == 0


def test_runs_of_one_session_draw_from_different_seeds_and_open_the_engine_once(store):
    engine = FakeEngine()
    store.fill(MODEL, engine, prompts(3), sampling=SAMPLING, runs=range(3), engine_kind="transformers")
    frames = [answer(store, engine, prompts(3), run=run) for run in range(3)]
    assert (engine.opened, len(engine.asked)) == (1, 9)
    assert len({text for frame in frames for text in frame["text"]}) == 9
    alone = answer(ResponseStore(store.root / "elsewhere"), FakeEngine(), prompts(3)[1:2], run=2)
    assert alone["text"][0] == frames[2]["text"][1]  # the same text, whatever else was asked beside it


def failing(reason="down", until=()):
    def reply(asked: Prompt, sampling: Sampling) -> Response | str:
        if asked.id in until:
            return "fine"
        return Response(asked.id, "", "failed", 0, 0, 0.1, reason)

    return reply


def test_a_failed_response_is_counted_and_asked_again_by_the_next_store_only(store):
    down = FakeEngine(reply=failing(until=("medqa/0#0",)))
    frame = answer(store, down, prompts(3))
    assert list(frame["finish_reason"]) == ["stop", "failed", "failed"]
    assert list(frame["error"][1:]) == ["down", "down"]
    assert store.stats()["failed"] == 2
    answer(store, down, prompts(3))
    assert down.opened == 1  # the same store does not hammer a broken endpoint

    up = FakeEngine()
    frame = answer(ResponseStore(store.root), up, prompts(3))
    assert sorted(asked.id for asked in up.asked) == ["medqa/1#0", "medqa/2#0"]
    assert list(frame["finish_reason"]) == ["stop"] * 3
    assert frame["text"][0] == "fine"
    stats = store.stats()
    assert (stats["rows"], stats["failed"], stats["superseded"]) == (3, 0, 2)


def test_a_response_the_engine_forgets_becomes_a_failed_one(store):
    class Forgetful(FakeEngine):
        def generate(self, asked, sampling):
            return (one for one in super().generate(asked, sampling) if "/1#" not in one.prompt_id)

    frame = answer(store, Forgetful(), prompts(3))
    assert list(frame["finish_reason"]) == ["stop", "failed", "stop"]
    assert "no response" in frame["error"][1]


def test_a_response_nobody_asked_for_stops_the_run_and_keeps_what_came_before(store):
    unasked = FakeEngine(reply=lambda asked, _: finished(prompt("medqa/9#0"), "x") if "/0#" in asked.id else "fine")
    with pytest.raises(RuntimeError, match="'medqa/9#0' twice or unasked"):
        answer(store, unasked, prompts(3))
    assert store.stats()["rows"] == 2
    assert unasked.closed == 1


@pytest.mark.parametrize(
    ("engine", "word"), [(FakeEngine(kind="vllm"), "kind"), (FakeEngine(fingerprint="new weights"), "fingerprint")]
)
def test_another_engine_than_the_one_asked_for_is_refused(store, engine, word):
    with pytest.raises(RuntimeError, match=f"anna: {word}.*wrong key"):
        answer(store, engine, prompts(1), engine_kind="transformers")
    assert store.stats()["rows"] == 0


def test_a_prompt_too_long_stops_before_anything_is_stored(store):
    class Short(FakeEngine):
        def generate(self, asked, sampling):
            raise PromptTooLong("medqa/0#0: 900 tokens")

    with pytest.raises(PromptTooLong, match="medqa/0"):
        answer(store, Short(), prompts(2))
    assert shard_paths(store) == []


def test_text_that_utf8_cannot_hold_is_stored_with_a_mark(store):
    frame = answer(store, FakeEngine(reply=lambda *_: "half \ud83d, whole \U0001f600, null \x00"), prompts(1))
    assert frame["text"][0] == "half \ufffd, whole \U0001f600, null \x00"


def test_progress_tells_what_is_stored_and_what_is_done(store):
    seen = []
    answer(store, FakeEngine(), prompts(2))
    answer(store, FakeEngine(), prompts(5), progress=seen.append)
    assert (seen[0].done, seen[0].total, seen[0].stored) == (0, 3, 2)
    assert (seen[-1].done, seen[-1].total) == (3, 3)
    assert str(seen[-1]).startswith("anna: 3 of 3 responses, 2 stored before, ")
    seen.clear()
    answer(store, FakeEngine(), prompts(5), progress=seen.append)
    assert [str(one) for one in seen] == ["anna: all 5 responses are stored"]


def test_shards_are_bounded_by_rows(store):
    answer(store, FakeEngine(), prompts(25), shard_rows=10)
    assert sorted(pq.read_metadata(path).num_rows for path in shard_paths(store)) == [5, 10, 10]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.01)
    return found


def test_shards_are_bounded_by_seconds_even_while_the_engine_is_silent(tmp_path):
    store = ResponseStore(tmp_path, shard_seconds=0.05)

    def reply(asked, _):
        if asked.id == "medqa/0#0":  # the last one asked
            wait_for(lambda: sum(pq.read_metadata(path).num_rows for path in shard_paths(store)) == 2)
        return "x"

    assert len(answer(store, FakeEngine(reply=reply), prompts(3))) == 3


def test_an_error_or_ctrl_c_loses_nothing_and_closes_the_engine(store):
    def reply(asked, _):
        if asked.id == "medqa/0#0":
            raise KeyboardInterrupt
        return "x"

    engine = FakeEngine(reply=reply)
    with pytest.raises(KeyboardInterrupt):
        answer(store, engine, prompts(8))
    assert engine.closed == 1
    rest = FakeEngine()
    answer(store, rest, prompts(8))
    assert [asked.id for asked in rest.asked] == ["medqa/0#0"]


def spawn(root: Path, script: str) -> subprocess.Popen:
    """Start a process that has a store at `root` and the helpers of this test."""
    head = """
    import sys, time
    from pathlib import Path
    from fake_engine import FakeEngine, prompts
    from medpsy import engines
    from medpsy.engines.base import Sampling
    from medpsy.responses import ResponseStore
    from medpsy.study import ModelSpec
    engines.fingerprint = lambda model: "fp"
    root = Path(sys.argv[1])
    store = ResponseStore(root / "responses")
    settings = {"sampling": Sampling(max_tokens=16, seed=7), "run": 0, "engine_kind": "transformers"}
    anna = ModelSpec("anna", "models/anna")
    """
    paths = [str(Path(__file__).parent), *sys.path]
    code = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)], env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    )


def test_kill_9_loses_no_more_than_the_open_shard(tmp_path):
    script = """
    log = (root / "log").open("a", buffering=1)
    def reply(prompt, sampling):
        time.sleep(0.002)
        log.write(prompt.id + "\\n")
        return "before the kill"
    store.answer(anna, FakeEngine(reply=reply), prompts(5000), shard_rows=20, **settings)
    """
    child = spawn(tmp_path, script)
    try:
        store = ResponseStore(tmp_path / "responses")
        wait_for(lambda: len(shard_paths(store)) >= 3, seconds=60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    generated = len((tmp_path / "log").read_text().splitlines())
    stored = store.stats()["rows"]
    assert generated < 5000  # it was killed in the middle
    assert 60 <= stored <= generated <= stored + 20 + 1

    engine = FakeEngine(reply=lambda *_: "after the kill")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a killed run leaves no damaged shard
        frame = answer(store, engine, prompts(5000))
    assert len(engine.asked) == 5000 - stored
    assert (frame["text"] == "before the kill").sum() == stored


def test_two_writers_at_once_corrupt_nothing(tmp_path):
    script = """
    start = int({start})
    (root / f"ready{start}").touch()
    while len(list(root.glob("ready*"))) < 2:
        time.sleep(0.001)
    def reply(prompt, sampling):
        time.sleep(0.0005)
        return f"writer {start}"
    frame = store.answer(anna, FakeEngine(reply=reply), prompts(300, start), shard_rows=7, **settings)
    assert len(frame) == 300
    """
    children = [spawn(tmp_path, script.replace("{start}", str(start))) for start in (0, 200)]
    assert [child.wait(timeout=100) for child in children] == [0, 0]
    store, engine = ResponseStore(tmp_path / "responses"), FakeEngine()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = answer(store, engine, prompts(500))
    assert engine.opened == 0
    assert list(frame["prompt_id"]) == [f"medqa/{number}" for number in range(500)]
    assert set(frame["text"]) <= {"writer 0", "writer 200"}
    assert list(frame["text"]) == list(answer(store, engine, prompts(500))["text"])
    assert store.stats()["rows"] == 500


def test_memory_holds_the_open_shard_not_the_whole_run(tmp_path):
    script = """
    import resource
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    settings["runs"] = [settings.pop("run")]
    store.fill(anna, FakeEngine(), prompts(100), shard_rows=50, **settings)  # everything is imported and warm
    before = peak()
    text = "word " * 20_000
    verbose = FakeEngine(reply=lambda *_: text + str(time.time()))
    store.fill(anna, verbose, prompts(1000, 1000), shard_rows=50, **settings)
    (root / "grown").write_text(str(peak() - before))
    """
    assert spawn(tmp_path, script).wait(timeout=100) == 0
    assert float((tmp_path / "grown").read_text()) < 50  # MiB; the responses have 95


def column_offset(path: Path, column: str) -> int:
    """Return a place inside the data of `column`, past the header of its first page."""
    group = pq.read_metadata(path).row_group(0)
    chunk = next(group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start + chunk.total_compressed_size - 3


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a table"),
    "bit in keys": lambda path: flip(path, column_offset(path, "key")),
    "bit in texts": lambda path: flip(path, column_offset(path, "text")),
    "other columns": lambda path: pq.write_table(pa.table({"a": [1, 2]}), path),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named_set_aside_and_regenerated(store, kind):
    long = FakeEngine(reply=lambda asked, _: f"{asked.id} " * 200)
    before = answer(store, long, prompts(30), shard_rows=10)
    victim = shard_paths(store)[1]
    DAMAGE[kind](victim)
    engine = FakeEngine(reply=long.reply)
    with pytest.warns(DamagedShardWarning, match=victim.name):
        after = answer(store, engine, prompts(30))
    assert len(engine.asked) == 10  # its rows, no others
    assert after.drop(columns="seconds").equals(before.drop(columns="seconds"))
    assert [path.name.endswith(victim.name) for path in (store.root / "damaged").iterdir()] == [True]
    assert not victim.exists()
    assert store.stats()["damaged"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(store, engine, prompts(30))


def test_of_shards_that_hold_nothing_wanted_the_keys_alone_are_read(store):
    long = FakeEngine(reply=lambda asked, _: f"{asked.id} " * 200)
    answer(store, long, prompts(30), shard_rows=10)
    other = shard_paths(store)[1]
    flip(other, column_offset(other, "text"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its damaged texts would be met
        assert len(answer(store, FakeEngine(), prompts(10))) == 10


def test_a_shard_that_cannot_be_opened_is_no_damaged_shard(store, monkeypatch):
    answer(store, FakeEngine(), prompts(3))
    (path,) = shard_paths(store)
    DAMAGE["truncated"](path)

    def refused(self):
        raise PermissionError(errno.EACCES, "no", str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(PermissionError):
        answer(store, FakeEngine(), prompts(3))
    assert path.exists()


def disk_full_after(count, monkeypatch):
    """Let the disk be full after `count` files; return how to free it."""
    real, done = os.fsync, []

    def fsync(file):
        done.append(file)
        if len(done) > count:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(shards.os, "fsync", fsync)
    return lambda: monkeypatch.setattr(shards.os, "fsync", real)


def test_a_full_disk_is_said_plainly_and_keeps_complete_shards(store, monkeypatch):
    answer(store, FakeEngine(), prompts(1))
    free = disk_full_after(2, monkeypatch)
    engine = FakeEngine()
    with pytest.raises(
        OSError, match="disk is full: 10 rows were not saved, 3 complete shards are kept; free space"
    ) as caught:
        answer(store, engine, prompts(60, 100), shard_rows=10)
    assert caught.value.errno == errno.ENOSPC
    assert engine.closed == 1
    assert list(store.root.rglob("*.tmp")) == []
    free()
    rest = FakeEngine()
    assert len(answer(store, rest, prompts(60, 100))) == 60
    assert len(rest.asked) == 40


def test_a_disk_that_fills_while_the_engine_is_silent_stops_the_run(tmp_path, monkeypatch):
    store = ResponseStore(tmp_path, shard_seconds=0.02)
    answer(store, FakeEngine(), prompts(1))
    disk_full_after(0, monkeypatch)

    def reply(asked, _):
        time.sleep(0.2 if asked.id.endswith("/100#0") else 0)  # the last one: the timer writes meanwhile
        return "x"

    with pytest.raises(OSError, match="disk is full"):
        answer(store, FakeEngine(reply=reply), prompts(3, 100))


def test_leftovers_of_killed_runs_go_and_those_of_live_writers_stay(store):
    answer(store, FakeEngine(), prompts(1))
    folder = shard_paths(store)[0].parent
    old = time.time() - 2 * shards.STALE
    left, live, fresh = (folder / f".{name}.parquet.tmp" for name in ("left", "live", "fresh"))
    for path in (left, live, fresh):
        path.write_bytes(b"half a shard")
    for path in (left, live):
        os.utime(path, (old, old))
    with live.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer(store, FakeEngine(), prompts(2))
    assert (left.exists(), live.exists(), fresh.exists()) == (False, True, True)


def absent(model):
    raise FileNotFoundError(f"{model.path} is not there; run `make minihub`")


def test_a_replay_needs_no_weights(store, tmp_path, monkeypatch):
    before = answer(store, FakeEngine(), prompts(4))
    store.export(tmp_path / "all.zip")
    monkeypatch.setattr(engines, "fingerprint", absent)
    replayed = ResponseStore.replay(tmp_path / "all.zip", tmp_path / "elsewhere")
    engine = FakeEngine()
    assert answer(replayed, engine, prompts(4)).equals(before)
    assert engine.opened == 0
    with pytest.raises(FileNotFoundError, match="2 responses of anna are not stored.*make minihub"):
        answer(replayed, engine, prompts(6))


def test_a_model_that_is_neither_there_nor_on_record_is_an_error(store, monkeypatch):
    monkeypatch.setattr(engines, "fingerprint", absent)
    with pytest.raises(FileNotFoundError, match="make minihub"):
        answer(store, FakeEngine(), prompts(1))


def test_the_record_of_models_keeps_every_name_and_the_latest_weights(store, fingerprints):
    for name, weights in (("anna", "one"), ("bert", "two"), ("anna", "three")):
        fingerprints[name] = weights
        answer(ResponseStore(store.root), FakeEngine(weights), prompts(1), model=ModelSpec(name, "x"))
    text = (store.root / "models.json").read_text()
    assert "three" in text and "two" in text and "one" not in text
    (store.root / "models.json").write_text("{")
    with pytest.raises(ValueError, match="models.json.*delete"):
        answer(ResponseStore(store.root), FakeEngine(), prompts(1))


def test_lookup_reads_any_stored_response_by_key(store, fingerprints):
    fingerprints["bert"] = "fp2"
    anna = answer(store, FakeEngine(), prompts(3))
    bert = answer(store, FakeEngine("fp2"), prompts(3), model=ModelSpec("bert", "x"))
    keys = [bert["key"][2], anna["key"][0], bert["key"][2]]
    frame = store.lookup(keys, ["text", "prompt_id", "model"])
    assert list(frame["prompt_id"]) == ["medqa/2", "medqa/0", "medqa/2"]
    assert list(frame["model"]) == ["bert", "anna", "bert"]
    with pytest.raises(KeyError, match="1 of 2 responses are not stored, first nokey"):
        store.lookup([keys[0], "nokey"])


def test_counts_are_made_once_and_travel(store, tmp_path):
    answer(store, FakeEngine(), prompts(1))
    assert list(store.counts("reasoning_tokens", ["a", "b"], lambda missing: [10 + at for at in missing])) == [10, 11]
    assert list(store.counts("reasoning_tokens", ["b", "c", "b"], lambda missing: [99 for at in missing])) == [
        11,
        99,
        11,
    ]
    store.export(tmp_path / "all.zip")
    replayed = ResponseStore.replay(tmp_path / "all.zip", tmp_path / "elsewhere")
    assert list(replayed.counts("reasoning_tokens", ["c", "a"], lambda missing: pytest.fail("counted again"))) == [
        99,
        10,
    ]


def test_stats_count_rows_tokens_and_suites(store, fingerprints):
    fingerprints["bert"] = "fp2"
    answer(store, FakeEngine(reply=lambda *_: "one two three"), prompts(3) + prompts(2, suite="pubmedqa"))
    answer(store, FakeEngine("fp2", reply=failing()), prompts(1), model=ModelSpec("bert", "x"))
    stats = store.stats()
    assert (stats["rows"], stats["failed"], stats["shards"], stats["damaged"]) == (6, 1, 2, 0)
    assert stats["bytes"] == sum(path.stat().st_size for path in shard_paths(store))
    assert stats["models"]["anna"] == {
        "rows": 5,
        "failed": 0,
        "prompt_tokens": 15,
        "completion_tokens": 15,
        "suites": {"medqa": 3, "pubmedqa": 2},
    }
    assert stats["models"]["bert"]["failed"] == 1


def test_stats_of_an_empty_store(store):
    assert store.stats() == {
        "rows": 0, "failed": 0, "superseded": 0, "shards": 0, "damaged": 0, "bytes": 0, "models": {}
    }  # fmt: skip


def test_a_stored_row_says_what_was_asked_and_how(store):
    answer(store, FakeEngine(), prompts(1), run=2)
    (row,) = pq.read_table(shard_paths(store)[0]).to_pylist()
    assert set(row) == set(asking.SCHEMA.names)
    assert row["messages"] == '[{"role": "user", "content": "What is medqa/0?"}]'
    assert '"temperature": 0.6' in row["sampling"]
    assert (row["fingerprint"], row["engine"], row["run"]) == ("fp", "transformers", 2)
