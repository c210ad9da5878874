"""Figures: a name in any script is drawn with an installed font that has it, or the reader is told which to install."""

import io
import warnings

import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text
from medpsy.report import figures, fonts

NAME = "药物问答"


def drawn(name):
    """Return the figure with the model `name`, and its picture."""
    rows = pd.DataFrame([{"label": name, "title": "Average", "score": 50.0, "margin": 3.0}])
    figure, picture = figures.average_ranking(rows), io.BytesIO()
    figure.save(picture, "png")
    return figure, picture.getvalue()


def labels(figure, name):
    return [text for text in figure.canvas.findobj(Text) if text.get_text() == name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function: install a font that has the given characters, each as a square."""
    manager = font_manager.fontManager
    known = [font for font in manager.ttflist if not fonts._characters(font.fname) & set(map(ord, NAME))]
    monkeypatch.setattr(manager, "ttflist", known)  # nothing that this machine may have

    def install(family, characters):
        pen = TTGlyphPen(None)
        for place, point in enumerate(((100, 0), (100, 700), (800, 700), (800, 0))):
            (pen.lineTo if place else pen.moveTo)(point)
        pen.closePath()
        names = [".notdef", *(f"u{ord(one):X}" for one in characters)]
        built = FontBuilder(1000, isTTF=True)
        built.setupGlyphOrder(names)
        built.setupCharacterMap({ord(one): f"u{ord(one):X}" for one in characters})
        built.setupGlyf(dict.fromkeys(names, pen.glyph()))
        built.setupHorizontalMetrics(dict.fromkeys(names, (900, 100)))
        built.setupHorizontalHeader(ascent=800, descent=-200)
        built.setupNameTable({"familyName": family, "styleName": "Regular"})
        built.setupOS2()
        built.setupPost()
        built.save(tmp_path / f"{family}.ttf")
        manager.addfont(tmp_path / f"{family}.ttf")

    return install


def test_a_name_is_drawn_with_the_fonts_that_have_its_characters(installed):
    with pytest.warns(fonts.MissingGlyph):
        _, boxes = drawn(NAME)
    installed("First Half", NAME[:2])
    installed("Second Half", NAME[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, picture = drawn(NAME)
    assert {tuple(text.get_fontfamily()[-2:]) for text in labels(figure, NAME)} == {("First Half", "Second Half")}
    assert picture != boxes


def test_characters_that_no_font_has_are_named_with_the_way_out(installed):
    with pytest.warns(fonts.MissingGlyph, match=f"no installed font has '{NAME[0]}': .*fonts-noto-cjk") as said:
        drawn(f"model {NAME[0]}")
    assert len(said) == 1


@pytest.mark.parametrize("name", ["клиника", "φάρμακο", "دواء", "β₁ ≥ 2"])
def test_scripts_of_matplotlibs_own_font_need_no_other(installed, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, _ = drawn(name)
    assert {len(text.get_fontfamily()) for text in labels(figure, name)} == {1}
