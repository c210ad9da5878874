"""Every notebook runs on its smoke parameters, through papermill and with the real minihub; a site is made of it."""

import io
import json
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from medpsy import run
from medpsy.cli import app
from medpsy.site import build
from traitlets.config import Config
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def run_here(executed: Path) -> None:
    """Run the cells of the notebooks in `executed` in this process: kernels would start for longer than they work."""
    quiet = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell.instance(config=quiet)
    try:
        for section in SECTIONS:
            shell.reset()
            for cell in nbformat.read(executed / section / "notebook.ipynb", as_version=4).cells:
                if cell.cell_type == "code":
                    shell.run_cell(cell.source).raise_error()
    finally:
        shell.restore_sys_module_state()  # __main__ was the notebook
        InteractiveShell.clear_instance()


def medpsy(*words: str) -> None:
    done = CliRunner().invoke(app, [*words, "--profile", "smoke"])
    assert done.exit_code == 0, done.output[-4000:]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose outputs are its own: the tests never touch what a user computed."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("notebooks", "params", "lib"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPSY_ROOT", str(folder))
        patch.setenv("PYTHONPATH", str(ROOT / "lib"))
        for section in SECTIONS:
            run.run_notebook(section, "smoke", stream=io.StringIO())
        yield folder


@pytest.mark.parametrize("section", SECTIONS)
def test_a_notebook_leaves_its_record(root, section):
    folder = root / "outputs" / "smoke" / section
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert record["section"] == section and record["profile"] == "smoke"
    assert record["tables"] and record["verdicts"]
    for entry in [*record["tables"].values(), *record["figures"].values()]:
        assert all((folder / entry[kind]).stat().st_size for kind in ("csv", "png", "svg") if kind in entry)
    cells = json.loads((folder / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = json.dumps([cell.get("outputs", []) for cell in cells])
    assert not [word for word in ("Warning: ", "it/s]", str(ROOT), str(root), sys.prefix) if word in shown]
    assert not (folder / "running.ipynb").exists()
    assert [bool(cell["outputs"]) for cell in cells if "solution" in cell["metadata"].get("tags", [])] == [True] * 3


def test_later_sections_ask_nothing_again(root):
    """Answer extraction reads the responses of backbone selection; the store holds each of them once."""
    medpsy("store", "stats")
    records = [json.loads((root / f"outputs/smoke/{name}/result.json").read_text()) for name in SECTIONS]
    behind = {record["section"]: record["responses"]["rows"] for record in records if record["responses"]}
    assert behind["01_backbone_selection"] == behind["06_answer_extraction"] > 0


def test_sections_took_about_what_was_forecast(root):
    """The machine is measured while other things run on it, so four times as long, or as short, passes."""
    rows = pd.read_csv(root / "outputs/smoke/11_compute_budget/tables/forecast.csv").set_index("Section")
    assert 1 / 4 < rows.loc["those that ran", "Actual / forecast"] < 4
    assert rows.loc["05_rl", "Actual (minutes)"] > 0


def test_hours_and_memory_follow_from_first_principles(root):
    record = json.loads((root / "outputs/smoke/11_compute_budget/result.json").read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in record["claims"]}
    assert len(rows) == 15 and {row["verdict"] for name, row in rows.items() if name != "P165"} == {"not testable"}
    assert rows["P165"]["verdict"] == "pattern holds"  # data generation takes most
    assert (rows["P158"]["published"], rows["P158"]["ours"]) == (480, 240)
    cells = {name: table["rows"] for name, table in record["tables"].items()}
    assert [round(row[3], 1) for row in cells["memory"]] == [27.5, 11.0, 4.3, 0.9, 64.4, 25.6, 10.1, 2.0]
    phases = [row[:4] for row in cells["hours"]]
    assert phases[0][2] < phases[0][1] == 8000 < phases[0][3]
    assert phases[1][2] > 20 * phases[1][1] and phases[2][2:] == pytest.approx([80, 160])


def test_the_audit_of_whole_tables_sample_sizes_and_noise(root):
    record = json.loads((root / "outputs/smoke/00_published_claims/result.json").read_text(encoding="utf-8"))
    assert len(record["claims"]) == 772
    assert {row["verdict"] for row in record["claims"]} == {"agrees", "differs", "not testable"}
    tables = {name: pd.DataFrame(table["rows"], columns=table["columns"]) for name, table in record["tables"].items()}
    checked = tables["checks"].drop(columns="check").to_numpy().tolist()
    assert checked == [[32, 29, 3, 0], [90, 90, 0, 0], [156, 146, 0, 10]]
    sizes = tables["sample_sizes"].set_index(["suite", "questions", "fit", "fit rounded"])["reading"].to_dict()
    assert sizes[("PubMedQA", 500, 22, 22)] == sizes[("MedQA (USMLE)", 1273, 21, 23)] == "fits"
    assert sizes[("MMLU-Pro Health", 553, 2, 6)] == "does not fit"
    assert sizes[("MedMCQA", 4183, 23, 23)] == "fits by chance too"
    subjects = tables["sample_sizes"].iloc[0]  # the mean of six subjects: its runs are never rounded first
    assert subjects[["fit", "reading"]].tolist() == [23, "fits by chance too"] and pd.isna(subjects["fit rounded"])
    twice, margins, leads = (tables[name].set_index("suite") for name in ("backbone_twice", "margins", "leads"))
    assert twice.at["MMLU-Pro Health", "difference"] == pytest.approx(-1.11)
    assert twice.at["PubMedQA", "coin flips"] == pytest.approx(100 * (2 * 0.74165 * 0.25835 / 1500) ** 0.5)
    rerun, same = (margins.at["MedQA (USMLE)", name] for name in ("rerun", "same questions"))
    assert rerun == pytest.approx(2**0.5 * same)
    assert leads.at["Average", "lead"] == pytest.approx(0.59)
    assert leads.loc[["Average", "MedXpertQA"], "reading"].tolist() == ["within run noise", "beyond both"]
    assert [record["verdicts"][place]["verdict"] for place in (0, -1)] == ["differs", "too few to tell"]


def test_judges_stand_beside_physicians_and_where_all_is_trusted_the_corrected_level_is_the_trusted_one(root):
    record = json.loads((root / "outputs/smoke/02_teacher_selection/result.json").read_text(encoding="utf-8"))
    tables = {name: pd.DataFrame(table["rows"], columns=table["columns"]) for name, table in record["tables"].items()}
    agreement, levels = tables["physicians"].set_index("Who decides"), tables["corrected"]
    assert set(agreement["Labels"]) == {28}  # two of each of 14 criteria
    assert agreement["Macro F1"].between(50, 100).all() and agreement["Macro F1 ±"].gt(0).all()
    assert len(levels) == 9
    assert levels["Corrected"].tolist() == pytest.approx(levels["Trusted, all"].tolist())  # 3 of 3 conversations


def test_claims_of_the_report_are_never_confirmed_by_the_miniature(root):
    record = json.loads((root / "outputs/smoke/01_backbone_selection/result.json").read_text(encoding="utf-8"))
    assert record["claims"]
    assert not {claim["verdict"] for claim in record["claims"]} & {"agrees", "differs"}


def test_a_site_is_made_of_the_records(root):
    medpsy("site")
    front = (root / "outputs/smoke/report/index.html").read_text(encoding="utf-8")
    assert "Not medical advice" in front
    assert all(f"sections/{section}/" in front for section in SECTIONS)
    assert all(f'href="{page}.html"' in front for page in ("course", "glossary", "pitfalls"))


def test_a_bundle_alone_gives_every_table_again(root, tmp_path, monkeypatch):
    bundle, bare = str(tmp_path / "smoke.bundle"), tmp_path / "bare"
    bare.mkdir()
    for name in ("notebooks", "params"):  # and no lib: no model is there
        (bare / name).symlink_to(ROOT / name)
    medpsy("store", "export", bundle)
    monkeypatch.setenv("MEDPSY_ROOT", str(bare))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "lib"))
    medpsy("store", "replay", bundle)
    with monkeypatch.context() as patch:
        patch.setenv("MEDPSY_REPLAY", "1")
        patch.chdir(bare / "notebooks")
        run_here(root / "outputs/smoke")
    medpsy("store", "compare", bundle)


def test_what_is_answered_so_far_is_shown_until_the_next_run_has_all_of_it(root, tmp_path):
    folder, models = root / "outputs/smoke/01_backbone_selection", root / "outputs/smoke/responses/models.json"
    (folder / "result.json").unlink()
    models.write_text(models.read_text().replace('"judge-', '"another-'))  # as if none had been asked
    medpsy("run", "01", "--so-far")
    shown = build.sections("smoke")[SECTIONS.index(folder.name)]
    counts = shown.result.so_far
    assert (counts["medqa"], counts["healthbench"], (folder / "result.json").exists()) == ([4, 4], [0, 3], False)
    build.section_page(tmp_path, shown.result)
    assert "HealthBench 0 of 3" in shown.state and shown.state in (tmp_path / "links-0.html").read_text("utf-8")
    medpsy("run", "01")
    assert (folder / "result.json").exists() and not (folder / "so_far.json").exists()
    assert "all of it is there" in CliRunner().invoke(app, ["run", "01", "--so-far", "--profile", "smoke"]).output
