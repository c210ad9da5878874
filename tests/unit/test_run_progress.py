"""What is shown while a notebook runs."""

import io

import pytest
from medpsy import progress
from medpsy.execution import cell_names
from medpsy.progress import Progress
from nbformat.v4 import new_code_cell, new_markdown_cell


class Terminal(io.StringIO):
    def isatty(self):
        return True


def started(stream):
    shown = Progress(stream)
    shown.begin(["", "parameters", "", "Load", "Compute"])
    return shown


def test_cells_are_named_by_tag_description_or_heading():
    cells = [
        new_code_cell("import x"),
        new_markdown_cell("# Title\ntext"),
        new_code_cell("a: int = 1", metadata={"tags": ["parameters"]}),
        new_markdown_cell("## Load\nprose"),
        new_code_cell("load()"),
        new_code_cell("again()"),
        new_markdown_cell("no heading"),
        new_code_cell("train()  # papermill_description=training"),
        new_code_cell("test()", metadata={"tags": ["papermill_description=testing"]}),
    ]
    names = [name for cell, name in zip(cells, cell_names(cells), strict=True) if cell.cell_type == "code"]
    assert names == ["start", "parameters", "Load", "Load (2)", "training", "testing"]


def test_the_slow_cells_are_named_slowest_first():
    shown = started(io.StringIO())
    for index, seconds in ((1, 0.2), (3, 4.0), (4, 61.0)):
        shown.start(index)
        shown.finish(index, seconds)
    assert shown.slowest() == "Compute 61 s, Load 4 s"
    assert "2 of 3  Load  4.0 s" in shown.stream.getvalue()
    assert started(io.StringIO()).slowest() == ""


def test_a_file_gets_few_of_the_lines_that_a_cell_prints(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = started(io.StringIO())
    shown.start(3)
    for _ in range(70):
        now[0] += 1
        shown.write(f"asked {now[0]:.0f}\n")
    lines = [line for line in shown.stream.getvalue().splitlines() if "asked" in line]
    assert lines == ["      2 of 3  Load: asked 130", "      2 of 3  Load: asked 160"]


@pytest.mark.parametrize("text", ["10%\r 20%\r 30%", "first\n30%\n", "\n30%"])
def test_a_terminal_shows_the_last_line_and_wipes_it(monkeypatch, text):
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 10.0]).__next__)
    shown = started(Terminal())
    shown.start(3)
    shown.write(text)
    assert shown.stream.getvalue().endswith("\r\x1b[2K      2 of 3  Load: 30%")
    shown.finish(3, 10.0)
    assert shown.stream.getvalue().endswith("\r\x1b[2K      2 of 3  Load  10.0 s\n")


def test_a_failure_before_the_first_cell_has_a_place_too():
    assert Progress(io.StringIO()).where() == "none"
    assert started(io.StringIO()).where() == "none"
