"""Responses for people to read: joined, cut into script files, and never anything but text."""

import base64
import json
import re
import zlib

import nbformat
import pandas as pd
import pytest
from medpsy.benchmarks.question import Question
from medpsy.report import chunks, indexing, notebooks, pages, reading
from medpsy.report.leaks import SecretFound
from medpsy.study import ModelSpec
from nbformat import v4

MODELS = {
    "reed": ModelSpec("reed", "models/reed", label="Reed-1"),
    "quill": ModelSpec("quill", "q", opens_thinking=True),
}
HOSTILE = "</script><!-- \u2028 & <img src=x>"


def question(name: str, **changes) -> Question:
    given = {"suite": "medqa", "subject": "", "stem": f"Which {HOSTILE}?", "options": ("a", "b", "c"), "gold": 2}
    return Question(name, **(given | {"context": None, "weight_group": "medqa"} | changes))


def graded(**changes) -> pd.DataFrame:
    row = {"model": "reed", "suite": "medqa", "question_id": "q1", "run": 0, "key": "a" * 64, "finish_reason": "stop"}
    row |= {"completion_tokens": 7, "chosen": 1, "outcome": "wrong", "how": "letter", "reader": "parser"}
    return pd.DataFrame([row | changes])


def joined(frame: pd.DataFrame, text: str | None) -> dict:
    texts = {} if text is None else {frame["key"][0]: text}
    return reading.joined(frame, [question("q1")], texts, MODELS, {"medqa": "MedQA (USMLE)"}).iloc[0]


@pytest.mark.parametrize(
    ("change", "text", "reasoning", "answer"),
    [
        ({}, "<think>hm</think>B", "<think>hm", "B"),
        ({"model": "quill"}, "hm</think>B", "hm", "B"),
        ({"model": "quill", "finish_reason": "length"}, "hm, B", "hm, B", None),
        ({"finish_reason": "failed"}, "", "", ""),
        ({"finish_reason": "failed"}, None, "", ""),
        ({}, "half \ud800</think>B", "half ?", "B"),
    ],
)
def test_reasoning_and_answer_stand_apart(change, text, reasoning, answer):
    row = joined(graded(**change), text)
    assert (row["reasoning"].strip(), row["answer"] or answer) == (reasoning, answer)
    assert (row["gold"], row["suite_title"], row["options"]) == (2, "MedQA (USMLE)", ["a", "b", "c"])


def test_a_model_without_a_label_goes_by_its_name():
    assert joined(graded(), "B")["label"] == "Reed-1"
    assert joined(graded(model="quill"), "B")["label"] == "quill"


def test_a_graded_row_without_its_question_is_an_error():
    with pytest.raises(ValueError, match="1 graded rows have no question, first medqa/q2"):
        joined(graded(question_id="q2"), "B")


def rows(count: int, per_question: int = 4) -> list[dict]:
    """Return responses as they come out of the Parquet file."""
    kept = {"subject": "", "context": None, "options": ["a", "b"], "gold": None, "reasoning": HOSTILE, "answer": None}
    kept |= {"suite": "medqa", "suite_title": f"MedQA {HOSTILE}", "finish_reason": "stop", "completion_tokens": 3}
    kept["readings"] = [{"reader": "parser", "chosen": None, "outcome": "no gold", "how": None}]
    return [
        kept
        | {"key": f"{n * 7919:012x}" * 5, "model": f"m{n % 2}", "label": "M", "run": n % 3}
        | {"question_id": f"q{n // per_question}", "stem": f"Which {HOSTILE} {n // per_question}?"}
        for n in range(count)
    ]


def calls(folder) -> dict[str, list]:
    """Return the arguments of the one call in every script file, unpacked."""
    found = {}
    for path in sorted(folder.glob("*.js")):
        text = path.read_text(encoding="ascii")  # nothing else may be in it
        call = r'medpsyEvidence\.(index|chunk)\((?:(\d+),)?"([A-Za-z0-9+/=]*)"\);\n'
        name, number, content = re.fullmatch(call, text).groups()
        found[path.name] = [name, number, json.loads(zlib.decompress(base64.b64decode(content)))]
    return found


def write_chunks(given, folder) -> int:
    return chunks.write_chunks(given, folder, indexing.QuestionIndex())


def test_chunks_hold_every_response_once_and_their_questions(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 900)
    given = rows(60)
    assert write_chunks(given, tmp_path) == 60
    scripts = calls(tmp_path)
    index = scripts.pop("index.js")[2]
    assert len(scripts) > 3
    seen = []
    for number, (kind, place, (texts, questions)) in enumerate(scripts.values()):
        assert (kind, int(place), index["starts"][number]) == ("chunk", number, len(seen))
        here = index["task"][len(seen) : len(seen) + len(texts)]
        assert set(questions) == {str(question) for question in here}
        assert here.count(here[0]) == 4  # answers to one question are not torn apart
        seen += texts
    assert [text[0] for text in seen] == [HOSTILE] * 60
    assert (index["suites"], index["outcomes"]) == ([["medqa", f"MedQA {HOSTILE}"]], [["no gold"]])
    assert index["keys"] == [row["key"][:12] for row in given]


def test_no_responses_make_an_empty_index(tmp_path):
    assert write_chunks([], tmp_path) == 0
    assert calls(tmp_path)["index.js"][2]["keys"] == []


def test_one_question_with_endless_responses_is_cut_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 300)
    write_chunks(rows(60, per_question=60), tmp_path)
    assert len(calls(tmp_path)) > 3


@pytest.mark.parametrize(
    ("keys", "short"),
    [
        (["a" * 64, "b" * 64], ["a" * 12, "b" * 12]),
        (["a" * 12 + "b" * 52, "a" * 64], ["a" * 12 + "b" * 12, "a" * 24]),
        (["a" * 63 + "b", "a" * 64], ["a" * 63 + "b", "a" * 64]),
        (["a" * 64, "a" * 64], ["a" * 12, "a" * 12]),  # one response asked for by two suites
    ],
)
def test_short_keys_tell_all_keys_apart(keys, short):
    assert indexing.short_keys(keys) == short


@pytest.mark.parametrize(
    "text", ["# a *b* _c_ `d` [e](f) <g> {h}`i` $j$ |k| ~l~ \\ \n\n```{raw} html", "1. x", "- x", "a\u2028b"]
)
def test_a_title_shows_exactly_its_characters(text):
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").render(f"# {pages.escaped(text)}")
    inner = re.fullmatch(r"<h1>(.*)</h1>\n", page, re.S).group(1)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        inner = inner.replace(entity, character)
    assert inner == " ".join(text.split())


def notebook(tmp_path, *outputs, prose="# Title"):
    cells = [v4.new_markdown_cell(prose), v4.new_code_cell("x", outputs=list(outputs))]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"papermill": {"output_path": "x"}}), tmp_path / "n.ipynb")
    return notebooks.published(tmp_path / "n.ipynb")


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("text/html", "<table class='dataframe'><td data-value='1'>1</td></table>", 'data-value="1"'),
        ("text/html", "<p>a<script>x()</script><img src=x onerror=x()><iframe src=x></iframe>b</p>", "<p>ab</p>"),
        ("text/html", "<a href='javascript:x()' onclick='x()'>a</a>", '<a rel="noopener noreferrer">a</a>'),
        ("text/html", "<style>a{background:url(https://example.org)}</style><b style='x'>a</b>", "<b>a</b>"),
        ("text/markdown", "**a** <script>x()</script>", "**a** &lt;script>x()&lt;/script>"),
        ("text/markdown", "![a](https://example.org/a.png) b!", "\\![a](https://example.org/a.png) b!"),
    ],
)
def test_an_output_keeps_its_text_and_loses_what_could_act(tmp_path, kind, given, kept):
    safe = notebook(tmp_path, v4.new_output("display_data", {kind: given}))
    found = safe.cells[1].outputs[0].data[kind]
    assert kept in found if "data-value" in kept else found == kept


def test_scripts_and_widgets_are_dropped_and_pictures_stay(tmp_path):
    data = {"application/javascript": "x()", "text/latex": "$x$", "image/png": "aGk=", "text/plain": "x"}
    data["application/vnd.jupyter.widget-view+json"] = {"model_id": "1"}
    safe = notebook(tmp_path, v4.new_output("display_data", data))
    assert set(safe.cells[1].outputs[0].data) == {"image/png", "text/plain"}
    assert set(safe.metadata) == {"language_info"}


def test_a_notebook_without_a_title_gets_one(tmp_path):
    assert notebook(tmp_path, prose="No heading. #hash").cells[0].source == "# Notebook"
    assert notebooks.title(notebook(tmp_path, prose="text\n\n# 4.2 Scores \n")) == "4.2 Scores"


def test_a_notebook_that_printed_a_secret_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_123")
    with pytest.raises(SecretFound, match=r"n.ipynb.*\$HF_TOKEN"):
        notebook(tmp_path, v4.new_output("stream", name="stdout", text="token hf_planted_123"))
