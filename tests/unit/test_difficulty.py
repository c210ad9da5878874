"""Which questions reinforcement learning asks, how hard they are, and which of them a stage trains on."""

import re

import benchmark_rows as invented
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_engine import FakeEngine, answered_by, small_study
from medpsy import evaluate, study
from medpsy.data import suites
from medpsy.data.questions import Question
from medpsy.engines.base import Response
from medpsy.mini import suites as miniature
from medpsy.mini.world import is_held_out
from medpsy.store import FailedResponsesWarning
from medpsy.training import data
from medpsy.training.stages import annotate_model
from training_examples import defined

SAMPLING = {"max_tokens": 32, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
leveled, difficulty = defined("05_rl", "leveled", np=np), defined("05_rl", "difficulty")
still_wrong = defined("05_rl", "still_wrong", pd=pd)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return small_study("anna", runs=1)


@pytest.fixture
def engine(monkeypatch):
    """Answers question k right in k of 5 attempts; one of question 3's attempts fails, all of question 6's do."""
    asked: dict[int, int] = {}

    def reply(prompt, sampling):
        number = int(re.search(r"Question (\d)\?", prompt.messages[-1]["content"])[1])
        asked[number] = attempt = asked.get(number, -1) + 1
        if number == 6 or (number, attempt) == (3, 4):
            return Response(prompt.id, "", "failed", 5, 0, 0.01, "gone")
        return f"<think>thought</think> The answer is {'B' if attempt < number else 'A'}."

    return answered_by(monkeypatch, FakeEngine("fp anna", reply=reply))


def question(number: int) -> Question:
    return Question(str(number), "alphamed", "", f"Question {number}?", ("lorin", "mazel"), 1, None, "alphamed")


def test_levels_are_those_of_the_report():
    tried = pd.DataFrame({"right": [5, 1, 0, 3, 0], "attempts": [5, 5, 5, 3, 0]})
    assert list(leveled(tried)["level"]) == ["easy", "moderate", "difficult", "easy", "unknown"]


def test_attempts_are_counted_and_come_from_the_store_the_second_time(mine, engine):
    questions = [question(number) for number in (5, 0, 2, 3, 6)]
    with pytest.warns(FailedResponsesWarning, match=r"\d of 5 requests to anna failed"):
        tried = annotate_model(mine, "anna", questions, attempts=5, sampling=SAMPLING)
    with pytest.raises(ValueError, match="0 attempts at 5 questions"):
        annotate_model(mine, "anna", questions, attempts=0, sampling=SAMPLING)
    with pytest.raises(ValueError, match="params/mini: sampling.temperatur: .*did you mean 'temperature'"):
        annotate_model(mine, "anna", questions, attempts=1, sampling={"temperatur": 1.0})
    assert tried.loc[tried["finish_reason"] == "failed", ["value", "right", "chosen"]].isna().all(axis=None)
    frame = difficulty(tried)
    assert list(frame["question_id"]) == ["5", "0", "2", "3", "6"]
    assert list(frame["right"]) == [5, 0, 2, 3, 0]
    assert list(frame["attempts"]) == [5, 5, 5, 4, 0]
    before = len(engine.asked)
    again = difficulty(annotate_model(mine, "anna", [question(5), question(0)], attempts=5, sampling=SAMPLING))
    assert list(again["right"]) == [5, 0]
    assert len(engine.asked) == before


def frame(**counts: int) -> pd.DataFrame:
    levels = [name for name, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"question_id": [str(number) for number in range(len(levels))], "level": levels})


def test_stage_2_takes_all_wrong_questions_and_half_as_many_right_ones():
    every = frame(easy=20, moderate=20, difficult=11, unknown=3)
    chosen = still_wrong(every, 3)
    assert (chosen["level"] == "difficult").sum() == 11 and "unknown" not in set(chosen["level"])
    assert len(chosen) == 11 + 5
    assert not chosen["question_id"].duplicated().any()
    pd.testing.assert_frame_equal(chosen, still_wrong(every, 3))
    assert set(chosen["question_id"]) != set(still_wrong(every, 4)["question_id"])
    assert len(still_wrong(frame(easy=1, difficult=10), 0)) == 11  # all there are
    assert still_wrong(frame(easy=3, moderate=2), 0).empty


def test_the_miniatures_questions_are_apart_have_every_form_but_trials_and_depend_on_the_seed(mine):
    found = data.rl_set(mine, size=0, held_out=100, seed=5)
    held, train = {question.id for question in found.held_out}, {question.id for question in found.train}
    assert len(held) == 100 and len(train) > 800
    assert all(is_held_out(cell) for cell in held) and not any(is_held_out(cell) for cell in train)
    for key in suites.SUITES:
        asked = miniature.suite(key).items
        assert not {question.id for question in asked} & (held | train)
        assert not {question.stem for question in asked} & {question.stem for question in found.held_out}
    assert not {question.stem for question in found.held_out} & {question.stem for question in found.train}
    found = data.rl_set(mine, size=120, held_out=20, seed=5)
    forms = {question.weight_group for question in found.train}
    assert forms == {"ask0", "ask1", "ask2", "reverse", "vignette", "contraindication"}
    assert len(found.train) == 120 and found.counts["train"] == 120
    assert found == data.rl_set(mine, size=120, held_out=20, seed=5)
    assert found.train != data.rl_set(mine, size=120, held_out=20, seed=6).train


def test_the_real_set_is_split_by_seed_and_loses_copies_and_what_a_suite_asks(mine, tmp_path, monkeypatch):
    rows = [invented.alphamed(number // 2) for number in range(12)]  # every stem twice
    folder = invented.write_rows(tmp_path, "train.jsonl", rows)
    suite = suites.load("alphamed", data_dir=folder, partial=True)
    monkeypatch.setattr(evaluate, "suite", lambda study, key: suite)
    monkeypatch.setattr(data.filters, "stems", lambda study: {"medqa": ["Invented stem 5?"]})
    real = study.replace(mine, source="hub", data_dirs={"alphamed": str(folder)})
    found = data.rl_set(real, size=0, held_out=3, seed=1)
    stems = {question.stem for question in found.held_out}
    assert len(found.held_out) == 3
    assert not stems & {question.stem for question in found.train}
    assert "Invented stem 5?" not in stems | {question.stem for question in found.train}
    assert found.counts["like a suite's question"] == 2
    assert len(found.train) == 10 - 2 * len(stems)
    assert found.counts["copies of held-out questions"] == 10 - 3 - len(found.train)


def test_a_question_of_a_corpus_is_not_held_out(mine):
    free = data.rl_set(mine, size=4, held_out=300, seed=5).held_out
    row = {"messages": [{"role": "user", "content": f"Question: {free[0].stem.upper()}\nA. x"}]}
    folder = mine.corpora_dir / "corpus1"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row]), folder / "part-00000.parquet")
    found = data.rl_set(mine, size=4, held_out=300, seed=5)
    gone = [question for question in free if question.stem == free[0].stem]
    assert found.counts["in a corpus"] == len(gone) == len(free) - len(found.held_out)


def test_questions_without_gold_are_left_out_and_counted(mine, monkeypatch):
    some = [question(number) for number in range(4)]
    open_question = Question("9", "alphamed", "", "Open?", ("x", "y"), None, None, "alphamed")
    monkeypatch.setattr(data, "miniature", lambda: ([*some, open_question], [question(7)], {}))
    found = data.rl_set(mine, size=0, held_out=1, seed=0)
    assert found.train == tuple(some) and found.counts["without gold"] == 1
    monkeypatch.setattr(data, "miniature", lambda: ([open_question], [question(7)], {}))
    with pytest.raises(ValueError, match="0 questions to train on and 1 held out"):
        data.rl_set(mine, size=0, held_out=1, seed=0)
