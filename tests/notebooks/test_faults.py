"""Faults as lessons: each is planted and executed on the kept responses, and the page tells what came out."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from medpsy import cli, faults, keep, run, strict, study
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def project(tmp_path_factory, root):
    """The real parameters and notebooks, and outputs of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        for name in ("params", "notebooks"):
            (folder / name).symlink_to(root / name)
        patch.setenv("MEDPSY_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def prices(project, root):
    if not (root / keep.BUNDLE).is_file():
        pytest.skip(f"{keep.BUNDLE} is not there; `make keep` writes it")
    return faults.measure(list(faults.load()), keep.PROFILE, kept=True)


def test_every_fault_costs_what_the_page_says(prices, root):
    assert len(prices) >= 8
    assert faults.page(prices) == (root / faults.PAGE).read_text(encoding="utf-8")


def test_every_fault_moves_what_it_is_measured_by_or_what_the_section_finds(prices):
    for name, price in prices.items():
        assert price.margin >= 0 and price.fault != price.right, name
        target = faults.get(name).finding
        assert not target or any(target in text for *_, text in price.changed), (name, price.changed)
    beyond = [name for name, price in prices.items() if abs(price.fault - price.right) > price.margin]
    assert len(beyond) >= 6
    assert sum(bool(price.changed) for price in prices.values()) >= 4


def test_a_copy_says_that_it_is_faulty_and_the_study_keeps_its_outputs(prices, project):
    outputs = study.load(keep.PROFILE).outputs
    assert [path.name for path in outputs.iterdir()] == [faults.FOLDER]
    assert sorted(path.name for path in (outputs / faults.FOLDER).iterdir()) == sorted(prices)
    for name in prices:
        copy = nbformat.read(outputs / faults.FOLDER / name / run.DONE, as_version=4)
        assert f"`medpsy fault {name} --solve`" in copy.cells[1].source
        assert faults.CLOSES in copy.cells[-1].source and copy.cells[-1].execution_count


@pytest.mark.parametrize("name", faults.load())
def test_a_fault_changes_the_lines_it_names_and_no_others(name, root):
    fault = faults.get(name)
    before = {cell.id: cell.source for cell in faults.measured(fault.section, {name: fault}).cells}
    changed = [cell.source for cell in faults.planted(name).cells if before.get(cell.id, cell.source) != cell.source]
    assert 1 <= len(changed) <= len(fault.edits)
    for source in changed:
        assert any(edit.replace in source for edit in fault.edits)
        compile(source, name, "exec")
    shown = faults.solution(name).splitlines()
    for edit in fault.edits:
        new = {*edit.replace.splitlines()} - {*edit.find.splitlines()}
        assert new and {f"+{line}" for line in new} <= {*shown}


@pytest.mark.parametrize("find", ["no such line", "settings"])
def test_lines_that_do_not_stand_in_a_notebook_once_are_refused(monkeypatch, find):
    fault = faults.get("first_letter")
    edited = {**vars(fault), "edits": (faults.Edit(find, "pass"),)}
    monkeypatch.setattr(faults, "load", lambda: {"first_letter": faults.Fault(**edited)})
    with pytest.raises(strict.SettingsError, match=rf"first_letter\.edits: '{find}' stands \d+ times in 01_") as raised:
        faults.planted("first_letter")
    assert ("stands 0 times" in str(raised.value)) == (find == "no such line")


def test_each_fault_is_set_against_its_section_under_the_same_parameters(own_root, monkeypatch):
    scratch, fault, ran = own_root / "scratch", faults.get("first_letter"), []
    for name in ("notebooks", "outputs/mini"):
        (scratch / name).mkdir(parents=True)
    monkeypatch.setattr(faults, "load", lambda: {"plain": fault, "set": replace(fault, parameters=("runs=1",))})
    monkeypatch.setattr(faults, "_project", lambda *_, **__: nullcontext((scratch, {})))
    monkeypatch.setattr(keep, "medpsy", lambda _, *words, profile: ran.append(words[2:]))
    monkeypatch.setattr(faults, "price", lambda name, *_: name)
    monkeypatch.setattr(faults.record, "read", lambda _: None)
    assert faults.measure(["plain", "set"], "mini") == {"plain": "plain", "set": "set"}
    assert ran == [(), (), ("-p", "runs=1"), ("-p", "runs=1")]


def test_a_copy_reads_the_files_that_the_study_reads(tmp_path, monkeypatch):
    (tmp_path / "data/medqa").mkdir(parents=True)
    folders = {"medqa": "data/medqa", "pubmedqa": str(tmp_path)}
    settings = replace(study.load("review"), data_dirs=folders, root=tmp_path)
    settings.store_dir.mkdir(parents=True)
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(study, "load", lambda _: settings)
    with faults._project("review", kept=False) as (project, _):
        assert (project / "data/medqa").is_dir() and (project / "outputs/review/responses").is_dir()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("first_leter", "fault 'first_leter' is not in notebooks/faults.yaml; did you mean 'first_letter'?"),
        ("first_letter --profile smoke", "outputs/smoke/responses: no responses are stored"),
        ("first_letter --profile minni", "did you mean 'mini'?"),
    ],
)
def test_an_expected_error_is_one_message(project, words, message):
    done = CliRunner().invoke(cli.app, ["fault", *words.split()])
    assert done.exit_code == 1 and message in done.stderr and "Traceback" not in done.output


def test_responses_that_are_not_stored_are_named(own_root):
    (own_root / "outputs/mini/responses").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="no response of model 'qwen3-large' is stored"):
        faults.measure(["first_letter"], "mini")


def test_faults_are_listed_and_solved_without_running_anything(project):
    listed = CliRunner().invoke(cli.app, ["fault"]).output
    assert [line.split()[0] for line in listed.splitlines()] == list(faults.load())
    solved = CliRunner().invoke(cli.app, ["fault", "first_letter", "--solve"]).output
    assert '+graded = evaluate.with_reader(settings, graded, "first_letter")' in solved and "Look for:" in solved


def record_of(values, statuses, name="a"):
    """Return what `faults.price` reads of a record: a table of `values` by question, and findings."""
    frame = pd.DataFrame({"question_id": list(values), "value": list(values.values())})
    verdicts = [{"text": f"finding {place}", "verdict": status} for place, status in enumerate(statuses)]
    return SimpleNamespace(table=lambda table: {name: SimpleNamespace(exact=frame)}[table], verdicts=verdicts)


def test_a_price_is_paired_by_question_and_names_the_findings_that_change():
    noisy = dict(enumerate(np.random.default_rng(0).normal(50, 20, 40)))
    right = record_of(noisy, ["pattern holds", "pattern holds"])
    fault = record_of({name: value - 5 for name, value in noisy.items()}, ["pattern holds", "pattern fails"])
    price = faults.price("a", right, fault)
    assert price.fault - price.right == pytest.approx(-5) and price.margin == pytest.approx(0, abs=1e-9)
    assert price.changed == [("pattern holds", "pattern fails", "finding 1")] and price.shown == "−5.00 ± 0.00"


def test_a_fault_that_leaves_questions_out_is_compared_with_all_of_them():
    values = dict(enumerate(np.random.default_rng(0).normal(50, 20, 40)))
    some = {name: values[name] for name in range(10)}
    price = faults.price("a", record_of(values, []), record_of(some, []))
    assert price.right == pytest.approx(np.mean(list(values.values())))
    assert price.fault == pytest.approx(np.mean(list(some.values()))) and price.margin > 1
