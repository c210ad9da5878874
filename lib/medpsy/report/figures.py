"""Figures of scores and outcomes: points with 95 % margins, shares as stacked bars.

Each function draws what it is given and computes no score. Colours are told apart by colour-blind readers, and every
model has a marker of its own besides.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from medpsy.grading.outcomes import OUTCOMES
from medpsy.report.display import Figure, said_score

PALETTE = "colorblind"  # seaborn's, ten colours
AVERAGE = "Average"  # title of the row that averages the suites
MARKERS = "osD^vP*Xh<>p"
COLOURS = {  # Okabe and Ito's colours, in the order in which outcomes are printed
    **{"correct": "#009e73", "wrong": "#d55e00", "unreadable": "#cc79a7", "cut off": "#f0c05a", "failed": "#555555"},
}
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left"}
OURS = "ours"
NARROW = 3.0  # %; a narrower share has no room for its number
LINE = 0.19  # inches between two models in the same row
SCORE = "score (0 to 100), bars: 95 % margin"


def suite_scores(
    scores: pd.DataFrame,
    *,
    title: str = "Scores by suite",
    published: pd.DataFrame | None = None,
    chance: Mapping[str, float] | None = None,
) -> Figure:
    """Return one row per suite and in it one point per model.

    Args:
        scores: as `medpsy.report.scores.scored` returns it, of one reader: columns `label`, `title`, `score`,
            `margin`, rows in the order to be drawn.
        published: index model, columns suite titles; those of the same name as ours are drawn, hollow.
        chance: title of a suite -> score of guessing, drawn as a tick.
    """
    return dots(scores.assign(row=scores["title"], hue=scores["label"]), title, _values(published), chance or {})


def reader_comparison(scores: pd.DataFrame, *, title: str = "The same responses, read by each reader") -> Figure:
    """Return one row per reader and in it each model's average over the suites; `scores` as from `scored`."""
    averages = scores[scores["title"] == AVERAGE]
    return dots(averages.assign(row=averages["reader"], hue=averages["label"]), title, {}, {})


def average_ranking(
    scores: pd.DataFrame,
    *,
    title: str = "Average over the suites",
    published: pd.DataFrame | None = None,
    chance: Mapping[str, float] | None = None,
) -> Figure:
    """Return one row per model with its average, best first; arguments as in `suite_scores`."""
    ranked = scores[scores["title"] == AVERAGE].sort_values("score", ascending=False)
    printed = {(OURS, row): value for (row, suite), value in _values(published).items() if suite == AVERAGE}
    levels = dict.fromkeys(ranked["label"], chance[AVERAGE]) if chance else {}
    return dots(ranked.assign(row=ranked["label"], hue=OURS), title, printed, levels)


def outcome_bars(scores: pd.DataFrame, *, by: str = "label", title: str = "What became of the responses") -> Figure:
    """Return one bar per model (or, `by` ``"reader"``, per reader): the outcomes of all its responses, in percent."""
    averages = scores[scores["title"] == AVERAGE]  # their counts are the sums over the suites
    counts = averages.groupby(by, sort=False)[list(OUTCOMES)].sum()
    shares = 100 * counts.div(counts.sum(axis=1), axis=0)
    rows = [str(name) for name in shares.index]
    with mpl.rc_context(STYLE):
        canvas, axes = rows_canvas(title, rows, 1.3 + 0.36 * len(rows))
        for outcome, left in zip(OUTCOMES, (shares.cumsum(axis=1) - shares).T.to_numpy(), strict=True):
            bars = axes.barh(
                range(len(rows)), shares[outcome], left=left, color=COLOURS[outcome], label=outcome, height=0.7
            )
            labels = [f"{share:.0f}" if share >= NARROW else "" for share in shares[outcome]]
            axes.bar_label(bars, labels, label_type="center", color=_ink(outcome), fontsize=8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("responses (%)")
        legend_below(axes, axes.get_legend_handles_labels()[0])
    texts = shares.map("{:.0f} %".format)
    said = [", ".join(f"{name} {share}" for name, share in texts.iloc[place].items()) for place in range(len(rows))]
    return finished(canvas, title, [f"{name}: {text}" for name, text in zip(rows, said, strict=True)])


def _ink(outcome: str) -> str:
    return "white" if outcome in ("correct", "wrong", "failed") else "black"


def dots(frame: pd.DataFrame, title: str, published: Mapping[tuple[str, str], float], chance: Mapping) -> Figure:
    """Draw `frame` (columns `row`, `hue`, `score`, `margin`): rows downwards, hues beside each other within a row.

    Args:
        published: (hue, row) -> printed score, drawn hollow.
        chance: row -> score of guessing, drawn as a tick.
    """
    rows, hues = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["hue"]))
    step = LINE if len(hues) > 1 else 0.28
    with mpl.rc_context(STYLE):
        canvas, axes = rows_canvas(title, rows, 1.4 + len(rows) * (step * len(hues) + 0.12))
        handles = []
        for place, hue in enumerate(hues):
            points = frame[frame["hue"] == hue]
            offset = (place - (len(hues) - 1) / 2) * 0.82 / len(hues)
            heights = [rows.index(row) + offset for row in points["row"]]
            handles.append(_points(axes, points, heights, place))
            _published(axes, [published.get((hue, row)) for row in points["row"]], heights, _colour(place))
        _chance(axes, rows, chance)
        axes.set_xlim(0, 100)
        axes.set_xlabel(SCORE)
        shown = any((hue, row) in published for hue, row in zip(frame["hue"], frame["row"], strict=True))
        legend_below(axes, _handles(handles if len(hues) > 1 else [], shown, bool(chance)))
    return finished(canvas, title, [_said(point) for point in frame.itertuples()])


def _points(axes: Axes, points: pd.DataFrame, heights: Sequence[float], place: int) -> ErrorbarContainer:
    style = {"color": _colour(place), "marker": MARKERS[place % len(MARKERS)], "markersize": 5.5}
    bars = {"xerr": points["margin"], "linestyle": "none", "capsize": 2, "label": _plain(points["hue"].iloc[0])}
    return axes.errorbar(points["score"], heights, **bars, **style)


def _values(published: pd.DataFrame | None) -> dict[tuple[str, str], float]:
    return {} if published is None else published.stack().to_dict()


def _said(point: object) -> str:
    name = point.row if point.hue == OURS else f"{point.row}, {point.hue}"
    return f"{name}: {said_score(point.score, point.margin)}"


def rows_canvas(title: str, rows: Sequence[str], height: float) -> tuple[Canvas, Axes]:
    """Return an empty drawing of `height` inches with one line per name in `rows`, downwards."""
    canvas = Canvas(figsize=(8, height), layout="constrained")
    axes = canvas.subplots()
    axes.set_title(_plain(title))
    axes.set_yticks(range(len(rows)), [_plain(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for line in range(1, len(rows)):
        axes.axhline(line - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0)
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)
    return canvas, axes


def _published(axes: Axes, values: Sequence[float | None], heights: Sequence[float], colour: object) -> None:
    known = [(value, height) for value, height in zip(values, heights, strict=True) if value is not None]
    style = {"marker": "d", "facecolor": "white", "edgecolor": colour, "s": 42, "linewidth": 1.3, "zorder": 4}
    for value, height in known:
        axes.scatter(value, height, **style)


def _chance(axes: Axes, rows: Sequence[str], chance: Mapping[str, float]) -> None:
    for place, row in enumerate(rows):
        if row in chance:
            axes.vlines(chance[row], place - 0.46, place + 0.46, color="black", linestyle=(0, (1, 1.5)), linewidth=1.2)


def _handles(models: Sequence, published: bool, chance: bool) -> list:
    handles = list(models)
    if published:
        style = {"marker": "d", "linestyle": "none", "markerfacecolor": "white"}
        handles.append(Line2D([], [], color="black", label="published", **style))
    if chance:
        handles.append(Line2D([], [], color="black", linestyle=(0, (1, 1.5)), label="guessing"))
    return handles


def legend_below(axes: Axes, handles: Sequence) -> None:
    """Put a legend of `handles` below the drawing, in as many columns as fit."""
    if handles:
        longest = max(len(handle.get_label()) for handle in handles)
        columns = max(1, min(len(handles), 95 // (longest + 8)))
        axes.figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False, fontsize=8.5)


def _colour(place: int) -> tuple[float, float, float]:
    return sns.color_palette(PALETTE)[place % 10]


def _plain(text: str) -> str:
    return str(text).replace("$", r"\$")  # else matplotlib reads what stands between two of them as a formula


def finished(canvas: Canvas, title: str, said: Sequence[str]) -> Figure:
    """Return the drawing with the sentence that says the same as it shows, made of `said`."""
    return Figure(canvas, title, f"{title}. " + "; ".join(said) + ".")
