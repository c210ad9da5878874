"""Training processes: resumed after a kill, shared by two processes, and never passing something half-done for done."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as checkpoints
from medpsy.cli import app
from medpsy.folders import whole_folder
from medpsy.training import launch
from medpsy.training.job import summary
from medpsy.training.launch import shared
from medpsy.training.resume_points import last_checkpoint
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
    one = job(tmp_path_factory.mktemp("whole"), rows, epochs=6.0)
    return one, launch([[one]])[one.name]


def losses(record):
    return [row["loss"] for row in record["log"] if "loss" in row]


def test_a_checkpoint_loads_with_plain_transformers_and_keeps_its_parents_form(whole):
    one, record = whole
    model = AutoModelForCausalLM.from_pretrained(one.folder)
    parent = AutoModelForCausalLM.from_pretrained(one.parent)
    assert model.dtype == parent.dtype == torch.bfloat16 and type(model) is type(parent)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), parent.parameters(), strict=True))
    assert (
        AutoTokenizer.from_pretrained(one.folder).chat_template
        == AutoTokenizer.from_pretrained(one.parent).chat_template
    )
    assert not [*Path(one.folder).glob("*.bin"), *Path(one.folder).glob("*.pt")]
    assert "Not medical advice" in (Path(one.folder) / "README.md").read_text(encoding="utf-8")
    assert not Path(one.work).exists()


def test_the_record_says_what_it_took(whole):
    _, record = whole
    assert record["steps"] == len(losses(record)) and losses(record)[-1] < losses(record)[0]
    assert record["tokens"] > 0 and record["seconds"] > 0 and 0 < record["mfu"] < 1 and record["memory_gib"] > 0.1


def test_what_stands_is_not_trained_again_and_other_settings_are(whole):
    one, _ = whole
    said = []
    before = (Path(one.folder) / "model.safetensors").stat().st_mtime_ns
    launch([[one]], progress=said.append)
    assert said == [f"{one.name}: stands already"]
    assert (Path(one.folder) / "model.safetensors").stat().st_mtime_ns == before
    assert not replace(one, settings={**one.settings, "seed": 4}).done()


def test_a_killed_training_goes_on_to_the_same_loss(tmp_path, rows, whole):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows, epochs=6.0), settings=undisturbed.settings)
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


def test_two_processes_go_step_by_step_with_one_and_the_next_job_starts_again_alone(tmp_path, rows, whole):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows), settings=undisturbed.settings)
    following = replace(job(tmp_path, rows, name="small-sft2"), parent=one.folder)
    killing(following, rank="1")
    records = launch([[one, following]], processes=2, config="cpu", restarts=1)
    shared = records[one.name]
    assert shared["processes"] == 2 and shared["steps"] == record["steps"] and shared["tokens"] == record["tokens"]
    assert_step_by_step(shared, record)
    assert far_apart(one.folder, undisturbed.folder) < 0.01
    assert [record["restarts"] for record in records.values()] == [0, 1]  # what stood was not trained again


def test_a_training_of_two_processes_goes_on_in_one(tmp_path, rows, whole):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows), settings=undisturbed.settings)
    killing(one, rank="1")
    with pytest.raises(Exception, match="ended without its checkpoint"):
        launch([[one]], processes=2, config="cpu")
    resumed = int(last_checkpoint(Path(one.work)).rpartition("-")[2])
    again = launch([[one]])[one.name]
    assert 0 < resumed < again["steps"] == record["steps"] and again["tokens"] == record["tokens"]
    assert_step_by_step(again, record)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory, rows, whole):
    """A training of two processes under FSDP of which one was killed, its record, and the resume point before that."""
    folder = tmp_path_factory.mktemp("sharded")
    one, kept = replace(job(folder, rows), settings=whole[0].settings), folder / "kept" / "checkpoint-2"
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
    assert (
        load_file(tmp_path / "plain" / "model.safetensors").keys()
        == load_file(f"{one.parent}/model.safetensors").keys()
    )
    found, expected = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (tmp_path / "plain", one.parent)
    )
    state = {"model": expected.state_dict()}
    checkpoints.load(state, storage_reader=checkpoints.FileSystemReader(point / "pytorch_model_fsdp_0"), no_dist=True)
    expected.load_state_dict({name: one.bfloat16() for name, one in state["model"].items()})
    ids = AutoTokenizer.from_pretrained(tmp_path / "plain")("What is prubosk?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(found(ids).logits, expected(ids).logits)


def test_a_resume_point_that_one_process_left_half_written_is_passed_over(tmp_path, rows, whole, monkeypatch):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows), settings=undisturbed.settings)
    working_as("dies_while_saving", monkeypatch)
    found = launch([[one]], processes=2, config="cpu", restarts=1)[one.name]
    assert (found["restarts"], found["steps"], found["tokens"]) == (1, record["steps"], record["tokens"])
    assert_step_by_step(found, record)


def test_a_full_disk_leaves_the_old_folder_and_nothing_half_written(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(OSError, match="No space"), whole_folder(target) as folder:
        (folder / "new").write_text("half")
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and (target / "old").exists()


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "left over").write_text("old")
    with whole_folder(target) as folder:
        (folder / "weights").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["weights"]


def test_a_missing_parent_names_the_section_that_leaves_it(tmp_path, rows):
    one = replace(job(tmp_path, rows), parent=str(tmp_path / "models" / "small-sft1"), name="small-sft2")
    with pytest.raises(FileNotFoundError, match="models/small-sft1, which holds no model; run the section"):
        one.key()


def test_more_sequences_than_cores_wait_for_each_other(tmp_path, rows):
    names = ["a", "b", "c", "d", "e"]
    jobs = [[job(tmp_path, rows, name=f"{name}-sft1"), job(tmp_path, rows, name=f"{name}-sft2")] for name in names]
    queues = shared(jobs, 2)
    assert [[one.name[0] for one in queue] for queue in queues] == [list("aaccee"), list("bbdd")]
    assert len(shared(jobs, 0)) == 1 and shared([], 2) == []


def test_a_failing_process_is_quoted(tmp_path, rows):
    one = job(tmp_path, rows, packed_length=16)
    with pytest.raises(Exception, match=r"(?s)ended without its checkpoint.*packed_length is 16"):
        launch([[one]])
    shutil.rmtree(tmp_path / "training")


def test_the_record_is_read_back_or_absent(whole, tmp_path):
    one, record = whole
    assert summary(Path(one.folder)) == json.loads(json.dumps(record))
    assert summary(tmp_path) is None
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(ValueError, match="delete the folder and train again"):
        summary(tmp_path)
