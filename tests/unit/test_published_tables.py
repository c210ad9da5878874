"""The printed tables as data, and how a claim names cells of them."""

import re

import pytest
from case_rows import cases
from medpsy import published
from medpsy.published.claims import parse_operand
from medpsy.published.tables import SUITE_TITLES, cells, grid


def test_every_table_is_a_full_grid_without_a_cell_twice_and_numbers_are_what_is_printed():
    names = set(published.catalog().index)
    assert names == {cell.table for cell in cells()} and len(names) == 48
    assert len({(cell.table, cell.row, cell.column) for cell in cells()}) == len(cells()) == 1141
    for name in names:
        assert len({tuple(row) for row in grid(name).values()}) == 1, name
    numbers = [cell for cell in cells() if cell.number is not None]
    assert len(numbers) > 800
    for cell in numbers:  # "8x NVIDIA H100", "2,953", "−0.20%", "≈1×", "+7.53": the number leads, with all its digits
        text = cell.printed.replace("\u2212", "-").replace(",", "").lstrip("~≈+")
        assert re.match(r"-?[0-9.]+", text)[0] == str(cell.number).lstrip("+"), cell


def test_a_table_for_use_beside_measured_numbers():
    table = published.table("backbone_4b_closed_ended")
    assert list(table.index)[:2] == ["Qwen3-4B-Thinking-2507", "Qwen3-4B (Thinking)"]
    assert set(table.columns) == {"Average", *SUITE_TITLES}
    assert {str(kind) for kind in table.dtypes} == {"float64"} and table.at["SmolLM3-3B", "MedXpertQA"] == 11.32
    table.iloc[0, 0] = -1
    assert published.table("backbone_4b_closed_ended").iloc[0, 0] != -1


@pytest.mark.parametrize(("place", "half_unit"), cases("half_units", "place", "half_unit"))
def test_half_a_unit_of_the_last_digit(place, half_unit):
    name, row, column = place
    assert str(grid(name)[row][column].half_unit) == half_unit
    zeros = [cell for cell in cells() if cell.number == 0 and cell.printed.endswith("0.00")]
    assert zeros and {str(cell.half_unit) for cell in zeros} == {"0.005"}


@pytest.mark.parametrize(("text", "value"), cases("operands", "text", "value"))
def test_operands(text, value):
    found = parse_operand(text).value()
    assert ([*map(str, found)] if isinstance(found, list) else str(found)) == value


def test_an_unknown_operand_names_the_nearest_label():
    for text, near in (("table01_closed_ended:MedPsy-4:Average", "MedPsy-4B"), ("tabel01_closed_ended:a:b", "table01")):
        with pytest.raises(published.UnknownCell, match=near):
            parse_operand(f"a={text}").value()
