"""Training processes: resumed after a kill, shared by two processes, and never passing something half-done for done."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as checkpoints
from medpsy.cli import app
from medpsy.files import whole_folder
from medpsy.store import REPLAY, NotStored
from medpsy.training import launch
from medpsy.training.jobs import shared, summary
from medpsy.training.save import last_checkpoint
from safetensors.torch import load_file
from training_examples import corpus, job, killing, working_as
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("data") / "corpus1", rows=26)  # ten packs: two processes share them evenly


@pytest.fixture(scope="module")
def whole(tmp_path_factory, rows):
    """A checkpoint whose training nothing disturbed, and its record."""
    one = job(tmp_path_factory.mktemp("whole"), rows, num_train_epochs=6.0)
    return one, launch([[one]])[one.name]


def losses(record):
    return [row["loss"] for row in record["log"] if "loss" in row]


def test_a_checkpoint_loads_with_plain_transformers_and_keeps_its_parents_form(whole):
    one, record = whole
    model = AutoModelForCausalLM.from_pretrained(one.folder)
    parent = AutoModelForCausalLM.from_pretrained(one.parent)
    assert model.dtype == parent.dtype == torch.bfloat16 and type(model) is type(parent)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), parent.parameters(), strict=True))
    templates = {AutoTokenizer.from_pretrained(folder).chat_template for folder in (one.folder, one.parent)}
    assert len(templates) == 1 and not [*Path(one.folder).glob("*.bin"), *Path(one.folder).glob("*.pt")]
    assert "Not medical advice" in (Path(one.folder) / "README.md").read_text(encoding="utf-8")
    assert not Path(one.work).exists()
    assert record["steps"] == len(losses(record)) and losses(record)[-1] < losses(record)[0]
    assert record["tokens"] > 0 and record["seconds"] > 0 and 0 < record["mfu"] < 1 and record["memory_gib"] > 0.1


def test_what_stands_is_not_trained_again_and_other_settings_are(whole):
    one, _ = whole
    said = []
    before = (Path(one.folder) / "model.safetensors").stat().st_mtime_ns
    launch([[one]], progress=said.append)
    assert said == [f"{one.name}: stands already"]
    assert (Path(one.folder) / "model.safetensors").stat().st_mtime_ns == before
    assert not replace(one, config={**one.config, "seed": 4}).done()


def test_a_killed_training_goes_on_to_the_same_loss(tmp_path, rows, whole):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows, num_train_epochs=6.0), config=undisturbed.config)
    killing(one)
    with pytest.raises(Exception, match="ended without its checkpoint"):
        launch([[one]])
    assert not Path(one.folder).exists()
    resumed = int(last_checkpoint(Path(one.work)).rpartition("-")[2])
    again = launch([[one]])[one.name]
    assert 0 < resumed < again["steps"] == record["steps"]
    assert again["tokens"] == record["tokens"]
    assert losses(again) == pytest.approx(losses(record), abs=1e-4)
    assert far_apart(one.folder, undisturbed.folder) < 0.01


def assert_step_by_step(found, record) -> None:
    """Check the losses of two trainings: sums in another order make them part slowly; other rows would at once."""
    assert losses(found)[:10] == pytest.approx(losses(record)[:10], abs=1e-4)
    assert losses(found) == pytest.approx(losses(record), rel=0.02)  # 0.008 was seen, under FSDP


def far_apart(one, other) -> float:
    """Return the share of weights of two checkpoints that differ at all, in bfloat16."""
    mine, theirs = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name].float(), theirs[name].float(), atol=1e-2) for name in theirs)
    return sum(int((mine[name] != theirs[name]).sum()) for name in theirs) / sum(one.numel() for one in mine.values())


def test_two_processes_go_step_by_step_with_one_which_goes_on_behind_what_they_left_half_written(
    tmp_path, rows, whole, monkeypatch
):
    undisturbed, record = whole
    first, second = (
        replace(job(tmp_path, rows, name=name), config=undisturbed.config) for name in ("small-sft1", "small-sft2")
    )
    with monkeypatch.context() as patch:
        working_as("dies_while_saving", patch)  # in the second of two trainings
        with pytest.raises(Exception, match="ended without its checkpoint"):
            launch([[first, second]], processes=2, config="cpu")
    assert first.done() and last_checkpoint(Path(second.work)) and not Path(second.folder).exists()
    records = launch([[first, second]])
    assert [found["processes"] for found in records.values()] == [2, 1]  # what stood was not trained again
    for found in records.values():
        assert (found["steps"], found["tokens"]) == (record["steps"], record["tokens"])
        assert_step_by_step(found, record)
    assert far_apart(first.folder, undisturbed.folder) < 0.01


@pytest.fixture(scope="module")
def sharded(tmp_path_factory, rows, whole):
    """A training of two processes under FSDP of which one was killed, its record, and the resume point before that."""
    folder = tmp_path_factory.mktemp("sharded")
    one, kept = replace(job(folder, rows), config=whole[0].config), folder / "kept" / "checkpoint-2"
    killing(one, rank="1", kept=kept)
    with pytest.MonkeyPatch.context() as patch:
        working_as("fsdp_on_cpu", patch)
        return one, launch([[one]], processes=2, config="fsdp_8", restarts=1)[one.name], kept


def test_a_sharded_training_that_loses_a_process_starts_again_by_itself(sharded, whole):
    one, record, _ = sharded
    assert (record["restarts"], record["processes"]) == (1, 2)
    assert record["steps"] == whole[1]["steps"] and record["tokens"] == whole[1]["tokens"]
    assert_step_by_step(record, whole[1])
    assert far_apart(one.folder, whole[0].folder) < 1


def test_a_sharded_resume_point_becomes_a_folder_that_transformers_loads(sharded, tmp_path):
    one, _, point = sharded
    assert not list(point.glob("*.safetensors")) and (point / "pytorch_model_fsdp_0" / ".metadata").exists()
    done = CliRunner().invoke(app, ["convert", str(point), str(tmp_path / "plain"), "--parent", one.parent])
    assert done.exit_code == 0, done.output
    folders = (tmp_path / "plain", Path(one.parent))
    written, parent = (load_file(folder / "model.safetensors") for folder in folders)
    assert written.keys() == parent.keys()
    found, expected = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in folders)
    state = {"model": expected.state_dict()}
    checkpoints.load(state, storage_reader=checkpoints.FileSystemReader(point / "pytorch_model_fsdp_0"), no_dist=True)
    expected.load_state_dict({name: one.bfloat16() for name, one in state["model"].items()})
    ids = AutoTokenizer.from_pretrained(tmp_path / "plain")("What is prubosk?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(found(ids).logits, expected(ids).logits)


def test_a_full_disk_leaves_the_old_folder_and_nothing_half_written(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(OSError, match="No space"), whole_folder(target) as folder:
        (folder / "new").write_text("half")
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and (target / "old").exists()
    with whole_folder(target) as folder:
        (folder / "weights").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "weights"]


def test_a_missing_parent_names_the_section_that_leaves_it(tmp_path, rows):
    one = replace(job(tmp_path, rows), parent=str(tmp_path / "models" / "small-sft1"), name="small-sft2")
    with pytest.raises(FileNotFoundError, match="models/small-sft1, which holds no model; run the section"):
        one.key()


def test_a_replay_tells_a_training_without_training_and_without_its_model(whole, tmp_path, monkeypatch):
    one, record = whole
    monkeypatch.setenv(REPLAY, "1")
    gone = replace(one, folder=str(tmp_path / "gone"))
    assert launch([[gone]]) == {one.name: record}
    with pytest.raises(NotStored, match="note 'training-other' is not stored"):
        launch([[replace(gone, name="other")]])


def test_a_failing_process_is_quoted(tmp_path, rows, monkeypatch):
    working_as("no_such_worker", monkeypatch)
    with pytest.raises(Exception, match=r"(?s)ended without its checkpoint.*No module named no_such_worker"):
        launch([[job(tmp_path, rows)]])


def test_the_record_is_read_back_or_absent(whole, tmp_path):
    one, record = whole
    assert summary(Path(one.folder)) == json.loads(json.dumps(record))
    assert summary(tmp_path) is None
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ValueError, match="delete the folder and train again"):
        summary(tmp_path)


def test_more_sequences_than_cores_wait_for_each_other(tmp_path, rows):
    names = ["a", "b", "c", "d", "e"]
    jobs = [[job(tmp_path, rows, name=f"{name}-sft1"), job(tmp_path, rows, name=f"{name}-sft2")] for name in names]
    queues = shared(jobs, 2)
    assert [[one.name[0] for one in queue] for queue in queues] == [list("aaccee"), list("bbdd")]
    assert len(shared(jobs, 0)) == 1 and shared([], 2) == []
