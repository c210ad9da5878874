"""The printed tables as data."""

import re
from decimal import Decimal as D

import pandas as pd
import pytest
from medpsy import published
from medpsy.published.cells import SUITE_TITLES, THEMES, cells, grid
from medpsy.published.operand import operand


def test_every_table_has_cells_and_every_cell_a_table():
    assert set(published.catalog().index) == {cell.table for cell in cells()}
    assert len(published.catalog()) == 48
    assert len(cells()) == 1141


def test_no_cell_twice():
    places = [(cell.table, cell.row, cell.column) for cell in cells()]
    assert len(places) == len(set(places))


def test_every_table_is_a_full_grid():
    for name in published.catalog().index:
        assert len({tuple(row) for row in grid(name).values()}) == 1, name


def test_numbers_are_what_is_printed():
    numbers = [cell for cell in cells() if cell.number is not None]
    assert len(numbers) > 800
    for cell in numbers:  # "8x NVIDIA H100", "2,953", "−0.20%", "≈1×", "+7.53": the number leads, with all its digits
        text = cell.printed.replace("\u2212", "-").replace(",", "").lstrip("~≈+")
        assert re.match(r"-?[0-9.]+", text)[0] == str(cell.number).lstrip("+"), cell


def test_scores_are_points_of_100():
    tidy = published.tables()
    scores = tidy[(tidy["unit"] == "points") & (tidy["measure"] != "") & (tidy["measure"] != "Δ Score")]
    assert scores["number"].between(0, 100).all()
    assert len(scores) > 500


def test_a_table_for_use_beside_measured_numbers():
    table = published.table("backbone_4b_closed_ended")
    assert list(table.index)[:2] == ["Qwen3-4B-Thinking-2507", "Qwen3-4B (Thinking)"]
    assert set(table.columns) == {"Average", *SUITE_TITLES}
    assert {str(kind) for kind in table.dtypes} == {"float64"}
    assert table.at["SmolLM3-3B", "MedXpertQA"] == 11.32


def test_text_columns_stay_text_and_keep_their_print():
    ratios = published.table("table09_degradation_ratio")
    assert ratios.at["Q4_K_M", "1.7B / 4B ratio"] == "≈1×"
    assert ratios.at["IQ3_M", "Δ Score 1.7B"] == -3.58
    assert published.table("table07_quant_4b").at["MedPsy-4B-Q8_0", "Imatrix"] == "no"


def test_a_changed_table_does_not_change_the_next_one():
    table = published.table("table01_closed_ended")
    table.iloc[0, 0] = -1
    assert published.table("table01_closed_ended").iloc[0, 0] == 70.54


def test_the_tidy_form_has_places():
    tidy = published.tables("table05_stages_1p7b")
    row = tidy[(tidy["row"] == "Δ SFT Stage 1") & (tidy["column"] == "PubMedQA")].iloc[0]
    assert (row["printed"], row["number"], row["section"], row["title"]) == ("\u22125.93", -5.93, "4.5", "Table 5")
    assert isinstance(tidy, pd.DataFrame) and len(tidy) == 90


@pytest.mark.parametrize(
    ("name", "row", "column", "bold"),
    [
        ("table01_closed_ended", "MedPsy-4B", "Average", True),
        ("table01_closed_ended", "MedPsy-4B", "MMLU (Health)", False),
        ("table01_closed_ended", "Qwen3-1.7B (Thinking)", "PubMedQA", False),
        ("table04_healthbench_hard_dimensions", "MedPsy-1.7B", "Response Depth", True),
    ],
)
def test_bold_marks(name, row, column, bold):
    assert grid(name)[row][column].bold is bold


def test_the_same_quantity_is_spelled_alike_in_all_tables():
    places = {cell.table for cell in cells() if (cell.model, cell.measure) == ("Qwen3-4B-Thinking-2507", "PubMedQA")}
    assert places == {
        "table01_closed_ended",
        "table06_stages_4b",
        "backbone_4b_closed_ended",
        "card_medpsy4b_benchmarks",
    }


def test_half_a_unit_of_the_last_digit():
    assert grid("table01_closed_ended")["MedPsy-4B"]["Average"].half_unit == D("0.005")
    assert grid("teacher_closed_ended")["Baichuan-M3-235B"]["MedQA (USMLE)"].half_unit == D("0.05")  # 88.9
    assert grid("table07_quant_4b")["MedPsy-4B-Q8_0"]["HealthBench"].half_unit == D("0.5")


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(published.UnknownCell, match="'table01_closed_ended'"):
        published.table("table1_closed_ended")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a=table01_closed_ended:MedPsy-4B:Average", D("70.54")),
        ("a=table01_closed_ended:MedPsy-4B:[Average | PubMedQA]", [D("70.54"), D("75.00")]),
        ("a=sft_parallelism:[1.7B | 4B]:Nodes", [D(4), D(4)]),
        ("a=quant_format_groups:Q8_0:Group", "Legacy block quantization"),
        ("a=cluster:GPUs per node:Specification", D(8)),
        ("a=table10_imatrix_ablation:4B | Q4_K_M with imatrix:HealthBench", D(73)),
        ("a=judges:<rows>:Judge", ["CompassJudger-2-32B-Instruct", "Llama-3.3-70B-Instruct", "GPT-OSS-120B"]),
    ],
)
def test_operands(text, want):
    assert operand(text).value() == want


def test_shorthands_follow_the_order_of_the_report():
    scores = operand("a=table01_closed_ended:MedPsy-4B:<7>").value()
    assert scores == [D(text) for text in ["89.70", "71.50", "70.45", "72.15", "84.39", "30.61", "75.00"]]
    themes = operand("a=table03_healthbench_dimensions:MedPsy-4B:<dims>").cells()
    assert tuple(cell.column for cell in themes) == THEMES


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("a=table01_closed_ended:MedPsy-4:Average", "MedPsy-4B"),
        ("a=table01_closed_ended:MedPsy-4B:Avrage", "Average"),
        ("a=tabel01_closed_ended:MedPsy-4B:Average", "table01_closed_ended"),
    ],
)
def test_an_unknown_operand_names_the_nearest_label(text, near):
    with pytest.raises(published.UnknownCell, match=near):
        operand(text).value()


def test_digests_cover_all_data():
    assert set(published.digests()) == {
        f"published/{name}.csv" for name in ("cells", "claims", "groups", "sample_sizes", "tables")
    }
