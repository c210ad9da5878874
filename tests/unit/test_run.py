"""Running a notebook: a record appears only when the notebook came to its end, and nothing else passes for one.

What is shown while it runs, and what makes a record stale besides its files: other parameters.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nbformat
import pytest
from case_rows import cases
from medpsy import run
from medpsy.strict import SettingsError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'profile: str = "mini"  # which study\nn: int = 3  # how many\nsuites: list[str] = ["a"]  # which'
RECORD = """\
import json
from medpsy import study
(study.find_root() / "outputs" / profile / "01_demo" / "result.json").write_text(json.dumps({"n": n}))"""


@pytest.fixture
def project(tmp_path, root, monkeypatch):
    """A project of its own with one notebook, `01_demo`, whose cells a test chooses."""
    for profile in ("mini", "smoke"):
        shutil.copytree(root / "params" / profile, tmp_path / "params" / profile)
        (tmp_path / "params" / profile / "01_demo.yaml").write_text(f"profile: {profile}\nn: 4\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return tmp_path


def write(project, *sources, name="01_demo", kernel="a-kernel-of-another-machine"):
    cells = [new_markdown_cell("# 1 Demo"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    for number, source in enumerate(sources, 1):
        cells += [new_markdown_cell(f"## Step {number}\nprose"), new_code_cell(source)]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": "x", "language": "python"}
    nbformat.write(notebook, project / "notebooks" / f"{name}.ipynb")


def execute(**options):
    stream = io.StringIO()
    return run.run_notebook("01", options.pop("profile", "mini"), stream=stream, **options), stream


def done(project):
    """Leave what a run that succeeded leaves."""
    folder(project).mkdir(parents=True)
    (folder(project) / "result.json").write_text("{}")
    (folder(project) / "notebook.ipynb").write_text("{}")


def folder(project, profile="mini"):
    return project / "outputs" / profile / "01_demo"


def files(project):
    return sorted(path.name for path in folder(project).iterdir())


def test_a_run_leaves_the_record_and_the_executed_notebook_by_a_kernel_of_this_python(project, monkeypatch):
    long = project / ("x" * 90)  # sockets want short names
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    write(
        project,
        f"import sys, os\nassert sys.executable == {sys.executable!r} and os.getcwd().endswith('notebooks')",
        'from ipykernel import get_connection_info\nassert \'"transport": "ipc"\' in get_connection_info()',
        "import time\ntime.sleep(1.1)",
        RECORD,
    )
    result, stream = execute()
    assert json.loads(result.read_text()) == {"n": 4} and list(long.iterdir()) == []
    assert files(project) == ["notebook.ipynb", "result.json"]
    assert re.search(r"5 of 6 \(Step 3\) +[1-9]\d*\.\d s\n", stream.getvalue())


def test_what_is_shown_so_far_stands_beside_the_last_record(project):
    write(project, RECORD.replace("result.json", "so_far.json"))
    done(project)
    (folder(project) / "result.json").rename(folder(project) / "result.previous.json")
    assert json.loads(execute(so_far=True)[0].read_text()) == {"n": 4}
    assert files(project) == ["notebook.ipynb", "result.previous.json", "so_far.json"]


def test_parameters_reach_the_notebook(project, tmp_path):
    write(project, RECORD)
    more = tmp_path / "more.yaml"
    more.write_text("suites: [b]")
    result, _ = execute(files=[more], params=["n=8"], profile="smoke")
    assert json.loads(result.read_text()) == {"n": 8}
    assert 'suites = ["b"]' in nbformat.read(folder(project, "smoke") / "notebook.ipynb", as_version=4).cells[2].source


def test_a_slip_in_parameters_or_study_stops_the_run_before_anything_is_touched(project):
    write(project, RECORD)
    done(project)
    before = (folder(project) / "result.json").stat().st_mtime_ns
    with pytest.raises(SettingsError, match="did you mean 'n'"):
        execute(params=["nn=8"])
    with (project / "params" / "mini" / "study.yaml").open("a") as file:
        file.write("\nrunz: 3\n")
    with pytest.raises(SettingsError, match="did you mean 'runs'"):
        execute()
    assert (folder(project) / "result.json").stat().st_mtime_ns == before
    assert files(project) == ["notebook.ipynb", "result.json"]


def test_a_failing_cell_is_shown_and_the_last_record_is_kept_apart_until_a_run_succeeds(project):
    done(project)
    write(project, "def halve(x):\n    return x / 0\nhalve(n)", RECORD)
    for _ in range(2):
        with pytest.raises(run.RunError) as error:
            execute()
    said = str(error.value)
    assert "01_demo.ipynb: cell 3 of 4 (Step 1) failed: ZeroDivisionError" in said
    assert "division by zero" in said and "\x1b" not in said and len(said.splitlines()) < 20
    assert "outputs/mini/01_demo/running.ipynb" in said and "result.previous.json" in said
    assert files(project) == ["notebook.ipynb", "result.previous.json", "running.ipynb"]
    write(project, RECORD)
    execute(params=["n=9"])
    assert files(project) == ["notebook.ipynb", "result.json"]
    assert json.loads((folder(project) / "result.json").read_text()) == {"n": 9}


@pytest.mark.parametrize(("source", "said"), cases("not_done", "source", "said"))
def test_a_notebook_without_a_whole_record_is_not_done(project, source, said):
    write(project, source, "y = 2")
    with pytest.raises(run.RunError, match=said):
        execute()
    assert "notebook.ipynb" not in files(project)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_record_and_no_kernel(project, number):
    done(project)
    talks = """\
import os, time
for number in range(10**6):
    print(number, flush=True)
    time.sleep(0.001)
    if number == 500:  # what it says is being read: a signal must not end the reading and nothing else
        open("kernel", "w").write(str(os.getpid()))"""
    write(project, talks, RECORD)
    command = [sys.executable, "-m", "medpsy", "run", "01"]  # hears Ctrl-C even where these tests run in the background
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **heard)
    told = project / "notebooks" / "kernel"
    wait_for(lambda: told.exists() and told.read_text())
    process.send_signal(number)
    assert process.wait(300) != 0
    assert ("run 01 --profile mini goes on, with --so-far" in process.stderr.read()) is (number != signal.SIGKILL)
    wait_for(lambda: gone(int(told.read_text())))
    assert files(project) == ["notebook.ipynb", "result.previous.json", "running.ipynb"]


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True


def test_a_second_run_of_the_same_section_is_refused_and_spoils_nothing(project):
    write(project, RECORD)
    done(project)
    with run._alone(folder(project), ""), pytest.raises(run.RunError, match="another run is under way"):
        execute()
    assert files(project) == ["notebook.ipynb", "result.json"]


def test_a_notebook_is_found_by_number_name_or_path_and_an_unknown_one_met_with_the_nearest(project):
    write(project, RECORD)
    write(project, RECORD, name="11_other")
    for name in ("1", "01", "01_demo", "demo", "notebooks/01_demo.ipynb", "01_demo.ipynb"):
        assert run.find(name).name == "01_demo.ipynb"
    for name, said in (("01_dmeo", "did you mean '01_demo'"), ("7", "known are 01_demo, 11_other"), ("", "known are")):
        with pytest.raises(SettingsError, match=said):
            run.find(name)


def test_plain_papermill_runs_the_same_file(project):
    write(project, RECORD, kernel="python3")
    folder(project).mkdir(parents=True)
    command = [sys.executable, "-m", "papermill", "notebooks/01_demo.ipynb", "out.ipynb"]
    subprocess.run([*command, "-f", "params/mini/01_demo.yaml"], cwd=project, check=True, capture_output=True)
    assert json.loads((folder(project) / "result.json").read_text()) == {"n": 4}


@pytest.mark.parametrize(("settings", "injected", "stays"), cases("records_set_aside", "settings", "injected", "stays"))
def test_a_record_made_with_other_parameters_is_set_aside(project, settings, injected, stays):
    write(project, RECORD)
    folder(project).mkdir(parents=True)
    if settings is not None:
        (folder(project) / "result.json").write_text(json.dumps({"settings": settings}))
    if injected is not None:
        told = {"metadata": {"papermill": {"parameters": injected}}}
        (folder(project) / "notebook.ipynb").write_text(json.dumps(told))
    before = files(project)
    assert run.set_aside_altered("mini") == ([] if stays else ["01_demo"])
    assert files(project) == [name if stays else name.replace("result", "result.previous") for name in before]


def test_a_record_of_a_notebook_that_has_changed_since_is_set_aside_and_a_broken_one_stays_to_be_named(project):
    write(project, RECORD)
    done(project)
    executed = nbformat.read(project / "notebooks" / "01_demo.ipynb", as_version=4)
    executed.cells.insert(2, new_code_cell("n = 9", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(executed, folder(project) / "notebook.ipynb")
    assert run.set_aside_altered("mini") == []
    write(project, RECORD + "  # said better")
    assert run.set_aside_altered("mini") == ["01_demo"]
    (folder(project) / "notebook.ipynb").unlink()
    (folder(project) / "result.json").write_text("{")
    assert run.set_aside_altered("mini") == [] and files(project) == ["result.json", "result.previous.json"]
