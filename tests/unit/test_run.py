"""Running a notebook: a record appears only when the notebook came to its end, and nothing else passes for one."""

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
from medpsy import run, study
from medpsy.strict import SettingsError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'profile: str = "mini"  # which study\nn: int = 3  # how many'
RECORD = """\
import json
from medpsy import study
(study.ROOT / "outputs" / profile / "01_demo" / "result.json").write_text(json.dumps({"n": n}))"""


@pytest.fixture
def project(tmp_path, root, monkeypatch):
    """A project of its own with one notebook, `01_demo`, whose cells a test chooses."""
    for profile in ("mini", "smoke"):
        shutil.copytree(root / "params" / profile, tmp_path / "params" / profile)
        (tmp_path / "params" / profile / "01_demo.yaml").write_text(f"profile: {profile}\nn: 4\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(study, "ROOT", tmp_path)
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


def test_a_kernel_talks_through_files_which_no_two_kernels_choose_alike(project):
    write(
        project,
        'from ipykernel import get_connection_info\nassert \'"transport": "ipc"\' in get_connection_info()',
        RECORD,
    )
    execute()
    assert (folder(project) / "result.json").exists()


def test_a_long_folder_for_temporary_files_does_not_stop_a_kernel(project, monkeypatch):
    long = project / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    write(project, RECORD)
    execute()
    assert (folder(project) / "result.json").exists() and list(long.iterdir()) == []


def test_a_run_leaves_the_record_and_the_executed_notebook(project):
    write(project, "import time\ntime.sleep(1.1)", RECORD)
    result, stream = execute()
    assert json.loads(result.read_text()) == {"n": 4}
    assert files(project) == ["notebook.ipynb", "result.json"]
    assert "4 of 4  Step 2" in stream.getvalue()
    assert re.search(r"slowest: .*Step 1 \d+ s", stream.getvalue())


def test_the_kernel_is_this_python_and_its_folder_that_of_the_notebook(project):
    write(
        project,
        f"import sys, os\nassert sys.executable == {sys.executable!r}",
        "assert os.getcwd().endswith('notebooks')",
        RECORD,
    )
    execute()


def test_parameters_reach_the_notebook(project, tmp_path):
    write(project, RECORD)
    more = tmp_path / "more.yaml"
    more.write_text("n: 7")
    assert json.loads(execute(files=[more])[0].read_text()) == {"n": 7}
    assert json.loads(execute(params=["n=8"], profile="smoke")[0].read_text()) == {"n": 8}
    assert (folder(project, "smoke") / "notebook.ipynb").is_file()


def test_a_misspelt_parameter_stops_the_run_before_anything_is_touched(project):
    write(project, RECORD)
    done(project)
    before = (folder(project) / "result.json").stat().st_mtime_ns
    with pytest.raises(SettingsError, match="did you mean 'n'"):
        execute(params=["nn=8"])
    assert (folder(project) / "result.json").stat().st_mtime_ns == before
    assert files(project) == ["notebook.ipynb", "result.json"]


def test_a_study_that_cannot_be_read_stops_the_run(project):
    write(project, RECORD)
    with (project / "params" / "mini" / "study.yaml").open("a") as file:
        file.write("\nrunz: 3\n")
    with pytest.raises(SettingsError, match="did you mean 'runs'"):
        execute()
    assert not (project / "outputs").exists()


def test_a_failing_cell_is_shown_and_leaves_no_record(project):
    done(project)
    write(project, RECORD, "def halve(x):\n    return x / 0\nhalve(n)")
    with pytest.raises(run.RunError) as error:
        execute()
    said = str(error.value)
    assert "01_demo.ipynb: cell 4 of 4 (Step 2) failed: ZeroDivisionError" in said
    assert "division by zero" in said and "\x1b" not in said and len(said.splitlines()) < 20
    assert "outputs/mini/01_demo/running.ipynb" in said and "result.previous.json" in said


def test_after_a_failure_the_last_record_is_kept_apart_until_a_run_succeeds(project):
    done(project)
    write(project, "1 / 0", RECORD)
    for _ in range(2):
        with pytest.raises(run.RunError):
            execute()
    assert files(project) == ["notebook.ipynb", "result.previous.json", "running.ipynb"]
    write(project, RECORD)
    execute(params=["n=9"])
    assert files(project) == ["notebook.ipynb", "result.json"]
    assert json.loads((folder(project) / "result.json").read_text()) == {"n": 9}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys\nsys.exit(0)", "a cell left early"),  # papermill calls this a success
        ("exit()", "exit"),  # ends the kernel, before or after the next cell
        ("x = 1", "there is no result.json"),
        (RECORD.replace("json.dumps({\"n\": n})", '"{"'), "is not JSON"),
    ],
)  # fmt: skip
def test_a_notebook_without_a_whole_record_is_not_done(project, source, said):
    write(project, source, "y = 2")
    with pytest.raises(run.RunError, match=said):
        execute()
    assert "notebook.ipynb" not in files(project)


def test_a_kernel_that_dies_is_named_as_such(project):
    write(project, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", RECORD)
    with pytest.raises(run.RunError, match=r"the kernel ended in cell 3 of 4 \(Step 1\)"):
        execute()
    assert files(project) == ["running.ipynb"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_record_and_no_kernel(project, number):
    done(project)
    write(project, "import os\nopen('kernel', 'w').write(str(os.getpid()))", "import time\ntime.sleep(600)", RECORD)
    command = [sys.executable, "-m", "medpsy", "run", "01"]  # hears Ctrl-C even where these tests run in the background
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **heard)
    kernel = wait_for(project / "notebooks" / "kernel")
    process.send_signal(number)
    assert process.wait(60) != 0
    wait_until_gone(kernel)
    assert files(project) == ["notebook.ipynb", "result.previous.json", "running.ipynb"]


def wait_for(path, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")


def wait_until_gone(pid, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    raise AssertionError(f"kernel {pid} is still there")


def test_a_second_run_of_the_same_section_is_refused_and_spoils_nothing(project):
    write(project, RECORD)
    done(project)
    with run._alone(folder(project)), pytest.raises(run.RunError, match="another run is under way"):
        execute()
    assert files(project) == ["notebook.ipynb", "result.json"]


@pytest.mark.parametrize("name", ["1", "01", "01_demo", "demo", "notebooks/01_demo.ipynb", "01_demo.ipynb"])
def test_a_notebook_is_found_by_number_name_or_path(project, name):
    write(project, RECORD)
    write(project, RECORD, name="11_demo_again")
    assert run.find(name).name == "01_demo.ipynb"


@pytest.mark.parametrize(
    ("name", "said"),
    [("01_dmeo", "did you mean '01_demo'"), ("7", "known are 01_demo, 11_other"), ("", "known are")],
)
def test_an_unknown_notebook_is_met_with_the_nearest(project, name, said):
    write(project, RECORD)
    write(project, RECORD, name="11_other")
    with pytest.raises(SettingsError, match=said):
        run.find(name)


def test_plain_papermill_runs_the_same_file(project):
    write(project, RECORD, kernel="python3")
    folder(project).mkdir(parents=True)
    command = [sys.executable, "-m", "papermill", "notebooks/01_demo.ipynb", "out.ipynb"]
    subprocess.run([*command, "-f", "params/mini/01_demo.yaml"], cwd=project, check=True, capture_output=True)
    assert json.loads((folder(project) / "result.json").read_text()) == {"n": 4}
