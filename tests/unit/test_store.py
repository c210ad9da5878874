"""The response store: nothing generated twice, nothing lost but the open shard, nothing unreadable passed over."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import fake_engine
import pyarrow.parquet as pq
import pytest
from fake_engine import FakeEngine, finished, prompt, prompts
from medpsy import bundle, engines, files, study
from medpsy import store as stores
from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.store import REPLAY, RESULT, SCHEMA, Asked, DamagedShardWarning, NotStored, ResponseStore, Session, noted
from medpsy.study import ModelSpec

UNASKED = FakeEngine(reply=lambda asked, _: finished(prompt("medqa/9#0"), "x") if "/0#" in asked.id else "fine")

MODEL = ModelSpec("anna", "models/anna")
SAMPLING = Sampling(max_tokens=16, seed=7)


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
    return fake_engine.answer(store, engine, asked, **{"model": MODEL, "sampling": SAMPLING} | changes)


def shard_paths(store):
    return sorted(store.root.glob("shards/*/[!.]*.parquet"))


def test_answers_come_in_prompt_order_with_the_agreed_columns(store):
    frame = answer(store, FakeEngine(), prompts(5))
    assert list(frame["prompt_id"]) == [f"medqa/{number}" for number in range(5)]
    assert [text.split(" seed ")[0] for text in frame["text"]] == [f"What is medqa/{number}?" for number in range(5)]
    assert set(frame["model"]) == {"anna"} and set(frame["run"]) == {0} and frame["error"].isna().all()
    none, engine = FakeEngine(), FakeEngine()
    assert set(answer(store, none, []).columns) == set(frame.columns) == {*RESULT} and not none.opened
    answer(store, engine, prompts(6))
    assert sorted(asked.id for asked in engine.asked) == ["medqa/5#0"]  # what is missing alone is generated
    engine = FakeEngine()
    assert len(answer(ResponseStore(store.root), engine, prompts(6))) == 6 and not engine.opened


def test_one_conversation_is_generated_once_and_one_id_for_two_is_refused(store):
    engine = FakeEngine()
    same = [prompt(f"medqa/{number}", "same") for number in (1, 2, 1)]
    frame = answer(store, engine, [*same, prompt("medqa/3", "other")])
    assert list(frame["prompt_id"]) == ["medqa/1", "medqa/2", "medqa/3"]
    assert frame["key"].nunique() == len(engine.asked) == 2
    assert frame["text"][0] == frame["text"][1] != frame["text"][2]
    with pytest.raises(ValueError, match="'medqa/1' stands for two"):
        answer(store, FakeEngine(), [prompt("medqa/1", "a"), prompt("medqa/1", "b")])


@pytest.mark.parametrize(
    ("changes", "kwargs", "fingerprint", "same"),
    [
        ({}, {}, "fp", True),
        ({"sampling": Sampling(max_tokens=16, seed=7, temperature=0.6, top_p=1)}, {}, "fp", True),
        ({"sampling": Sampling(max_tokens=16, seed=8, top_p=1)}, {}, "fp", False),
        ({"sampling": Sampling(max_tokens=16, seed=7, top_p=0.9)}, {}, "fp", False),
        ({"run": 1}, {}, "fp", False),
        ({"engine_kind": "vllm"}, {}, "fp", False),
        ({}, {"enable_thinking": False}, "fp", False),
        ({}, {}, "other weights", False),
    ],
)
def test_everything_that_can_change_a_response_changes_its_key(store, fingerprints, changes, kwargs, fingerprint, same):
    answer(store, FakeEngine(), prompts(1), sampling=replace(SAMPLING, top_p=1))
    fingerprints["bert"] = fingerprint
    engine = FakeEngine(fingerprint, kind=changes.get("engine_kind", "transformers"))
    bert = ModelSpec("bert", "x", chat_template_kwargs=kwargs)
    answer(store, engine, prompts(1), model=bert, **{"sampling": replace(SAMPLING, top_p=1.0)} | changes)
    assert engine.opened == (0 if same else 1)


def test_runs_of_one_session_draw_from_different_seeds_and_open_the_engine_once(store):
    engine = FakeEngine()
    store.fill(Asked(MODEL, "fp", "transformers", SAMPLING), engine, prompts(3), range(3))
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
    assert store.stats()["failed"].sum() == 2
    answer(store, down, prompts(3))
    assert down.opened == 1  # the same store does not hammer a broken endpoint

    up = FakeEngine()
    frame = answer(ResponseStore(store.root), up, prompts(3))
    assert sorted(asked.id for asked in up.asked) == ["medqa/1#0", "medqa/2#0"]
    assert list(frame["finish_reason"]) == ["stop"] * 3
    assert frame["text"][0] == "fine"
    assert store.stats()[["rows", "failed"]].values.tolist() == [[3, 0]]


def test_a_response_the_engine_forgets_becomes_a_failed_one(store):
    class Forgetful(FakeEngine):
        def generate(self, asked, sampling):
            return (response for response in super().generate(asked, sampling) if "/1#" not in response.prompt_id)

    frame = answer(store, Forgetful(), prompts(3))
    assert list(frame["finish_reason"]) == ["stop", "failed", "stop"] and "no response" in frame["error"][1]


@pytest.mark.parametrize(
    ("engine", "kept", "message"),
    [
        (UNASKED, 2, "'medqa/9#0' twice or unasked"),  # stops the run and keeps what came before
        (FakeEngine(kind="vllm"), 0, "anna: kind and fingerprint.*wrong key"),
        (FakeEngine(fingerprint="new weights"), 0, "anna: kind and fingerprint.*wrong key"),
    ],
)
def test_an_engine_that_is_another_or_answers_what_nobody_asked_is_refused(store, engine, kept, message):
    with pytest.raises(RuntimeError, match=message):
        answer(store, engine, prompts(3), engine_kind="transformers")
    assert (store.stats()["rows"].sum(), engine.closed) == (kept, 1)


def test_text_that_utf8_cannot_hold_is_stored_with_a_mark(store):
    frame = answer(store, FakeEngine(reply=lambda *_: "half \ud83d, whole \U0001f600, null \x00"), prompts(1))
    assert frame["text"][0] == "half \ufffd, whole \U0001f600, null \x00"


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("medpsy.store.SHARD_ROWS", 10)


def test_shards_are_bounded_by_rows_and_by_seconds(store, small_shards, monkeypatch):
    answer(store, FakeEngine(), prompts(25))
    assert sorted(pq.read_metadata(path).num_rows for path in shard_paths(store)) == [5, 10, 10]
    monkeypatch.setattr("medpsy.store.SHARD_SECONDS", 0.05)
    answer(store, FakeEngine(reply=lambda *_: time.sleep(0.06) or "x"), prompts(3, 100))
    assert [pq.read_metadata(path).num_rows for path in shard_paths(store)[3:]] == [1, 1, 1]


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
    from medpsy import store as storing
    from medpsy.engines.base import Sampling
    from medpsy.store import Asked, ResponseStore
    from medpsy.study import ModelSpec
    storing.SHARD_ROWS = 20
    root = Path(sys.argv[1])
    store = ResponseStore(root / "responses")
    asked = Asked(ModelSpec("anna", "models/anna"), "fp", "transformers", Sampling(max_tokens=16, seed=7))
    """
    paths = [str(Path(__file__).parent), *sys.path]
    code = textwrap.dedent(head) + textwrap.dedent(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", code, str(root)], env=environment)


@pytest.mark.filterwarnings("error")  # a killed run leaves no damaged shard
def test_kill_9_loses_no_more_than_the_open_shard(tmp_path):
    script = """
    log = (root / "log").open("a", buffering=1)
    def reply(prompt, sampling):
        time.sleep(0.01)
        log.write(prompt.id + "\\n")
        return "before the kill"
    store.fill(asked, FakeEngine(reply=reply), prompts(1000), [0])
    """
    child = spawn(tmp_path, script)
    try:
        store, end = ResponseStore(tmp_path / "responses"), time.monotonic() + 300
        while len(shard_paths(store)) < 3 and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    generated = len((tmp_path / "log").read_text().splitlines())
    stored = store.stats()["rows"].sum()
    assert generated < 1000  # it was killed in the middle
    assert 60 <= stored <= generated <= stored + 20 + 1

    engine = FakeEngine(reply=lambda *_: "after the kill")
    frame = answer(store, engine, prompts(1000))
    assert len(engine.asked) == 1000 - stored
    assert (frame["text"] == "before the kill").sum() == stored


@pytest.mark.filterwarnings("error")
def test_two_writers_at_once_corrupt_nothing(tmp_path):
    script = """
    start = int({start})
    (root / f"ready{start}").touch()
    while len(list(root.glob("ready*"))) < 2:
        time.sleep(0.001)
    def reply(prompt, sampling):
        time.sleep(0.0005)
        return f"writer {start}"
    (frame,) = store.answers(asked, FakeEngine(reply=reply), prompts(300, start), [0])
    assert len(frame) == 300
    """
    children = [spawn(tmp_path, script.replace("{start}", str(start))) for start in (0, 200)]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    store, engine = ResponseStore(tmp_path / "responses"), FakeEngine()
    frame = answer(store, engine, prompts(500))
    assert engine.opened == 0
    assert list(frame["prompt_id"]) == [f"medqa/{number}" for number in range(500)]
    assert set(frame["text"]) <= {"writer 0", "writer 200"}
    assert list(frame["text"]) == list(answer(store, engine, prompts(500))["text"])
    assert store.stats()["rows"].sum() == 500


def test_memory_holds_the_open_shard_not_the_whole_run(tmp_path):
    script = """
    import resource
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    store.fill(asked, FakeEngine(), prompts(100), [0])  # everything is imported and warm
    before = peak()
    text = "word " * 20_000
    verbose = FakeEngine(reply=lambda *_: text + str(time.time()))
    store.fill(asked, verbose, prompts(1000, 1000), [0])
    (root / "grown").write_text(str(peak() - before))
    """
    assert spawn(tmp_path, script).wait(timeout=300) == 0
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
    "empty": lambda path: path.write_bytes(b""),
    "bit in keys": lambda path: flip(path, column_offset(path, "key")),
    "bit in texts": lambda path: flip(path, column_offset(path, "text")),
    "a column missing": lambda path: pq.write_table(pq.read_table(path).drop_columns("completion_tokens"), path),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named_set_aside_and_regenerated(store, small_shards, kind):
    long = FakeEngine(reply=lambda asked, _: f"{asked.id} " * 200)
    before = answer(store, long, prompts(30))
    victim = shard_paths(store)[1]
    DAMAGE[kind](victim)
    engine = FakeEngine(reply=long.reply)
    with pytest.warns(DamagedShardWarning, match=victim.name):
        after = answer(store, engine, prompts(30))
    assert len(engine.asked) == 10  # its rows, no others
    assert after.drop(columns="seconds").equals(before.drop(columns="seconds"))
    assert [path.name.endswith(victim.name) for path in (store.root / "damaged").iterdir()] == [True]
    assert not victim.exists()
    answer(store, engine, prompts(30))
    assert len(engine.asked) == 10


def test_a_shard_that_cannot_be_opened_is_no_damaged_shard(store, monkeypatch):
    answer(store, FakeEngine(), prompts(3))
    (path,), opened = shard_paths(store), Path.open

    def refused(self, *mode, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "no", str(self))
        return opened(self, *mode, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError):
        answer(ResponseStore(store.root), FakeEngine(), prompts(3))
    assert path.exists()


def test_a_full_disk_is_said_plainly_and_keeps_complete_shards(store, small_shards, monkeypatch):
    answer(store, FakeEngine(), prompts(1))
    real, room = os.fsync, [1, 2]

    def fsync(file):
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room.pop()
        real(file)

    monkeypatch.setattr(files.os, "fsync", fsync)
    engine = FakeEngine()
    with pytest.raises(OSError, match="disk full.*make room") as caught:
        answer(store, engine, prompts(60, 100))
    assert caught.value.errno == errno.ENOSPC
    assert engine.closed == 1
    assert list(store.root.rglob(".*.parquet")) == []
    monkeypatch.setattr(files.os, "fsync", real)
    rest = FakeEngine()
    assert len(answer(store, rest, prompts(60, 100))) == 60
    assert len(rest.asked) == 40


def absent(model):
    raise FileNotFoundError(f"{model.path} is not there; run `make minihub`")


def test_a_replay_needs_no_weights_and_without_a_record_they_are_missed(store, tmp_path, monkeypatch):
    before = answer(store, FakeEngine(), prompts(4))
    bundle.write(store, tmp_path / "all.zip")
    monkeypatch.setattr(engines, "fingerprint", absent)
    with pytest.raises(FileNotFoundError, match="make minihub"):
        answer(ResponseStore(tmp_path / "empty"), FakeEngine(), prompts(1))
    replayed = bundle.add(tmp_path / "all.zip", tmp_path / "elsewhere")
    engine = FakeEngine()
    assert answer(replayed, engine, prompts(4)).equals(before)
    assert engine.opened == 0
    with pytest.raises(FileNotFoundError, match="make minihub"):
        replayed.fill(Asked(MODEL, "fp", engine.kind, SAMPLING), lambda: absent(MODEL), prompts(6), [0])


def test_the_record_of_models_keeps_every_name_and_the_latest_weights(store, fingerprints):
    for name, weights in (("anna", "one"), ("bert", "two"), ("anna", "three")):
        fingerprints[name] = weights
        answer(ResponseStore(store.root), FakeEngine(weights), prompts(1), model=ModelSpec(name, "x"))
    text = (store.root / "models.json").read_text()
    assert "three" in text and "two" in text and "one" not in text
    (store.root / "models.json").write_text("{")
    with pytest.raises(ValueError, match="models.json.*delete"):
        answer(ResponseStore(store.root), FakeEngine(), prompts(1))


def test_lookup_reads_a_stored_response_by_key(store):
    anna = answer(store, FakeEngine(), prompts(3))
    keys = [anna["key"][2], anna["key"][0], anna["key"][2]]
    frame = store.lookup(keys, ["text", "prompt_id"], model=MODEL)
    assert list(frame["prompt_id"]) == ["medqa/2", "medqa/0", "medqa/2"]
    with pytest.raises(KeyError, match="1 of 2 responses are not stored, first nokey"):
        store.lookup([keys[0], "nokey"], model=MODEL)


def test_counts_are_made_once_and_travel(store, tmp_path):
    answer(store, FakeEngine(), prompts(1))
    assert list(store.counts("tokens", ["a", "b"], lambda missing: [10 + at for at in missing])) == [10, 11]
    assert list(store.counts("tokens", ["b", "c", "b"], lambda missing: [99 for at in missing])) == [11, 99, 11]
    bundle.write(store, tmp_path / "all.zip")
    replayed = bundle.add(tmp_path / "all.zip", tmp_path / "elsewhere")
    assert list(replayed.counts("tokens", ["c", "a"], lambda missing: pytest.fail("counted again"))) == [99, 10]


def test_stats_count_rows_and_tokens_of_models_and_suites(store, fingerprints):
    assert store.stats().empty
    fingerprints["bert"] = "fp2"
    answer(store, FakeEngine(reply=lambda *_: "one two three"), prompts(3) + prompts(2, suite="pubmedqa"))
    answer(store, FakeEngine("fp2", reply=failing()), prompts(1), model=ModelSpec("bert", "x"))
    stats = store.stats()
    assert list(stats.columns) == ["rows", "failed", "prompt_tokens", "completion_tokens"]
    counts = {("anna", "medqa"): [3, 0, 9, 9], ("anna", "pubmedqa"): [2, 0, 6, 6], ("bert", "medqa"): [1, 1, 0, 0]}
    assert {name: list(row) for name, row in stats.T.items()} == counts


def test_a_stored_row_says_what_was_asked_and_how(store):
    answer(store, FakeEngine(), prompts(1), run=2)
    (row,) = pq.read_table(shard_paths(store)[0]).to_pylist()
    assert set(row) == set(SCHEMA.names)
    assert row["messages"] == '[{"role": "user", "content": "What is medqa/0?"}]'
    assert '"temperature": 0.6' in row["sampling"]
    assert (row["fingerprint"], row["engine"], row["run"]) == ("fp", "transformers", 2)


def test_what_was_made_is_told_again_in_a_replay_and_made_anew_without_one(tmp_path, monkeypatch):
    assert noted(tmp_path, "effort", lambda: {"seconds": (1, 2.5)}) == {"seconds": [1, 2.5]}
    monkeypatch.setenv(REPLAY, "1")
    assert noted(tmp_path, "effort", lambda: 1 / 0) == {"seconds": [1, 2.5]}
    with pytest.raises(NotStored, match="note 'other' is not stored"):
        noted(tmp_path, "other", lambda: 3)
    (tmp_path / "notes" / "effort.json").write_text("{")
    with pytest.raises(ValueError, match=r"notes/effort.json is not JSON"):
        noted(tmp_path, "effort", lambda: 3)
    monkeypatch.delenv(REPLAY)
    assert noted(tmp_path, "effort", lambda: 3) == 3
    for name in ("", "../up", ".hidden"):
        with pytest.raises(ValueError, match="cannot name a file"):
            noted(tmp_path, name, lambda: 3)


def test_a_model_with_a_small_context_writes_less_and_no_other_does():
    mini, asked = study.load("mini"), Sampling(max_tokens=16384)
    small = replace(mini.model(mini.parser), max_tokens=4096)
    assert stores.capped(asked, small).max_tokens == 4096
    assert stores.capped(replace(asked, max_tokens=100), small).max_tokens == 100
    assert stores.capped(asked, mini.model(mini.parser)) == asked


def test_options_of_a_model_go_before_those_of_the_study_and_an_endpoint_has_its_own(tmp_path):
    mini = study.load("mini")
    more = {"key_env": "HOST_KEY", "extended": False, "extra_body": {"reasoning_effort": "low"}}
    near = replace(mini.models[mini.parser], engine_options={"outtype": "f16"})
    far = ModelSpec("far", "big", base_url="http://host.example/v1", engine_options=more)
    changed = replace(mini, models=mini.models | {near.name: near, "far": far})
    session = Session(changed, ResponseStore(tmp_path))
    (kind, opening), (far_kind, far_opening) = session.engine(near), session.engine(far)
    assert kind == engines.engine_kind(mini.engine, near, {"outtype": "f16"}) == "llama_cpp:f16"
    others = {key: value for key, value in mini.engine_options.items() if key != "outtype"}
    assert others and opening.args[1].keywords.items() >= (others | {"outtype": "f16"}).items()
    far_opening = far_opening.args[1]
    assert far_opening.args == ("openai", far) and far_opening.keywords == {"gguf_dir": changed.gguf_dir, **more}
    assert far_kind == 'openai:{"reasoning_effort": "low"}'
    asked = replace(changed, engine="openai", engine_options={"timeout": 9.0, "key_env": "OTHER"})
    assert asked.answers(far) == ("openai", {"timeout": 9.0, **more})
