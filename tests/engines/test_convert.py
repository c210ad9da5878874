"""Conversion to GGUF: what is written, when, and that llama.cpp reads the model out of it that transformers reads."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from medpsy.engines import EngineError, Sampling, convert, open_engine, programs
from medpsy.engines.convert import QWEN2_PATTERN, is_qwen2, recognise_qwen2, to_gguf
from medpsy.files import swept
from medpsy.study import ModelSpec
from tiny_models import ARCHITECTURES, make_tokenizer, save_tiny
from training_examples import one_thread  # noqa: F401

GREEDY = Sampling(max_tokens=32, temperature=0)
# its converter wants Qwen3.5's layers for several tokens at a time, which transformers leaves out when it saves
CONVERTIBLE = [name for name in ARCHITECTURES if name != "Qwen3_5"]


@pytest.mark.usefixtures("llama_tools")
@pytest.mark.parametrize("architecture", CONVERTIBLE)
def test_llama_cpp_and_transformers_agree(architecture, prompts, tmp_path):
    spec = ModelSpec(architecture, str(save_tiny(tmp_path / "model", architecture)))
    with open_engine("transformers", spec) as reference:
        expected = {response.prompt_id: response.text for response in reference.generate(prompts, GREEDY)}
    with open_engine("llama_cpp", spec, gguf_dir=tmp_path / "gguf", slots=4, threads=1) as engine:
        found = {response.prompt_id: response.text for response in engine.generate(prompts, GREEDY)}
    same = sum(found[name] == expected[name] for name in expected)
    assert same >= len(prompts) - 1, f"{architecture}: {same} of {len(prompts)} texts agree"  # one tie is allowed
    assert len(set(expected.values())) > 6  # the model does look at its prompt


@pytest.mark.usefixtures("llama_tools")
def test_a_model_is_converted_once_whatever_it_is_called(tiny, tmp_path):
    first = to_gguf(tiny, tmp_path)
    written = first.stat().st_mtime_ns
    assert to_gguf(replace(tiny, chat_template_kwargs={"enable_thinking": False}), tmp_path) == first
    assert first.stat().st_mtime_ns == written
    assert os.listdir(tmp_path) == [first.name]  # nothing half-written is left
    found = gguf.GGUFReader(first)
    assert found.get_field("tokenizer.ggml.pre").contents() == "qwen2"
    assert found.get_field("general.name").contents() == "Tiny"
    assert {str(tensor.tensor_type.name) for tensor in found.tensors} == {"F32"}
    assert str(tiny.local_dir.parent) not in first.read_bytes().decode("latin-1")


@pytest.fixture
def converter(llama_tools):
    """What this process converts with, once a model's folder has been checked; loading it takes seconds."""
    return convert.converter(str(programs.find(programs.CONVERTER).resolve()))


def test_the_converter_is_loaded_once_and_replaced_when_it_dies(converter, tiny, tmp_path):
    arguments = [str(tiny.local_dir), "--outfile", str(tmp_path / "a.gguf")]
    assert converter.run(arguments) == ""
    first = converter._child.pid
    assert "exit code 1" in converter.run(["nowhere"])  # a failure ends nothing
    assert converter.run(arguments) == "" and converter._child.pid == first
    os.killpg(first, signal.SIGKILL)
    problem = converter.run(arguments)
    assert not problem or "SIGKILL" in problem  # it may be told alive a moment longer
    assert converter.run(arguments) == "" and converter._child.pid != first


def test_what_a_killed_conversion_left_is_taken_away_once_it_is_old(tmp_path):
    for name, days in ((".converting-old", 2), (".converting-new", 0), ("other", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.gguf").write_text("GG")
        os.utime(tmp_path / name, (time.time() - days * 86_400,) * 2)
    (tmp_path / ".converting-file").touch()
    os.utime(tmp_path / ".converting-file", (0, 0))
    assert swept(tmp_path, convert.SCRATCH) == tmp_path
    assert sorted(os.listdir(tmp_path)) == [".converting-new", "other"]


@pytest.mark.usefixtures("llama_tools")
def test_a_model_that_cannot_be_converted_leaves_nothing_but_an_error(tiny, tmp_path):
    tokenizer = json.loads((tiny.local_dir / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\p{N}{1,3}|\s+|\S+"}  # not Qwen2's
    for name, changes, message in (
        ("odd", {"config.json": {"architectures": ["NobodyForCausalLM"]}}, "NobodyForCausalLM"),
        ("foreign", {"tokenizer.json": tokenizer}, "pre-tokenizer was not recognized"),
    ):
        folder = copied(tiny.local_dir, tmp_path / name, changes)
        with pytest.raises(EngineError, match=rf"(?s)'{name}'.*not converted.*{message}"):
            to_gguf(ModelSpec(name, str(folder)), tmp_path / "gguf")
        assert os.listdir(tmp_path / "gguf") == []
    with pytest.raises(ValueError, match="'q4' is unknown; choose one of f32, f16, bf16, q8_0"):
        to_gguf(tiny, tmp_path, outtype="q4")


def copied(source: Path, target: Path, changes: dict[str, dict]) -> Path:
    """Return a copy of a model's folder in which JSON files have some keys replaced."""
    shutil.copytree(source, target)
    for name, keys in changes.items():
        (target / name).write_text(json.dumps({**json.loads((target / name).read_text()), **keys}))
    return target


def test_two_processes_may_convert_at_once(tiny, tmp_path, monkeypatch):
    """Each works in a folder of its own; whoever finishes last replaces a complete file by a complete file."""

    class Theirs:
        def run(self, arguments: list[str]) -> str:
            Path(arguments[2]).write_text("theirs")
            return ""

    class Ours(Theirs):
        def run(self, arguments: list[str]) -> str:
            monkeypatch.setattr(convert, "converter", lambda _: Theirs())
            assert to_gguf(tiny, tmp_path).read_text() == "theirs"
            Path(arguments[2]).write_text("ours")
            return ""

    monkeypatch.setattr(programs, "find", Path)
    monkeypatch.setattr(convert, "converter", lambda _: Ours())
    assert to_gguf(tiny, tmp_path).read_text() == "ours"


def test_the_converter_runs_no_code_of_a_model_even_where_it_would_trust_it_and_finds_none(converter, tmp_path):
    remote = {"auto_map": {"AutoTokenizer": ["code.Class", "code.Class"]}}
    dream = {"config.json": {"architectures": ["DreamModel"]}, "tokenizer_config.json": remote}
    folder = copied(save_tiny(tmp_path / "llama", "Llama"), tmp_path / "dream", dream)
    canary = tmp_path / "canary"
    (folder / "code.py").write_text(f"open({str(canary)!r}, 'w')\nclass Class: ...\n")
    problem = converter.run([str(folder), "--outfile", str(tmp_path / "a.gguf")])
    assert "none is run" in problem and not canary.exists()
    names = {path.name for path in convert.staged(folder, tmp_path / "staged").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names - {"code.py"} == names


BPE = {"type": "BPE"}
SPLIT = {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def test_qwen2s_pre_tokenizer_is_recognised_and_no_other():
    assert is_qwen2({"model": BPE, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}})
    assert not is_qwen2({"model": {"type": "Unigram"}, "pre_tokenizer": {"pretokenizers": [SPLIT, BYTES]}})
    pairs = [[BYTES, SPLIT], [SPLIT | {"pattern": {"Regex": "."}}, BYTES], [SPLIT | {"invert": True}, BYTES]]
    pairs += [[SPLIT, BYTES | {"use_regex": True}]]
    others = [*({"pretokenizers": pair} for pair in pairs), {"type": "ByteLevel", "use_regex": True}, None]
    assert not any(is_qwen2({"model": BPE, "pre_tokenizer": other}) for other in others) and not is_qwen2({})


def test_the_converters_own_table_comes_first(tiny):
    class Known:
        dir_model = tiny.local_dir

        def get_vocab_base_pre(self, tokenizer: object) -> str:
            if tokenizer == "released":
                return "smollm"
            raise NotImplementedError

    recognise_qwen2(Known)
    assert Known().get_vocab_base_pre("released") == "smollm"
    assert Known().get_vocab_base_pre(make_tokenizer()) == "qwen2"
