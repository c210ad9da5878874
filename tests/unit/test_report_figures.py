"""Figures: what is measured is drawn where it belongs, whatever the names are."""

import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from medpsy.report import figures

MODELS = [f"Model {number}" for number in range(11)]


def scores(models, suites, readers=("parser",)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"reader": reader, "label": model, "suite": suite, "title": suite.replace("average", "Average")}
            | {"score": 20.0 + 5 * place + down, "margin": 2.0}
            for reader in readers
            for down, suite in enumerate(suites)
            for place, model in enumerate(models)
        ]
    )


def printed(**values) -> pd.DataFrame:
    return pd.DataFrame({suite: [value] for suite, value in values.items()}, index=["Model 0"])


def axes(figure):
    return figure.canvas.axes[0]


def test_every_model_has_a_colour_and_marker_of_its_own():
    drawn = axes(figures.suite_scores(scores(MODELS, ["MedQA"]))).containers
    looks = {(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in drawn}
    assert len(drawn) == len(looks) == 11


def test_points_stand_at_their_scores_and_no_two_models_share_a_height():
    frame = scores(MODELS[:3], ["MedQA", "PubMedQA"])
    drawn = axes(figures.suite_scores(frame)).containers
    assert [list(bars.lines[0].get_xdata()) for bars in drawn] == [[20.0, 21.0], [25.0, 26.0], [30.0, 31.0]]
    heights = [height for bars in drawn for height in bars.lines[0].get_ydata()]
    assert len(set(heights)) == 6
    assert all(abs(height - round(height)) < 0.5 for height in heights)


def test_published_scores_and_guessing_are_drawn_and_explained():
    drawn = scores(MODELS[:2], ["MedQA"])
    figure = figures.suite_scores(drawn, published=printed(MedQA=33.0, Other=1.0), chance={"MedQA": 25.0})
    hollow = [mark for mark in axes(figure).collections if isinstance(mark, PathCollection)]
    assert [tuple(mark.get_offsets()[0])[0] for mark in hollow] == [33.0]
    legend = [text.get_text() for text in figure.canvas.legends[0].get_texts()]
    assert legend == ["Model 0", "Model 1", "published", "guessing"]


def test_published_scores_of_other_models_are_not_drawn():
    figure = figures.suite_scores(scores(["Reed", "Quill"], ["MedQA"]), published=printed(MedQA=33.0))
    assert not [mark for mark in axes(figure).collections if isinstance(mark, PathCollection)]
    assert [text.get_text() for text in figure.canvas.legends[0].get_texts()] == ["Reed", "Quill"]


def test_the_ranking_starts_with_the_best():
    drawn = scores(MODELS[:3], ["MedQA", "average"])
    figure = figures.average_ranking(drawn, published=printed(Average=60.0, MedQA=1.0), chance={"Average": 22.0})
    assert [label.get_text() for label in axes(figure).get_yticklabels()] == ["Model 2", "Model 1", "Model 0"]
    assert axes(figure).yaxis_inverted()
    assert list(axes(figure).containers[0].lines[0].get_xdata()) == [31.0, 26.0, 21.0]
    hollow = [mark for mark in axes(figure).collections if isinstance(mark, PathCollection)]
    assert [tuple(mark.get_offsets()[0]) for mark in hollow] == [(60.0, 2.0)]


def test_readers_are_rows():
    figure = figures.reader_comparison(scores(MODELS[:2], ["average", "MedQA"], ["parser", "strict"]))
    assert [label.get_text() for label in axes(figure).get_yticklabels()] == ["parser", "strict"]
    assert list(axes(figure).containers[1].lines[0].get_xdata()) == [25.0, 25.0]


def test_outcomes_fill_the_whole_bar_and_narrow_ones_bear_no_number():
    frame = scores(["Reed", "Quill"], ["MedQA", "average"])
    counts = [[9] * 5, [9] * 5, [50, 30, 10, 9, 1], [2, 0, 0, 0, 0]]
    frame[list(figures.OUTCOMES)] = counts
    figure = figures.outcome_bars(frame)
    bars = axes(figure).containers
    assert sum(bar[0].get_width() for bar in bars) == pytest.approx(100)
    assert bars[-1][0].get_x() == pytest.approx(99)
    assert [text.get_text() for text in axes(figure).texts] == ["50", "100", "30", "", "10", "", "9", "", "", ""]
    assert "Reed: correct 50 %, wrong 30 %, unreadable 10 %, cut off 9 %, failed 1 %" in figure.alt


@pytest.mark.parametrize("name", ["$x$ and $", r"a $\frac{b}$ <b>&", "x" * 60])
def test_any_name_can_be_drawn(tmp_path, name):
    figure = figures.suite_scores(scores([name, "Reed"], [name]), title=name)
    figure.save(tmp_path / "f.svg")
    assert name in figure.alt
    assert (tmp_path / "f.svg").stat().st_size > 1000


def test_a_score_that_was_not_measured_is_said_to_be_so(tmp_path):
    frame = scores(["Reed"], ["MedQA", "PubMedQA"])
    frame.loc[1, ["score", "margin"]] = None
    figure = figures.suite_scores(frame)
    figure.save(tmp_path / "f.png")
    assert figure.alt.endswith("MedQA, Reed: 20.0 ± 2.0; PubMedQA, Reed: not measured.")


@pytest.mark.parametrize("models", [1, 7])
def test_no_text_overlaps_another_or_leaves_the_page(models):
    suites = ["Average", "MMLU-Pro Health", "MedQA (USMLE)"]
    names = [f"A rather long name of model {number}" for number in range(models)]
    figure = figures.suite_scores(scores(names, suites), chance=dict.fromkeys(suites, 25.0))
    canvas = figure.canvas
    canvas.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes(figure).get_yticklabels()]
    boxes += [text.get_window_extent() for legend in canvas.legends for text in legend.get_texts()]
    boxes += [axes(figure).title.get_window_extent(), axes(figure).xaxis.label.get_window_extent()]
    page = canvas.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
    overlaps = [(a, b) for place, a in enumerate(boxes) for b in boxes[place + 1 :] if a.overlaps(b)]
    assert not overlaps
