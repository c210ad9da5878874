"""Resume points: which of them count, in what order they come and go, what is made plain of them (sharded ones:
launching), and what is refused without leaving anything."""

import os
import shutil

import pytest
import torch
from medpsy.training.save import WHOLE, ResumePoints, convert, drop_half_written, last_checkpoint
from safetensors.torch import load_file, save_file
from training_examples import HUB, one_thread  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl, TrainerState, TrainingArguments

PARENT = HUB / "qwen3-small"


@pytest.fixture
def point(tmp_path, request):
    """A resume point as a trainer alone leaves it, of a model that differs from its parent; its files may be small."""
    folder = tmp_path / "work" / "checkpoint-4"
    model = AutoModelForCausalLM.from_pretrained(PARENT, dtype=torch.float32)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn_like(weight)
    model.save_pretrained(folder, max_shard_size=getattr(request, "param", "1GB"))
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


@pytest.mark.parametrize(("point", "several"), [("1GB", False), ("1MB", True)], indirect=["point"])
def test_a_resume_point_gets_its_parents_number_format_tokenizer_and_template(point, several, tmp_path):
    out = convert(point, tmp_path / "new" / "plain", parent=PARENT)
    assert [len(list(folder.glob("model*.safetensors"))) > 1 for folder in (point, out)] == [several, False]
    assert torch.equal(logits(out), logits(point))
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert (out / "chat_template.jinja").read_text() == (PARENT / "chat_template.jinja").read_text()
    assert "Not medical advice" in (out / "README.md").read_text() and "checkpoint-4" in (out / "README.md").read_text()
    assert not (out / "training.json").exists()  # no section takes it for a checkpoint of the study
    assert [path.name for path in out.parent.iterdir()] == ["plain"]
    with pytest.raises(ValueError, match="plain is there already"):
        convert(point, out, parent=PARENT)


def shards_without_their_list(point):
    (point / FILE).unlink()
    (point / "pytorch_model_fsdp_0").mkdir()
    (point / "pytorch_model_fsdp_0" / "__0_0.distcp").write_text("half")


def with_tensors(change):
    """Return what changes the tensors of a resume point; None takes one away."""

    def write(point):
        tensors = load_file(point / FILE) | change
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, point / FILE)

    return write


FILE, NORM = "model.safetensors", "model.norm.weight"
SPOILT = {
    "checkpoint-4 is no whole resume point.*file whole": lambda point: (point / WHOLE).unlink(),
    "checkpoint-4 holds no weights of a whole model": shards_without_their_list,
    "and no adapter with .*adapter_config": lambda point: (point / FILE).rename(point / "adapter_model.safetensors"),
    r"model.norm.weight has shape \(2,\), in qwen3-small \(256,\)": with_tensors({NORM: torch.zeros(2)}),
    r"tensor model.norm.weight has shape None, in qwen3-small \(256,\)": with_tensors({NORM: None}),
    r"tensor more has shape \(2,\), in qwen3-small None": with_tensors({"more": torch.zeros(2)}),
    "model.safetensors is damaged": lambda point: os.truncate(point / FILE, 100_000),
}


@pytest.mark.parametrize(("message", "spoil"), SPOILT.items())
def test_what_is_no_whole_model_of_the_parent_is_refused_and_nothing_is_left(point, tmp_path, message, spoil):
    spoil(point)
    with pytest.raises(Exception, match=message):
        convert(point, tmp_path / "new" / "plain", parent=PARENT)
    assert not list((tmp_path / "new").iterdir())


@pytest.fixture
def work(tmp_path):
    """A work folder with three whole resume points, and a fourth that its trainer has just written."""
    for step in (2, 4, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}" / WHOLE).touch()
    return tmp_path


def save(work, best=None):
    state = TrainerState(global_step=12, best_model_checkpoint=best and str(work / best))
    ResumePoints().on_save(TrainingArguments(str(work), use_cpu=True, report_to=[]), state, TrainerControl())


def test_the_newest_marked_one_counts_and_steps_are_numbers(work):
    assert last_checkpoint(work) == str(work / "checkpoint-10")
    assert last_checkpoint(work / "nothing") is None


def test_half_written_ones_are_dropped(work):
    drop_half_written(work)
    assert sorted(os.listdir(work)) == ["checkpoint-10", "checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize(("best", "other"), [(None, "checkpoint-10"), ("checkpoint-4", "checkpoint-4")])
def test_a_new_one_replaces_older_ones_but_the_best(work, best, other):
    save(work, best)
    assert set(os.listdir(work)) == {"checkpoint-12", other} and last_checkpoint(work) == str(work / "checkpoint-12")


def test_a_kill_while_older_ones_go_leaves_the_new_one(work, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        save(work)
    assert last_checkpoint(work) == str(work / "checkpoint-12")
