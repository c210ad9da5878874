"""The study on a real Slurm: every section a job, and a cancelled one made again by the next call, alone."""

import json
import re
import time

import pytest

PATIENCE = 900  # seconds; a machine may be busy with other things
AUDIT, BACKBONES = "00_published_claims", "01_backbone_selection"


def cancelled_when(project, section, there):
    """Start the study, cancel the job of `section` as soon as `there()` says so; return what make said."""
    making = project.report()
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert making.poll() is None and time.monotonic() < deadline, making.communicate()[0]
        time.sleep(0.1)
    for row in project.slurm("squeue", "-h", "-O", "JobID:20,Comment:80").splitlines():
        if row.split()[1] == f"rule_section_{section}":
            project.slurm("scancel", row.split()[0])
    said, _ = making.communicate(timeout=PATIENCE)
    assert making.returncode, said
    return said


@pytest.fixture(scope="module")
def small(project):
    return project(AUDIT)


def test_a_cancelled_job_leaves_no_record_and_is_named_with_its_log(small):
    said = cancelled_when(small, AUDIT, (small.output(AUDIT) / "running.ipynb").exists)
    assert "CANCELLED" in said and f"section_{AUDIT}" in said and "call make again" in said
    assert re.search(rf"log: \S+/rule_section_{AUDIT}/\d+\.log", said)
    assert not (small.output(AUDIT) / "result.json").exists()


def test_the_next_call_goes_on_to_record_and_site(small):
    making = small.report()
    said, _ = making.communicate(timeout=PATIENCE)
    assert making.returncode == 0, said
    states = small.slurm.jobs()
    assert states[f"rule_section_{AUDIT}"] == "COMPLETED"
    record = json.loads((small.output(AUDIT) / "result.json").read_text())
    assert record["section"] == AUDIT and record["profile"] == "smoke"
    assert AUDIT in (small.output("report") / "index.html").read_text()
    assert str(small.output("report") / "index.html") in said


@pytest.mark.slow
def test_the_whole_study_runs_and_a_cancelled_section_asks_nothing_twice(project, root):
    sections = [path.stem for path in sorted((root / "notebooks").glob("[0-9]*.ipynb"))]
    whole = project(*sections)
    shards = whole.output("responses") / "shards"
    cancelled_when(whole, BACKBONES, lambda: any(shards.rglob("*.parquet")))
    before = {path.relative_to(shards): path.read_bytes() for path in shards.rglob("*.parquet")}
    making = whole.report()
    said, _ = making.communicate(timeout=4 * PATIENCE)
    assert making.returncode == 0, said
    assert before and {name: (shards / name).read_bytes() for name in before} == before
    assert all((whole.output(section) / "result.json").is_file() for section in sections)
    assert all(f"sections/{section}/" in (whole.output("report") / "index.html").read_text() for section in sections)
