"""Building the site: swapped into place when whole, and never from a record that cannot be trusted."""

import shutil

import pytest
import report_example
from medpsy import study
from medpsy.report import site
from medpsy.report.leaks import SecretFound


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    """Return a copy of the built project that a test may change."""
    shutil.copytree(built, tmp_path / "project")
    monkeypatch.setattr(study, "ROOT", tmp_path / "project")
    return tmp_path / "project"


def states() -> dict[str, str]:
    return {section.name: section.state for section in site.sections("mini")}


def test_sections_are_those_of_the_project_and_those_that_ran(project):
    assert states() == {
        "00_published_claims": "done",
        report_example.SECTION: "done",
        "06_answer_extraction": "not yet run",
    }


def test_a_broken_record_is_named_and_the_other_sections_are_shown(project):
    (project / "outputs/mini/00_published_claims/result.json").write_text("{")
    assert states()["00_published_claims"] == "its record cannot be read; run it again"
    page = site.build("mini").read_text(encoding="utf-8")
    assert "its record cannot be read" in page
    assert not (project / "outputs/mini/report/sections/00_published_claims").exists()
    assert (project / f"outputs/mini/report/sections/{report_example.SECTION}/index.html").exists()


def test_a_folder_without_a_record_is_not_yet_run(project):
    (project / f"outputs/mini/{report_example.SECTION}/result.json").unlink()  # the notebook alone does not mean done
    assert states()[report_example.SECTION] == "not yet run"


@pytest.mark.parametrize("broken", ["sphinx", "swap"])
def test_a_failed_build_leaves_the_site_as_it_was(project, monkeypatch, broken):
    front = project / "outputs/mini/report/index.html"
    before = front.read_bytes()

    def fail(*_):
        raise OSError("planted")

    monkeypatch.setattr(site, {"sphinx": "_sphinx", "swap": "_copy_files"}[broken], fail)
    if broken == "swap":
        monkeypatch.setattr(site, "_sphinx", lambda source, folder, profile: folder.mkdir())
    with pytest.raises(OSError, match="planted"):
        site.build("mini")
    assert front.read_bytes() == before
    assert [path.name for path in (project / "outputs/mini").glob(".*")] == []


def test_a_notebook_with_a_secret_stops_the_build(project, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "window.planted")  # stands in every response of the example notebook
    with pytest.raises(SecretFound, match="notebook.ipynb"):
        site.build("mini")


def test_a_profile_in_which_nothing_ran_has_a_site_all_the_same(project):
    page = site.build("smoke").read_text(encoding="utf-8")
    assert page.count("not yet run") == 2
