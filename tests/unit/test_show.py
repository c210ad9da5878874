"""Tables, figures and plain values: numbers stay numbers, text stays text, any script is drawn."""

import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure as Canvas
from medpsy import record
from medpsy.show import Figure, MissingGlyph, Table, plain, shown_value, table

PLANTED = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5), (np.int64(7), 7), (np.bool_(True), True), ((1, np.int8(2)), [1, 2]),
        (np.array([[1.5], [2.5]]), [[1.5], [2.5]]), ({"a": {1: None}}, {"a": {"1": None}}), ({"b", "a"}, ["a", "b"]),
        (Path("outputs/mini"), "outputs/mini"), (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        ("half \ud800 pair", "half \ufffd pair"),
    ],
)  # fmt: skip
def test_values_of_numpy_and_pandas_become_plain(value, expected):
    got = plain(value, "settings")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize("value", [math.nan, pd.NA, pd.NaT, -math.inf])
def test_a_missing_or_infinite_number_is_refused_and_named(value):
    with pytest.raises(ValueError, match=r"settings\.lr\[1\]"):
        plain({"lr": [1.0, value]}, "settings")


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
    assert "61.26 ± 1.50" in shown.html() and "61.26 ± 1.50" in repr(shown)
    assert list(shown.exact.columns) == ["Model", "Average", "Average ±", "Odd ±"]


SHOWN = [(None, "–"), (math.nan, "–"), (True, "yes"), (12345, "12,345"), (-0.126, "−0.13"), (0.0003, "<0.01")]


@pytest.mark.parametrize(("value", "text"), [*SHOWN, (-0.0003, "0.00"), ("-3", "-3")])
def test_values_are_shown_as_a_reader_wants_them(value, text):
    assert shown_value(value, 2) == text


def test_every_text_of_a_table_is_escaped():
    shown = Table([PLANTED, "s"], [[PLANTED, 1.0]], PLANTED, PLANTED, links={"s": [f"model={PLANTED}&x='\""]})
    page = shown.html({"responses"})
    assert "<script" not in page
    assert "'" not in page.split('href="')[1].split('">')[0]
    assert "<a " not in shown.html()  # where there is no page of responses


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


def test_a_secret_is_found_in_any_form_and_never_repeated_and_placeholders_are_none(monkeypatch):
    for name, value in {"X_KEY": " EMPTY ", "PLAIN_NAME": "abcdefgh", "model_token": ' k"<secret>&1 '}.items():
        monkeypatch.setenv(name, value)
    record.refuse_secrets("EMPTY abcdefgh", "settings")
    for written in ('Bearer k"<secret>&1', "k&quot;&lt;secret&gt;&amp;1", r"k\"<secret>&1"):
        with pytest.raises(record.SecretFound, match=r"settings.*\$model_token") as caught:
            record.refuse_secrets(written, "settings")
        assert "secret>" not in str(caught.value)


@pytest.fixture
def installed(monkeypatch):
    """Let no font be installed but three of matplotlib's own."""
    manager, names = font_manager.fontManager, ("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif")
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.name in names])


def drawn(name):
    """Return the font families of the text that shows `name`."""
    canvas = Canvas(figsize=(2, 1))
    text = canvas.text(0.1, 0.5, name)
    Figure(canvas, "Points", "Points")._repr_png_()
    return text.get_fontfamily()


def test_a_name_is_drawn_with_the_fonts_that_have_its_characters_and_what_none_has_is_named(installed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        families = drawn("⌕⤁")  # which DejaVu Sans has not: the first is in its Mono, the second in its Serif
    assert families[-2:] == ["DejaVu Sans Mono", "DejaVu Serif"]
    with pytest.warns(MissingGlyph, match="no installed font has '药': .*fonts-noto-cjk") as warned:
        drawn("model 药")
    assert len(warned) == 1
