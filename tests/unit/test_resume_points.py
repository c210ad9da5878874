"""Resume points: which of them count, and in what order they come and go."""

import os
import shutil

import pytest
from medpsy.training.save import WHOLE, ResumePoints, drop_half_written, last_checkpoint
from transformers import TrainerControl, TrainerState, TrainingArguments


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
