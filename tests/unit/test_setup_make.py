"""The Makefile: targets, and what they refuse."""

import shutil
import subprocess

import pytest

TARGETS = {"help", "setup", "report", "replay", "test", "lab", "lint", "minihub", "bench", "bench-gpu", "clean"}


def make(root, *words, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


@pytest.mark.parametrize("words", [(), ("help",)])
def test_help_lists_every_target(root, words):
    done = make(root, *words)
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert listed == TARGETS
    assert "PROFILE=" in done.stdout and "CORES=" in done.stdout


def test_no_recipe_calls_make_for_a_dry_run_would_then_run_the_whole_line(root):
    assert "$(MAKE)" not in (root / "Makefile").read_text()


def test_every_target_but_help_and_clean_sets_up_first(root):
    for target in TARGETS - {"help", "clean"}:
        assert "setup/install.py" in make(root, "-n", target).stdout


def test_profile_and_cores_reach_the_workflow(root):
    said = make(root, "-n", "report", "PROFILE=smoke", "CORES=3").stdout
    assert "--cores 3" in said and "profile=smoke" in said and "outputs/smoke/report/index.html" in said
    assert "--cores all" in make(root, "-n", "report").stdout


@pytest.mark.parametrize(("profile", "resources"), [("paper", "setup/slurm/paper.yaml"), ("smoke", "none")])
def test_on_slurm_the_cluster_and_the_profile_say_what_a_job_takes(root, profile, resources):
    said = make(root, "-n", "report", "EXECUTOR=slurm", f"PROFILE={profile}", "CLUSTER=mine.yaml").stdout
    assert "--executor slurm --profile mine.yaml" in said and f"--workflow-profile {resources} " in said
    assert "machine=1" not in said  # every job has a machine of its own


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
    assert asked == [
        "medpsy run 11_y --profile smoke",
        "medpsy run 14_z --profile smoke",
        "medpsy site --profile smoke",
    ]


def test_an_unknown_executor_is_refused_with_those_there_are(root):
    done = make(root, "report", "EXECUTOR=slurn")
    assert done.returncode and "EXECUTOR=slurn is neither local nor slurm" in done.stderr


def test_a_replay_forbids_generation_and_compares_what_it_made(root):
    said = make(root, "-n", "replay", "BUNDLE=all.zip", "PROFILE=smoke").stdout
    steps = ['store replay "all.zip" --profile smoke', "MEDPSY_REPLAY=1", "--forceall", 'store compare "all.zip"']
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


def test_a_replay_without_a_bundle_says_how_to_name_one(tmp_path, root):
    (tmp_path / "Makefile").write_text((root / "Makefile").read_text().replace("setup/install.py", "-c pass"))
    done = make(tmp_path, "replay")
    assert done.returncode and "make replay BUNDLE=FILE" in done.stdout


def test_a_python_that_is_not_there_is_named_with_the_way_out(root):
    done = make(root, "setup", "PYTHON=/no/such/python3.11")
    assert done.returncode and "apt-get install python3.11" in done.stdout and "make PYTHON=" in done.stdout


def test_an_empty_profile_deletes_nothing(root):
    done = make(root, "clean", "PROFILE=")
    assert done.returncode and "PROFILE is empty" in done.stderr


def test_clean_keeps_the_responses(root, tmp_path):
    (tmp_path / "Makefile").write_text((root / "Makefile").read_text())
    for name in ("responses/shards", "01_demo", "report"):
        (tmp_path / "outputs" / "mini" / name).mkdir(parents=True)
    (tmp_path / "outputs" / "review").mkdir()
    assert make(tmp_path, "clean").returncode == 0
    assert [path.name for path in (tmp_path / "outputs" / "mini").iterdir()] == ["responses"]
    assert (tmp_path / "outputs" / "review").is_dir()


def test_ci_runs_the_tests_as_a_person_would(root):
    script = (root / ".ci" / "run").read_text()
    assert script.rstrip().endswith("exec make test")
    assert subprocess.run(["bash", "-n", root / ".ci" / "run"]).returncode == 0
