"""Sample sizes behind the printed decimals, table checks, noise, and their drawings."""

import itertools
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from medpsy import published
from medpsy.published import charts, consistency, granularity, noise


def brute(size, runs, *, rounded_runs):
    """Printed values of a mean over runs, by trying every combination of right answers."""
    found = set()
    for right in itertools.combinations_with_replacement(range(size + 1), runs):
        scores = [100 * count / size for count in right]
        if rounded_runs:
            scores = [round(score, 2) for score in scores]
        found.add(round(100 * sum(scores) / runs))
    return found


@pytest.mark.parametrize("rounded_runs", [False, True])
@pytest.mark.parametrize(("size", "runs"), [(7, 1), (7, 2), (11, 3), (3, 3), (29, 2), (17, 3)])
def test_possible_values_against_every_combination(size, runs, rounded_runs):
    found = set(np.flatnonzero(granularity.possible((size,), runs, rounded_runs=rounded_runs)))
    want = brute(size, runs, rounded_runs=rounded_runs)
    assert want <= found
    assert all(min(abs(value - other) for other in want) <= 1 for value in found - want)  # ties round either way
    assert len(found - want) <= len(want) // 2 if runs == 2 else found == want


def test_a_tie_may_round_either_way():
    found = granularity.possible((16,), 1)  # 1/16 is 6.25, 1/32 of two runs is 3.125
    assert found[625] and not found[626]
    both = granularity.possible((32,), 1)
    assert both[312] and both[313]
    assert granularity.possible((32,), 1, rounded_runs=True)[[312, 313]].all()


def test_means_of_subjects_hold_only_values_that_occur():
    sizes = (2, 3)
    sums = {round(100 * (a / 2 + b / 3) / 2 * 100) for a in range(3) for b in range(4)}
    assert set(np.flatnonzero(granularity.possible(sizes, 1))) == sums


@pytest.mark.parametrize(
    ("suite", "questions", "fit", "fit_rounded", "reading"),
    [
        ("PubMedQA", 500, 22, 22, "fits"),
        ("MedQA (USMLE)", 1273, 21, 23, "fits"),
        ("MMLU-Pro Health", 818, 18, 23, "fits"),
        ("MMLU-Pro Health", 553, 2, 6, "does not fit"),
        ("MedMCQA", 4183, 23, 23, "fits by chance too"),
        ("HealthBench", 100, 104, 104, "fits"),
    ],
)
def test_three_runs(suite, questions, fit, fit_rounded, reading):
    rows = granularity.granularity((3,))
    row = rows[(rows["suite"] == suite) & (rows["questions"] == questions)].iloc[0]
    assert (row["fit"], row["fit rounded"], row["reading"]) == (fit, fit_rounded, reading)


def test_mmlu_is_a_mean_of_subjects_and_not_pooled():
    rows = granularity.granularity((3,))
    mmlu = rows[rows["suite"] == "MMLU (Health)"].set_index("selection")
    pooled = mmlu.loc["the same six subjects pooled"]
    assert pooled["reading"] == "does not fit" and pooled["fit rounded"] == 13
    mean = mmlu.loc["mean of six subjects (MedPsy-4B card)"]
    assert mean["fit"] == mean["values"] == 23
    assert mean["chance"] > 0.99  # so the fit alone says nothing


@pytest.mark.parametrize("runs", [1, 2])
def test_fewer_runs_do_not_fit(runs):
    rows = granularity.granularity((runs,))
    for suite, questions in (("PubMedQA", 500), ("MedQA (USMLE)", 1273), ("MMLU-Pro Health", 818)):
        row = rows[(rows["suite"] == suite) & (rows["questions"] == questions)].iloc[0]
        assert row["reading"] == "does not fit"


def test_values_are_distinct_scores_without_differences():
    values = granularity.printed_values("PubMedQA")
    assert values == sorted(set(values)) and min(values) > 5000
    assert 7920 in values  # printed as 79.2


def test_subjects_that_weigh_alike_cost_questions():
    mmlu = next(size for size in granularity.sample_sizes() if len(size.sizes) == 6)
    assert mmlu.questions == 1089
    assert mmlu.effective == pytest.approx(957.9, abs=0.1)


def test_the_backbone_measured_twice():
    rows = noise.backbone_twice().set_index("suite")
    assert rows.at["MMLU-Pro Health", "difference"] == pytest.approx(-1.11)
    assert rows.at["PubMedQA", "coin flips"] == pytest.approx(100 * (2 * 0.74165 * 0.25835 / 1500) ** 0.5)
    share, low, high = noise.run_noise_share()
    assert share == pytest.approx((rows["ratio"] ** 2).mean())
    assert low < share < high
    assert low == pytest.approx(7 * share / 16.0128, rel=1e-4)  # chi-square, 7 degrees, 97.5 %
    assert high == pytest.approx(7 * share / 1.68987, rel=1e-4)


def test_margins_of_three_runs():
    rows = noise.margins("MedPsy-1.7B").set_index("suite")
    assert rows.at["MedQA (USMLE)", "rerun"] == pytest.approx(1.94, abs=0.01)
    assert rows.at["PubMedQA", "rerun"] == pytest.approx(3.29, abs=0.01)
    assert (rows["new questions"] > rows["same questions"]).all()
    assert rows.at["Average", "rerun"] < rows["rerun"].drop("Average").min()


def test_more_runs_and_less_noise_narrow_the_margins():
    three, twelve = noise.margins(runs=3)["rerun"], noise.margins(runs=12)["rerun"]
    assert np.allclose(three, 2 * twelve)
    assert np.allclose(noise.margins(share=0.25)["rerun"], three / 2)


def test_leads():
    rows = noise.leads("MedPsy-4B", "MedGemma-27B-text-it").set_index("suite")
    assert rows.at["Average", "lead"] == pytest.approx(0.59)
    assert rows.at["Average", "reading"] == "within run noise"
    assert rows.at["MedXpertQA", "reading"] == "beyond both"
    assert rows.at["AfriMedQA", "reading"] == "beyond run noise"
    assert noise.leads("MedPsy-4B", "MedGemma-27B-text-it", share=0.25).iloc[-1]["reading"] == "beyond run noise"


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(published.UnknownCell, match="MedPsy-4B"):
        noise.margins("Medpsy-4b")


def test_averages_deltas_and_repeated_quantities():
    averages, deltas, repeated = consistency.averages(), consistency.deltas(), consistency.same_quantity()
    tally = consistency.tally({"a": averages, "d": deltas, "r": repeated})
    assert tally.to_numpy().tolist() == [[32, 29, 3, 0], [90, 90, 0, 0], [156, 146, 0, 10]]
    wrong = repeated[repeated["state"] == "disagree"]
    assert set(wrong["model"]) == {"Qwen3-4B-Thinking-2507", "MedGemma-27B-text-it"}


def test_a_whole_number_agrees_with_what_it_was_rounded_from():
    rows = consistency.same_quantity().set_index(["model", "measure"])
    row = rows.loc["MedPsy-1.7B", "HealthBench (CompassJudger-2-32B)"]
    assert row["spread"] == pytest.approx(0.33) and row["state"] == "agree"


def test_a_changed_cell_is_found(monkeypatch):
    place = ("table01_closed_ended", "MedPsy-4B", "Average")
    cells = tuple(
        replace(cell, number=Decimal("70.60")) if (cell.table, cell.row, cell.column) == place else cell
        for cell in consistency.cells()
    )
    monkeypatch.setattr(consistency, "cells", lambda: cells)
    averages = consistency.averages()
    assert "MedPsy-4B" in set(averages[averages["state"] == "disagree"]["what"])
    wrong = consistency.same_quantity().set_index(["model", "measure"]).loc["MedPsy-4B", "Average"]
    assert wrong["state"] == "disagree"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.gaps(published.audit()),
        lambda: charts.sample_sizes(granularity.granularity((3,)).head(4)),
        lambda: charts.leads(noise.leads("MedPsy-4B", "MedGemma-27B-text-it"), "MedPsy-4B", "MedGemma-27B-text-it"),
    ],
    ids=["gaps", "sample sizes", "leads"],
)
def test_drawings_name_their_axis_and_rows(draw):
    axes = draw().axes[0]
    assert axes.get_xlabel() and axes.get_legend() is not None
    assert all(label.get_text() for label in axes.get_yticklabels())


def test_gaps_shows_every_disagreement_in_points():
    audit = published.audit()
    rows = audit.disagreements()
    points = rows[(rows["unit"] == "points") & rows["gap"].notna()]
    drawn = sum(len(dots.get_offsets()) for dots in charts.gaps(audit).axes[0].collections)
    assert drawn == len(points) == 27
