"""Which files make a model, what is refused, and when its fingerprint changes."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medpsy.engines import engine_kind, fingerprint, identity, open_engine, tools
from medpsy.engines.identity import file_digest, weights_digest
from medpsy.engines.weights import eos_ids, model_folder
from tiny_models import Spec


@pytest.fixture
def copy(tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A copy of the tiny model that a test may change; digests are kept apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(tiny.folder, tmp_path / "copy")
    return Spec("copy", "models/copy", tmp_path / "copy")


def edit(folder: Path, name: str, **keys: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "'copy': no folder 'models/copy'.*study.yaml.*make minihub"),
        (lambda folder: (folder / "config.json").unlink(), FileNotFoundError, "models/copy/config.json is missing"),
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            FileNotFoundError,
            "models/copy/tokenizer.json is missing",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), FileNotFoundError, "no .*safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            ValueError,
            "pytorch_model.bin, which can carry code; only safetensors",
        ),
        (shard, FileNotFoundError, "model-00002-of-00002.safetensors is missing"),
        (
            lambda folder: (folder / "generation_config.json").write_text("{"),
            ValueError,
            "generation_config.json is not",
        ),
    ],
)
def test_incomplete_and_unsafe_models_are_refused(
    copy: Spec, damage: Callable[[Path], object], error: type, message: str
) -> None:
    damage(copy.folder)
    with pytest.raises(error, match=message):
        model_folder(copy)
        list(eos_ids(copy.folder))


@pytest.mark.parametrize("kind", ["transformers", "llama_cpp", "vllm", "ray"])
def test_a_missing_model_is_the_same_error_in_every_engine(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="model 'none': no folder 'models/none'"):
        open_engine(kind, Spec("none", "models/none", tmp_path / "none"))


def test_a_model_without_chat_template_is_refused(copy: Spec) -> None:
    (copy.folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="'copy': models/copy has no chat template"):
        open_engine("transformers", copy)


def test_an_unknown_hub_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    spec = Spec("far", "nobody/nothing", revision="0" * 40)
    with pytest.raises(FileNotFoundError, match="'far': nobody/nothing@0000.*ConnectionError.*local folder"):
        model_folder(spec)
    with pytest.raises(FileNotFoundError, match="'far': nobody/nothing is neither in the local hub cache"):
        fingerprint(replace(spec, revision=None))


def test_a_hub_model_is_known_by_id_and_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "snapshots" / ("c" * 40)))
    pinned = Spec("hub", "someone/model", revision="c" * 40)
    assert fingerprint(pinned) == fingerprint(replace(pinned, name="other name"))
    assert fingerprint(pinned) == fingerprint(replace(pinned, revision=None))  # the local copy says which commit
    assert fingerprint(pinned) != fingerprint(replace(pinned, revision="d" * 40))
    assert fingerprint(pinned) != fingerprint(replace(pinned, path="someone/else"))


def test_an_endpoint_is_known_by_address_and_name() -> None:
    spec = Spec("far", "big-model", base_url="https://host.example/v1")
    assert fingerprint(spec) == fingerprint(replace(spec, base_url="https://host.example/v1/"))
    others = [replace(spec, base_url="https://other.example/v1"), replace(spec, path="small-model")]
    assert len({fingerprint(each) for each in (spec, *others)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: flip(folder / "model.safetensors"),
        lambda folder: edit(folder, "tokenizer.json", padding=None, version="1.1"),
        lambda folder: edit(folder, "config.json", rms_norm_eps=1e-5),
        lambda folder: edit(folder, "generation_config.json", eos_token_id=[1, 2]),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    ],
)
def test_whatever_can_change_a_response_changes_the_fingerprint(copy: Spec, change: Callable[[Path], object]) -> None:
    before = fingerprint(copy)
    change(copy.folder)
    assert fingerprint(copy) != before


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_switches_of_the_chat_template_change_the_fingerprint(tiny: Spec) -> None:
    on, off = (replace(tiny, chat_template_kwargs={"enable_thinking": value}) for value in (True, False))
    assert len({fingerprint(tiny), fingerprint(on), fingerprint(off)}) == 3


def test_place_name_and_read_me_do_not_change_the_fingerprint(copy: Spec, tiny: Spec) -> None:
    (copy.folder / "README.md").write_text("a card")
    assert fingerprint(copy) == fingerprint(tiny)
    assert weights_digest(copy.folder) == weights_digest(tiny.folder)


def test_a_template_inside_the_tokenizers_settings_counts_too(copy: Spec) -> None:
    before = fingerprint(copy)
    template = (copy.folder / "chat_template.jinja").read_text()
    (copy.folder / "chat_template.jinja").unlink()
    without = fingerprint(copy)
    edit(copy.folder, "tokenizer_config.json", chat_template=template)
    assert before == fingerprint(copy) != without


def test_digests_are_remembered_and_renewed(copy: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = copy.folder / "model.safetensors", []
    real = identity.hashlib.file_digest
    monkeypatch.setattr(identity.hashlib, "file_digest", lambda file, kind: read.append(1) or real(file, kind))
    first = file_digest(path)
    assert (file_digest(path), len(read)) == (first, 1)
    flip(path)
    os.utime(path, ns=(1, 1))
    assert file_digest(path) != first and len(read) == 2


def test_a_home_that_cannot_be_written_to_only_costs_time(copy: Spec, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(file_digest(copy.folder / "config.json")) == 64


def test_a_torn_note_is_not_believed(copy: Spec, tmp_path: Path) -> None:
    digest = file_digest(copy.folder / "config.json")
    (note,) = (tmp_path / "cache").rglob("digests/*")
    note.write_text(digest[:10])
    assert file_digest(copy.folder / "config.json") == digest


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_tools_come_from_the_variable_then_path_then_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tools.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        FileNotFoundError, match="llama-server .*neither on PATH nor built; run `make setup`.*MEDPSY_LLAMA_CPP"
    ):
        tools.find("llama-server")
    built = program(tmp_path / "cache" / "medpsy" / tools.RELEASE / "bin" / "llama-server")
    assert tools.find("llama-server") == built
    on_path = program(tmp_path / "path" / "llama-server")
    assert tools.find("llama-server") == on_path
    monkeypatch.setenv(tools.VARIABLE, str(tmp_path / "own"))
    with pytest.raises(FileNotFoundError, match="llama-server is not in the folder that MEDPSY_LLAMA_CPP names"):
        tools.find("llama-server")
    own = program(tmp_path / "own" / "bin" / "llama-server")
    script = program(tmp_path / "own" / tools.CONVERTER)
    assert (tools.find("llama-server"), tools.find(tools.CONVERTER)) == (own, script)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("llama", {}, "engine 'llama' is unknown; choose one of transformers, llama_cpp, vllm, ray, openai"),
        ("transformers", {"slots": 3}, "'transformers' has no option 'slots'; it takes batch_rows"),
        ("llama_cpp", {"gguf": 3}, "'llama_cpp' has no option 'gguf'; it takes context, outtype, replicas, slots"),
        ("openai", {}, "'tiny' has no base_url"),
    ],
)
def test_unknown_engines_and_options_are_refused(tiny: Spec, kind: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine(kind, tiny, **options)


def test_a_model_behind_an_endpoint_is_asked_there_only(tiny: Spec) -> None:
    with pytest.raises(ValueError, match="'tiny' is behind an endpoint .base_url.; open it with engine 'openai'"):
        open_engine("transformers", replace(tiny, base_url="http://127.0.0.1:1/v1"))


def test_an_engine_with_a_number_format_of_its_own_keeps_its_responses_apart(tiny: Spec, tmp_path: Path) -> None:
    options = {"outtype": "bf16", "slots": 1, "threads": 1}
    named = [engine_kind("llama_cpp", tiny, one) for one in ({}, {"outtype": "f32"}, options)]
    assert named == ["llama_cpp", "llama_cpp", "llama_cpp:bf16"]
    assert engine_kind("transformers", tiny, {"dtype": "bfloat16"}) == "transformers:bfloat16"
    assert engine_kind("vllm", tiny, {"max_running": 4}) == "vllm"
    with open_engine("llama_cpp", tiny, gguf_dir=tmp_path, **options) as engine:
        assert engine.kind == "llama_cpp:bf16"
