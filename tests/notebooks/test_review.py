"""Profile `review` runs to its site on stand-ins: its own parameters, real architectures, rows of the hub's schema."""

import csv
from itertools import product

import pandas as pd
import pytest
import stand_in_rows
import yaml
from case_rows import cases
from stand_in_models import HOSTILE
from stand_in_world import COPIES, SIZES, World

OPENMED, FEW = "13_openmed", {"questions": 12, "conversations": 2, "calls": 4, "short": 16}
RELEASED = {"asked": FEW, "protocol": {"limit": 2}, "sampling": {"max_tokens": 40}}
GSPO, OPEN = "12_gspo_judge", {"counts": {"held_out": 4, "closed": 12}}
ASKED = {"asked": {"questions": 1, "conversations": 1}, "threads": 1}
LIMITED = {"10_quantization": ASKED, GSPO: OPEN, OPENMED: RELEASED}  # sections with sizes of their own; 0 means all
REVIEW = World("review", sections=LIMITED)
SECTIONS = REVIEW.names()
ASKING = [name for name in SECTIONS if name[:2] in ("01", "02", "07", "08", "13")]
MARGIN = " ±"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with REVIEW.project(tmp_path_factory.mktemp("review")) as project:
        stand_in_rows.write_traces(project.folder / "data" / "tool-traces")
        project.report()
        yield project


def rows(world, section, table):
    """Return a table of a section as it was written: missing cells are empty texts."""
    path = world.outputs / section / world.record(section).tables[table]["csv"]
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_the_world_differs_from_what_is_shipped_in_addresses_commits_and_sizes_alone(world):
    own = yaml.safe_load((world.folder / "params/review/study.yaml").read_text(encoding="utf-8"))
    shipped, sizes = REVIEW.shipped(), {*SIZES}
    assert {key for key in own if own[key] != shipped.get(key)} == {"engine", "models"} | sizes
    changed = [
        {key for key in own["models"][name] if own["models"][name][key] != one.get(key)}
        for name, one in shipped["models"].items()
    ]
    assert set().union(*changed) == {"base_url", "revision", "file_revision"}
    for path in (world.folder / "params/review").glob("[0-9]*.yaml"):
        same = yaml.safe_load(path.read_text(encoding="utf-8")) == REVIEW.shipped(path.stem)
        assert same == (path.stem not in LIMITED)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_leaves_a_whole_record(world, section):
    world.require_whole(section)


def test_a_sample_is_a_proxy_that_never_contradicts_the_report_and_noise_does_not_reach_it(world):
    claims = [one for name in ASKING for one in world.record(name).claims if one["verdict"] != "not testable"]
    assert claims and {one["tier"] for one in claims} == {"proxy"}
    verdicts = [one["verdict"] for one in claims]
    assert "differs" not in verdicts and verdicts.count("agrees") < len(verdicts) / 2


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


@pytest.mark.parametrize(("section", "table", "column"), cases("printed_beside", "section", "table", "column"))
def test_printed_values_of_the_judges_of_the_report_stand_beside_ours(world, section, table, column):
    assert {row["Source"] for row in rows(world, section, table) if row[column]} == {"published"}


@pytest.mark.parametrize("section", ASKING)
def test_replies_that_cannot_be_read_are_counted_apart(world, section):
    table = rows(world, section, "outcomes")
    counted = ["Correct", "Wrong", "Unreadable", "Cut off", "Failed"]
    for row in table:
        assert sum(int(row[name]) for name in counted) == int(row["Responses"])
    total = {name: sum(int(row[name]) for row in table if row["Suite"] == "all") for name in counted}
    assert total["Unreadable"] and total["Cut off"] and total["Wrong"] and not total["Failed"]


def test_judges_that_cannot_be_read_leave_criteria_unjudged(world):
    pages = pd.read_parquet(world.outputs / "07_main_results" / world.record("07_main_results").conversations["file"])
    said = {one["outcome"] for held in pages["criteria"] for criterion in held for one in criterion["verdicts"]}
    assert said == {"met", "not met", "unjudged"}


def test_fourteen_released_files_stand_beside_their_printed_rows(world):
    released = [name for name, one in REVIEW.shipped()["models"].items() if one.get("file", "").startswith("qvac/")]
    audited = [
        row for row in rows(world, "10_quantization", "files") if row["Tensors unlike llama.cpp's mixture"] == "none"
    ]
    assert [row["File"] for row in audited] == released and len(released) == 14
    assert ["chunks" in row["Matrix, by the header"] for row in audited] == 2 * [False, *[True] * 6]
    assert [row["As printed"] for row in rows(world, "10_quantization", "published_sizes")] == 2 * ["", *["no"] * 7]
    tiers = {one["tier"] for one in world.record("10_quantization").claims if one["verdict"] == "differs"}
    assert tiers == {"exact"}  # sizes


def test_released_checkpoints_are_scored_under_the_commands_of_their_card_and_nothing_is_trained(world):
    card, found = rows(world, OPENMED, "card"), world.record(OPENMED)
    assert [float(row["Card: after GRPO"]) for row in card] == [61.40, 33.16, 59.59]
    assert all(row[part] and row[part + MARGIN] for row in card for part in ("base", "rl", "merged"))
    assert not {"corpus", "pairs", "stages", "fused"} & {*found.tables} and not found.chosen["checkpoints"]
    assert {one["note"] for one in found.claims if one["id"] in ("A001", "A020")} == {"a sample of 2 of each suite"}


def test_a_released_model_is_judged_in_two_languages_and_asked_a_chinese_set_beside_its_base(world):
    judged, form, closed = (rows(world, GSPO, table) for table in ("held_out", "form", "closed"))
    names, outcomes = ("Qwen3.5-4B", "Qwen3.5-Medical-GSPO"), ("Correct", "Wrong", "Unreadable", "Cut off", "Failed")
    both, found = list(product(names, ("zh", "en"), ["4"])), world.record(GSPO)
    assert [(row["Checkpoint"], row["Language"], row["Responses"]) for row in form] == both
    assert {(float(row["Reward"]), float(row["Unjudged (%)"])) for row in judged} == {(-1, 0)}  # its judge denies all
    assert [(row["Checkpoint"], row["Set"]) for row in closed] == list(product(names, ("MedQA (USMLE)", "CMExam")))
    assert {sum(int(row[name]) for name in outcomes) for row in closed} == {24}
    assert "CMExam 30 of 60" in found.tables["closed"]["note"] and not {"stability", "methods"} & {*found.tables}
    told = [one["text"] for one in found.verdicts if one["text"].startswith(names[1])]
    assert len(told) == 6 and "not measured" not in str(told)


def test_the_teachers_are_asked_at_their_endpoint_under_their_names(world):
    behind = [one["path"] for one in REVIEW.shipped()["models"].values() if one.get("base_url")]
    assert {one["model"] for one in world.asked} == set(behind)


def test_of_a_model_only_what_is_loaded_is_fetched(world):
    assert [name for name in world.fetched if name.endswith(COPIES)] == []
    assert {name.split("/")[2] for name in world.fetched if name.startswith("models/") and "safetensors" in name}


def test_the_site_has_every_section_and_shows_no_text_of_a_model_as_it_stands(world):
    escaped = HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    assert any(escaped in text for text in world.require_site(SECTIONS))


@pytest.mark.slow
def test_a_section_runs_with_the_engine_of_the_profile(tmp_path):
    pytest.importorskip("vllm")
    with REVIEW.project(tmp_path, engine="vllm") as project:
        done = project.medpsy("run", "08_stage_ablations")
        assert done.returncode == 0, done.stderr[-6000:]
        found = project.record("08_stage_ablations")
    assert found.claims and found.tables
