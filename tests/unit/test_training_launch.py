"""Training processes: resumed after a kill, shared by two processes, and never passing something half-done for done."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medpsy.folders import whole_folder
from medpsy.training import launch
from medpsy.training.job import summary
from medpsy.training.launch import shared
from medpsy.training.saving import last_checkpoint
from safetensors.torch import load_file
from training_examples import corpus, job
from transformers import AutoModelForCausalLM, AutoTokenizer


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
    killer = threading.Thread(target=kill_after_a_resume_point, args=(Path(one.work),), daemon=True)
    killer.start()
    with pytest.raises(Exception, match="ended without its checkpoint"):
        launch([[one]])
    assert not Path(one.folder).exists()
    resumed = int(last_checkpoint(Path(one.work)).rpartition("-")[2])
    again = launch([[one]])[one.name]
    assert 0 < resumed < again["steps"] == record["steps"]
    assert losses(again) == pytest.approx(losses(record), abs=1e-4)
    mine, theirs = (load_file(Path(path) / "model.safetensors") for path in (one.folder, undisturbed.folder))
    assert all(torch.allclose(mine[name].float(), theirs[name].float(), atol=1e-2) for name in theirs)


def kill_after_a_resume_point(work: Path) -> None:
    """Kill the process that trains in `work` as soon as it has left a whole resume point."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if last_checkpoint(work):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if (
                    b"medpsy.training.worker" in command
                    and str(work).encode() in command
                    and b"watchdog" not in command
                ):
                    os.kill(int(pid), signal.SIGKILL)
            return
        time.sleep(0.01)


def test_two_processes_reach_the_loss_of_one(tmp_path, rows, whole):
    undisturbed, record = whole
    one = replace(job(tmp_path, rows), settings=undisturbed.settings)
    shared = launch([[one]], processes=2, config="cpu")[one.name]
    assert shared["processes"] == 2 and shared["steps"] == record["steps"]
    assert losses(shared) == pytest.approx(losses(record), rel=1e-3)


def test_a_half_written_resume_point_is_passed_over(tmp_path):
    for step, text in ((2, "{}"), (4, '{"global_step":')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-6").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert last_checkpoint(tmp_path / "nothing") is None


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
