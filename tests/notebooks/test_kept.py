"""Outputs that the notebooks are stored with: shown before anything runs, made again from the bundle beside them."""

import subprocess
import sys

import nbformat
import pytest
from medpsy import bundle, keep, run

CHECKED = "nbval-check-output"  # tag of a cell whose output a replay must show again, to the last digit
PROBLEMS = ("Warning: ", "it/s]", "Traceback", "/site-packages/")


@pytest.fixture
def notebooks(root):
    return {section: nbformat.read(path, as_version=4) for section, path in run.notebooks(root).items()}


def test_what_is_stored_is_small_whole_and_of_no_machine(notebooks, root):
    stored = {section: each for section, each in notebooks.items() if any(cell.get("outputs") for cell in each.cells)}
    assert stored.keys() == (notebooks.keys() if (root / keep.BUNDLE).is_file() else {"00_published_claims"})
    for section, notebook in stored.items():
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        shown = [output for cell in cells for output in cell.outputs]
        images = [output.data["image/png"] for output in shown if "image/png" in output.get("data", {})]
        assert images and len(shown) > len(cells) / 2
        assert any(CHECKED in cell.metadata.get("tags", []) for cell in cells)
        assert all(len(image) * 3 / 4 < 100_000 for image in images), section
        assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
        assert not [word for word in (*PROBLEMS, str(root), sys.prefix) if word in str(shown)], section


def test_what_is_stored_is_shown_again_in_every_checked_cell_and_every_table_is_the_same(root, tmp_path, monkeypatch):
    stored = [path for path in run.notebooks(root).values() if '"output_type"' in path.read_text(encoding="utf-8")]
    environment = keep.replay_root(root, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--nbval-lax", "--nbval-current-env", *map(str, stored)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    if (root / keep.BUNDLE).is_file():
        monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
        assert bundle.differences(root / keep.BUNDLE, keep.PROFILE) == []


def test_a_figure_is_kept_small_and_what_was_printed_is_kept_in_one_piece():
    source, executed = nbformat.v4.new_notebook(), nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("print(1)", id="00-01")
    source.cells, executed.cells = [cell], [nbformat.v4.new_code_cell("injected"), cell.copy()]
    executed.cells[1].outputs = [
        nbformat.v4.new_output("stream", name=name, text=text)
        for name, text in (("stdout", "a\n"), ("stderr", "a warning"), ("stdout", "b\n"))
    ]
    executed.cells[1].outputs += [nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=3)]
    kept = keep.with_outputs(source, executed).cells
    assert [output.get("text", output.get("data")) for output in kept[0].outputs] == ["a\nb\n", {"text/plain": "1"}]
    assert kept[0].execution_count == kept[0].outputs[1].execution_count == 1
