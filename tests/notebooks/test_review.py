"""Profile `review` runs to its site on stand-ins: its own parameters, real architectures, rows of the hub's schema."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import stand_in_families
import yaml
from medpsy import benchmarks, evaluate, open_ended, report, study
from stand_in_world import SIZES, World

LIMITED = "10_quantization"  # the one section with sizes of its own, where 0 means all of a suite
ASKED = {"asked": {"questions": 1, "conversations": 1}, "threads": 1}
REVIEW = World("review", sections={LIMITED: ASKED})
SECTIONS = REVIEW.names()
ASKING = [name for name in SECTIONS if name[:2] in ("01", "02", "07", "08")]
MARGIN = " ±"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return REVIEW.run(tmp_path_factory.mktemp("review"))


@pytest.fixture
def here(world, monkeypatch):
    monkeypatch.setattr(study, "ROOT", world.folder)
    return study.load("review")


def record(world, section):
    return REVIEW.record(world.folder, section)


def rows(world, section, table):
    """Return a table of a section as it was written: missing cells are empty texts."""
    path = world.outputs / section / record(world, section).tables[table]["csv"]
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_every_model_of_the_profile_has_a_stand_in():
    assert set(REVIEW.hub_ids()) <= set(stand_in_families.HUB)


def test_the_world_differs_from_what_is_shipped_in_addresses_folders_and_sizes_alone(world):
    own = yaml.safe_load((world.folder / "params/review/study.yaml").read_text(encoding="utf-8"))
    shipped, sizes = REVIEW.shipped(), {*SIZES}
    assert {key for key in own if own[key] != shipped.get(key)} == {"engine", "data_dirs", "models"} | sizes
    changed = [
        {key for key in own["models"][name] if own["models"][name][key] != one.get(key)}
        for name, one in shipped["models"].items()
    ]
    assert set().union(*changed) == {"base_url"}
    for path in (world.folder / "params/review").glob("[0-9]*.yaml"):
        same = yaml.safe_load(path.read_text(encoding="utf-8")) == REVIEW.shipped(path.stem)
        assert same == (path.stem != LIMITED)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_leaves_a_whole_record(world, section):
    REVIEW.require_whole(world.folder, section)


def test_published_values_are_tested_and_noise_does_not_reach_them(world):
    verdicts = {name: [one["verdict"] for one in record(world, name).claims] for name in SECTIONS}
    tested = [one for name in ASKING for one in verdicts[name] if one != "not testable"]
    assert tested.count("differs") > len(tested) / 2 > tested.count("agrees")
    for name in ("01_backbone_selection", "09_token_efficiency", "10_quantization"):
        assert "differs" in verdicts[name]


@pytest.mark.parametrize(
    ("section", "table"),
    [("01_backbone_selection", "large"), ("01_backbone_selection", "small"), ("02_teacher_selection", "scores")],
)
def test_every_score_of_ours_has_a_margin(world, section, table):
    ours = [row for row in rows(world, section, table) if row["Source"] == "ours"]
    assert ours
    for row in ours:
        scores = {name: cell for name, cell in row.items() if name + MARGIN in row}
        assert len(scores) == 8 and all(scores.values())
        assert all(float(row[name + MARGIN]) >= 0 for name in scores) and float(row["Average" + MARGIN]) > 0


@pytest.mark.parametrize("section", ASKING)
def test_replies_that_cannot_be_read_are_counted_apart(world, section):
    table = rows(world, section, "outcomes")
    counted = ["Correct", "Wrong", "Unreadable", "Cut off", "Failed"]
    for row in table:
        assert sum(int(row[name]) for name in counted) == int(row["Responses"])
    total = {name: sum(int(row[name]) for row in table if row["Suite"] == "all") for name in counted}
    assert total["Unreadable"] and total["Cut off"] and total["Wrong"] and not total["Failed"]


def test_judges_that_cannot_be_read_leave_criteria_unjudged(world):
    pages = pd.read_parquet(world.outputs / "07_main_results" / record(world, "07_main_results").conversations["file"])
    said = {one["outcome"] for held in pages["criteria"] for criterion in held for one in criterion["verdicts"]}
    assert said == {"met", "not met", "unjudged"}


def test_the_teachers_are_asked_at_their_endpoint_under_their_names(world):
    behind = [one["path"] for one in REVIEW.shipped()["models"].values() if one.get("base_url")]
    assert {one["model"] for one in world.asked} == set(behind)


def test_a_sample_is_the_same_in_two_calls_and_another_under_another_seed(here):
    twice = [evaluate.questions(study.load("review")) for _ in range(2)]
    assert twice[0] == twice[1]
    assert {suite: len(group) for suite, group in twice[0].items()} == dict.fromkeys(here.suites, 12)
    talks = [list(open_ended.conversations(study.load("review"))["healthbench"]) for _ in range(2)]
    assert talks[0] == talks[1] and len(talks[0]) == 2
    whole = evaluate.questions(here, ["medqa"], every=True)["medqa"]
    other = [one.id for one in benchmarks.sample(list(whole.values()), 12, here.seed + 1)]
    assert list(twice[0]["medqa"]) not in (other, list(whole)[:12])


def test_a_sample_has_a_wider_margin_than_the_whole_suite(here):
    whole = evaluate.questions(here, ["medqa"], every=True)["medqa"]
    asked = evaluate.questions(here, ["medqa"])["medqa"]
    drawn = np.random.default_rng(1).random((len(whole), here.runs)) < 0.5
    graded = pd.DataFrame(
        {
            "model": "qwen3-4b",
            "suite": "medqa",
            "subject": "",
            "weight_group": "medqa",
            "question_id": name,
            "run": run,
            "gold": 0,
            "outcome": "correct" if right else "wrong",
        }
        for name, runs in zip(whole, drawn, strict=True)
        for run, right in enumerate(runs)
    )
    part = graded[graded["question_id"].isin(asked)]
    of = [report.scored(here, one).set_index("suite").at["medqa", "margin"] for one in (part, graded)]
    assert of[0] > 5 * of[1] > 0


def test_the_site_has_every_section_and_shows_no_text_of_a_model_as_it_stands(world):
    site = world.outputs / "report"
    front = (site / "index.html").read_text(encoding="utf-8")
    assert all(f"sections/{section}/" in front for section in SECTIONS)
    pages = {path.relative_to(site): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    hostile = stand_in_families.HOSTILE
    assert [path for path, text in pages.items() if hostile in text or "<b>so</b>" in text] == []
    assert any(hostile.replace("<", "&lt;").replace(">", "&gt;") in text for text in pages.values())


def test_its_price_is_known_before_it_runs(world):
    done = REVIEW.medpsy(world.folder, "plan", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert {row["section"] for row in json.loads(done.stdout)["rows"]} >= set(SECTIONS)


@pytest.mark.slow
def test_a_section_runs_with_the_engine_of_the_profile(tmp_path):
    pytest.importorskip("vllm")
    REVIEW.make(tmp_path, "http://127.0.0.1:9/v1", engine="vllm")
    done = REVIEW.medpsy(tmp_path, "run", "08_stage_ablations")
    assert done.returncode == 0, done.stderr[-6000:]
    found = REVIEW.record(tmp_path, "08_stage_ablations")
    assert found.claims and found.tables
