"""Every notebook runs on its smoke parameters, through papermill and with the real minihub; a site is made of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def medpsy(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"MEDPSY_ROOT": str(root), "PYTHONPATH": str(ROOT / "lib")} | variables
    command = [sys.executable, "-m", "medpsy", *words, "--profile", "smoke"]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose outputs are its own: the tests never touch what a user computed."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("notebooks", "params", "lib"):
        (folder / name).symlink_to(ROOT / name)
    for section in SECTIONS:
        done = medpsy(folder, "run", section)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return folder


@pytest.mark.parametrize("section", SECTIONS)
def test_a_notebook_leaves_its_record(root, section):
    folder = root / "outputs" / "smoke" / section
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert record["section"] == section and record["profile"] == "smoke"
    assert record["tables"] and record["verdicts"]
    for entry in [*record["tables"].values(), *record["figures"].values()]:
        assert all((folder / entry[kind]).stat().st_size for kind in ("csv", "png", "svg") if kind in entry)
    assert (folder / "notebook.ipynb").exists() and not (folder / "running.ipynb").exists()


def test_later_sections_ask_nothing_again(root):
    """Answer extraction reads the responses of backbone selection; the store holds each of them once."""
    done = medpsy(root, "store", "stats")
    assert done.returncode == 0, done.stderr
    records = [json.loads((root / f"outputs/smoke/{name}/result.json").read_text()) for name in SECTIONS]
    behind = {record["section"]: record["responses"]["rows"] for record in records if record["responses"]}
    assert behind["01_backbone_selection"] == behind["06_answer_extraction"] > 0


def test_sections_took_about_what_was_forecast(root):
    """The machine is measured while other things run on it, so four times as long, or as short, passes."""
    rows = pd.read_csv(root / "outputs/smoke/11_compute_budget/tables/forecast.csv").set_index("Section")
    assert 1 / 4 < rows.loc["those that ran", "Actual / forecast"] < 4
    assert rows.loc["05_rl", "Actual (minutes)"] > 0


def test_claims_of_the_report_are_never_confirmed_by_the_miniature(root):
    record = json.loads((root / "outputs/smoke/01_backbone_selection/result.json").read_text(encoding="utf-8"))
    assert record["claims"]
    assert not {claim["verdict"] for claim in record["claims"]} & {"agrees", "differs"}


def test_a_site_is_made_of_the_records(root):
    done = medpsy(root, "site")
    assert done.returncode == 0, done.stderr[-3000:]
    front = (root / "outputs/smoke/report/index.html").read_text(encoding="utf-8")
    assert "Not medical advice" in front
    assert all(f"sections/{section}/" in front for section in SECTIONS)


def test_a_bundle_alone_gives_every_table_again(root, tmp_path):
    bundle, bare = tmp_path / "smoke.bundle", tmp_path / "bare"
    bare.mkdir()
    for name in ("notebooks", "params"):  # and no lib: no model is there
        (bare / name).symlink_to(ROOT / name)
    for folder, words in ((root, ("store", "export", str(bundle))), (bare, ("store", "replay", str(bundle)))):
        done = medpsy(folder, *words)
        assert done.returncode == 0, done.stderr[-3000:]
    for section in SECTIONS:
        done = medpsy(bare, "run", section, MEDPSY_REPLAY="1")
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    done = medpsy(bare, "store", "compare", str(bundle))
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
