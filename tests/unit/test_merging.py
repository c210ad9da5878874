"""Merging through mergekit: the arithmetic of each method, whole folders, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from medpsy import study as studies
from medpsy.engines.models import model_folder, weight_files
from medpsy.recipes.openmed import merge
from medpsy.study import ModelSpec
from medpsy.training.save import load_whole
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from training_examples import defined, one_thread  # noqa: F401
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


def test_a_model_whose_files_lack_a_tensor_is_not_loaded_with_one_drawn_at_random(tmp_path):
    saved(tmp_path)
    whole, lost = weights(tmp_path), "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(load_whole(tmp_path).state_dict()[lost], torch.tensor(whole.pop(lost)))
    save_file(whole, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"no tensor {lost} in its files, which are not whole"):
        load_whole(tmp_path)


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


def counted(study, two):
    """Return the counts of section 13 by layer and kind of tensor."""
    names = {"re": re, "safe_open": safe_open, "model_folder": model_folder, "weight_files": weight_files}
    models = (*two.values(), ModelSpec(NAME, str(study.models_dir / NAME)))
    return pd.DataFrame(defined("13_openmed", "fused_counts", **names)(*models)).set_index(["layer", "kind"])


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fused(base, other):
    """Return Arcee Fusion of two tensors, from its description, in float64; and the share of elements taken."""
    base, other = base.astype(np.float64), other.astype(np.float64)
    p, q = softmax(other) + 1e-8, softmax(base) + 1e-8
    importance = np.abs(other - base) * (p * np.log(p / q)).sum(axis=-1, keepdims=True)
    ranked = np.sort(importance, axis=None)
    low, middle, high = (ranked[int(at * (ranked.size - 1))] for at in (0.25, 0.5, 0.75))
    mask = importance >= middle + 1.5 * (high - low)
    return base + (other - base) * mask, mask.mean()


def test_arcee_fusion_is_what_its_description_says_and_shares_count_it(study, two):
    _, folder = merged(study, two)
    base, other, found = weights(two["base"].local_dir), weights(two["other"].local_dir), weights(folder)
    taken = elements = 0
    for name in base:
        wanted, share = fused(base[name], other[name])
        agree = np.isclose(found[name], wanted, atol=1e-6)
        assert agree.mean() > 0.995, name  # elements at the threshold may fall to either side in float32
        taken, elements = taken + share * base[name].size, elements + base[name].size
    table = counted(study, two)
    assert 100 * table["taken"].sum() / elements == pytest.approx(100 * taken / elements, abs=0.5)
    assert 0.05 < taken / elements < 0.3 and table["elements"].sum() == elements
    assert {("0", "q_proj"), ("1", "down_proj"), ("", "embed_tokens")} <= set(table.index)


def test_a_linear_merge_is_the_mean_and_a_spherical_one_walks_the_arc_between_two_tensors(study, tmp_path):
    two = {"base": saved(tmp_path / "before"), "other": saved(tmp_path / "far", change=0.2)}
    base, other = (weights(model.local_dir) for model in two.values())
    mean = weights(merged(study, two, "linear")[1])
    assert all(np.allclose(mean[name], (base[name] + other[name]) / 2, atol=1e-6) for name in base)
    arc, name = weights(merged(study, two, "slerp")[1]), "model.layers.0.mlp.up_proj.weight"
    one, two = base[name].astype(np.float64), other[name].astype(np.float64)
    angle = np.arccos((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))
    assert angle > 0.5 and np.allclose(arc[name], (one + two) * np.sin(angle / 2) / np.sin(angle), atol=1e-5)


def test_where_three_quarters_are_equal_everything_is_taken_and_the_table_says_so(study, two):
    base, other = weights(two["base"].local_dir), weights(two["other"].local_dir)
    name = "model.layers.0.self_attn.q_proj.weight"
    rows = len(base[name]) // 5  # a fifth of the rows differs
    other[name] = np.concatenate([other[name][:rows], base[name][rows:]])
    save_file(other, two["other"].local_dir / "model.safetensors", metadata={"format": "pt"})
    merged(study, two)
    table = counted(study, two)
    assert table.loc[("0", "q_proj"), "taken"] == table.loc[("0", "q_proj"), "changed"] > 0
    assert table.loc[("1", "q_proj"), "taken"] < table.loc[("1", "q_proj"), "changed"]


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
