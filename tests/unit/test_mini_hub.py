"""The committed minihub: complete, small, safetensors only, and what its digests say it is."""

import json

import pytest
from medpsy import prompts, study
from medpsy.mini import build, suites, voices
from medpsy.mini.build import SPECS
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = [spec.name for spec in SPECS]


def test_every_declared_model_is_there_in_files_of_the_recorded_training_alone():
    assert sorted(path.name for path in build.HUB.iterdir() if path.is_dir()) == sorted(NAMES)
    recorded = json.loads((build.HUB / "digests.json").read_text(encoding="utf-8"))
    assert recorded == build.digests()
    files = [file for file in build.HUB.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40e6
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".jinja", ".md", ".csv"}


def test_a_model_is_of_its_architecture_and_bfloat16_and_profiles_know_which_templates_open_the_thinking():
    profiles = [study.load(name) for name in ("smoke", "mini")]
    for spec in SPECS:
        folder = build.HUB / spec.name
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert config["model_type"].startswith(spec.architecture)
        assert config["num_hidden_layers"] == spec.layers
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118
        assert {settings.model(spec.name).opens_thinking for settings in profiles} == {spec.opens_thinking}
        asked = [{"role": "user", "content": "?"}]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        assert text.endswith("<think>\n") == spec.opens_thinking


def test_a_backbone_answers_in_the_form_it_was_taught():
    """Greedy responses to a few held-out questions: reasoning, end of thinking, an answer within the grammar."""
    folder = build.HUB / "qwen3-small"
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder)
    asked = suites.load("mmlu_health")[:6]
    rows = [list(prompts.closed_ended(question)) for question in asked]
    how = {"add_generation_prompt": True, "return_tensors": "pt", "padding": True, "return_dict": True}
    batch = tokenizer.apply_chat_template(rows, **how)
    found = model.generate(**batch, max_new_tokens=160, do_sample=False)[:, batch["input_ids"].shape[1] :]
    for question, text in zip(asked, tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
        reasoning, closed, answer = text.rpartition("</think>")
        assert reasoning.startswith("<think>\n") and closed
        assert voices.chosen(answer, question.options).wording is not None


def test_an_unknown_model_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["build", "parser", "qwen9-huge"])
    with pytest.raises(SystemExit, match="no such model: qwen9-huge; known are .*parser"):
        build.main()
