"""Figures of the corpora: how long their rows are, and how much of the world they cover."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure as Canvas

from medpsy.corpus import Built
from medpsy.report.corpora import label
from medpsy.report.display import Figure
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below, rows_canvas

BINS = 40
DASHES = ("-", "--", ":", "-.")


def row_lengths(built: Sequence[Built], *, title: str = "Length of training rows") -> Figure:
    """Return the share of each corpus's rows by tokens; the packed length is the right edge's dashed line."""
    limit = built[0].card.settings["filters"]["packed_length"]
    edges, said = np.linspace(0, limit, BINS + 1), []
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 3.4), layout="constrained")
        axes = canvas.subplots()
        for place, card in enumerate(one.card for one in built):
            tokens = np.repeat(list(card.lengths), list(card.lengths.values()))
            shares, _ = np.histogram(tokens, edges)
            style = {"color": sns.color_palette(PALETTE)[place], "linestyle": DASHES[place % len(DASHES)]}
            axes.stairs(100 * shares / len(tokens), edges, label=label(card), linewidth=1.8, **style)
            half, most, longest = np.percentile(tokens, (50, 90, 100))
            said.append(f"{label(card)}: median {half:,.0f} tokens, 90 % up to {most:,.0f}, longest {longest:,.0f}")
        axes.axvline(limit, color="black", linestyle=(0, (4, 2)), linewidth=1.2, label="packed length")
        axes.set(title=title, xlabel="tokens of a row, prompt included", ylabel="rows (%)", ylim=(0, None))
        axes.grid(axis="y", color="#e3e3e3", linewidth=0.6)
        sns.despine(ax=axes)
        legend_below(axes, axes.get_legend_handles_labels()[0])
    return finished(canvas, title, said)


def topic_coverage(built: Sequence[Built], *, title: str = "Facts of the world that the rows rest on") -> Figure:
    """Return one row per relation and in it one point per corpus; an empty drawing outside the miniature."""
    relations, said = list(built[0].card.coverage), []
    with mpl.rc_context(STYLE):
        canvas, axes = rows_canvas(title, relations or ["no list of facts"], 1.4 + 0.3 * max(1, len(relations)))
        for place, card in enumerate(one.card for one in built):
            shares = [100 * counts["covered"] / counts["facts"] for counts in card.coverage.values()]
            style = {"color": sns.color_palette(PALETTE)[place], "marker": MARKERS[place], "linestyle": "none"}
            axes.plot(shares, range(len(shares)), label=label(card), markersize=6, **style)
            said += [
                f"{label(card)}, {relation}: {share:.0f} %" for relation, share in zip(relations, shares, strict=True)
            ]
        axes.set_xlim(-2, 102)
        axes.set_xlabel("facts covered (%)")
        legend_below(axes, axes.get_legend_handles_labels()[0])
    return finished(canvas, title, said or ["real corpora have no list of facts to compare with"])
