"""Profile `paper` runs to its site on stand-ins, trainings included: nothing of it is first tried on a cluster."""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import stand_in_families
from paper_world import PAPER

pytestmark = pytest.mark.slow  # seven to ten minutes
SECTIONS = PAPER.names()
LADDER = [f"{size}-{stage}" for size in ("large", "small") for stage in ("sft1", "sft2", "rl1", "rl2")]
STEPS = [f"qwen3.5-4b-o1-{step}" for step in ("sft", "gspo", "grpo", "dapo")] + ["small-o1-sft", "small-o1-gspo"]
STEPS += [f"{start}-openmed-{step}" for start in ("afm-4.5b", "small") for step in ("sft", "dpo", "grpo", "merged")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return PAPER.run(tmp_path_factory.mktemp("paper"))


def leaves(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def test_every_model_of_the_profile_has_a_stand_in():
    assert set(PAPER.hub_ids()) <= set(stand_in_families.HUB)


@pytest.mark.parametrize("section", PAPER.sections)
def test_nothing_is_laid_over_a_section_that_it_does_not_have(section):
    shipped = set(leaves(PAPER.shipped(section)))
    ours = {path for path in leaves(PAPER.sections[section]) if path[-1] not in ("data_dir", "revision", "epochs")}
    assert ours <= shipped


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_leaves_a_whole_record(world, section):
    PAPER.require_whole(world.folder, section)


@pytest.mark.parametrize("name", [*LADDER, *STEPS])
def test_every_stage_leaves_a_checkpoint_in_the_architecture_of_its_parent(world, name):
    folder = world.outputs / "models" / name
    assert list(folder.glob("*.safetensors")) and (folder / "tokenizer.json").is_file()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    start = name.partition("-o1-")[0].partition("-openmed-")[0].partition("-sft")[0].partition("-rl")[0]
    study = PAPER.shipped()
    parent = world.folder / study["models"][study["targets"].get(start, start)]["path"]
    assert config["architectures"] == json.loads((parent / "config.json").read_text(encoding="utf-8"))["architectures"]


def test_the_judge_of_the_sister_recipe_is_asked_at_its_endpoint(world):
    assert {one["model"] for one in world.asked} == {"deepseek-chat"}


def test_the_harness_scores_every_stage_on_its_own_tasks(world):
    card = PAPER.record(world.folder, "13_openmed").tables["card"]["csv"]
    rows = list(csv.DictReader((world.outputs / "13_openmed" / card).open(encoding="utf-8")))
    assert [row["Benchmark"] for row in rows] == ["MMLU", "MMLU-Pro", "IFEVAL"]
    assert all(0 <= float(row[stage]) <= 100 for row in rows for stage in ("base", "sft", "dpo", "rl", "merged"))


def test_the_site_has_every_section_and_shows_no_text_of_a_model_as_it_stands(world):
    site = world.outputs / "report"
    front = (site / "index.html").read_text(encoding="utf-8")
    assert all(f"sections/{section}/" in front for section in SECTIONS)
    pages = {path.relative_to(site): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert [path for path, text in pages.items() if stand_in_families.HOSTILE in text] == []
