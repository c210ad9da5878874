"""What a run measured of itself is kept, and told again in a replay."""

import pytest
from medpsy.generation import REPLAY, NotStored
from medpsy.noted import noted
from medpsy.training import launch, seen
from medpsy.training.job import SUMMARY
from training_examples import corpus, job


def test_what_was_made_is_told_again_in_a_replay_and_made_anew_without_one(tmp_path, monkeypatch):
    assert noted(tmp_path, "effort", lambda: {"seconds": (1, 2.5)}) == {"seconds": [1, 2.5]}
    monkeypatch.setenv(REPLAY, "1")
    assert noted(tmp_path, "effort", lambda: 1 / 0) == {"seconds": [1, 2.5]}
    monkeypatch.delenv(REPLAY)
    assert noted(tmp_path, "effort", lambda: 3) == 3


def test_a_replay_refuses_what_was_never_noted(tmp_path, monkeypatch):
    monkeypatch.setenv(REPLAY, "1")
    with pytest.raises(NotStored, match="note 'effort' is not stored"):
        noted(tmp_path, "effort", lambda: 3)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_note_cannot_lead_out_of_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a file"):
        noted(tmp_path, name, lambda: 3)


def test_a_damaged_note_is_named(tmp_path, monkeypatch):
    noted(tmp_path, "effort", lambda: 3)
    (tmp_path / "notes" / "effort.json").write_text("{")
    monkeypatch.setenv(REPLAY, "1")
    with pytest.raises(ValueError, match=r"notes/effort.json is not JSON"):
        noted(tmp_path, "effort", lambda: 3)


def test_a_replay_tells_a_training_without_training_and_without_its_model(tmp_path, monkeypatch):
    one = job(tmp_path, corpus(tmp_path / "corpus1", rows=8), epochs=1.0)
    record = launch([[one]])
    (tmp_path / "models" / one.name / SUMMARY).unlink()
    monkeypatch.setenv(REPLAY, "1")
    assert launch([[one]]) == record
    with pytest.raises(NotStored, match="note 'seen' is not stored"):
        seen(type("S", (), {"store_dir": tmp_path / "responses"}), [[one]])
