"""Which files make a model, what is refused, when its fingerprint changes, how many tokens fit into memory."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from case_rows import cases
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from medpsy.engines import engine_kind, fingerprint, models, open_engine, programs
from medpsy.engines.convert import to_gguf
from medpsy.engines.models import file_digest, model_folder, weights_digest
from medpsy.harness import Settings, jobs
from medpsy.recipes.openmed import fitting_folders
from medpsy.study import ModelSpec
from medpsy.training import jobs as job


@pytest.fixture
def copy(tiny, tmp_path, monkeypatch):
    """A copy of the tiny model that a test may change; digests are kept apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(tiny.local_dir, tmp_path / "own/models/copy")
    return ModelSpec("copy", "own/models/copy", root=tmp_path)


def edit(folder: Path, name: str, **keys: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def weights(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def gguf(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.gguf").write_bytes(b"GGML and more")


REMOTE = {"auto_map": {"AutoTokenizer": ["nobody/nothing--code.Class", None]}}
MISSING = {  # what is done to a whole model, and what the message names
    "models/copy/config.json": lambda folder: (folder / "config.json").unlink(),
    "models/copy/tokenizer.json": lambda folder: (folder / "tokenizer.json").unlink(),
    "models/copy holds no .*safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "models/copy/model-00002-of-00002.safetensors": shard,
    "no folder 'own/models/copy'.*study.yaml.*make minihub": shutil.rmtree,
}
UNSAFE_OR_DAMAGED = {
    "pytorch_model.bin": lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
    "training_args.BIN": lambda folder: (folder / "training_args.BIN").write_bytes(b""),
    "modeling_tiny.py": lambda folder: (folder / "modeling_tiny.py").write_text(""),
    "models/copy/config.json has `auto_map`": lambda folder: edit(folder, "config.json", **REMOTE),
    "models/copy/tokenizer_config.json has `auto_map`": lambda folder: edit(folder, "tokenizer_config.json", **REMOTE),
    "config.json has": lambda folder: edit(folder, "config.json", text_config=REMOTE),
    "processor_config.json has": lambda folder: (folder / "processor_config.json").write_text(
        r'{"auto\u005fmap": {"AutoProcessor": "code.Class"}}'
    ),
    "generation_config.json": lambda folder: (folder / "generation_config.json").write_text("{"),
    "copy/config.json": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "model.safetensors is damaged": lambda folder: os.truncate(folder / "model.safetensors", 100_000),
    "models/copy/model.safetensors": weights(b""),
    "copy/model.safetensors": weights(b"\xff" * 64),
    "model.safetensors is": weights((2).to_bytes(8, "little") + b"[]"),
    "model.safetensors.index.json: weight_map": lambda folder: (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": []}'
    ),
    "model.gguf is damaged": gguf,
}
CASES = [(FileNotFoundError, *case) for case in MISSING.items()]
CASES += [(ValueError, *case) for case in UNSAFE_OR_DAMAGED.items()]


@pytest.mark.parametrize(("error", "named", "damage"), CASES, ids=[name for _, name, _ in CASES])
def test_what_is_missing_unsafe_or_damaged_is_refused_and_named(copy, error, named, damage):
    model_folder(copy)
    damage(copy.local_dir)
    with pytest.raises(error, match=named):
        model_folder(copy)


def train(model: ModelSpec) -> object:
    return job.require(model.local_dir, "sft1")


def harness(model: ModelSpec) -> object:
    with tempfile.TemporaryDirectory() as outputs:
        study = SimpleNamespace(outputs=Path(outputs), source="hub", commit=lambda *_: "0" * 40)
        return jobs(study, [model], ["ifeval"], Settings(), {})


LOADS = {
    "transformers": partial(open_engine, "transformers"),
    "llama_cpp": partial(open_engine, "llama_cpp"),
    "vllm": partial(open_engine, "vllm"),
    "ray": partial(open_engine, "ray"),
    "converting": lambda model: to_gguf(model, model.local_dir / "gguf"),
    "merging": lambda model: fitting_folders(model, model),
    "identity": fingerprint,
    "training": train,
    "harness": harness,
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_code_in_a_models_folder_never_runs(copy, tmp_path, load):
    canary = tmp_path / "canary"
    (copy.local_dir / "code.py").write_text(f"open({str(canary)!r}, 'w')\nclass Class: ...\n")
    remote = {"architectures": ["DreamModel"], "auto_map": {name: "code.Class" for name in LOADERS}}
    edit(copy.local_dir, "config.json", **remote)
    edit(copy.local_dir, "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Class", "code.Class"]})
    with pytest.raises(ValueError, match=r"code\.py|auto_map"):
        load(copy)
    assert not canary.exists()


LOADERS = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")


def test_a_model_without_chat_template_is_refused(copy):
    (copy.local_dir / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="'copy': own/models/copy has no chat template"):
        open_engine("transformers", copy)


def test_an_unknown_hub_model_is_named(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    spec = ModelSpec("far", "nobody/nothing", revision="0" * 40)
    with pytest.raises(FileNotFoundError, match="'far': nobody/nothing@0000.*ConnectionError.*local folder"):
        model_folder(spec)
    with pytest.raises(FileNotFoundError, match="'far': nobody/nothing@main is neither in the local hub cache"):
        fingerprint(replace(spec, revision=None))


def test_of_a_hub_model_only_what_is_loaded_is_fetched(monkeypatch, tmp_path):
    loaded = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "chat_template.jinja"]
    copies = ["original/config.json", "original/model.safetensors", "metal/model.bin", "draft/model.safetensors"]
    copies += ["consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "model-Q4_K_M.gguf", "code.py"]
    fetched = []

    def download(_: str, *, revision: str | None, **patterns: list[str]) -> str:
        fetched.extend(filter_repo_objects(loaded + copies, **patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        model_folder(ModelSpec("hub", "someone/model"))
    assert fetched == loaded


@pytest.fixture
def filed(copy, tmp_path):
    """The tiny model's papers with the weights of a GGUF file elsewhere."""
    file = tmp_path / "elsewhere" / "copy-Q8_0.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF and more")
    return replace(copy, file="elsewhere/copy-Q8_0.gguf")


def test_a_file_of_its_own_takes_the_place_of_the_weights_beside_the_papers(filed):
    folder = model_folder(filed)
    assert to_gguf(filed, folder / "unused").resolve() == filed.local_file
    assert not list(folder.glob("*.safetensors")) and {"config.json", "tokenizer.json"} <= models.papers(folder).keys()
    assert model_folder(filed) == folder
    before = fingerprint(filed)
    filed.local_file.write_bytes(b"GGUF and others")
    assert fingerprint(filed) != before
    filed.local_file.write_bytes(b"GGML")
    with pytest.raises(ValueError, match="copy-Q8_0.gguf is damaged"):
        model_folder(filed)
    filed.local_file.unlink()
    with pytest.raises(FileNotFoundError, match="no file 'elsewhere/copy-Q8_0.gguf'"):
        model_folder(filed)


def test_a_file_of_the_hub_is_fetched_alone_and_one_that_is_not_there_told_with_those_that_are(filed, monkeypatch):
    asked = []

    def download(repository: str, name: str, *, revision: str | None) -> str:
        asked.append((repository, name, revision))
        if name != "copy-Q8_0.gguf":
            gone = httpx2.Response(404, request=httpx2.Request("GET", "http://hub"))
            raise RemoteEntryNotFoundError("404", response=gone)
        return str(filed.local_file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *_, **__: ["a.json", "copy-Q8_0.gguf"])
    hub = replace(filed, file="someone/files/copy-Q8_0.gguf", file_revision="c" * 40)
    assert models.gguf_file(model_folder(hub)).resolve() == filed.local_file
    assert asked == [("someone/files", "copy-Q8_0.gguf", "c" * 40)]
    with pytest.raises(FileNotFoundError, match="someone/files has no copy-Q4_K_M.gguf; .* are: copy-Q8_0.gguf"):
        model_folder(replace(hub, file="someone/files/copy-Q4_K_M.gguf"))
    far = replace(hub, path="someone/model", revision="d" * 40)
    assert fingerprint(far) != fingerprint(replace(far, file_revision="e" * 40))


def test_a_hub_model_is_known_by_id_and_commit_and_an_endpoint_by_address_and_name(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "snapshots" / ("c" * 40)))
    hub = ModelSpec("hub", "someone/model", revision="c" * 40)
    far = ModelSpec("far", "big-model", base_url="https://host.example/v1")
    for spec, same, other in (
        (hub, {"name": "other name"}, {"revision": "d" * 40}),
        (hub, {"revision": None}, {"path": "someone/else"}),  # the local copy says which commit
        (far, {"base_url": "https://host.example/v1/"}, {"base_url": "https://other.example/v1"}),
        (far, {"name": "near"}, {"path": "small-model"}),
    ):
        assert fingerprint(replace(spec, **same)) == fingerprint(spec) != fingerprint(replace(spec, **other))


def test_whatever_can_change_a_response_changes_the_fingerprint(copy):
    seen = {fingerprint(copy)}
    for change in (
        lambda folder: flip(folder / "model.safetensors"),
        lambda folder: edit(folder, "tokenizer.json", padding=None, version="1.1"),
        lambda folder: edit(folder, "config.json", rms_norm_eps=1e-5),
        lambda folder: edit(folder, "generation_config.json", eos_token_id=[1, 2]),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    ):
        change(copy.local_dir)
        assert fingerprint(copy) not in seen
        seen.add(fingerprint(copy))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_switches_and_template_count_wherever_they_stand_and_place_name_and_read_me_do_not(copy, tiny):
    on, off = (replace(tiny, chat_template_kwargs={"enable_thinking": value}) for value in (True, False))
    assert len({fingerprint(tiny), fingerprint(on), fingerprint(off)}) == 3
    (copy.local_dir / "README.md").write_text("a card")
    before, template = fingerprint(copy), (copy.local_dir / "chat_template.jinja").read_text()
    assert before == fingerprint(tiny) and weights_digest(copy.local_dir) == weights_digest(tiny.local_dir)
    (copy.local_dir / "chat_template.jinja").unlink()
    without = fingerprint(copy)
    edit(copy.local_dir, "tokenizer_config.json", chat_template=template)
    assert before == fingerprint(copy) != without


def test_digests_are_remembered_and_renewed_whatever_size_and_time_say(copy, tmp_path, monkeypatch):
    path, read = copy.local_dir / "model.safetensors", []
    real = models.hashlib.file_digest
    monkeypatch.setattr(models.hashlib, "file_digest", lambda file, kind: read.append(1) or real(file, kind))
    first, before = file_digest(path), path.stat()
    assert (file_digest(path), len(read)) == (first, 1)
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = file_digest(path)
    assert second != first and len(read) == 2
    for note in (tmp_path / "cache").rglob("digests/*"):
        note.write_text(first[:10])  # a torn one is not believed
    assert file_digest(path) == second
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file where the folder should be")  # only costs time
    flip(path)
    assert file_digest(path) == first


def test_tools_come_from_the_variable_then_path_then_cache(tmp_path, monkeypatch):
    def program(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
        return path

    monkeypatch.delenv(programs.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="neither on PATH nor built; run `make setup`.*MEDPSY_LLAMA_CPP"):
        programs.find("llama-server")
    built = program(tmp_path / "cache" / "medpsy" / programs.RELEASE / "bin" / "llama-server")
    assert programs.find("llama-server") == built
    on_path = program(tmp_path / "path" / "llama-server")
    assert programs.find("llama-server") == on_path
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path / "own"))
    with pytest.raises(FileNotFoundError, match="llama-server is not in the folder that MEDPSY_LLAMA_CPP names"):
        programs.find("llama-server")
    own = program(tmp_path / "own" / "bin" / "llama-server")
    script = program(tmp_path / "own" / programs.CONVERTER)
    assert (programs.find("llama-server"), programs.find(programs.CONVERTER)) == (own, script)


@pytest.mark.parametrize(("kind", "options", "message"), cases("unknown_engines", "kind", "options", "message"))
def test_unknown_engines_and_options_are_refused(tiny, kind, options, message):
    with pytest.raises(ValueError, match=message):
        open_engine(kind, tiny, **options)
    with pytest.raises(ValueError, match="'tiny' is behind an endpoint .base_url.; open it with engine 'openai'"):
        open_engine("transformers", replace(tiny, base_url="http://127.0.0.1:1/v1"))


def test_an_engine_with_a_number_format_of_its_own_keeps_its_responses_apart(tiny):
    given = [("llama_cpp", {}), ("llama_cpp", {"outtype": "f32"}), ("llama_cpp", {"outtype": "bf16", "slots": 1})]
    given += [("transformers", {"dtype": "bfloat16"}), ("vllm", {"rows": 4}), ("ray", {"replicas": 8})]
    expected = ["llama_cpp", "llama_cpp", "llama_cpp:bf16", "transformers:bfloat16", "vllm", "vllm"]
    assert [engine_kind(kind, tiny, options) for kind, options in given] == expected
    with open_engine("transformers", tiny, dtype="bfloat16") as engine:
        assert engine.kind == "transformers:bfloat16"


QWEN3_4B = {"num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}
QWEN3_4B |= {"head_dim": 128, "hidden_size": 2560}
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 256}


def test_a_share_of_what_is_free_holds_keys_and_values():
    grouped = {**SMALL, "num_key_value_heads": 2}
    for config, itemsize, bytes_per_token in ((QWEN3_4B, 2, 147_456), (SMALL, 4, 4096), (grouped, 4, 2048)):
        assert models.token_budget(config, itemsize, 2 * bytes_per_token * 1000) == 1000
        assert models.token_budget(config, itemsize, -1) == 1
    with pytest.raises(ValueError, match="no 'num_hidden_layers'; set the engine's batch size"):
        models.token_budget({"n_layer": 2}, 4, 1)
