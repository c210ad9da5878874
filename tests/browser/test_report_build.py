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


def test_a_broken_record_is_named_and_the_other_sections_are_shown_with_formulas_as_mathml(project):
    source = project / "outputs/mini" / report_example.SECTION / "notebook.ipynb"
    notebook = nbformat.read(source, as_version=4)
    text = "The mean $\\bar x$ costs $2.5 or $3.\n\n$$\\frac{a}{b}$$\n\nA slip: $\\frac{$ and $<b>c</b>^$."
    notebook.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(notebook, source)
    (project / "outputs/mini/00_published_claims/result.json").write_text("{")
    broken = {"00_published_claims": "its record cannot be read; run it again", "06_answer_extraction": "not yet run"}
    states = {section.name: section.state for section in build.sections("mini")}
    assert states == broken | {report_example.SECTION: "done"}
    front = build.build("mini")
    assert "its record cannot be read" in front.read_text(encoding="utf-8")
    assert not (front.parent / "sections/00_published_claims").exists()
    page = (front.parent / "sections" / report_example.SECTION / "index.html").read_text(encoding="utf-8")
    assert page.count("<math ") == 2 and "<mfrac>" in page and "costs $2.5 or $3." in page  # a price is no formula
    assert "<b>c</b>" not in page and "mathjax" not in page.lower().replace("mathjax_ignore", "")


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
