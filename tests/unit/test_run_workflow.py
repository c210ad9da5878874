"""The workflow, with real Snakemake and a stand-in for the runner: what is run again after which change."""

import json
import os
import shutil
import stat
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
with open("calls", "a") as file:
    file.write(" ".join(sys.argv[1:3]) + "\\n")
if sys.argv[2] == os.environ.get("FAILS"):
    sys.exit("this section fails")
folder = pathlib.Path("outputs/mini", sys.argv[2] if sys.argv[1] == "run" else "report")
folder.mkdir(parents=True, exist_ok=True)
if sys.argv[1] == "run":
    shutil.copy(f"notebooks/{{sys.argv[2]}}.ipynb", folder / "notebook.ipynb")
(folder / ("result.json" if sys.argv[1] == "run" else "index.html")).write_text(json.dumps({{"settings": {{"n": 3}}}}))
"""
SECTIONS = (
    "00_published_claims", "01_backbone_selection", "02_teacher_selection", "06_answer_extraction", "14_ledger",
)  # fmt: skip
RUN = [f"run {section}" for section in SECTIONS]
AUDIT, BACKBONES, _, READERS, LEDGER = RUN
SITE = "site --profile"


@pytest.fixture(scope="module")
def project(tmp_path_factory, root):
    """A project whose records are all there; the tests below change it one after the other."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("hub", "__pycache__")
    shutil.copytree(root / "lib", folder / "lib", ignore=ignored)
    shutil.copy(root / "Snakefile", folder)
    (folder / "notebooks").mkdir()
    (folder / "params" / "mini").mkdir(parents=True)
    shutil.copy(root / "params" / "mini" / "study.yaml", folder / "params" / "mini")
    for section in SECTIONS:
        cells = [new_code_cell("n: int = 3  # how many", metadata={"tags": ["parameters"]})]
        nbformat.write(new_notebook(cells=cells), folder / "notebooks" / f"{section}.ipynb")
        (folder / "params" / "mini" / f"{section}.yaml").write_text("n: 3  # ours\n")
    (folder / "stand-in").write_text(STAND_IN)
    (folder / "stand-in").chmod(stat.S_IRWXU)
    assert sorted(called(folder)) == [*RUN, SITE]
    return folder


def called(folder, fails=None, ok=True):
    """Run the workflow and return the calls it made of the runner."""
    (folder / "calls").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(folder / "lib"), "MEDPSY_ROOT": str(folder), "FAILS": fails or ""}
    options = ["--nolock", "--rerun-incomplete", "--keep-going", "--latency-wait", "0", "--quiet", "all"]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--resources", "machine=1", *options]
    config = ["--config", "profile=mini", f"medpsy={folder / 'stand-in'}"]
    done = subprocess.run([*command, *config], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done.stderr
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def test_nothing_is_run_again_after_a_touch_or_other_code_or_outputs_in_a_notebook(project):
    (project / "lib" / "medpsy" / "cli.py").write_text("")
    for path in [*project.glob("notebooks/*"), *project.glob("params/*/*")]:
        path.touch()
    shown = nbformat.read(project / "notebooks" / f"{SECTIONS[0]}.ipynb", as_version=4)
    shown.cells[0].outputs = [new_output("stream", text="3")]
    nbformat.write(shown, project / "notebooks" / f"{SECTIONS[0]}.ipynb")
    assert called(project) == []


def test_changed_parameters_run_their_section_and_what_depends_on_it(project):
    (project / "params" / "mini" / "01_backbone_selection.yaml").write_text("n: 3  # ours, other words\n")
    assert called(project) == [BACKBONES, READERS, LEDGER, SITE]


def test_a_changed_notebook_and_parameters_nothing_depends_on_run_alone(project):
    notebook = project / "notebooks" / "00_published_claims.ipynb"
    notebook.write_text(notebook.read_text().replace("how many", "the number"))
    (project / "params" / "mini" / "06_answer_extraction.yaml").write_text("n: 3  # ours, other words\n")
    assert sorted(called(project)) == [AUDIT, READERS, LEDGER, SITE]


def test_the_ledger_is_made_after_every_other_section_and_alone_when_it_alone_changed(project):
    (project / "params" / "mini" / "14_ledger.yaml").write_text("n: 3  # ours, other words\n")
    assert called(project) == [LEDGER, SITE]


def test_missing_and_altered_records_are_made_again_and_after_a_failure_only_what_is_left(project):
    (project / "outputs" / "mini" / SECTIONS[0] / "result.json").unlink()
    altered = project / "outputs" / "mini" / SECTIONS[3] / "result.json"
    altered.write_text(json.dumps({"settings": {"n": 500}}))
    assert sorted(called(project, fails=SECTIONS[0], ok=False)) == [AUDIT, READERS]
    assert json.loads(altered.with_name("result.previous.json").read_text())["settings"] == {"n": 500}
    assert called(project) == [AUDIT, LEDGER, SITE]


def test_a_new_recipe_version_runs_everything_again(project):
    module = project / "lib" / "medpsy" / "run.py"
    module.write_text(module.read_text().replace("RECIPE_VERSION = ", "RECIPE_VERSION = 1000 + "))
    assert sorted(called(project)) == [*RUN, SITE]


def test_the_sections_of_the_workflow_are_the_notebooks_there_are(root):
    named = {path.stem for path in (root / "notebooks").glob("[0-9]*.ipynb")}
    text = (root / "Snakefile").read_text()
    assert {section for section in named if f'"{section}": {{' not in text} == set()
