"""A study carried to where there is no model gives the same tables, to six digits; anything less is refused by name."""

import json
import re
import shutil

import pytest
from fake_engine import FakeEngine, fenced, finished
from medpsy import bundle, engines, evaluate, provenance, scoring, show, study
from medpsy.bundle import BundleError
from medpsy.engines.base import Response
from medpsy.record import Record
from medpsy.store import REPLAY, NotStored, ResponseStore

MODELS = ["qwen3-large", "smollm3-large"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def reply(prompt, sampling):
    """Answer A or B by the length of the question; now and then the request fails."""
    size = len(prompt.messages[-1]["content"])
    if answer := fenced(prompt.messages[0]["content"]):
        return "A" if "is A." in answer else "B"
    if size % 6 == 0:
        return Response(prompt.id, "", "failed", 0, 0, 0.0, "planted")
    return finished(prompt, f"<think>{'so ' * (size % 5)}</think>The answer is {'AB'[size % 2]}.")


def project(folder, root, patch):
    """Make `folder` the root of a project with the real settings of `smoke`."""
    shutil.copytree(root / "params" / "smoke", folder / "params" / "smoke")
    patch.setenv("MEDPSY_ROOT", str(folder))
    return folder


def run_section(models=MODELS):
    """Do what a notebook does; return the folder of the section."""
    settings = study.load("smoke")
    graded = evaluate.closed_ended(settings, models)
    scores, record = scoring.closed_ended(settings, graded), Record("01_tiny", settings, "Tiny")
    record.table("scores", show.score_table(scores))
    record.table("outcomes", show.outcome_table(scores))
    record.responses(settings, graded, texts=False)
    record.close()
    return record.folder


def with_models(patch):
    """Put fake models where the engines look for real ones."""
    patch.setattr(engines, "open_engine", lambda kind, model, **_: FakeEngine(f"fp {model.name}", kind, reply))
    patch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    patch.setattr(evaluate, "count_tokens", lambda model, texts: [len(text.split()) for text in texts])


@pytest.fixture(scope="module")
def exported(tmp_path_factory, root):
    """The folder of a section that ran with models, and the bundle that was exported after it."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="failed"):
        with_models(patch)
        project(folder / "here", root, patch)
        section = run_section()
        bundle.export(folder / "all.zip", "smoke")
    return section, folder / "all.zip"


@pytest.fixture
def elsewhere(exported, tmp_path, root, monkeypatch):
    """A clone without models, in which nothing may be generated."""

    def gone(*_, **__):
        raise FileNotFoundError("no model is here")

    for module, name in ((engines, "open_engine"), (engines, "fingerprint"), (evaluate, "count_tokens")):
        monkeypatch.setattr(module, name, gone)
    monkeypatch.setenv(REPLAY, "1")
    return project(tmp_path / "elsewhere", root, monkeypatch)


def test_tables_made_without_any_model_are_alike_to_six_digits_and_others_are_named(exported, elsewhere, monkeypatch):
    section, made = exported
    bundle.restore(made, "smoke")
    missing = {place: here for place, _, here in bundle.differences(made, "smoke")}
    assert missing == {"01_tiny/tables/outcomes.csv": None, "01_tiny/tables/scores.csv": None}
    again = run_section()
    for name in ("outcomes.csv", "scores.csv"):
        assert (again / "tables" / name).read_bytes() == (section / "tables" / name).read_bytes()
    assert bundle.differences(made, "smoke") == []
    inputs = [json.loads((folder / "result.json").read_text())["inputs"] for folder in (section, again)]
    assert inputs[0] == inputs[1]
    scores = again / "tables" / "scores.csv"
    whole = scores.read_text()
    for change, same in ((1e-8, True), (1e-5, False)):  # of the ninth digit, as on another machine, and of the sixth
        scores.write_text(re.sub(r"\d+\.\d{8,}", lambda number: str(float(number[0]) * (1 + change)), whole))  # noqa: B023
        assert scores.read_text() != whole and (bundle.differences(made, "smoke") == []) == same
    with scores.open("a") as file:
        file.write("more\n")
    monkeypatch.setattr(provenance, "versions", lambda: {"numpy": "0.1"})
    first, *rest = bundle.differences(made, "smoke")
    assert first.place == "01_tiny/tables/scores.csv" and None not in first
    assert {value.place: value.here for value in rest}["versions/numpy"] == "0.1"  # which may explain it


def test_what_is_missing_is_refused_and_a_replay_asks_the_record_which_model_it_was(exported, elsewhere, monkeypatch):
    store = bundle.restore(exported[1], "smoke")
    with pytest.raises(NotStored, match="no response of model 'qwen3-small' is stored"):
        run_section(["qwen3-small"])
    shutil.rmtree(store.root / "counts")
    with pytest.raises(NotStored, match="numbers of reasoning_tokens are not stored"):
        run_section()
    shutil.rmtree(store.root / "shards")
    with pytest.raises(NotStored, match=r"30 responses of model 'qwen3-large' are not stored \(.*medqa 4, "):
        run_section()
    monkeypatch.setattr(engines, "fingerprint", lambda model: "trained anew")
    assert store.fingerprint(study.load("smoke").model(MODELS[0])) == f"fp {MODELS[0]}"


def test_without_the_variable_what_is_missing_is_generated(exported, elsewhere, monkeypatch):
    before = bundle.restore(exported[1], "smoke").stats().index.unique("model")
    with_models(monkeypatch)
    monkeypatch.delenv(REPLAY)
    run_section([*MODELS, "qwen3-small"])
    assert set(ResponseStore(study.load("smoke").store_dir).stats().index.unique("model")) == {*before, "qwen3-small"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "study.yaml").open("a").write("# another\n"), "params/smoke/study.yaml differs"),
        (lambda folder: (folder / "study.yaml").with_name("99_more.yaml").write_text("a: 1\n"), "not in the bundle"),
        (lambda folder: (folder / "01_backbone_selection.yaml").unlink(), "01_backbone_selection.yaml is not here"),
    ],
)
def test_other_settings_are_refused_with_the_file_named_and_nothing_is_stored(exported, elsewhere, change, said):
    shutil.copytree(elsewhere / "params" / "smoke", elsewhere / "params" / "mini")
    with pytest.raises(BundleError, match="holds profile 'smoke', not 'mini'"):
        bundle.restore(exported[1], "mini")
    change(elsewhere / "params" / "smoke")
    with pytest.raises(BundleError, match=said):
        bundle.restore(exported[1], "smoke")
    assert not list(elsewhere.rglob("*.parquet"))
    store = bundle.restore(exported[1], "smoke", other_settings=True)
    assert len(store.stats()) and not list(store.root.rglob("*.yaml"))


def test_records_are_compared_number_by_number(exported, tmp_path, monkeypatch):
    section, _ = exported
    monkeypatch.setenv("MEDPSY_ROOT", str(section.parents[2]))
    record = json.loads((section / "result.json").read_text())
    golden = tmp_path / f"{section.name}.json"
    golden.write_text(json.dumps(record | {"seconds": 1.0, "provenance": {}}))
    assert bundle.differences(tmp_path, "smoke") == []
    row = record["tables"]["scores"]["rows"][0]
    at = next(at for at, value in enumerate(row) if isinstance(value, float))
    row[at] += 0.001
    golden.write_text(json.dumps(record | {"verdicts": [{"text": "gone"}]}))
    places = {difference.place: difference.here for difference in bundle.differences(tmp_path, "smoke")}
    changed = {f"tables/scores/rows/0/{at}": row[at] - 0.001, "verdicts/0/text": None, "verdicts": []}
    assert places == {f"{section.name}/{place}": value for place, value in changed.items()}
