"""A bundle carries a store elsewhere whole; one that is incomplete, changed or malicious leaves nothing behind. A study
carried to where there is no model gives the same tables, to six digits; anything less is refused by name."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from fake_engine import FakeEngine, answer, fenced, finished, prompts
from medpsy import bundle, engines, evaluate, provenance, scoring, show, study
from medpsy.bundle import BundleError
from medpsy.engines.base import Response, Sampling
from medpsy.record import Record
from medpsy.store import REPLAY, DamagedShardWarning, NotStored, ResponseStore, noted
from medpsy.study import ModelSpec

MODEL = ModelSpec("anna", "models/anna")
SAMPLING = Sampling(max_tokens=16, seed=7)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "fingerprint", lambda model: "fp")
    monkeypatch.setattr("medpsy.store.SHARD_ROWS", 10)
    store = ResponseStore(tmp_path / "responses")
    answer(store, FakeEngine(), prompts(30), model=MODEL, sampling=SAMPLING)
    store.counts("reasoning_tokens", ["a"], lambda missing: [5])
    noted(store.root, "training-large-sft1", lambda: {"seconds": 12.5})
    return store


@pytest.fixture
def made(store, tmp_path):
    bundle.write(store, tmp_path / "all.zip")
    return tmp_path / "all.zip"


def rewrite(path: Path, change=lambda members: None, packing: int = zipfile.ZIP_STORED) -> None:
    """Rewrite the archive at `path` after `change` had its way with name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def with_manifest(change):
    def apply(members):
        manifest = json.loads(members[bundle.MANIFEST])
        change(manifest, members)
        members[bundle.MANIFEST] = json.dumps(manifest).encode()

    return apply


def files(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.endswith(".lock")}


def test_a_bundle_carries_everything_byte_by_byte_and_names_no_place(store, tmp_path):
    manifest = bundle.write(store, tmp_path / "all.zip")
    assert (manifest["format"], manifest["rows"]) == (bundle.FORMAT, 30)
    assert manifest["sha256"] == bundle.digest_of(tmp_path / "all.zip")
    assert "pyarrow" in manifest["provenance"]["versions"] and str(tmp_path) not in json.dumps(manifest)
    replayed = bundle.add(tmp_path / "all.zip", tmp_path / "elsewhere")
    assert files(replayed.root) == files(store.root) and replayed.stats().equals(store.stats())
    assert len(files(store.root)) == 6  # three shards, one of counts, the record of models, a note


def test_replay_adds_to_a_store_and_may_be_repeated(store, made, tmp_path):
    other = ResponseStore(tmp_path / "other")
    answer(other, FakeEngine(), prompts(5, 100), model=ModelSpec("bert", "x"), sampling=SAMPLING)
    for _ in range(2):
        bundle.add(made, other.root, sha256=bundle.digest_of(made).upper())
    assert other.stats()["rows"].sum() == 35
    assert set(json.loads((other.root / "models.json").read_text())) == {"anna", "bert"}
    with pytest.raises(BundleError, match="all.zip: its SHA-256"):
        bundle.add(made, other.root, sha256="0" * 64)


def test_of_a_store_what_is_whole_is_exported_if_anything_is(store, tmp_path):
    victim = next(iter(sorted(store.root.glob("shards/*/*.parquet"))))
    victim.write_bytes(victim.read_bytes()[:-5])
    with pytest.warns(DamagedShardWarning, match=victim.name):
        assert bundle.write(store, tmp_path / "all.zip")["rows"] == 20
    with pytest.raises(BundleError, match="empty"):
        bundle.write(ResponseStore(tmp_path / "none"), tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()


def shard(members) -> str:
    return next(name for name in members if name.startswith("shards/"))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def name_outside(name):
    def change(manifest, members):
        data = members.pop(shard(members))
        entry = manifest["files"].pop(next(iter(manifest["files"])))
        members[name], manifest["files"][name] = data, entry

    return with_manifest(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: held.update({shard(held): flipped(held[shard(held)], 20)}), "shards/.*was changed"),
        (lambda held: held.update({shard(held): held[shard(held)] + b"x"}), "shards/.*another size"),
        (lambda held: held.pop(shard(held)), "archive and manifest differ by shards/"),
        (lambda held: held.update({"shards/0123456789abcdef/0.parquet": b"x"}), "differ by shards/.*/0.parquet"),
        (name_outside("../../escaped.parquet"), "'../../escaped.parquet' is not a file of a store"),
        (name_outside("/tmp/escaped.parquet"), "is not a file of a store"),
        (name_outside("shards/0123456789abcdef/x.py"), "is not a file of a store"),
        (lambda members: members.pop(bundle.MANIFEST), "manifest.json is missing"),
        (lambda members: members.update({bundle.MANIFEST: b'{"format": "x"}'}), "manifest.json cannot be read"),
        (with_manifest(lambda manifest, _: manifest.update(format="medpsy 9")), "'medpsy 9' is not"),
    ],
)
def test_a_bundle_that_is_not_what_it_was_is_refused_by_name_and_leaves_nothing(made, tmp_path, change, words):
    rewrite(made, change)
    before = files(tmp_path / "responses")
    for folder in ("elsewhere", "responses"):
        with pytest.raises(BundleError, match=words):
            bundle.add(made, tmp_path / folder)
    assert files(tmp_path / "elsewhere") == {} and files(tmp_path / "responses") == before
    assert list(tmp_path.rglob("escaped*")) == []


def one_bit(path):
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(shard(archive.namelist())).header_offset + 200
    path.write_bytes(flipped(path.read_bytes(), at))


def compressed(path):
    """Pack the members so that they could swell; their size is checked first."""
    rewrite(path, packing=zipfile.ZIP_DEFLATED)


def encrypted(path):
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        name = shard(archive.namelist())
    data[data.rindex(name.encode()) - 46 + 8] |= 1  # the flag in the member's entry of the central directory
    path.write_bytes(data)


def held_twice(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(shard(archive.namelist()), b"another")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "no such bundle"),
        (lambda path: os.truncate(path, path.stat().st_size - 9), "all.zip: incomplete or changed"),
        (one_bit, r"shards/.*\.parquet"),
        (compressed, "another size"),
        (encrypted, r"shards/.*\.parquet.* is encrypted"),
        (held_twice, "differ by a file twice"),
    ],
)
def test_a_file_that_is_no_whole_bundle_is_refused(made, tmp_path, damage, words):
    damage(made)
    with pytest.raises(BundleError, match=words):
        bundle.add(made, tmp_path / "elsewhere")


MODELS = ["qwen3-large", "smollm3-large"]


def reply(prompt, sampling):
    """Answer A or B by the length of the question; now and then the request fails."""
    size = len(prompt.messages[-1]["content"])
    if answer := fenced(prompt.messages[0]["content"]):
        return "A" if "is A." in answer else "B"
    if size % 6 == 0:
        return Response(prompt.id, "", "failed", 0, 0, 0.0, "planted")
    return finished(prompt, f"<think>{'so ' * (size % 5)}</think>The answer is {'AB'[size % 2]}.")


def project(folder, root, patch):
    """Make `folder` the root of a project with the real settings of `smoke`."""
    shutil.copytree(root / "params" / "smoke", folder / "params" / "smoke")
    patch.setenv("MEDPSY_ROOT", str(folder))
    return folder


def run_section(models=MODELS):
    """Do what a notebook does; return the folder of the section."""
    settings = study.load("smoke")
    graded = evaluate.closed_ended(settings, models)
    scores, record = scoring.closed_ended(settings, graded), Record("01_tiny", settings, "Tiny")
    record.table("scores", show.score_table(scores))
    record.table("outcomes", show.outcome_table(scores))
    record.responses(settings, graded, texts=False)
    record.close()
    return record.folder


def with_models(patch):
    """Put fake models where the engines look for real ones."""
    patch.setattr(engines, "open_engine", lambda kind, model, **_: FakeEngine(f"fp {model.name}", kind, reply))
    patch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    patch.setattr(evaluate, "count_tokens", lambda model, texts: [len(text.split()) for text in texts])


@pytest.fixture(scope="module")
def exported(tmp_path_factory, root):
    """The folder of a section that ran with models, and the bundle that was exported after it."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="failed"):
        with_models(patch)
        project(folder / "here", root, patch)
        section = run_section()
        bundle.export(folder / "all.zip", "smoke")
    return section, folder / "all.zip"


@pytest.fixture
def elsewhere(exported, tmp_path, root, monkeypatch):
    """A clone without models, in which nothing may be generated."""

    def gone(*_, **__):
        raise FileNotFoundError("no model is here")

    for module, name in ((engines, "open_engine"), (engines, "fingerprint"), (evaluate, "count_tokens")):
        monkeypatch.setattr(module, name, gone)
    monkeypatch.setenv(REPLAY, "1")
    return project(tmp_path / "elsewhere", root, monkeypatch)


def test_tables_made_without_any_model_are_alike_to_six_digits_and_others_are_named(exported, elsewhere, monkeypatch):
    section, made = exported
    bundle.restore(made, "smoke")
    missing = {place: here for place, _, here in bundle.differences(made, "smoke")}
    assert missing == {"01_tiny/tables/outcomes.csv": None, "01_tiny/tables/scores.csv": None}
    again = run_section()
    for name in ("outcomes.csv", "scores.csv"):
        assert (again / "tables" / name).read_bytes() == (section / "tables" / name).read_bytes()
    assert bundle.differences(made, "smoke") == []
    inputs = [json.loads((folder / "result.json").read_text())["inputs"] for folder in (section, again)]
    assert inputs[0] == inputs[1]
    scores = again / "tables" / "scores.csv"
    whole = scores.read_text()
    for change, same in ((1e-8, True), (1e-5, False)):  # of the ninth digit, as on another machine, and of the sixth
        scores.write_text(re.sub(r"\d+\.\d{8,}", lambda number: str(float(number[0]) * (1 + change)), whole))  # noqa: B023
        assert scores.read_text() != whole and (bundle.differences(made, "smoke") == []) == same
    with scores.open("a") as file:
        file.write("more\n")
    monkeypatch.setattr(provenance, "versions", lambda: {"numpy": "0.1"})
    first, *rest = bundle.differences(made, "smoke")
    assert first.place == "01_tiny/tables/scores.csv" and None not in first
    assert {value.place: value.here for value in rest}["versions/numpy"] == "0.1"  # which may explain it


def test_what_is_missing_is_refused_and_a_replay_asks_the_record_which_model_it_was(exported, elsewhere, monkeypatch):
    store = bundle.restore(exported[1], "smoke")
    with pytest.raises(NotStored, match="no response of model 'qwen3-small' is stored"):
        run_section(["qwen3-small"])
    shutil.rmtree(store.root / "counts")
    with pytest.raises(NotStored, match="numbers of reasoning_tokens are not stored"):
        run_section()
    shutil.rmtree(store.root / "shards")
    with pytest.raises(NotStored, match=r"30 responses of model 'qwen3-large' are not stored \(.*medqa 4, "):
        run_section()
    monkeypatch.setattr(engines, "fingerprint", lambda model: "trained anew")
    assert store.fingerprint(study.load("smoke").model(MODELS[0])) == f"fp {MODELS[0]}"


def test_without_the_variable_what_is_missing_is_generated(exported, elsewhere, monkeypatch):
    before = bundle.restore(exported[1], "smoke").stats().index.unique("model")
    with_models(monkeypatch)
    monkeypatch.delenv(REPLAY)
    run_section([*MODELS, "qwen3-small"])
    assert set(ResponseStore(study.load("smoke").store_dir).stats().index.unique("model")) == {*before, "qwen3-small"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "study.yaml").open("a").write("# another\n"), "params/smoke/study.yaml differs"),
        (lambda folder: (folder / "study.yaml").with_name("99_more.yaml").write_text("a: 1\n"), "not in the bundle"),
        (lambda folder: (folder / "01_backbone_selection.yaml").unlink(), "01_backbone_selection.yaml is not here"),
    ],
)
def test_other_settings_are_refused_with_the_file_named_and_nothing_is_stored(exported, elsewhere, change, said):
    shutil.copytree(elsewhere / "params" / "smoke", elsewhere / "params" / "mini")
    with pytest.raises(BundleError, match="holds profile 'smoke', not 'mini'"):
        bundle.restore(exported[1], "mini")
    change(elsewhere / "params" / "smoke")
    with pytest.raises(BundleError, match=said):
        bundle.restore(exported[1], "smoke")
    assert not list(elsewhere.rglob("*.parquet"))
    store = bundle.restore(exported[1], "smoke", other_settings=True)
    assert len(store.stats()) and not list(store.root.rglob("*.yaml"))


def test_records_are_compared_number_by_number(exported, tmp_path, monkeypatch):
    section, _ = exported
    monkeypatch.setenv("MEDPSY_ROOT", str(section.parents[2]))
    record = json.loads((section / "result.json").read_text())
    golden = tmp_path / f"{section.name}.json"
    golden.write_text(json.dumps(record | {"seconds": 1.0, "provenance": {}}))
    assert bundle.differences(tmp_path, "smoke") == []
    row = record["tables"]["scores"]["rows"][0]
    at = next(at for at, value in enumerate(row) if isinstance(value, float))
    row[at] += 0.001
    golden.write_text(json.dumps(record | {"verdicts": [{"text": "gone"}]}))
    places = {difference.place: difference.here for difference in bundle.differences(tmp_path, "smoke")}
    changed = {f"tables/scores/rows/0/{at}": row[at] - 0.001, "verdicts/0/text": None, "verdicts": []}
    assert places == {f"{section.name}/{place}": value for place, value in changed.items()}
