"""Merging through mergekit: the arithmetic of each method, whole folders, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from medpsy import study as studies
from medpsy.recipes.openmed import merge
from medpsy.study import ModelSpec
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

MINI = studies.load("mini")
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZE |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64, "max_position_embeddings": 64}


def saved(folder, change=0.0, seed=1, **config):
    """Save a small Qwen3 in float32; `change` is the spread of what is added to its weights."""
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**SIZE | config, initializer_range=0.1, tie_word_embeddings=True))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += change * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("template of the base")
    (folder / "training.json").write_text("{}")
    return ModelSpec(folder.name, str(folder))


def weights(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.fixture
def study(tmp_path):
    return replace(MINI, root=tmp_path)


@pytest.fixture
def two(tmp_path):
    return {"base": saved(tmp_path / "before"), "other": saved(tmp_path / "after", change=0.02)}


NAME = "small-openmed-merged"


def merged(study, two, method="arcee_fusion"):
    """Merge and return the record and the folder."""
    return merge(study, NAME, **two, method=method), study.models_dir / NAME


def test_a_linear_merge_is_the_mean_and_a_spherical_one_walks_the_arc_between_two_tensors(study, tmp_path):
    two = {"base": saved(tmp_path / "before"), "other": saved(tmp_path / "far", change=0.2)}
    base, other = (weights(model.local_dir) for model in two.values())
    mean = weights(merged(study, two, "linear")[1])
    assert all(np.allclose(mean[name], (base[name] + other[name]) / 2, atol=1e-6) for name in base)
    arc, name = weights(merged(study, two, "slerp")[1]), "model.layers.0.mlp.up_proj.weight"
    one, two = base[name].astype(np.float64), other[name].astype(np.float64)
    angle = np.arccos((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))
    assert angle > 0.5 and np.allclose(arc[name], (one + two) * np.sin(angle / 2) / np.sin(angle), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_folder_is_whole_loads_with_plain_transformers_and_keeps_the_format_of_the_base(study, two, dtype):
    for model in two.values():
        AutoModelForCausalLM.from_pretrained(model.local_dir, dtype=dtype).save_pretrained(model.local_dir)
    told, folder = merged(study, two)
    assert (folder / "chat_template.jinja").read_text() == "template of the base"
    assert not (folder / "training.json").exists()
    record = json.loads((folder / "merging.json").read_text())
    assert record == told and record["versions"]["mergekit"] == "0.1.5"
    assert record["configuration"]["base_model"] == "before"
    assert record["configuration"]["out_dtype"] == str(dtype).removeprefix("torch.")
    assert str(study.root) not in json.dumps(record)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == dtype and model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_nothing_is_merged_twice_and_another_model_is_another_merge(study, two, tmp_path):
    first, folder = merged(study, two)
    written = (folder / "merging.json").stat().st_mtime_ns
    assert merged(study, two)[0] == first and (folder / "merging.json").stat().st_mtime_ns == written
    changed = {**two, "other": saved(tmp_path / "after", change=0.02, seed=2)}
    assert merged(study, changed)[0]["key"] != first["key"]


def test_models_that_do_not_fit_and_methods_that_do_not_exist_are_refused_by_name(study, two, tmp_path):
    wider = saved(tmp_path / "wider", intermediate_size=64)
    with pytest.raises(ValueError, match=r"before and wider cannot be merged: tensor .*mlp.*\(32, 48\).*\(32, 64\)"):
        merged(study, {"base": two["base"], "other": wider})
    file = wider.local_dir / "config.json"
    file.write_text(file.read_text().replace("Qwen3ForCausalLM", "LlamaForCausalLM"))
    with pytest.raises(ValueError, match="architectures .*Qwen3.* and .*Llama.*merge checkpoints of one backbone"):
        merged(study, {"base": two["base"], "other": wider})
    with pytest.raises(ValueError, match="did you mean 'slerp'"):
        merged(study, two, "slrp")
    assert not (study.models_dir / NAME).exists()
    _, folder = merged(study, two)
    with pytest.raises(ValueError, match="'small-openmed-merged' would take the place of one of its parts"):
        merged(study, {"base": two["base"], "other": ModelSpec("again", str(folder))})
