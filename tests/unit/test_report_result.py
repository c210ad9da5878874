"""The record of a section: whole or absent, checked on both ways."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas
from medpsy import files, study
from medpsy.report import reading
from medpsy.report.display import Figure, table
from medpsy.report.leaks import SecretFound
from medpsy.report.result import ResultError, read_result, write_result

SECTION = "01_backbone_selection"
CLAIM = {"id": "P132", "verdict": "agrees", "published": 2.46, "ours": np.float64(2.4), "margin": 0.5, "note": ""}


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "provenance", lambda: {"commit": "abc", "dirty": False})
    return tmp_path / "outputs"


def drawing() -> Canvas:
    canvas = Canvas(figsize=(2, 1))
    canvas.add_subplot().plot([1, 2])
    return canvas


FIGURES = {"points": Figure(drawing(), "Points", "Two points"), "bare": drawing()}


def responses() -> pd.DataFrame:
    """Return two responses, one of them read by two readers."""
    return pd.DataFrame(
        {
            **{"key": ["k1", "k1", "k0"], "model": "reed", "label": "Reed", "suite": "medqa", "suite_title": "MedQA"},
            **{"subject": "", "question_id": ["q1", "q1", "q0"], "run": 0, "stem": "Which?", "context": None},
            **{"options": [["a", "b"]] * 3, "gold": [1, 1, 0], "reasoning": "hm", "answer": [None, None, "A"]},
            **{"finish_reason": "stop", "completion_tokens": 3, "reader": ["parser", "strict", "parser"]},
            **{"chosen": pd.array([1, None, 0], "Int64"), "outcome": ["correct", "unreadable", "no gold"], "how": "x"},
        }
    )


def record(**changes) -> Path:
    frame = pd.DataFrame({"Model": ["Reed", "Quill"], "Average": [61.25, np.nan], "Average ±": [1.5, np.nan]})
    given = {
        "profile": "mini",
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
    return write_result(SECTION, **given | changes)


def test_a_record_is_read_back_as_it_was_written(outputs):
    path = record()
    assert path == outputs / "mini" / SECTION / "result.json"
    result = read_result(path)
    assert (result.section, result.profile, result.title) == (SECTION, "mini", "Backbone selection")
    assert result.claims == [{**CLAIM, "ours": 2.4}]
    assert (result.settings, result.chosen) == ({"runs": 3, "suites": ["medqa"]}, {"large": "reed"})
    assert (result.seconds, result.tokens, result.provenance["commit"]) == (1.5, {"completion": 10}, "abc")
    assert result.table("scores").rows == [["Reed", 61.25, 1.5], ["Quill", None, None]]
    assert result.table("scores").links == {"Average": ["model=reed", None]}
    assert read_result(path.parent) == result


def test_every_file_a_record_names_is_there(outputs):
    result = read_result(record(figures=FIGURES))
    named = [entry["csv"] for entry in result.tables.values()]
    named += [entry[kind] for entry in result.figures.values() for kind in ("png", "svg")]
    assert all((result.folder / name).stat().st_size > 0 for name in named)
    read = pd.read_csv(result.folder / "tables/scores.csv")
    assert read["Average"].tolist()[0] == 61.25
    assert np.isnan(read["Average ±"][1])


def test_the_record_comes_last_and_an_earlier_one_goes_first(outputs, monkeypatch):
    path = record()
    present = []
    whole = files.write_whole

    def watched(target, write):
        present.append((target.name, path.exists()))
        return whole(target, write)

    monkeypatch.setattr("medpsy.report.artefacts.write_whole", watched)
    monkeypatch.setattr(files, "write_whole", watched)
    record(figures=FIGURES)
    assert present[-1] == ("result.json", False)
    assert len(present) == 7
    assert not any(exists for _, exists in present)


def test_what_an_earlier_run_left_does_not_outlive_it(outputs):
    folder = record(figures=FIGURES).parent
    record(tables={"other": pd.DataFrame({"a": [1]})})
    assert [path.name for path in (folder / "tables").iterdir()] == ["other.csv"]
    assert not (folder / "figures").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"claims": [{**CLAIM, "verdict": "fine"}]}, r"claims\[0\].verdict must be one of .*; it holds 'fine'"),
        ({"claims": [{"id": "P1"}]}, r"claims\[0\] must contain"),
        ({"claims": [{**CLAIM, "margin": -1}]}, "margin must be bigger than or equal to 0"),
        ({"claims": [{**CLAIM, "ours": float("nan")}]}, r"claims\[0\].ours is nan: write None"),
        ({"settings": {"lr": float("inf")}}, "settings.lr is inf"),
        ({"settings": {"open": open}}, "settings.open is a builtin"),
        ({"verdicts": [{"text": "", "verdict": "agrees"}]}, r"verdicts\[0\].text must be longer"),
        ({"title": ""}, "title must be longer"),
        ({"seconds": -1.0}, "seconds must be bigger"),
        ({"tables": {"../x": pd.DataFrame({"a": [1]})}}, "csv must match pattern"),
        ({"profile": "../mini"}, "cannot name a folder"),
    ],
)
def test_a_broken_record_is_refused_and_the_earlier_one_stays(outputs, change, said):
    path = record()
    before = path.read_bytes()
    with pytest.raises(ResultError, match=said):
        record(**change)
    assert path.read_bytes() == before


def test_a_secret_never_reaches_a_file(outputs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-1234")
    with pytest.raises(SecretFound, match="OPENAI_API_KEY"):
        record(settings={"headers": {"Authorization": "Bearer sk-planted-1234"}})
    with pytest.raises(SecretFound, match="OPENAI_API_KEY"):
        record(tables={"t": pd.DataFrame({"a": ["sk-planted-1234"]})})
    with pytest.raises(SecretFound, match="responses, column 'answer'"):
        record(responses=responses().assign(answer="sk-planted-1234"))
    assert not list(outputs.rglob("*.*"))


def test_a_full_disk_is_named_and_leaves_nothing_that_passes_for_done(outputs, monkeypatch):
    path = record()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"disk full \(\d+ MiB left\): make room") as caught:
        record()
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()
    assert not [name for name in path.parent.rglob("*") if name.is_file()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no record; run the section first"),
        ("{", "not JSON"),
        ("[]", "record must be object"),
        ('{"schema": 1}', "must contain"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(ResultError, match=said):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema must be same as const definition: 1; it holds 2"),
        ({"extra": 1}, "extra"),
        ({"figures": {"f": {"title": "", "alt": "", "png": "/etc/passwd", "svg": "f.svg"}}}, "png must match pattern"),
        ({"figures": {"f": {"title": "", "alt": "", "png": "../f.png", "svg": "f.svg"}}}, "png must match pattern"),
    ],
)
def test_a_record_of_another_make_is_refused(outputs, change, said):
    path = record()
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultError, match=said):
        read_result(path)


def test_a_row_of_the_wrong_length_is_refused(outputs):
    path = record()
    held = json.loads(path.read_text())
    held["tables"]["scores"]["rows"][0].pop()
    path.write_text(json.dumps(held))
    with pytest.raises(ResultError, match="tables/scores: a row does not have 3 cells"):
        read_result(path)


def test_responses_are_kept_one_row_each_and_removed_with_their_section(outputs):
    folder = record().parent
    assert read_result(folder).responses is None
    record(responses=responses())
    assert read_result(folder).responses == {"file": "responses.parquet", "rows": 2}
    first, second = reading.RESPONSES.read(folder / "responses.parquet")
    assert (first["question_id"], first["answer"], first["options"]) == ("q0", "A", ["a", "b"])
    assert first["readings"] == [{"reader": "parser", "chosen": 0, "outcome": "no gold", "how": "x"}]
    assert [one["chosen"] for one in second["readings"]] == [1, None]
    record()
    assert not (folder / "responses.parquet").exists()
