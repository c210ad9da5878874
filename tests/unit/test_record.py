"""The record of a section: whole or absent, checked on both ways."""

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import report_example
from case_rows import cases
from matplotlib.figure import Figure as Canvas
from medpsy import files, provenance
from medpsy.evidence import RESPONSES
from medpsy.record import Record, ResultError, SecretFound, read
from medpsy.show import Figure, table
from records import write_record

SECTION = "01_backbone_selection"
CLAIM = {"id": "P132", "verdict": "agrees", "published": 2.46, "ours": np.float64(2.4), "margin": 0.5, "note": ""}


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(provenance, "collect", lambda root: {"commit": "abc", "dirty": False})
    return tmp_path / "outputs/mini"


@pytest.fixture
def study(outputs):
    return SimpleNamespace(outputs=outputs, profile="mini", so_far=None)


def drawing() -> Canvas:
    canvas = Canvas(figsize=(2, 1))
    canvas.add_subplot().plot([1, 2])
    return canvas


FIGURES = {"points": Figure(drawing(), "Points", "Two points"), "bare": Figure(drawing(), "", "")}


@pytest.fixture
def record(outputs):
    """Return a function: write the record of a section, with changes."""
    frame = pd.DataFrame({"Model": ["Reed", "Quill"], "Average": [61.25, np.nan], "Average ±": [1.5, np.nan]})
    given = {
        "title": "Backbone selection",
        "settings": {"runs": np.int64(3), "suites": ("medqa",)},
        "claims": [CLAIM],
        "verdicts": [{"text": "Reed leads.", "verdict": "pattern holds"}],
        "tables": {"scores": table(frame, "Scores", links={"Average": ["model=reed", None]}), "bare": frame},
        "inputs": {"medqa": "sha256:1"},
        "chosen": {"large": "reed"},
        "tokens": {"completion": 10},
        "seconds": 1.5,
    }
    return lambda **changes: write_record(outputs, SECTION, **given | changes)


def test_a_record_is_read_back_as_it_was_written(record, outputs):
    path = record()
    assert path == outputs / SECTION / "result.json"
    result = read(path)
    assert (result.section, result.profile, result.title) == (SECTION, "mini", "Backbone selection")
    assert result.claims == [{**CLAIM, "ours": 2.4}]
    assert (result.settings, result.chosen) == ({"runs": 3, "suites": ["medqa"]}, {"large": "reed"})
    assert (result.seconds, result.tokens, result.provenance["commit"]) == (1.5, {"completion": 10}, "abc")
    assert result.table("scores").rows == [["Reed", 61.25, 1.5], ["Quill", None, None]]
    assert result.table("scores").links == {"Average": ["model=reed", None]}
    assert read(path.parent) == result


def test_the_record_comes_last_and_an_earlier_one_goes_first(record, monkeypatch):
    path = record()
    present = []
    whole = files.write_whole

    def watched(target, write):
        present.append((target.name, path.exists()))
        return whole(target, write)

    monkeypatch.setattr("medpsy.record.write_whole", watched)
    monkeypatch.setattr(files, "write_whole", watched)
    record(figures=FIGURES)
    assert present[-1] == ("result.json", False)
    assert len(present) == 7
    assert not any(exists for _, exists in present)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"claims": [{**CLAIM, "verdict": "fine"}]}, r"claims\[0\].verdict must be one of .*; it holds 'fine'"),
        ({"claims": [{"id": "P1"}]}, r"claims\[0\] must contain"),
        ({"claims": [{**CLAIM, "ours": float("nan")}]}, r"claims\[0\].ours is nan: write None"),
        ({"settings": {"open": open}}, "settings.open is a builtin"),
        ({"title": ""}, "title must be longer"),
        ({"seconds": -1.0}, "seconds must be bigger"),
        ({"tables": {"../x": pd.DataFrame({"a": [1]})}}, "csv must match pattern"),
    ],
)
def test_a_broken_record_is_refused_and_the_earlier_one_stays(record, change, said):
    path = record()
    before = path.read_bytes()
    with pytest.raises(ResultError, match=said):
        record(**change)
    assert path.read_bytes() == before


def test_a_secret_never_reaches_a_file(record, outputs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-1234")
    with pytest.raises(SecretFound, match="OPENAI_API_KEY"):
        record(settings={"headers": {"Authorization": "Bearer sk-planted-1234"}})
    with pytest.raises(SecretFound, match="OPENAI_API_KEY"):
        record(tables={"t": pd.DataFrame({"a": ["sk-planted-1234"]})})
    with pytest.raises(SecretFound, match="responses, column 'answer'"):
        record(responses=report_example.responses(1, 1).assign(answer="sk-planted-1234"))
    assert not list(outputs.rglob("*.*"))


def test_a_full_disk_is_named_and_leaves_nothing_that_passes_for_done(record, monkeypatch):
    path = record()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"disk full \(\d+ MiB left\): make room") as caught:
        record()
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()
    assert not [name for name in path.parent.rglob("*") if name.is_file()]


@pytest.mark.parametrize(("text", "said"), cases("no_records", "text", "said"))
def test_what_is_no_record_of_this_make_is_refused(record, text, said):
    path = record()
    if isinstance(text, dict):
        text = json.dumps(json.loads(path.read_text()) | text)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ResultError, match=said):
        read(path)


def test_responses_are_kept_one_row_each_and_nothing_outlives_the_next_record(record):
    folder = record().parent
    assert read(folder).responses is None
    record(responses=report_example.responses(1, 1), figures=FIGURES)
    assert read(folder).responses == {"file": "responses.parquet", "rows": 4}
    first, *_, last = RESPONSES.read(folder / "responses.parquet")
    assert (first["question_id"], first["suite"], first["options"][3]) == ("q00000", "medqa", "none")
    reading = {"chosen": 0, "outcome": "correct", "how": "single letter"}
    assert first["readings"] == [reading | {"reader": reader} for reader in ("parser", "lenient")]
    assert (last["answer"], [one["chosen"] for one in last["readings"]]) == (None, [None, None])
    record(tables={"other": pd.DataFrame({"a": [1]})})
    assert not (folder / "responses.parquet").exists() and not (folder / "figures").exists()
    assert [path.name for path in (folder / "tables").iterdir()] == ["other.csv"]


def test_cells_may_run_again(outputs, study):
    record = Record(SECTION, study, "Backbone selection", parameters={})
    for score in (1.0, 2.0):
        record.table("scores", pd.DataFrame({"Average": [score]}))
        record.claims([{**CLAIM, "ours": score}], [{"text": "Reed leads.", "verdict": "pattern holds"}])
        record.close()
    result = read(outputs / SECTION)
    assert (result.table("scores").rows, len(result.claims), len(result.verdicts)) == ([[2.0]], 1, 1)


def test_the_parameters_are_the_annotated_variables_of_the_notebook_as_they_are_when_it_opens(study, monkeypatch):
    main = SimpleNamespace(__annotations__={"runs": int, "later": str}, runs=3, other=1)
    monkeypatch.setitem(sys.modules, "__main__", main)
    record = Record(SECTION, study, "Backbone selection")
    main.runs = 5
    record.close()
    assert read(record.folder).settings == {"runs": 3}


def test_a_section_without_a_proper_name_has_no_folder(study):
    with pytest.raises(ResultError, match="cannot name a folder"):
        Record("../mini", study, "t")
