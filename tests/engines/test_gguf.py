"""Conversion to GGUF: what is written, when, and that llama.cpp reads the model out of it that transformers reads."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from medpsy.engines import EngineError, Prompt, Sampling, open_engine, tools
from medpsy.engines.gguf_pretokenizer import QWEN2_PATTERN, is_qwen2
from medpsy.engines.gguf_worker import recognise_qwen2
from medpsy.quantization import conversion, to_gguf
from tiny_models import ARCHITECTURES, Spec, make_tokenizer, save_tiny

GREEDY = Sampling(max_tokens=32, temperature=0)
# its converter wants Qwen3.5's layers for several tokens at a time, which transformers leaves out when it saves
CONVERTIBLE = [name for name in ARCHITECTURES if name != "Qwen3_5"]


@pytest.mark.usefixtures("llama_tools")
@pytest.mark.parametrize("architecture", CONVERTIBLE)
def test_llama_cpp_and_transformers_agree(architecture: str, prompts: list[Prompt], tmp_path: Path) -> None:
    spec = Spec(architecture, architecture, save_tiny(tmp_path / "model", architecture))
    with open_engine("transformers", spec) as reference:
        expected = {response.prompt_id: response.text for response in reference.generate(prompts, GREEDY)}
    with open_engine("llama_cpp", spec, gguf_dir=tmp_path / "gguf", slots=4, threads=1) as engine:
        found = {response.prompt_id: response.text for response in engine.generate(prompts, GREEDY)}
    same = sum(found[name] == expected[name] for name in expected)
    assert same >= len(prompts) - 1, f"{architecture}: {same} of {len(prompts)} texts agree"  # one tie is allowed
    assert len(set(expected.values())) > 6  # the model does look at its prompt


@pytest.mark.usefixtures("llama_tools")
def test_a_model_is_converted_once_whatever_it_is_called(tiny: Spec, tmp_path: Path) -> None:
    first = to_gguf(tiny, tmp_path)
    written = first.stat().st_mtime_ns
    assert to_gguf(replace(tiny, chat_template_kwargs={"enable_thinking": False}), tmp_path) == first
    assert first.stat().st_mtime_ns == written
    assert os.listdir(tmp_path) == [first.name]  # nothing half-written is left
    found = gguf.GGUFReader(first)
    assert found.get_field("tokenizer.ggml.pre").contents() == "qwen2"
    assert found.get_field("general.name").contents() == "Tiny"
    assert {str(tensor.tensor_type.name) for tensor in found.tensors} == {"F32"}
    assert str(tiny.folder.parent) not in first.read_bytes().decode("latin-1")


@pytest.mark.usefixtures("llama_tools")
def test_other_number_formats_are_other_files(tiny: Spec, tmp_path: Path) -> None:
    path = to_gguf(tiny, tmp_path, outtype="bf16")
    assert path.name.endswith("-bf16.gguf")
    assert "BF16" in {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.usefixtures("llama_tools")
def test_the_converter_is_loaded_once_and_replaced_when_it_dies(tiny: Spec, tmp_path: Path) -> None:
    converter = conversion.Converter(str(tools.find(tools.CONVERTER)))
    arguments = [str(tiny.folder), "--outfile", str(tmp_path / "a.gguf")]
    assert converter.run(arguments)[0] == 0
    first = converter._child.pid
    assert converter.run(["nowhere"])[0] != 0  # a failure ends nothing
    assert converter.run(arguments)[0] == 0 and converter._child.pid == first
    os.killpg(first, signal.SIGKILL)
    assert converter.run(arguments)[0] in (0, conversion.KILLED)  # it may be told alive a moment longer
    assert converter.run(arguments)[0] == 0 and converter._child.pid != first


def test_an_unknown_number_format_is_refused(tiny: Spec, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'q4' is unknown; choose one of f32, f16, bf16, q8_0"):
        to_gguf(tiny, tmp_path, outtype="q4")


@pytest.mark.usefixtures("llama_tools")
def test_a_model_that_cannot_be_converted_leaves_nothing_but_an_error(tiny: Spec, tmp_path: Path) -> None:
    folder = copied(tiny.folder, tmp_path / "odd", {"config.json": {"architectures": ["NobodyForCausalLM"]}})
    with pytest.raises(EngineError, match=r"(?s)'odd'.*not converted.*NobodyForCausalLM"):
        to_gguf(Spec("odd", "models/odd", folder), tmp_path / "gguf")
    assert os.listdir(tmp_path / "gguf") == []


@pytest.mark.usefixtures("llama_tools")
def test_a_foreign_pre_tokenizer_is_not_taken_for_qwen2s(tiny: Spec, tmp_path: Path) -> None:
    tokenizer = json.loads((tiny.folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\p{N}{1,3}|\s+|\S+"}
    folder = copied(tiny.folder, tmp_path / "odd", {"tokenizer.json": tokenizer})
    with pytest.raises(EngineError, match="pre-tokenizer was not recognized"):
        to_gguf(Spec("odd", "models/odd", folder), tmp_path / "gguf")


def copied(source: Path, target: Path, changes: dict[str, dict]) -> Path:
    """Return a copy of a model's folder in which JSON files have some keys replaced."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for name, keys in changes.items():
        (target / name).write_text(json.dumps({**json.loads((target / name).read_text()), **keys}))
    return target


def test_code_beside_a_model_is_out_of_the_converters_reach(tiny: Spec, tmp_path: Path) -> None:
    folder = copied(tiny.folder, tmp_path / "with_code", {})
    (folder / "modeling_evil.py").write_text("raise SystemExit('run')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    staged = conversion._staged(folder, tmp_path / "staged")
    names = {path.name for path in staged.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not {"modeling_evil.py", "pytorch_model.bin"} & names


def test_two_processes_may_convert_at_once(tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each works in a folder of its own; whoever finishes last replaces a complete file by a complete file."""

    def convert(model: Spec, source: Path, made: Path, outtype: str) -> None:
        monkeypatch.setattr(conversion, "_convert", lambda *given: given[2].write_text("other's"))
        assert to_gguf(tiny, tmp_path).read_text() == "other's"
        made.write_text("mine")

    monkeypatch.setattr(conversion, "_convert", convert)
    assert to_gguf(tiny, tmp_path).read_text() == "mine"


def test_what_killed_conversions_left_is_swept(tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / ".converting-old", tmp_path / ".converting-new"
    for folder in (old, new):
        (folder / "tiny").mkdir(parents=True)
    os.utime(old, (1, 1))
    monkeypatch.setattr(conversion, "_convert", lambda *given: given[2].write_text("done"))
    to_gguf(tiny, tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


BPE = {"type": "BPE"}
SPLIT = {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        ({"model": BPE, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}}, True),
        ({"model": {"type": "Unigram"}, "pre_tokenizer": {"pretokenizers": [SPLIT, BYTES]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [BYTES, SPLIT]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT | {"pattern": {"Regex": "."}}, BYTES]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT | {"pattern": {"String": "."}}, BYTES]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT | {"behavior": "Removed"}, BYTES]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT | {"invert": True}, BYTES]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT, BYTES | {"add_prefix_space": True}]}}, False),
        ({"model": BPE, "pre_tokenizer": {"pretokenizers": [SPLIT, BYTES | {"use_regex": True}]}}, False),
        ({"model": BPE, "pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}, False),
        ({"model": BPE, "pre_tokenizer": None}, False),
        ({}, False),
    ],
)
def test_qwen2s_pre_tokenizer_is_recognised_and_no_other(tokenizer: dict, expected: bool) -> None:
    assert is_qwen2(tokenizer) is expected


def test_the_converters_own_table_comes_first(tiny: Spec) -> None:
    class Known:
        dir_model = tiny.folder

        def get_vocab_base_pre(self, tokenizer: object) -> str:
            if tokenizer == "released":
                return "smollm"
            raise NotImplementedError

    recognise_qwen2(Known)
    assert Known().get_vocab_base_pre("released") == "smollm"
    assert Known().get_vocab_base_pre(make_tokenizer()) == "qwen2"


def test_the_miniatures_tokenizer_splits_as_qwen2s() -> None:
    tokenizer = pytest.importorskip("medpsy.mini.tokenizer")
    assert tokenizer.QWEN2_PATTERN == QWEN2_PATTERN
