"""Preference pairs and the multiple-choice questions they are made of."""

# ruff: noqa: F811 - a fixture is imported, and tests name it

import dataclasses
import re

import benchmark_rows as invented
import pytest
from fake_engine import FakeEngine, answered_by
from medpsy import licences
from medpsy.corpus import filters
from medpsy.data.questions import Question
from medpsy.data.rows import DataError
from medpsy.engines.base import Response
from medpsy.recipes import openmed
from medpsy.store import REPLAY, FailedResponsesWarning, NotStored
from medpsy.training import data
from medpsy.training.data import Pair
from recipes_example import mine, real  # noqa: F401

SAMPLING = {"max_tokens": 32, "temperature": 1.0}
ATTEMPTS = {  # question -> what it is answered, attempt after attempt; B is right
    0: ["B", "B", "B", "B"],
    1: ["A", "A", "A", "A"],
    2: ["B", "A", "B", "A"],
    3: ["cut", "cut", "A or B", "fail"],
    4: ["A", "cut", "fail", "B"],
}


def question(number: int) -> Question:
    return Question(str(number), "medmcqa", "", f"Invented {number}?", ("lorin", "mazel"), 1, None, "medmcqa")


@pytest.fixture
def engine(monkeypatch):
    """Answers as `ATTEMPTS` says, with reasoning of its own every time."""
    asked: dict[int, int] = {}

    def reply(prompt, sampling):
        number = int(re.search(r"Invented (\d)\?", prompt.messages[-1]["content"])[1])
        asked[number] = attempt = asked.get(number, -1) + 1
        said = ATTEMPTS[number][attempt]
        if said == "fail":
            return Response(prompt.id, "", "failed", 5, 0, 0.01, "gone")
        if said == "cut":
            return Response(prompt.id, "<think>\nthe answer is A", "length", 5, 9, 0.01)
        closing = f"It could be {said}." if " " in said else f"The answer is {said}."
        return f"<think>\nthought {attempt}\n</think>\n\n{closing}"

    return answered_by(monkeypatch, FakeEngine("fp small", reply=reply))


def made(mine, **changes) -> openmed.Pairs:
    some = [question(number) for number in ATTEMPTS]
    settings = {"attempts": 4, "sampling": SAMPLING} | changes
    with pytest.warns(FailedResponsesWarning):
        return openmed.preference_pairs(mine, "qwen3-small", some, **settings)


def test_pairs_are_made_of_questions_answered_right_and_wrong_and_a_replay_asks_nothing(mine, engine, monkeypatch):
    found = made(mine, made_of={"invented": "MIT"})
    assert [one.id for one in found.rows] == ["medmcqa/2#0", "medmcqa/4#0"]
    for one in found.rows:
        assert re.fullmatch(r"<think>\nthought \d\n</think>\n\nThe answer is B\.", one.chosen)
        assert one.rejected.endswith("The answer is A.") and one.rejected.startswith("<think>\nthought")
    kinds = {name: found.counts[f"questions {name}"] for name in ("only right", "only wrong", "paired", "neither")}
    assert kinds == {"only right": 1, "only wrong": 1, "paired": 2, "neither": 1}
    tries = {name: found.counts[f"attempts {name}"] for name in ("right", "wrong", "failed", "without a single option")}
    assert tries == {"right": 7, "wrong": 7, "failed": 2, "without a single option": 4}
    (file,) = found.folder.glob("*.parquet")
    assert data.read(file, Pair) == found.rows
    assert licences.of_folder(found.folder).items() >= {"invented": "MIT"}.items()
    assert "license: " in (found.folder / "README.md").read_text(encoding="utf-8")
    assert found.rows[0].messages[0]["content"].startswith("Question: Invented 2?")
    asked = len(engine.asked)
    monkeypatch.setenv(REPLAY, "1")
    assert made(mine).inputs == found.inputs and len(engine.asked) == asked
    with pytest.raises(NotStored, match="5 responses of model"):
        openmed.preference_pairs(mine, "qwen3-small", [question(n) for n in ATTEMPTS], attempts=5, sampling=SAMPLING)


def test_a_question_of_a_suite_is_refused_before_anything_is_asked_and_without_a_pair_nothing_is_written(mine, engine):
    planted = filters.stems(mine)["medqa"][0]
    leak = dataclasses.replace(question(2), id="leak", stem=planted.upper())
    with pytest.raises(ValueError, match=r"question 'leak' is one of medqa \(same stem\)"):
        openmed.preference_pairs(mine, "qwen3-small", [question(0), leak], attempts=1, sampling=SAMPLING)
    assert not engine.asked
    with pytest.raises(ValueError, match="no question has a right and a wrong response"):
        openmed.preference_pairs(mine, "qwen3-small", [question(0), question(1)], attempts=2, sampling=SAMPLING)
    assert not (mine.corpora_dir / "openmed-pairs").exists()


def test_the_miniatures_choice_questions_are_its_rl_questions_and_none_is_a_suites(mine):
    found = openmed.choice_questions(mine, "medmcqa", size=0, held_out=20, seed=7)
    assert found == data.rl_set(mine, size=0, held_out=20, seed=7)
    assert openmed.refuse_suites(mine, found.train).sizes["medqa"]
    with pytest.raises(ValueError, match="set 'medmcq' is unknown; did you mean 'medmcqa'"):
        openmed.choice_questions(mine, "medmcq", size=0, held_out=20, seed=7)
    with pytest.raises(ValueError, match="the miniature makes its own"):
        openmed.choice_questions(mine, "medmcqa", size=0, held_out=20, seed=7, origin={"data_dir": "x"})


def test_medmcqas_training_split_is_read_and_loses_what_a_suite_asks(mine, tmp_path, monkeypatch):
    rows = [invented.medmcqa(number, cop=number % 4) for number in range(12)]
    folder = invented.write_rows(tmp_path, "train.jsonl", rows)
    monkeypatch.setattr(data.filters, "stems", lambda study: {"medmcqa": [rows[3]["question"]]})
    settings = {"size": 0, "held_out": 2, "seed": 1, "origin": {"data_dir": str(folder)}}
    found = openmed.choice_questions(real(mine), "medmcqa", **settings)
    assert len(found.train) + len(found.held_out) == 11 and found.counts["like a suite's question"] == 1
    gold = {one["id"]: one["cop"] for one in rows}
    assert all(one.gold == gold[one.id] for one in found.train)
    invented.write_rows(tmp_path, "train.jsonl", [*rows, invented.medmcqa(99, cop=-1)])
    with pytest.raises(DataError, match="row 13, field 'cop' is -1: this is the test split"):
        openmed.choice_questions(real(mine), "medmcqa", **settings)


def medreason(**changes) -> dict[str, object]:
    shape = {"dataset_name": "medqa", "id_in_dataset": 7, "question": "Invented?", "answer": "Lorin. Explanation: so."}
    return shape | {"reasoning": "Finding paths.", "options": "Answer Choices:\nA. mazel\nB. lorin\nC. tovin"} | changes


def test_medreasons_answer_names_its_option_first_and_rows_without_are_counted(mine, tmp_path, monkeypatch):
    strange = [{"options": ""}, {"options": None}, {"answer": "kelin. Explanation: lorin is wrong."}]
    rows = [medreason(question=f"Invented {n}?") for n in range(6)] + [medreason(**changes) for changes in strange]
    folder = invented.write_rows(tmp_path / "m", "ours_quality_33000.jsonl", rows)
    monkeypatch.setattr(data.filters, "stems", lambda study: {})
    settings = {"size": 0, "held_out": 2, "seed": 1}
    found = openmed.choice_questions(real(mine), "medreason", **settings, origin={"data_dir": str(folder)})
    assert (len(found.train), len(found.held_out)) == (4, 2)
    assert {(one.options, one.gold) for one in found.train} == {(("mazel", "lorin", "tovin"), 1)}
    assert found.counts["without options or a known answer"] == 3
    with pytest.raises(DataError, match="revision None is not a commit"):
        openmed.choice_questions(real(mine), "medreason", **settings)
