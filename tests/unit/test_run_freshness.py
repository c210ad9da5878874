"""What makes a record stale besides its files: other library code, other parameters."""

import json
import os

import nbformat
import pytest
from medpsy import freshness, study
from nbformat.v4 import new_code_cell, new_notebook

CELL = 'profile: str = "mini"  # which\nn: int = 3  # how many\nsuites: list[str] = ["a"]  # which'


@pytest.fixture
def library(tmp_path, monkeypatch):
    for name in ("study.py", "cli.py", "report/site.py", "published/data/claims.csv", "bench/speed.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(freshness, "LIBRARY", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["study.py", "published/data/claims.csv", "new.py"])
def test_a_change_of_what_makes_numbers_changes_the_digest(library, name):
    before = freshness.library_digest()
    (library / name).write_text("changed")
    assert freshness.library_digest() != before


@pytest.mark.parametrize("name", ["cli.py", "report/site.py", "bench/speed.py", "__pycache__/study.pyc"])
def test_a_change_of_what_makes_none_does_not(library, name):
    before = freshness.library_digest()
    (library / name).parent.mkdir(exist_ok=True)
    (library / name).write_text("changed")
    assert freshness.library_digest() == before


def test_touching_and_moving(library):
    before = freshness.library_digest()
    os.utime(library / "study.py", (1, 1))
    assert freshness.library_digest() == before
    (library / "study.py").rename(library / "other.py")
    assert freshness.library_digest() != before


def test_every_silent_file_exists(root):
    gone = [name for name in freshness.SILENT if name not in ("bench", "bench.py")]
    assert [name for name in gone if not (root / "lib" / "medpsy" / name).exists()] == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    for folder in ("notebooks", "params/mini", "outputs/mini/01_demo"):
        (tmp_path / folder).mkdir(parents=True)
    cells = [new_code_cell(CELL, metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_demo.ipynb")
    (tmp_path / "params/mini/01_demo.yaml").write_text("n: 4\n")
    return tmp_path


def recorded(project, settings=None, injected=None):
    folder = project / "outputs" / "mini" / "01_demo"
    if settings is not None:
        (folder / "result.json").write_text(json.dumps({"settings": settings}))
    if injected is not None:
        (folder / "notebook.ipynb").write_text(json.dumps({"metadata": {"papermill": {"parameters": injected}}}))
    return folder


@pytest.mark.parametrize(
    ("settings", "injected"),
    [
        ({"n": 4, "suites": ["a"], "other": 1}, {"n": 4, "profile": "mini"}),
        ({}, {}),
        ({}, None),  # Run All in JupyterLab, a record without settings
        (None, {"n": 9}),  # no record: nothing to set aside
    ],
)
def test_a_record_of_the_profile_stays(project, settings, injected):
    folder = recorded(project, settings, injected)
    before = sorted(path.name for path in folder.iterdir())
    assert freshness.set_aside_altered("mini") == []
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("settings", "injected"),
    [
        ({"n": 5}, {"n": 5}),  # medpsy run 01 -p n=5
        ({}, {"n": 5}),
        ({"n": 5}, {"n": 4}),  # changed in JupyterLab afterwards
        ({"n": 4, "suites": ["a", "b"]}, None),
    ],
)
def test_a_record_made_with_other_parameters_is_set_aside(project, settings, injected):
    folder = recorded(project, settings, injected)
    assert freshness.set_aside_altered("mini") == ["01_demo"]
    assert not (folder / "result.json").exists() and (folder / "result.previous.json").is_file()


def test_a_record_that_cannot_be_read_stays_for_the_report_to_name(project):
    (recorded(project) / "result.json").write_text("{")
    assert freshness.set_aside_altered("mini") == []
