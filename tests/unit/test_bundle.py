"""A bundle carries a store elsewhere whole; one that is incomplete, changed or malicious leaves nothing behind."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from fake_engine import FakeEngine, answer, prompts
from medpsy import bundle, engines
from medpsy.bundle import BundleError
from medpsy.engines.base import Sampling
from medpsy.store import DamagedShardWarning, ResponseStore, noted
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


def rewritten(path: Path, change) -> Path:
    """Rewrite the archive at `path` after `change` had its way with name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


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
    rewritten(made, change)
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
    """Pack a member so that it could swell; its size is checked first."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


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
        (encrypted, r"shards/.*\.parquet'.* is encrypted"),
        (held_twice, "differ by a file twice"),
    ],
)
def test_a_file_that_is_no_whole_bundle_is_refused(made, tmp_path, damage, words):
    damage(made)
    with pytest.raises(BundleError, match=words):
        bundle.add(made, tmp_path / "elsewhere")
