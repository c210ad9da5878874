"""Conversations as evidence: joined with verdicts, withheld where their authors ask for it, shown in a notebook."""

import html

import nbformat
import pandas as pd
import pytest
from fake_engine import FakeEngine
from medpsy import engines, open_ended, study
from medpsy.benchmarks import Conversation, Criterion
from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.report import browse, chunks, conversing, indexing, notebooks, readable_conversations, reading, withholding
from medpsy.report.conversing import CONVERSATIONS
from medpsy.report.display import Table
from medpsy.report.result import ResultError, read_result, write_result
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec, Study
from nbformat import v4

PLANTED = "<script>alert(1)</script>"
MODELS = {"reed": ModelSpec("reed", "models/reed", label="Reed-1"), "quill": ModelSpec("quill", "models/quill")}
RUBRIC = (
    Criterion(f"Names it {PLANTED}", 6, "accuracy"),
    Criterion("Asks", 4, "completeness"),
    Criterion("Harms", -5, "accuracy"),
)
TITLES = conversing.Titles({"healthbench": "HealthBench"}, {"hedging": "Responding Under Uncertainty"})
SAID = {  # judge -> outcome of each criterion
    "stern": ("met", "not met", "met"),
    "kind": ("met", "met", "unjudged"),
    "absent": ("unjudged", "unjudged", "unjudged"),
}


@pytest.fixture(autouse=True)
def published(monkeypatch):
    monkeypatch.delenv(withholding.VARIABLE, raising=False)


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


def joined(frame: pd.DataFrame, *, text: str | None = "hm</think>Rest", guarded: bool = False) -> pd.DataFrame:
    asked: dict[str, dict[str, Conversation]] = {}
    for suite, name in zip(frame["suite"], frame["conversation_id"], strict=True):
        asked.setdefault(suite, {})[name] = conversation(name, suite)
    texts = {} if text is None else dict.fromkeys(frame["key"], text)
    return conversing.joined(frame, asked, texts, MODELS, titles=TITLES, guarded=guarded)


def test_a_response_has_its_turns_its_answer_and_every_verdict_in_the_order_of_the_rubric():
    row = joined(judged("c1").sample(frac=1, random_state=1)).iloc[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "user"]
    assert row["messages"][0]["content"] == f"It hums {PLANTED} ?"
    assert (row["label"], row["theme_title"]) == ("Reed-1", "Responding Under Uncertainty")
    assert (row["reasoning"], row["answer"]) == ("hm", "Rest")
    assert [one["criterion"] for one in row["criteria"]] == [one.text for one in RUBRIC]
    found = {(said["judge"], place): said for place, one in enumerate(row["criteria"]) for said in one["verdicts"]}
    assert {name: tuple(found[name, place]["outcome"] for place in range(3)) for name in SAID} == SAID
    assert found["stern", 2]["explanation"] == f"stern {PLANTED}"
    assert found["kind", 2]["explanation"] == "broken JSON"  # why it is unjudged


def test_scores_are_points_of_a_hundred_and_missing_where_nothing_was_judged():
    scores = {one["judge"]: one["score"] for one in joined(judged("c1"))["scores"][0]}
    assert scores == {"stern": pytest.approx(100 * (6 - 5) / 10), "kind": pytest.approx(100 * 10 / 10), "absent": None}


def test_judges_differ_where_one_says_met_and_another_not_met():
    row = joined(judged("c1")).iloc[0]
    assert [conversing.judges_differ(one) for one in row["criteria"]] == [False, True, False]


def test_a_response_that_two_suites_share_is_shown_in_both():
    both = pd.concat([judged("c1"), judged("c1", suite="healthbench_hard")])
    rows = joined(both)
    assert list(rows["suite"]) == ["healthbench", "healthbench_hard"]
    index = indexing.ConversationIndex()
    for row in CONVERSATIONS.records(rows):
        index.add(row)
    assert index.as_data()["keys"] == ["reedc1000000", "reedc1000000.healthbench_hard"]


def test_a_failed_response_has_no_answer():
    row = CONVERSATIONS.records(joined(judged("c1", finish_reason="failed"), text=None))[0]
    assert (row["reasoning"], row["answer"]) == ("", None)


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


def test_verdicts_on_an_unknown_conversation_are_refused():
    with pytest.raises(ValueError, match="healthbench/c1 was judged, but is not among the conversations"):
        conversing.joined(judged("c1"), {}, {}, MODELS, titles=TITLES, guarded=False)


def test_a_record_keeps_conversations_and_one_without_them_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    given = {"profile": "mini", "title": "HealthBench", "settings": {}}
    rows = joined(judged("c1", "c2"))
    path = write_result("07_main_results", conversations=rows, **given)
    result = read_result(path)
    assert (result.responses, result.conversations) == (None, {"file": "conversations.parquet", "rows": 2})
    assert result.evidence == {CONVERSATIONS: 2}
    assert list(CONVERSATIONS.read(path.parent / "conversations.parquet")) == CONVERSATIONS.records(rows)
    path.write_text(path.read_text().replace('"conversations": {', '"conversation": {'))
    with pytest.raises(ResultError, match="conversation"):
        read_result(path)
    write_result("07_main_results", **given)
    assert not (path.parent / "conversations.parquet").exists()
    assert read_result(path).evidence == {}


@pytest.mark.parametrize(("source", "guarded"), [("mini", False), ("hub", True)])
def test_texts_come_from_the_store_and_hub_rows_are_guarded(tmp_path, monkeypatch, source, guarded):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    sampling = Sampling(max_tokens=9)
    settings = {"parser": "reed", "suites": ("medqa",), "questions_per_suite": 0, "runs": 1, "engine": "transformers"}
    mine = Study("mini", source, MODELS, sampling=sampling, parser_sampling=sampling, **settings)
    engine = FakeEngine("fp reed", reply=lambda prompt, sampling: "</think>Rest")
    asked = [Prompt("healthbench/c1", conversation("c1").messages[-1:])]
    options = {"sampling": sampling, "run": 0, "engine_kind": "transformers"}
    answers = ResponseStore(mine.store_dir).answer(mine.model("reed"), engine, asked, **options)
    asked = {"healthbench": {"c1": conversation("c1")}}
    monkeypatch.setattr(open_ended, "conversations", lambda study, suites: asked)
    rows = readable_conversations(mine, judged("c1", key=answers["key"][0]))
    assert list(rows["answer"]) == ["Rest"]
    assert list(rows["guarded"]) == [guarded]


def test_a_guarded_row_keeps_verdicts_and_loses_what_quotes_it(monkeypatch):
    row = CONVERSATIONS.records(joined(judged("c1"), guarded=True))[0]
    shown = withholding.published(row)
    assert (shown["messages"], shown["reasoning"], shown["answer"]) == (None, None, "Rest")
    first = shown["criteria"][0]
    assert (first["criterion"], first["points"], first["axis"]) == (None, 6, "accuracy")
    assert first["verdicts"][0] == {"judge": "stern", "outcome": "met", "explanation": None}
    monkeypatch.setenv(withholding.VARIABLE, "1")
    assert withholding.published(row) == row


def test_fictional_rows_are_shown_to_everybody():
    row = CONVERSATIONS.records(joined(judged("c1")))[0]
    assert withholding.published(row) == row


def test_script_files_hold_no_text_of_a_row_even_where_it_is_shown(tmp_path):
    rows = CONVERSATIONS.records(joined(judged(*[f"c{number}" for number in range(40)])))
    assert chunks.write_chunks(rows, tmp_path, indexing.ConversationIndex()) == 40
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["0000.js", "index.js"]
    together = "".join((tmp_path / name).read_text() for name in files)
    assert not [word for word in ("hums", "Names it", "stern", "Rest") if word in together]


def test_the_index_counts_verdicts_for_each_judge():
    index = indexing.ConversationIndex()
    for row in CONVERSATIONS.records(joined(judged("c1", "c2"))):
        index.add(row)
    data = index.as_data()
    assert data["judges"] == [["stern"], ["kind"], ["absent"]]
    assert data["judged"][0] == [[0, 2, 1, 0, 10.0], [1, 2, 0, 1, 100.0], [2, 0, 0, 3, None]]
    assert (data["differ"], data["tasks"][1]) == ([1, 1], [0, "c2", "Yes, c2", 0])


def test_a_cell_may_lead_to_conversations_instead_of_responses():
    shown = Table(["Model", "Score"], [["Reed", 1.0]], links={"Score": ["conversations#model=reed"]})
    assert 'href="conversations.html#model=reed"' in shown.html({"conversations"})
    assert "<a " not in shown.html({"responses"})


# ---- in a notebook ---------------------------------------------------------------------------------------------------


def shown(browsed) -> str:
    return html.unescape(browsed._repr_html_())


def questions() -> pd.DataFrame:
    asked = [Question("q1", "medqa", "", f"Which {PLANTED}?", ("a", f"b {PLANTED}"), 0, None, "medqa")]
    row = {"model": "reed", "suite": "medqa", "question_id": "q1", "run": 0, "key": "a" * 64, "finish_reason": "length"}
    read = [("parser", None, "cut off"), ("strict", 1, "wrong")]
    frame = [
        row | {"reader": name, "chosen": one, "outcome": outcome, "how": "x", "completion_tokens": 3}
        for name, one, outcome in read
    ]
    return reading.joined(pd.DataFrame(frame), asked, {"a" * 64: "<think>hm"}, MODELS, {"medqa": "MedQA (USMLE)"})


@pytest.mark.parametrize(
    ("filters", "total"),
    [
        ({}, 3),
        ({"model": "quill"}, 1),
        ({"theme": "hedging"}, 3),
        ({"suite": "healthbench"}, 3),
        ({"outcome": "unjudged"}, 2),
        ({"disagreement": True}, 2),
        ({"disagreement": False}, 1),
        ({"model": "quill", "outcome": "unjudged"}, 0),
    ],
)
def test_a_notebook_shows_the_responses_that_fit(filters, total):
    agreed = {"stern": SAID["stern"], "kind": SAID["stern"]}
    rows = joined(pd.concat([judged("c1", "c2"), judged("c1", model="quill", said=agreed)]))
    browsed = browse(rows, limit=2, **filters)
    assert repr(browsed) == f"{min(total, 2)} of {total} responses that fit"
    assert shown(browsed).count("Responding") == 0
    assert shown(browsed).count("Harms") == min(total, 2)


@pytest.mark.parametrize("rows", [questions(), joined(judged("c1"))])
def test_a_notebook_shows_everything_as_text(rows):
    browsed = browse(rows)
    assert "<script" not in browsed._repr_html_()
    assert PLANTED in shown(browsed)


def test_a_notebook_shows_questions_with_every_reading():
    text = shown(browse(questions(), outcome="wrong", disagreement=True))
    for part in ("Reed-1", "MedQA (USMLE), q1", "a <b>(gold)</b>", "None: the token limit came first.", "strict"):
        assert part in text


@pytest.mark.parametrize(
    ("rows", "filters", "said"),
    [
        (questions(), {"model": "read"}, "did you mean 'reed'"),
        (questions(), {"outcome": "met"}, "known are correct"),
        (questions(), {"theme": "hedging"}, "no theme"),
        (joined(judged("c1")), {"outcome": "wrong"}, "known are met"),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(rows, filters, said):
    with pytest.raises(ValueError, match=said):
        browse(rows, **filters)


def test_guarded_rows_are_shown_in_a_notebook_at_home_and_never_published(tmp_path, monkeypatch):
    rows = joined(judged("c1"), guarded=True)
    assert "hums" not in shown(browse(rows))
    assert withholding.NOTE in shown(browse(rows))
    monkeypatch.setenv(withholding.VARIABLE, "1")
    page = browse(rows)._repr_html_()
    assert "hums" in page
    cell = v4.new_code_cell("x", outputs=[v4.new_output("display_data", {"text/html": page, "text/plain": "3"})])
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    safe = notebooks.published(tmp_path / "n.ipynb")
    assert safe.cells[1].outputs[0].data["text/html"] == withholding.NOTE
