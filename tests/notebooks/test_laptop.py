"""Profile `laptop` runs to its site on stand-ins: GGUF files, and the papers of the repositories beside them."""

import csv

import pytest
from stand_in_world import SHORT, World

pytestmark = pytest.mark.slow  # some minutes
FEW = {"questions": 4, "conversations": 2}
SIZES = {"questions_per_suite": 4, "conversations_per_suite": 2, "judge_attempts": 1}
SIZES |= dict.fromkeys(("sampling", "open_sampling", "judge_sampling", "parser_sampling"), SHORT)
SIZES |= {"engine_options": {"slots": 4, "threads": 1}, "rounds": 2}
LAPTOP = World("laptop", SIZES, {"10_quantization": {"asked": FEW, "threads": 1}}, engine="llama_cpp")
SECTIONS = LAPTOP.names()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with LAPTOP.project(tmp_path_factory.mktemp("laptop")) as project:
        project.report()
        yield project


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_leaves_a_whole_record(world, section):
    world.require_whole(section)


def test_a_quantized_file_is_a_proxy_that_never_contradicts_the_report(world):
    claims = [one for name in SECTIONS[1:] for one in world.record(name).claims if one["verdict"] != "not testable"]
    told = [one for one in claims if "a file in Q4_K_M" in one["note"]]
    assert told and {one["tier"] for one in told} == {"proxy"} and "differs" not in {one["verdict"] for one in told}


def test_released_files_are_compared_with_each_other_by_what_their_headers_say(world):
    place = world.outputs / "10_quantization"
    rows = list(csv.DictReader((place / world.record("10_quantization").tables["files"]["csv"]).open(encoding="utf-8")))
    headers = {row["File"]: row["Matrix, by the header"] for row in rows}
    assert [*headers] == ["medpsy-1.7b-q8_0", "medpsy-1.7b", "medpsy-1.7b-iq3_m"]
    assert headers["medpsy-1.7b-q8_0"] == "" and "chunks" in headers["medpsy-1.7b"]


def test_of_a_repository_only_the_papers_and_of_files_only_those_of_the_study_are_fetched(world):
    fetched = {name.removeprefix("models/") for name in world.fetched if name.startswith("models/")}
    assert not [name for name in fetched if "safetensors" in name]
    files = {one["file"] for one in LAPTOP.shipped()["models"].values()}
    assert {name for name in fetched if name.endswith(".gguf")} == files


def test_the_site_has_every_section(world):
    world.require_site(SECTIONS)
