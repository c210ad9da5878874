"""Fonts for names in any script: what matplotlib's own font does not have is drawn with an installed one that does.

Ships no font: those of Chinese alone are larger than this project. Where no installed font has a character, says so.
"""

import warnings
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure as Canvas
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

BOXES = "Last Resort"  # matplotlib's own: it has every character, as a box


class MissingGlyph(UserWarning):
    """No installed font has a character of a figure."""


def cover(canvas: Canvas) -> None:
    """Give every text of `canvas` the fonts that its characters need, after the one that it has."""
    texts = {text: _lacking(text) for text in canvas.findobj(Text)}
    if lacking := set().union(*texts.values()):
        families = _families(lacking)
        for text in (text for text, own in texts.items() if own):
            text.set_fontfamily([*text.get_fontfamily(), *families])


def _families(characters: set[int]) -> list[str]:
    """Return installed fonts that together have `characters`; warns of those that none has."""
    found, left = [], set(characters)
    for font in sorted(font_manager.fontManager.ttflist, key=_plainest):
        if font.name.startswith(BOXES):
            continue
        if here := left & _characters(font.fname):
            found.append(font.name)
            left -= here
        if not left:
            return found
    some = "".join(map(chr, sorted(left)))[:20]
    warnings.warn(
        f"no installed font has {some!r}: the figure shows boxes; install one (Debian, Ubuntu: apt-get install "
        "fonts-noto-cjk, or fonts-noto for all scripts) and delete fontlist-*.json in matplotlib.get_cachedir()",
        MissingGlyph,
        stacklevel=2,
    )
    return found


def _plainest(font: font_manager.FontEntry) -> tuple:
    """Upright fonts of usual weight first, then by name, so that the same machine draws the same figure."""
    return font.style != "normal", font.weight not in (400, "normal", "regular"), font.name, font.fname


def _lacking(text: Text) -> set[int]:
    """Return the characters of `text` that none of its own fonts has."""
    characters = {ord(one) for one in text.get_text() if not one.isspace()}
    for family in text.get_fontfamily():
        own = text.get_fontproperties().copy()
        own.set_family(family)
        characters -= _characters(font_manager.findfont(own)) if characters else set()
    return characters


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a list of fonts may name a file that is gone
        return frozenset()
