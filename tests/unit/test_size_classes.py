"""The ladders and classes of models that parameters name: what is refused, and what must be run first."""

from dataclasses import replace

import pytest
from case_rows import cases
from medpsy import size_classes, strict, study

CLASSES = {
    "large": ["large-rl2", "teacher-broad", "qwen3-large", "smollm3-large"],
    "small": ["small-rl2", "smollm3-large", "qwen3-small", "lfm2-small"],
}
TABLES = {"large": "table06_stages_4b", "small": "table05_stages_1p7b"}


def models(size="large"):
    return {"backbone": f"qwen3-{size}"} | {stage: f"{size}-{stage}" for stage in study.STAGES}


STAGES = {stage: {size: models(size)[stage] for size in TABLES} for stage in models()}


@pytest.fixture
def trained(tmp_path):
    """The miniature's study with a folder for every checkpoint, whole."""
    own = replace(study.load("mini"), root=tmp_path)
    for name in [name for size in TABLES for name in models(size).values() if not name.startswith("qwen3")]:
        folder = tmp_path / "outputs" / "mini" / "models" / name
        folder.mkdir(parents=True)
        [(folder / file).touch() for file in study.WHOLE]
    return own


def test_ladders_name_the_models_of_each_class_in_the_order_of_training(trained):
    found = size_classes.by_stage(trained, dict(reversed(STAGES.items())), TABLES)
    wanted = {size: [*models(size).items()] for size in TABLES}
    assert {size: [*ladder.models.items()] for size, ladder in found.items()} == wanted


def test_a_checkpoint_that_is_not_whole_names_the_section_to_run_first(trained, monkeypatch):
    (trained.models_dir / "small-rl1" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="'small-rl1'.*no model.safetensors; run section 05_rl first"):
        size_classes.by_stage(trained, STAGES, TABLES)
    monkeypatch.setenv("MEDPSY_REPLAY", "1")
    assert size_classes.by_stage(trained, STAGES, TABLES)  # a replay reads stored responses and needs no weights


@pytest.mark.parametrize(("changes", "tables", "words"), cases("ladders", "changes", "tables", "words"))
def test_a_ladder_that_cannot_be_meant_is_refused(trained, changes, tables, words):
    with pytest.raises(strict.SettingsError, match=words):
        size_classes.by_stage(trained, STAGES | changes, TABLES | tables)


@pytest.mark.parametrize(("changes", "words"), cases("classes", "changes", "words"))
def test_classes_that_cannot_be_meant_are_refused(trained, changes, words):
    with pytest.raises(ValueError, match=words):
        size_classes.by_role(trained, {} if changes is None else CLASSES | changes)


def test_a_model_that_is_not_run_is_left_out(trained, monkeypatch):
    monkeypatch.setenv("MEDPSY_REPLAY", "1")  # needs no weights
    models = size_classes.by_role(trained, CLASSES | {"large": ["large-rl2", "", "qwen3-large", "smollm3-large"]})
    large, small = (models[models["size"] == size].set_index("role") for size in CLASSES)
    assert large["model"].to_dict() == {"final": "large-rl2", "backbone": "qwen3-large", "other": "smollm3-large"}
    assert small.loc["rival", ["row", "model"]].tolist() == ["MedGemma-1.5-4B-it", "smollm3-large"]
