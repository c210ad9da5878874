"""The Makefile: targets, and what they refuse."""

import re
import shutil
import subprocess
import sys

import pytest
from case_rows import cases


def make(root, *words, **environment):
    how = {"cwd": root, "env": {"PATH": "/usr/bin:/bin", **environment}, "timeout": 60}
    return subprocess.run(["make", "--no-print-directory", *words], capture_output=True, text=True, **how)


def test_every_target_but_help_and_clean_sets_up_first(root):
    rules = dict(re.findall(r"^([a-z-]+):(.*?)##", (root / "Makefile").read_text(), re.MULTILINE))
    assert {name for name, needed in rules.items() if needed.strip() != "setup"} == {"help", "setup", "clean"}
    assert "setup/install.py" in make(root, "-n", "setup").stdout


def test_profile_cores_and_cluster_reach_the_workflow_and_a_replay_generates_nothing(root):
    said = make(root, "-n", "report", "PROFILE=smoke", "CORES=3").stdout
    assert "--cores 3" in said and "profile=smoke" in said and "outputs/smoke/report/index.html" in said
    assert "--cores all" in make(root, "-n", "report").stdout
    said = make(root, "-n", "report", "EXECUTOR=slurm", "PROFILE=paper", "CLUSTER=mine.yaml").stdout
    assert "--executor slurm --profile mine.yaml" in said and "--workflow-profile setup/slurm/paper.yaml " in said
    assert "machine=1" not in said  # every job has a machine of its own
    said = make(root, "-n", "replay", "BUNDLE=all.zip", "PROFILE=smoke").stdout
    steps = ['store replay "all.zip" --profile smoke', "MEDPSY_REPLAY=1", "--forceall", 'store compare "all.zip"']
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


def test_where_a_section_fails_ledger_and_site_are_made_of_the_others(root, tmp_path):
    shutil.copy(root / "Makefile", tmp_path)
    for place in ("params/smoke/01_x.yaml", "params/smoke/11_y.yaml", "params/smoke/14_z.yaml", "notebooks/01.ipynb"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, code in (("snakemake", "exit 1"), ("medpsy", 'echo "medpsy $*"')):
        (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    done = make(tmp_path, "report", "PROFILE=smoke", "PYTHON=true")
    assert done.returncode and "Some sections failed" in done.stdout
    asked = [line for line in done.stdout.splitlines() if line.startswith("medpsy ")]
    assert asked == [f"medpsy {what} --profile smoke" for what in ("run 11_y", "run 14_z", "site")]


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"python3.11": (3, 11), "python3.13": (3, 13)}, "python3.11"),
        ({"python3.11": None, "python3.12": (3, 12)}, "python3.12"),  # one that cannot make an environment
        ({"python3": (3, 10)}, "python3"),  # which the set-up then refuses, with the way out
    ],
)
def test_the_first_python_that_will_do_is_taken(root, tmp_path, present, chosen):
    for name, version in present.items():
        code = f"import sys; sys.version_info = {version}; exec(sys.argv[2])" if version else "exit(1)"
        (tmp_path / name).write_text(f"#!{sys.executable}\n{code}\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("make", "sh", "sed", "grep"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    assert f"{chosen} setup/install.py" in make(root, "-n", "setup", PATH=str(tmp_path)).stdout


@pytest.mark.parametrize(("words", "said"), cases("make_slips", "words", "said"))
def test_a_slip_is_refused_with_the_way_out(root, tmp_path, words, said):
    (tmp_path / "Makefile").write_text((root / "Makefile").read_text().replace("setup/install.py", "-c pass"))
    done = make(tmp_path, *words)
    assert done.returncode and all(part in done.stdout + done.stderr for part in said)


def test_clean_keeps_the_responses(root, tmp_path):
    (tmp_path / "Makefile").write_text((root / "Makefile").read_text())
    for name in ("responses/shards", "01_demo", "report"):
        (tmp_path / "outputs" / "mini" / name).mkdir(parents=True)
    (tmp_path / "outputs" / "review").mkdir()
    assert make(tmp_path, "clean").returncode == 0
    assert [path.name for path in (tmp_path / "outputs" / "mini").iterdir()] == ["responses"]
    assert (tmp_path / "outputs" / "review").is_dir()
