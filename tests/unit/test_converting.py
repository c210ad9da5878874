"""Resume points made plain: what is converted, and what is refused without leaving anything. (Sharded: launching.)"""

import json

import pytest
import torch
from medpsy.training.save import WHOLE, convert
from safetensors.torch import load_file, save_file
from training_examples import HUB, one_thread  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer

PARENT = HUB / "qwen3-small"


@pytest.fixture
def point(tmp_path):
    """A resume point as a trainer alone leaves it, of a model that differs from its parent."""
    folder = tmp_path / "work" / "checkpoint-4"
    model = AutoModelForCausalLM.from_pretrained(PARENT, dtype=torch.float32)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn_like(weight)
    model.save_pretrained(folder)
    (folder / WHOLE).touch()
    return folder


def logits(folder):
    """Return what the model in `folder`, its weights rounded to bfloat16, makes of a question, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(PARENT)("What is prubosk?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
        return model(ids).logits


def test_a_resume_point_gets_its_parents_number_format_tokenizer_and_template(point, tmp_path):
    out = convert(point, tmp_path / "new" / "plain", parent=PARENT)
    assert torch.equal(logits(out), logits(point))
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert (out / "chat_template.jinja").read_text() == (PARENT / "chat_template.jinja").read_text()
    assert "Not medical advice" in (out / "README.md").read_text() and "checkpoint-4" in (out / "README.md").read_text()
    assert not (out / "training.json").exists()  # no section takes it for a checkpoint of the study
    assert [path.name for path in out.parent.iterdir()] == ["plain"]


def half_written(point):
    (point / WHOLE).unlink()


def shards_without_their_list(point):
    (point / "model.safetensors").unlink()
    (point / "pytorch_model_fsdp_0").mkdir()
    (point / "pytorch_model_fsdp_0" / "__0_0.distcp").write_text("half")


def adapter(point):
    (point / "model.safetensors").rename(point / "adapter_model.safetensors")


def with_tensor(name, tensor):
    """Return what gives a point another tensor `name`, or none of that name."""

    def spoil(point):
        tensors = load_file(point / "model.safetensors") | {name: tensor}
        tensors = {key: value for key, value in tensors.items() if value is not None}
        save_file(tensors, point / "model.safetensors")

    return spoil


def torn(point):
    whole = (point / "model.safetensors").read_bytes()
    (point / "model.safetensors").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (half_written, "checkpoint-4 is no whole resume point.*file whole"),
        (shards_without_their_list, "checkpoint-4 holds no weights of a whole model"),
        (adapter, "an adapter is loaded onto its parent, not converted"),
        (
            with_tensor("model.norm.weight", torch.zeros(2)),
            r"model.norm.weight has shape \(2,\), in qwen3-small \(256,\)",
        ),
        (with_tensor("model.norm.weight", None), r"tensor model.norm.weight has shape None, in qwen3-small \(256,\)"),
        (
            with_tensor("model.more.weight", torch.zeros(2)),
            r"tensor model.more.weight has shape \(2,\), in qwen3-small None",
        ),
        (torn, "model.safetensors is damaged"),
    ],
)
def test_what_is_no_whole_model_of_the_parent_is_refused_and_nothing_is_left(point, tmp_path, spoil, message):
    spoil(point)
    with pytest.raises(Exception, match=message):
        convert(point, tmp_path / "new" / "plain", parent=PARENT)
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_is_there_is_not_replaced(point, tmp_path):
    (tmp_path / "kept").mkdir()
    with pytest.raises(ValueError, match="kept is there already"):
        convert(point, tmp_path / "kept", parent=PARENT)


def test_a_model_in_several_files_keeps_its_list(point, tmp_path):
    AutoModelForCausalLM.from_pretrained(point).save_pretrained(point, max_shard_size="1MB")
    (point / "model.safetensors").unlink(missing_ok=True)
    out = convert(point, tmp_path / "plain", parent=PARENT)
    listed = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(listed.values())) > 1
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
