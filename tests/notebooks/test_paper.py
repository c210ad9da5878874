"""Profile `paper` runs to its site on stand-ins, trainings included: nothing of it is first tried on a cluster."""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import stand_in_rows
from huggingface_hub import metadata_load
from stand_in_world import SHORT, SIZES, World

pytestmark = pytest.mark.slow  # seven to ten minutes
# what is laid over the profile's files: trainings run alone and stop after a few steps
ALONE = {"processes": 1, "config": "", "restarts": 0}
FEW = {"questions": 2, "conversations": 1}
LAID_OVER = {
    "03_training_data": {
        "corpus1": {
            **{"genesis_medicine": 30, "genesis_biology": 20, "genesis_chemistry": 10},
            **{"consultations": 10, "health_questions": 10, "medmcqa": 20},
        },
        "corpus2": {"medqa": 30},
        "sampling": {"max_tokens": 48},
        "teacher": "baichuan-m3-235b",  # chance chooses among stand-ins, and some write no row that can be kept
        "batch": 40,
    },
    "04_sft": {"batch": {"max_length": 1024, "gradient_accumulation_steps": 2}, "launching": ALONE},
    "05_rl": {
        "asked": {"size": 24, "held_out": 4},
        "attempts": {"rl": 3, "switches": 1},
        "sampling": SHORT,
        "rl1": {"num_train_epochs": 1.0},
        "rl2": {"max_steps": 8, "generation_batch_size": 16, "num_generations": 4, "gradient_accumulation_steps": 1},
        "rollout": {"generation_batch_size": 16, "num_generations": 4, "max_completion_length": 16},
        "limits": {"soft_punish_cache": 4, "per_device_eval_batch_size": 4, "eval_steps": 4, "save_steps": 4},
        "batch": {"gradient_accumulation_steps": 1},
        "computing": {"use_vllm": False},
        "parts": {"max_steps": 8},
        "launching": ALONE,
    },
    "10_quantization": {"calibration": {"rows": 20, "held_out": 4, "context": 256}, "asked": FEW, "threads": 1},
    "12_gspo_judge": {
        "counts": {"held_out": 4, "runs": 1, "foreign": 4, "closed": 4},
        "sft": {"gradient_accumulation_steps": 2},
        "rollout": {"max_steps": 8, "generation_batch_size": 16},
        "limits": {"max_completion_length": 24, "soft_punish_cache": 4, "save_steps": 4, "use_vllm": False},
        "optimizer": {"gradient_accumulation_steps": 2},
    },
    "13_openmed": {
        "corpus": {"configs": {"en": 10}, "synthetic": {"corpus1": 20}, "traces": 20},
        "filters": {"packed_length": 1024},
        "sft": {"gradient_accumulation_steps": 8},
        "dpo": {"gradient_accumulation_steps": 2},
        "grpo": {"max_steps": 4, "gradient_accumulation_steps": 2, "save_steps": 2, "use_vllm": False},
        "rollout": {
            "generation_batch_size": 16,
            "num_generations": 4,
            "max_completion_length": 16,
            "soft_punish_cache": 4,
        },
        "choices": {"dpo": {"size": 40}, "rl": {"size": 8}},
        "sampling": {"max_tokens": 40},
        "protocol": {"limit": 2, "batch_size": 4},
        "asked": {"runs": 1, "questions": 2, "conversations": 1, "calls": 4, "attempts": 3, "short": 16},
        "machine": {"launch": ALONE},
    },
}
OPTIONS = {"engine_options": {"replicas": None}}
PAPER = World("paper", SIZES | OPTIONS, LAID_OVER, alone=("engine_options",))
SECTIONS = PAPER.names()
LADDER = [f"{size}-{stage}" for size in ("large", "small") for stage in ("sft1", "sft2", "rl1", "rl2")]
STEPS = [f"qwen3.5-4b-o1-{step}" for step in ("sft", "gspo", "grpo", "dapo")] + ["small-o1-sft", "small-o1-gspo"]
STEPS += [f"{start}-openmed-{step}" for start in ("afm-4.5b", "small") for step in ("sft", "dpo", "grpo", "merged")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with PAPER.project(tmp_path_factory.mktemp("paper")) as project:
        stand_in_rows.write_traces(project.folder / "data" / "tool-traces")
        project.report()
        yield project


def leaves(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("section", PAPER.sections)
def test_nothing_is_laid_over_a_section_that_it_does_not_have(section):
    shipped = set(leaves(PAPER.shipped(section)))
    ours = {path for path in leaves(PAPER.sections[section]) if path[-1] != "num_train_epochs"}
    assert ours <= shipped


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_leaves_a_whole_record(world, section):
    world.require_whole(section)


@pytest.mark.parametrize("name", [*LADDER, *STEPS])
def test_every_stage_leaves_a_checkpoint_in_the_architecture_of_its_parent(world, name):
    folder = world.outputs / "models" / name
    assert list(folder.glob("*.safetensors")) and (folder / "tokenizer.json").is_file()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    start = name.partition("-o1-")[0].partition("-openmed-")[0].partition("-sft")[0].partition("-rl")[0]
    study = PAPER.shipped()
    parent = world.folder / "hub" / "models" / study["models"][study["targets"].get(start, start)]["path"]
    assert config["architectures"] == json.loads((parent / "config.json").read_text(encoding="utf-8"))["architectures"]


def test_the_judge_of_the_sister_recipe_is_asked_at_its_endpoint(world):
    assert {one["model"] for one in world.asked} == {"deepseek-chat"}


def test_the_harness_scores_every_stage_on_its_own_tasks(world):
    card = world.record("13_openmed").tables["card"]["csv"]
    rows = list(csv.DictReader((world.outputs / "13_openmed" / card).open(encoding="utf-8")))
    assert [row["Benchmark"] for row in rows] == ["MMLU", "MMLU-Pro", "IFEVAL"]
    assert all(0 <= float(row[stage]) <= 100 for row in rows for stage in ("base", "sft", "dpo", "rl", "merged"))


def test_the_site_has_every_section_and_shows_no_text_of_a_model_as_it_stands(world):
    world.require_site(SECTIONS)


def test_a_checkpoint_states_the_licence_of_what_it_was_trained_on(world):
    stated = {name: metadata_load(world.outputs / "models" / name / "README.md") for name in (*LADDER, *STEPS)}
    trained = {stated[name]["license_name"] for name in ("large-sft1", "small-sft2")}
    assert trained == {"cc-by-nc-4.0-and-not-stated"}  # Genesis and consultations
    assert {stated[name]["license_name"] for name in ("large-rl1", "small-rl2")} == {"cc-by-nc-4.0-and-not-stated"}
    assert stated["qwen3.5-4b-o1-gspo"]["license"] == "apache-2.0"
    assert stated["small-openmed-merged"]["license"] == "other"  # the user's own traces
