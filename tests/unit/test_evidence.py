"""Evidence behind scores: responses and conversations joined with what was asked, withheld where authors ask for it."""

import pandas as pd
import pyarrow as pa
import pytest
from case_rows import cases
from fake_engine import FakeEngine, answer
from medpsy import engines, evidence
from medpsy.data.questions import Conversation, Criterion, Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.evidence import CONVERSATIONS
from medpsy.record import ResultError, read
from medpsy.site import evidence as scripts
from medpsy.store import ResponseStore
from medpsy.study import ModelSpec, Study
from records import write_record

PLANTED = "<script>alert(1)</script>"
MODELS = {
    "reed": ModelSpec("reed", "models/reed", label="Reed-1"),
    "quill": ModelSpec("quill", "models/quill", opens_thinking=True),
}
RUBRIC = (
    Criterion(f"Names it {PLANTED}", 6, "accuracy"),
    Criterion("Asks", 4, "completeness"),
    Criterion("Harms", -5, "accuracy"),
)
SAID = {  # judge -> outcome of each criterion
    "stern": ("met", "not met", "met"),
    "kind": ("met", "met", "unjudged"),
    "absent": ("unjudged", "unjudged", "unjudged"),
}


@pytest.fixture(autouse=True)
def published(monkeypatch):
    monkeypatch.delenv(scripts.SHOW_ROWS, raising=False)


def conversation(name: str, suite: str = "healthbench") -> Conversation:
    turns = ({"role": "user", "content": f"It hums {PLANTED} \ud800"}, {"role": "assistant", "content": "Loudly?"})
    return Conversation(name, suite, (*turns, {"role": "user", "content": f"Yes, {name}"}), RUBRIC, "hedging")


def judged(*names: str, model: str = "reed", suite: str = "healthbench", said: dict = SAID, **changes) -> pd.DataFrame:
    """Return the verdicts of the judges in `said` on one response in each conversation."""
    rows = []
    for name in names:
        row = {"model": model, "suite": suite, "conversation_id": name, "theme": "hedging", "run": 0}
        row |= {"key": f"{model}{name}".ljust(64, "0"), "finish_reason": "stop", "completion_tokens": 7}
        for judge, outcomes in said.items():
            for place, (criterion, outcome) in enumerate(zip(RUBRIC, outcomes, strict=True)):
                verdict = {"judge": judge, "criterion": place, "points": criterion.points, "axis": criterion.axis}
                verdict |= {"outcome": outcome, "explanation": f"{judge} {PLANTED}", "reason": None}
                if outcome == "unjudged":
                    verdict |= {"explanation": "", "reason": "broken JSON"}
                rows.append(row | verdict | changes)
    return pd.DataFrame(rows)


def kept(rows: pd.DataFrame) -> list[dict]:
    """Return the rows as they are read back from their file."""
    return pa.Table.from_pandas(rows, CONVERSATIONS.schema, preserve_index=False).to_pylist()


def joined(frame: pd.DataFrame, *, text: str | None = "hm</think>Rest", guarded: bool = False) -> pd.DataFrame:
    asked: dict[str, dict[str, Conversation]] = {}
    for suite, name in zip(frame["suite"], frame["conversation_id"], strict=True):
        asked.setdefault(suite, {})[name] = conversation(name, suite)
    texts = {} if text is None else dict.fromkeys(frame["key"], text)
    return evidence.with_conversations(frame, asked, texts, MODELS, guarded=guarded)


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
    row = joined(judged("c1").sample(frac=1, random_state=1)).iloc[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "user"]
    assert row["messages"][0]["content"] == f"It hums {PLANTED} \ufffd"
    assert (row["label"], row["theme_title"]) == ("Reed-1", "Responding Under Uncertainty")
    assert (row["reasoning"], row["answer"]) == ("hm", "Rest")
    assert [one["criterion"] for one in row["criteria"]] == [one.text for one in RUBRIC]
    found = {(said["judge"], place): said for place, one in enumerate(row["criteria"]) for said in one["verdicts"]}
    assert {name: tuple(found[name, place]["outcome"] for place in range(3)) for name in SAID} == SAID
    assert found["stern", 2]["explanation"] == f"stern {PLANTED}"
    assert found["kind", 2]["explanation"] == "broken JSON"  # why it is unjudged
    assert [evidence.judges_differ(one) for one in row["criteria"]] == [False, True, False]  # unjudged is no opinion
    scores = {given["judge"]: given["score"] for given in kept(joined(judged("c1")))[0]["scores"]}
    assert scores == {"stern": pytest.approx(100 * (6 - 5) / 10), "kind": pytest.approx(100 * 10 / 10), "absent": None}


def test_a_response_that_two_suites_share_is_shown_in_both():
    both = pd.concat([judged("c1"), judged("c1", suite="healthbench_hard")])
    rows = joined(both)
    assert list(rows["suite"]) == ["healthbench", "healthbench_hard"]
    failed = kept(joined(judged("c1", finish_reason="failed"), text=None))[0]
    assert (failed["reasoning"], failed["answer"]) == ("", None)
    index = scripts.Index()
    for row in kept(rows):
        scripts.READ[CONVERSATIONS](row, index)
    assert index.as_data()["keys"] == ["reedc10000000000", "reedc10000000000.healthbench_hard"]


@pytest.mark.parametrize(("source", "guarded"), [("mini", False), ("hub", True)])
def test_texts_come_from_the_store_and_hub_rows_are_guarded(tmp_path, monkeypatch, source, guarded):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    sampling = Sampling(max_tokens=9)
    settings = {"parser": "reed", "suites": ("medqa",), "questions_per_suite": 0, "runs": 1, "engine": "transformers"}
    mine = Study("mini", source, MODELS, sampling=sampling, parser_sampling=sampling, **settings)
    engine = FakeEngine("fp reed", reply=lambda prompt, sampling: "</think>Rest")
    asked = [Prompt("healthbench/c1", conversation("c1").messages[-1:])]
    answers = answer(ResponseStore(mine.store_dir), engine, asked, model=mine.model("reed"), sampling=sampling)
    asked = {"healthbench": {"c1": conversation("c1")}}
    monkeypatch.setattr(evidence, "conversations", lambda study, suites: asked)
    rows = evidence.readable_conversations(mine, judged("c1", key=answers["key"][0]))
    assert list(rows["answer"]) == ["Rest"]
    assert list(rows["guarded"]) == [guarded]


def test_a_guarded_row_keeps_verdicts_and_loses_what_quotes_it(monkeypatch):
    row = kept(joined(judged("c1"), guarded=True))[0]
    shown = scripts.published(row)
    assert (shown["messages"], shown["reasoning"], shown["answer"]) == (None, None, "Rest")
    first = shown["criteria"][0]
    assert (first["criterion"], first["points"], first["axis"]) == (None, 6, "accuracy")
    assert first["verdicts"][0] == {"judge": "stern", "outcome": "met", "explanation": None}
    monkeypatch.setenv(scripts.SHOW_ROWS, "1")
    assert scripts.published(row) == row


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (judged("c1", points=3.0), r"healthbench/c1, criterion 0 \(3.0 points\): the rubric has no such criterion"),
        (judged("c1", said={"stern": SAID["stern"]}).assign(criterion=[0, 1, 7]), "criterion 7"),
    ],
)
def test_verdicts_by_another_rubric_are_refused(frame, said):
    with pytest.raises(ValueError, match=said):
        joined(frame)


def test_a_record_keeps_conversations_and_one_without_them_can_be_read(tmp_path):
    rows = joined(judged("c1", "c2"))
    path = write_record(tmp_path, "07_main_results", conversations=rows)
    result = read(path)
    assert (result.responses, result.conversations) == (None, {"file": "conversations.parquet", "rows": 2})
    assert result.evidence == {CONVERSATIONS: 2}
    assert list(CONVERSATIONS.read(path.parent / "conversations.parquet")) == kept(rows)
    path.write_text(path.read_text().replace('"conversations": {', '"conversation": {'))
    with pytest.raises(ResultError, match="conversation"):
        read(path)
    write_record(tmp_path, "07_main_results")
    assert not (path.parent / "conversations.parquet").exists() and read(path).evidence == {}
