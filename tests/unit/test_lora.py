"""Adapters: merged they are the parent with its adapter, apart they load anywhere, and a killed training goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medpsy.training import sft, worker
from medpsy.training.data import write
from medpsy.training.jobs import Job
from medpsy.training.save import ADAPTER, adapted, convert, lora_config, merge_adapter
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from test_dapo import CONFIG as RL
from test_dapo import HUB as MODELS
from test_dapo import question, score_held_out, train
from training_examples import HUB, Kill, Killed, corpus, job, one_thread  # noqa: F401
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def logits(model):
    with torch.inference_mode():
        return model.eval()(torch.arange(40, 72)[None]).logits


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    one = replace(job(root, corpus(root / "corpus1"), learning_rate=1e-2, num_train_epochs=4.0), lora=LORA)
    worker.do(one)
    return one


def test_a_parent_that_stays_gets_an_adapter_that_changes_nothing(tmp_path):
    merged, adapter = merge_adapter(LORA, HUB / "qwen3-small", None, tmp_path)
    parent = logits(loaded(HUB / "qwen3-small"))
    assert torch.equal(logits(loaded(merged)), parent)
    assert torch.equal(logits(PeftModel.from_pretrained(loaded(HUB / "qwen3-small"), adapter)), parent)


def test_the_merged_model_is_the_parent_with_its_adapter_which_names_its_parent_and_no_path(trained):
    folder = Path(trained.folder)
    parent, merged = logits(loaded(trained.parent)), logits(loaded(folder))
    together = logits(PeftModel.from_pretrained(loaded(trained.parent), folder / ADAPTER))
    learned, gap = (together - parent).abs().mean(), (together - merged).abs().mean()
    assert learned > 0.1 and gap < 0.1 * learned  # merged weights are rounded to the parent's number format
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    names = [load_file(Path(place) / "model.safetensors").keys() for place in (folder, trained.parent)]
    assert names[0] == names[1]
    adapter = folder / ADAPTER
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "qwen3-small" and settings["r"] == 4
    assert str(Path(trained.parent).parent) not in (adapter / "adapter_config.json").read_text()
    assert not Path(trained.work).exists() and trained.done()
    assert torch.equal(logits(loaded(convert(adapter, folder.with_name("alone"), parent=Path(trained.parent)))), merged)


@pytest.fixture
def seeing(tmp_path):
    """The folder of a model that also sees, and of an adapter that was trained on the whole of it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    text = sizes | {"num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 80}
    vision = sizes | {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    whole = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    whole.save_pretrained(tmp_path / "parent")
    model = get_peft_model(whole, lora_config(LORA))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    model.save_pretrained(tmp_path / "trained")
    return tmp_path / "parent", tmp_path / "trained"


def test_an_adapter_of_a_model_that_also_sees_is_merged_into_the_whole_of_it(seeing, tmp_path):
    parent, trained = seeing
    merged, _ = merge_adapter(LORA, parent, trained, tmp_path / "scratch")
    before, after = (load_file(folder / "model.safetensors") for folder in (parent, merged))
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed >= set(LORA["target_modules"])
    names = [json.loads((folder / "config.json").read_text())["architectures"] for folder in (parent, merged)]
    assert names[0] == names[1] == ["Gemma3ForConditionalGeneration"]


def test_an_adapter_that_does_not_fit_is_refused(seeing, trained):
    with pytest.raises(ValueError, match=r"adapter: it does not fit parent, for base_model\S+ is in one of them alone"):
        adapted(seeing[0], Path(trained.folder) / ADAPTER)


def test_a_target_that_no_layer_is_called_is_refused(tmp_path):
    lora = {**LORA, "target_modules": ["q_proj", "w_proj"]}
    one = replace(job(tmp_path, corpus(tmp_path / "corpus1")), lora=lora)
    Path(one.work).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no layer of qwen3-small is called 'w_proj'; its layers are .*down_proj"):
        sft.train(one)


def test_a_policy_with_an_adapter_learns_and_its_best_checkpoint_is_kept(tmp_path, monkeypatch):
    score_held_out(monkeypatch, 0.0, 1.0, 0.5)
    files = [write(tmp_path / f"{at}.parquet", [question(at + n) for n in range(4)]) for at in (0, 10)]
    (tmp_path / "work").mkdir()
    one = Job("small-rl1", "rl", str(MODELS / "qwen3-small"), str(tmp_path / "out"), str(tmp_path / "work"),
              tuple(map(str, files)), str(tmp_path), {**RL, "learning_rate": 1e-2}, False, lora=LORA)  # fmt: skip
    done = train(one)
    learned = {name for name, value in done.trainer.model.named_parameters() if value.requires_grad}
    assert learned and all("lora" in name for name in learned) and (done.best_step, done.weights) == (2, None)
    done.trainer.save_model(str(tmp_path / "kept"))
    folders = (tmp_path / "kept", *(Path(one.work) / f"checkpoint-{step}" for step in (2, 4)))
    kept, best, last = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert not all(torch.equal(last[name], best[name]) for name in best)
