"""Building the site: swapped into place when whole, and never from a record that cannot be trusted."""

import shutil

import nbformat
import pytest
import report_example
from medpsy.record import SecretFound
from medpsy.site import build


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    """Return a copy of the built project that a test may change."""
    shutil.copytree(built, tmp_path / "project")
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path / "project"))
    return tmp_path / "project"


def states() -> dict[str, str]:
    return {section.name: section.state for section in build.sections("mini")}


def test_sections_are_those_of_the_project_and_those_that_ran(project):
    ran = dict.fromkeys(("00_published_claims", report_example.SECTION), "done")
    assert states() == ran | {"06_answer_extraction": "not yet run"}


def test_a_broken_record_is_named_and_the_other_sections_are_shown(project):
    (project / "outputs/mini/00_published_claims/result.json").write_text("{")
    assert states()["00_published_claims"] == "its record cannot be read; run it again"
    page = build.build("mini").read_text(encoding="utf-8")
    assert "its record cannot be read" in page
    assert not (project / "outputs/mini/report/sections/00_published_claims").exists()
    assert (project / f"outputs/mini/report/sections/{report_example.SECTION}/index.html").exists()


@pytest.mark.parametrize("broken", ["sphinx", "swap"])
def test_a_failed_build_leaves_the_site_as_it_was(project, monkeypatch, broken):
    front = project / "outputs/mini/report/index.html"
    before = front.read_bytes()

    def fail(*_):
        raise OSError("planted")

    monkeypatch.setattr(build, {"sphinx": "_sphinx", "swap": "_copy_files"}[broken], fail)
    if broken == "swap":
        monkeypatch.setattr(build, "_sphinx", lambda source, folder, profile: None)
    with pytest.raises(OSError, match="planted"):
        build.build("mini")
    assert front.read_bytes() == before
    assert [path.name for path in (project / "outputs/mini").glob(".*")] == []


def test_a_notebook_with_a_secret_stops_the_build(project, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "window.planted")  # stands in every response of the example notebook
    with pytest.raises(SecretFound, match="notebook.ipynb"):
        build.build("mini")


def test_formulas_are_mathml_and_neither_prices_nor_slips_become_formulas(project):
    source = project / "outputs/mini" / report_example.SECTION / "notebook.ipynb"
    notebook = nbformat.read(source, as_version=4)
    text = "The mean $\\bar x$ costs $2.5 or $3.\n\n$$\\frac{a}{b}$$\n\nA slip: $\\frac{$ and $<b>c</b>^$."
    notebook.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(notebook, source)
    page = (build.build("mini").parent / "sections" / report_example.SECTION / "index.html").read_text(encoding="utf-8")
    assert page.count("<math ") == 2 and "<mfrac>" in page and "costs $2.5 or $3." in page
    assert "<b>c</b>" not in page and "mathjax" not in page.lower().replace("mathjax_ignore", "")
