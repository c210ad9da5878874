"""Commits of the hub: what lacks one is listed offline, and is written into its line and nowhere else."""

import json
import re
import shutil
from dataclasses import replace

import httpx2
import pytest
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from medpsy import pinning, pins, study
from medpsy.benchmarks import SUITES
from medpsy.cli import app
from medpsy.pinning import with_commit
from typer.testing import CliRunner

COMMIT, OTHER = "c" * 40, "d" * 40
DAY = r"# ours: not stated; the newest on \d{4}-\d\d-\d\d, by `medpsy pin`"


@pytest.fixture
def project(tmp_path, root, monkeypatch):
    """A copy of the real parameters."""
    shutil.copytree(root / "params", tmp_path / "params")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """A hub that says of every repository what `known` says, and notes what it is asked."""
    known, asked = {}, []

    def answer(self, repo_id, *, repo_type, revision, timeout):
        asked.append((repo_id, repo_type, revision))
        if isinstance(found := known.get(repo_id, COMMIT), Exception):
            raise found
        return type("Info", (), {"sha": found})

    monkeypatch.setattr(HfApi, "repo_info", answer)
    return known, asked


def medpsy(*words):
    return CliRunner().invoke(app, ["pin", *words])


def test_what_has_no_commit_is_listed_with_its_file_and_nobody_is_asked(project, hub):
    done = medpsy("--profile", "paper", "--check")
    assert done.exit_code == 0 and hub[1] == []
    assert "params/paper/study.yaml: models.medpsy-4b.revision (model qvac/MedPsy-4B)" in done.output
    assert "params/paper/05_rl.yaml: asked.revision (dataset che111/AlphaMed19K)" in done.output
    assert "13_openmed.yaml: choices.rl.origin.revision (dataset UCSC-VLAA/MedReason)" in done.output
    assert "03_training_data" not in done.output and "qwen3-4b.revision" not in done.output  # they have theirs
    listed = json.loads(medpsy("--profile", "paper", "--check", "--json").output)
    assert len(listed) == len(pins.unpinned("paper")) and listed[0]["hub_id"] == "qvac/MedPsy-4B"


def test_the_miniature_reads_nothing_from_the_hub(project, hub):
    assert pins.unpinned("mini") == [] and medpsy("--profile", "mini").output == "0 written\n0 refused\n"


def test_a_set_from_a_folder_of_the_users_needs_no_commit(project):
    path = project / "params/paper/05_rl.yaml"
    before = len(pins.unpinned("paper"))
    study_file = project / "params/paper/study.yaml"
    study_file.write_text(study_file.read_text().replace("data_dirs: {}", "data_dirs: {alphamed: data/alphamed}"))
    assert len(pins.unpinned("paper")) == before - 1 and "revision" in path.read_text()


def test_a_suite_without_a_commit_is_named_with_the_file_of_the_library(project, monkeypatch, hub):
    monkeypatch.setitem(SUITES, "medqa", replace(SUITES["medqa"], revision=None))
    *models, suite = pins.unpinned("review")
    assert suite.file == "lib/medpsy/benchmarks/medqa.py"
    done = medpsy("--profile", "review")
    assert done.exit_code == 1 and "no parameter holds it" in done.output and f"{len(models)} written" in done.output


def test_pinning_changes_the_lines_of_the_commits_and_no_other(project, hub):
    files = [path for path in (project / "params/paper").iterdir() if path.suffix == ".yaml"]
    before = {path: path.read_text().splitlines() for path in files}
    wanted = pins.unpinned("paper")
    assert medpsy("--profile", "paper").exit_code == 0
    changed = []
    for path, lines in before.items():
        now = path.read_text().splitlines()
        assert len(now) == len(lines)
        changed += [(old, new) for old, new in zip(lines, now, strict=True) if old != new]
    assert len(changed) == len(wanted) > 10 and {repo_type for _, repo_type, _ in hub[1]} == {"model", "dataset"}
    for old, new in changed:
        indent = re.match(r" *", old)[0]
        assert re.fullmatch(rf"{indent}revision: {COMMIT}  {DAY}", new) and old.startswith(f"{indent}revision: ")
    assert pins.unpinned("paper") == [] and study.load("paper").models["medpsy-4b"].revision == COMMIT
    assert medpsy("--profile", "paper").output == "0 written\n0 refused\n"  # what is pinned stays


def test_without_a_network_there_is_one_message_and_nothing_changes(project, hub):
    hub[0]["openai/gpt-oss-20b"] = ConnectionResetError("gone")
    before = (project / "params/review/study.yaml").read_bytes()
    done = medpsy("--profile", "review")
    assert done.exit_code == 1 and (project / "params/review/study.yaml").read_bytes() == before
    (line,) = done.output.splitlines()
    assert line.startswith(
        "medpsy: the hub cannot be reached (ConnectionResetError at openai/gpt-oss-20b); nothing was"
    )


def test_a_repository_that_the_hub_refuses_is_named_and_the_others_are_pinned(project, hub):
    answer = httpx2.Response(404, request=httpx2.Request("GET", "http://hub.example"))
    hub[0]["qvac/MedPsy-4B"] = RepositoryNotFoundError("404", response=answer)
    hub[0]["qvac/MedPsy-1.7B"] = OTHER
    done = medpsy("--profile", "review")
    assert done.exit_code == 1 and "qvac/MedPsy-4B): the hub refuses it (RepositoryNotFoundError)" in done.output
    models = study.load("review").models
    assert models["medpsy-4b"].revision is None and models["medpsy-1.7b"].revision == OTHER


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a:\n  revision:\n", rf"a:\n  revision: {COMMIT}  {DAY}\n"),
        ('a:\n  revision: ""  # pin it\nb: 1  # two\n', rf"a:\n  revision: {COMMIT}  {DAY}\nb: 1  # two\n"),
        ("a:\n  path: x  # card\n  b: y", rf"a:\n  path: x  # card\n  revision: {COMMIT}  {DAY}\n  b: y\n"),
        ("a: {path: x, revision: null}  # card\n", rf"a: {{path: x, revision: {COMMIT}}}  # card\n"),
        ("a: {path: x}  # card\n", rf"a: {{path: x, revision: {COMMIT}}}  # card\n"),
        ("a: {}\n", rf"a: {{revision: {COMMIT}}}\n"),
    ],
)
def test_a_commit_lands_in_its_own_place(text, want):
    assert re.fullmatch(want, with_commit(text, ("a", "revision"), COMMIT))


@pytest.mark.parametrize("text", ["a: 1\n", "b: {}\n", "a:\n  path:\n    - x\n"])
def test_a_place_that_cannot_hold_a_commit_is_refused(text):
    with pytest.raises(ValueError, match="no mapping|changed alone"):
        with_commit(text, ("a", "revision"), COMMIT)


def test_a_file_that_holds_no_such_mapping_is_left_and_the_commit_told(project, hub):
    path = project / "params/paper/13_openmed.yaml"
    values = yaml.safe_load(path.read_text())
    del values["choices"]["rl"]["origin"]
    path.write_text(yaml.safe_dump(values))
    done = medpsy("--profile", "paper")
    assert done.exit_code == 1 and f"choices.rl.origin is no mapping; write revision: {COMMIT} there" in done.output
    assert pinning.unpinned("paper")[0].keys == ("choices", "rl", "origin", "revision")
