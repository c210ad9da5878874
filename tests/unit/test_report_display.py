"""Tables and plain values: numbers stay numbers, text stays text."""

import datetime as dt
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas
from medpsy.report import leaks
from medpsy.report.display import Figure, Table, shown_value, table
from medpsy.report.plain import plain

PLANTED = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (True, True),
        (np.str_("a"), "a"),
        ((1, np.int8(2)), [1, 2]),
        (np.array([[1.5], [2.5]]), [[1.5], [2.5]]),
        ({"a": {1: None}}, {"a": {"1": None}}),
        ({"b", "a"}, ["a", "b"]),
        (Path("outputs/mini"), "outputs/mini"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        ("half \ud800 pair", "half ? pair"),
    ],
)
def test_values_of_numpy_and_pandas_become_plain(value, expected):
    got = plain(value, "settings")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize("value", [math.nan, np.float64("nan"), pd.NA, pd.NaT, math.inf, -math.inf, np.inf])
def test_a_missing_or_infinite_number_is_refused_and_named(value):
    with pytest.raises(ValueError, match=r"settings\.lr\[1\]"):
        plain({"lr": [1.0, value]}, "settings")


@pytest.mark.parametrize("value", [object(), b"bytes", 1j])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(TypeError, match="settings.x is a "):
        plain({"x": value}, "settings")


def test_a_missing_cell_is_null_and_an_infinite_one_is_an_error():
    shown = table(pd.DataFrame({"a": [1.5, np.nan], "b": pd.array([2, None], "Int64"), "c": ["x", None]}))
    assert shown.rows == [[1.5, 2, "x"], [None, None, None]]
    with pytest.raises(ValueError, match="column 'a', row 1"):
        table(pd.DataFrame({"a": [1.0, np.inf]}))


def test_a_named_index_and_stacked_columns_become_flat_columns():
    frame = pd.DataFrame({("MedQA", "ours"): [1.0], ("MedQA", "gap"): [2.0]}, index=pd.Index(["Reed"], name="Model"))
    assert table(frame).columns == ["Model", "MedQA ours", "MedQA gap"]
    with pytest.raises(ValueError, match="two columns of the same name"):
        table(pd.DataFrame([[1, 2]], columns=["a", "a"]), "Scores")


def test_a_margin_stands_in_the_cell_of_its_score_but_keeps_its_own_column_of_data():
    shown = table(pd.DataFrame({"Model": ["Reed"], "Average": [61.256], "Average ±": [1.5], "Odd ±": [3]}))
    assert shown.shown == ["Model", "Average", "Odd ±"]
    assert '<td class="number" data-value="61.256">61.26 ± 1.50</td>' in shown.html()
    assert list(shown.exact.columns) == ["Model", "Average", "Average ±", "Odd ±"]
    assert "61.26 ± 1.50" in repr(shown)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (True, "yes"),
        (12345, "12,345"),
        (-3, "−3"),
        (-0.126, "−0.13"),
        (1234.5, "1,234.50"),
        (0.0003, "<0.01"),
        (0.006, "0.01"),
        (-0.0003, "0.00"),
        (0.0, "0.00"),
        ("-3", "-3"),
        ("a < b", "a < b"),
    ],
)
def test_values_are_shown_as_a_reader_wants_them(value, text):
    assert shown_value(value, 2) == text


def test_every_text_of_a_table_is_escaped():
    shown = Table([PLANTED, "s"], [[PLANTED, 1.0]], PLANTED, PLANTED, links={"s": [f"model={PLANTED}&x='\""]})
    page = shown.html({"responses"})
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 5
    assert "'" not in page.split('href="')[1].split('">')[0]


def test_cells_lead_to_responses_only_where_there_is_a_page_of_them():
    shown = Table(["Model", "MedQA"], [["Reed", 1.0], ["Quill", None]], links={"MedQA": ["model=reed", None]})
    assert shown.html().count("<a ") == 0
    assert '<a href="responses.html#model=reed">1.00</a>' in shown.html({"responses"})
    assert shown.html({"responses"}).count("<a ") == 1


def test_verdicts_stand_out_by_class():
    page = Table(["Verdict"], [["pattern fails"], ["agrees"], ["too few to tell"]]).html()
    assert [kind in page for kind in ("verdict bad", "verdict good", "verdict open")] == [True] * 3


def test_counts_stay_whole_in_data_even_beside_missing_ones():
    shown = table(pd.DataFrame({"n": pd.array([5, None], "Int64")}))
    assert shown.exact.to_csv(index=False) == 'n\n5\n""\n'
    assert shown.frame["n"].sum() == 5


def test_a_figure_draws_the_same_file_every_time(tmp_path):
    canvas = Canvas(figsize=(2, 1))
    canvas.add_subplot().plot([1, 2])
    figure = Figure(canvas, "Points", "Two points")
    for kind in ("png", "svg"):
        figure.save(tmp_path / f"a.{kind}")
        figure.save(tmp_path / f"b.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    picture, size = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert size == {"width": 200, "height": 100}


def test_secrets_are_the_variables_that_hold_keys():
    found = leaks.secrets(
        {"HF_TOKEN": "abcdefgh", "openai_api_key": " sk-12345678 ", "X_KEY": "EMPTY", "PATH": "/usr/bin/x"}
    )
    assert found == {"HF_TOKEN": "abcdefgh", "openai_api_key": "sk-12345678"}


@pytest.mark.parametrize("written", ["{value}", "Bearer {value}", '"{value}"', "a\n{value}b", "{escaped}", "{json}"])
def test_a_secret_is_found_in_any_form_and_never_repeated(monkeypatch, written):
    value = 'k"<secret>&1'
    monkeypatch.setenv("MODEL_KEY", value)
    forms = {"value": value, "escaped": "k&quot;&lt;secret&gt;&amp;1", "json": r"k\"<secret>&1"}
    with pytest.raises(leaks.SecretFound, match=r"settings.*\$MODEL_KEY") as caught:
        leaks.refuse(written.format(**forms), "settings")
    assert "secret>" not in str(caught.value)


def test_a_secret_is_found_in_a_column_of_text(monkeypatch):
    frame = pd.DataFrame({"run": [1, 2], "answer": ["B", None]})
    monkeypatch.setenv("SOME_TOKEN", "t0ken-t0ken")
    leaks.refuse_frame(frame, "responses")
    with pytest.raises(leaks.SecretFound, match="column 'answer'"):
        leaks.refuse_frame(frame.assign(answer=["B", "my t0ken-t0ken"]), "responses")
    assert os.environ["SOME_TOKEN"]
