"""The study of the sister recipes' tests: the miniature's real targets and judges, everything else in a folder."""

import dataclasses

import nbformat
import pytest
from medpsy import study
from medpsy.study import Study

ROOT = study.find_root()
HUB = ROOT / "lib/medpsy/mini/hub"
FILTERS = {"packed_length": 512, "near": 0.8, "ngram": 13}


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Study:
    """The study of profile mini with its outputs in `tmp_path`, answered by transformers."""
    found = study.load("mini")
    models = {name: dataclasses.replace(one, path=str(HUB / name)) for name, one in found.models.items()}
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return dataclasses.replace(found, root=tmp_path, models=models, engine="transformers", engine_options={})


def real(mine: Study, **changes) -> Study:
    """Return `mine` as a study of real data, of one suite."""
    return dataclasses.replace(mine, source="hub", suites=("medqa",), open_suites=(), **changes)


def defined(notebook: str, name: str, **names) -> dict:
    """Run the cell of `notebook` that defines the function `name`; it sees `names`. Return all names that it leaves."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    source = next(cell.source for cell in cells if f"def {name}(" in cell.source)
    exec(source, names)
    return names
