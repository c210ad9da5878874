"""A card states the most restrictive licence of all that went into a model or corpus, and names what it cannot rank."""

from dataclasses import replace

import pytest
from case_rows import cases
from huggingface_hub import ModelCard, metadata_load
from medpsy import licences
from medpsy.study import ModelSpec
from medpsy.training.save import model_card
from training_examples import corpus, job

QWEN = {"Qwen/Qwen3-1.7B": "Apache-2.0"}
GENESIS = {"qvac/GenesisI": "CC-BY-NC-4.0"}


@pytest.mark.parametrize(("given", "stated"), cases("licences_stated", "given", "stated"))
def test_the_most_restrictive_licence_is_stated(tmp_path, given, stated):
    made_of = {f"source {number}": licence for number, licence in enumerate(given)}
    licences.write_card(tmp_path, made_of, "# A corpus", library_name="transformers")
    card = tmp_path / "README.md"
    assert metadata_load(card) == stated | {"library_name": "transformers"} and "# A corpus" in card.read_text()
    assert all(f"| {name} | {licence} |" in card.read_text() for name, licence in made_of.items())
    assert licences.of_folder(tmp_path) == made_of


@pytest.mark.parametrize(
    ("model", "want"),
    [
        (ModelSpec("mine", "Qwen/Qwen3-1.7B"), QWEN),
        (ModelSpec("mine", "someone/copy", family="qwen3"), {"someone/copy": "Apache-2.0"}),
        (ModelSpec("mine", "someone/other"), {"someone/other": "not stated"}),
        (ModelSpec("mine", "models/made", family="qwen3"), QWEN | GENESIS),
        (ModelSpec("mine", "models/carded"), {"mine": "MIT"}),
        (ModelSpec("mine", "models/bare"), {"mine": "not stated"}),
    ],
)
def test_a_model_is_known_by_what_it_was_made_of_its_family_or_its_card(tmp_path, model, want):
    for name in ("made", "carded", "bare"):
        (tmp_path / "models" / name).mkdir(parents=True)
    licences.write(tmp_path / "models/made", QWEN | GENESIS)
    (tmp_path / "models/carded/README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    assert licences.of_model(replace(model, root=tmp_path)) == want


def test_a_checkpoint_inherits_the_licences_of_its_backbone_its_parent_and_its_data(tmp_path):
    numbers = {"key": "abc", "parent": "base", "steps": 5, "tokens": 100, "seconds": 2.0}
    one = replace(job(tmp_path, corpus(tmp_path / "corpus1")), made_of=QWEN)
    assert one.licences() == QWEN | {"corpus1": "not stated"}
    licences.write(tmp_path / "corpus1", {"GBaker/MedQA-USMLE-4-options": "CC-BY-4.0"})
    assert ModelCard(model_card(one, numbers)).data.license == "cc-by-4.0"
    (tmp_path / "sft1").mkdir()
    licences.write(tmp_path / "sft1", QWEN | GENESIS)
    card = ModelCard(model_card(replace(one, parent=str(tmp_path / "sft1")), numbers))
    assert card.data.license == "cc-by-nc-4.0" and "| qvac/GenesisI | CC-BY-NC-4.0 |" in card.text
