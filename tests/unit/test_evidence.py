"""Evidence behind scores: responses and conversations joined with what was asked, withheld where authors ask for it."""

import conversations_example as example
import pandas as pd
import pyarrow as pa
import pytest
from case_rows import cases
from fake_engine import FakeEngine, answer
from medpsy import engines, evidence
from medpsy.data.questions import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.evidence import CONVERSATIONS
from medpsy.files import storable
from medpsy.record import ResultError, read
from medpsy.site import evidence as scripts
from medpsy.store import ResponseStore
from medpsy.study import Study
from records import write_record
from report_example import MODELS, PLANTED

ASKED = {"healthbench": example.conversations("healthbench", 2)}
JUDGED = example.judged(ASKED, runs=1)  # two conversations, two models, three judges


@pytest.fixture(autouse=True)
def published(monkeypatch):
    monkeypatch.delenv(scripts.SHOW_ROWS, raising=False)


def kept(rows: pd.DataFrame) -> list[dict]:
    """Return the rows as they are read back from their file."""
    return pa.Table.from_pandas(rows, CONVERSATIONS.schema, preserve_index=False).to_pylist()


def joined(frame: pd.DataFrame = JUDGED, *, guarded: bool = False) -> pd.DataFrame:
    texts = dict.fromkeys(frame["key"], "hm</think>Rest")
    return evidence.with_conversations(frame, ASKED, texts, MODELS, guarded=guarded)


QUESTION = Question("q1", "medqa", "", "Which?", ("a", "b", "c"), 2, None, "medqa")


@pytest.mark.parametrize(
    ("change", "text", "reasoning", "answer"), cases("reasoning_apart", "change", "text", "reasoning", "answer")
)
def test_reasoning_and_answer_of_a_response_stand_apart_beside_its_question(change, text, reasoning, answer):
    graded = {"model": "reed", "suite": "medqa", "question_id": "q1", "run": 0, "key": "k", "finish_reason": "stop"}
    texts = {} if text is None else {"k": text}
    rows = evidence.with_questions(pd.DataFrame([graded | change]), [QUESTION], texts, MODELS)
    row = rows.iloc[0]
    assert (row["reasoning"].strip(), row["answer"] or answer) == (reasoning, answer)
    assert (row["gold"], row["suite_title"], row["options"]) == (2, "MedQA (USMLE)", ["a", "b", "c"])
    with pytest.raises(ValueError, match="1 graded rows have no question, first medqa/q2"):
        evidence.with_questions(pd.DataFrame([graded | {"question_id": "q2"}]), [QUESTION], texts, MODELS)


def test_a_response_has_its_turns_its_answer_and_every_verdict_in_the_order_of_the_rubric():
    silent = JUDGED.assign(outcome=JUDGED["outcome"].mask(JUDGED["judge"] == "stern", "unjudged"))
    _, _, differing, row = kept(joined(silent.sample(frac=1, random_state=1)))
    assert tuple(turn["role"] for turn in row["messages"]) == example.ROLES
    assert row["messages"][1]["content"].endswith("\ufffd")
    assert (row["label"], row["theme_title"]) == ("Reed-1", "Response Depth")
    assert (row["reasoning"], row["answer"]) == ("hm", "Rest")
    assert [one["criterion"] for one in row["criteria"]] == [storable(text) for text, *_ in example.RUBRIC]
    found = {(said["judge"], place): said for place, one in enumerate(row["criteria"]) for said in one["verdicts"]}
    outcomes = {judge: [found[judge, place]["outcome"] for place in range(3)] for judge in example.JUDGES}
    assert outcomes["kind"] == ["met", "not met", "not met"] and outcomes["odd one"] == ["met", "not met", "unjudged"]
    assert found["kind", 0]["explanation"] == f"kind says: met {PLANTED}"
    assert found["odd one", 2]["explanation"] == "broken JSON"  # why it is unjudged
    assert not any(map(evidence.judges_differ, row["criteria"]))  # unjudged is no opinion
    assert [evidence.judges_differ(one) for one in differing["criteria"]] == [False, True, False]
    scores = {given["judge"]: given["score"] for given in row["scores"]}
    assert scores == {"stern": None, "kind": pytest.approx(100 * 7 / 12), "odd one": pytest.approx(100 * 7 / 12)}


def test_a_response_that_two_suites_share_is_shown_in_both():
    rows = example.rows(6, hard=1, runs=1)
    assert rows["suite"].value_counts(sort=False).to_dict() == {"healthbench": 12, "healthbench_hard": 2}
    failed = next(row for row in kept(rows) if row["finish_reason"] == "failed")
    assert (failed["reasoning"], failed["answer"]) == ("", None)
    index = scripts.Index()
    for row in kept(rows):
        scripts.READ[CONVERSATIONS](row, index)
    keys = index.as_data()["keys"]
    assert keys[12:] == [f"{key}.healthbench_hard" for key in keys[:2]]


@pytest.mark.parametrize(("source", "guarded"), [("mini", False), ("hub", True)])
def test_texts_come_from_the_store_and_hub_rows_are_guarded(tmp_path, monkeypatch, source, guarded):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    sampling = Sampling(max_tokens=9)
    settings = {"parser": "reed", "suites": ("medqa",), "questions_per_suite": 0, "runs": 1, "engine": "transformers"}
    mine = Study("mini", source, MODELS, sampling=sampling, parser_sampling=sampling, **settings)
    engine = FakeEngine("fp reed", reply=lambda prompt, sampling: "</think>Rest")
    asked = [Prompt(f"healthbench/{name}", each.messages[-1:]) for name, each in ASKED["healthbench"].items()]
    answers = answer(ResponseStore(mine.store_dir), engine, asked, model=mine.model("reed"), sampling=sampling)
    keys = dict(zip(ASKED["healthbench"], answers["key"], strict=True))
    judged = JUDGED[JUDGED["model"] == "reed"].assign(key=lambda rows: rows["conversation_id"].map(keys))
    monkeypatch.setattr(evidence, "conversations", lambda study, suites: ASKED)
    rows = evidence.readable_conversations(mine, judged)
    assert list(rows["answer"]) == ["Rest"] * 2 and list(rows["guarded"]) == [guarded] * 2


def test_a_guarded_row_keeps_verdicts_and_loses_what_quotes_it(monkeypatch):
    row = kept(joined(guarded=True))[0]
    shown = scripts.published(row)
    assert (shown["messages"], shown["reasoning"], shown["answer"]) == (None, None, "Rest")
    first = shown["criteria"][0]
    assert (first["criterion"], first["points"], first["axis"]) == (None, 7, "accuracy")
    assert first["verdicts"][0] == {"judge": "stern", "outcome": "met", "explanation": None}
    monkeypatch.setenv(scripts.SHOW_ROWS, "1")
    assert scripts.published(row) == row


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (
            JUDGED.assign(points=3.0),
            r"healthbench/c00000, criterion 0 \(3.0 points\): the rubric has no such criterion",
        ),
        (JUDGED.replace({"criterion": {2: 7}}), "criterion 7"),
    ],
)
def test_verdicts_by_another_rubric_are_refused(frame, said):
    with pytest.raises(ValueError, match=said):
        joined(frame)


def test_a_record_keeps_conversations_and_one_without_them_can_be_read(tmp_path):
    rows = joined()
    path = write_record(tmp_path, "07_main_results", conversations=rows)
    result = read(path)
    assert (result.responses, result.conversations) == (None, {"file": "conversations.parquet", "rows": 4})
    assert result.evidence == {CONVERSATIONS: 4}
    assert list(CONVERSATIONS.read(path.parent / "conversations.parquet")) == kept(rows)
    path.write_text(path.read_text().replace('"conversations": {', '"conversation": {'))
    with pytest.raises(ResultError, match="conversation"):
        read(path)
    write_record(tmp_path, "07_main_results")
    assert not (path.parent / "conversations.parquet").exists() and read(path).evidence == {}
