"""Merging through mergekit: the arithmetic of each method, whole folders, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from medpsy import study as studies
from medpsy.generation import REPLAY
from medpsy.merging import fused_shares, merge
from medpsy.study import ModelSpec
from safetensors.numpy import load_file, save_file
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


def weights(model):
    found = {}
    for path in sorted(model.local_dir.glob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "ROOT", tmp_path)
    return MINI


@pytest.fixture
def two(tmp_path):
    return {"base": saved(tmp_path / "before"), "other": saved(tmp_path / "after", change=0.02)}


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
    done = merge(study, "fused", **two)
    base, other, found = weights(two["base"]), weights(two["other"]), weights(done.model)
    taken = elements = 0
    for name in base:
        wanted, share = fused(base[name], other[name])
        agree = np.isclose(found[name], wanted, atol=1e-6)
        assert agree.mean() > 0.995, name  # elements at the threshold may fall to either side in float32
        taken, elements = taken + share * base[name].size, elements + base[name].size
    table = fused_shares(study, done, **two).set_index(["layer", "kind"])
    assert table.loc[("", "whole"), "share"] == pytest.approx(100 * taken / elements, abs=0.5)
    assert 5 < table.loc[("", "whole"), "share"] < 30
    assert {("0", "q_proj"), ("1", "down_proj"), ("", "embed_tokens")} <= set(table.index)
    assert table["elements"].iloc[:-1].sum() == table.loc[("", "whole"), "elements"] == elements


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_linear_merge_is_the_weighted_mean(study, two, share):
    found = weights(merge(study, "mean", **two, method="linear", share=share).model)
    base, other = weights(two["base"]), weights(two["other"])
    for name in base:
        assert np.allclose(found[name], (1 - share) * base[name] + share * other[name], atol=1e-6)


def test_a_spherical_merge_walks_the_arc_between_two_tensors(study, tmp_path):
    two = {"base": saved(tmp_path / "before"), "other": saved(tmp_path / "far", change=0.2)}
    found = weights(merge(study, "arc", **two, method="slerp").model)
    name = "model.layers.0.mlp.up_proj.weight"
    base, other = weights(two["base"])[name].astype(np.float64), weights(two["other"])[name].astype(np.float64)
    angle = np.arccos((base * other).sum() / np.linalg.norm(base) / np.linalg.norm(other))
    wanted = (base + other) * np.sin(angle / 2) / np.sin(angle)
    assert angle > 0.5 and np.allclose(found[name], wanted, atol=1e-5)


def test_where_three_quarters_are_equal_everything_is_taken_and_the_table_says_so(study, two):
    file = two["other"].local_dir / "model.safetensors"
    base, other = weights(two["base"]), weights(two["other"])
    name = "model.layers.0.self_attn.q_proj.weight"
    rows = len(base[name]) // 5  # a fifth of the rows differs
    other[name] = np.concatenate([other[name][:rows], base[name][rows:]])
    save_file(other, file, metadata={"format": "pt"})
    table = fused_shares(study, merge(study, "tied", **two), **two).set_index(["layer", "kind"])
    assert table.loc[("0", "q_proj"), "everything"] and table.loc[("0", "q_proj"), "of_changed"] == 100
    assert not table.loc[("1", "q_proj"), "everything"] and not table.loc[("", "whole"), "everything"]


def test_a_merged_folder_is_whole_and_loads_with_plain_transformers(study, two):
    done = merge(study, "fused", **two, seed=7)
    folder = done.model.local_dir
    assert (folder / "chat_template.jinja").read_text() == "template of the base"
    assert not (folder / "training.json").exists()
    record = json.loads((folder / "merging.json").read_text())
    assert record == done.record and record["seed"] == 7 and record["versions"]["mergekit"] == "0.1.5"
    assert record["configuration"]["base_model"] == "before" and record["configuration"]["out_dtype"] == "float32"
    assert str(folder.parent) not in json.dumps(record)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_nothing_is_merged_twice_and_another_seed_or_model_is_another_merge(study, two, tmp_path):
    first = merge(study, "fused", **two)
    assert merge(study, "fused", **two).record == first.record
    again = merge(study, "fused", **two, seed=1)
    assert again.record["key"] != first.record["key"]
    changed = {**two, "other": saved(tmp_path / "after", change=0.02, seed=2)}
    assert merge(study, "fused", **changed).record["key"] not in (first.record["key"], again.record["key"])


def test_weights_land_in_the_number_format_of_the_base(study, two):
    for model in two.values():
        AutoModelForCausalLM.from_pretrained(model.local_dir, dtype=torch.bfloat16).save_pretrained(model.local_dir)
    done = merge(study, "short", **two)
    assert done.record["configuration"]["out_dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(done.model.local_dir, dtype="auto").dtype == torch.bfloat16


def test_a_replay_tells_a_merge_without_any_of_its_models(study, two, monkeypatch):
    done = merge(study, "fused", **two)
    table = fused_shares(study, done, **two)
    monkeypatch.setenv(REPLAY, "1")
    gone = {part: replace(model, path=f"gone/far/{part}") for part, model in two.items()}
    told = merge(study, "fused", **gone)
    assert told.record == done.record
    assert fused_shares(study, told, **gone).equals(table)


def test_models_that_do_not_fit_and_methods_that_do_not_exist_are_refused_by_name(study, two, tmp_path):
    wider = saved(tmp_path / "wider", intermediate_size=64)
    with pytest.raises(ValueError, match=r"before and wider cannot be merged: tensor .*mlp.*\(32, 48\).*\(32, 64\)"):
        merge(study, "no", base=two["base"], other=wider)
    file = wider.local_dir / "config.json"
    file.write_text(file.read_text().replace("Qwen3ForCausalLM", "LlamaForCausalLM"))
    with pytest.raises(ValueError, match="architectures .*Qwen3.* and .*Llama.*merge checkpoints of one backbone"):
        merge(study, "no", base=two["base"], other=wider)
    with pytest.raises(ValueError, match="did you mean 'slerp'"):
        merge(study, "no", **two, method="slrp")
    with pytest.raises(ValueError, match="share 2 "):
        merge(study, "no", **two, method="linear", share=2)
    assert not (study.models_dir / "no").exists()
    first = merge(study, "first", **two).model
    with pytest.raises(ValueError, match="'first' would take the place of one of its parts"):
        merge(study, "first", base=two["base"], other=first)


def test_shares_of_a_mean_are_refused(study, two):
    with pytest.raises(ValueError, match="was merged by linear"):
        fused_shares(study, merge(study, "mean", **two, method="linear"), **two)
