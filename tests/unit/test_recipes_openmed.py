"""The steps of the OpenMed recipe: their names, and their settings in every profile that trains."""

import dataclasses
import json

import pytest
from medpsy import claims, evaluate, published, strict, study, training
from medpsy.corpus.filters import Filters
from medpsy.harness import BENCHMARKS, Settings, mini_files
from medpsy.planning.costs import backbone_of
from medpsy.recipes.openmed import GRPO, MERGES, openmed_trainings, require_methods
from medpsy.training.config import CONFIGS, check

MINI = study.load("mini")


def test_the_recipe_is_run_once_on_every_backbone_that_card_and_comparison_need():
    methods = ["small-rl2", "small-o1-gspo", "small-openmed-merged"]
    (alone,) = openmed_trainings(MINI, methods)
    assert alone["base"] == "qwen3-small" and alone["rl"] == "small-openmed-grpo"
    assert {alone[name] for name in MERGES} == {f"small-openmed-{name}" for name in ("merged", "linear", "slerp")}
    assert all(MINI.model(name).path.startswith("outputs/") for part, name in alone.items() if part != "base")
    compared, card = openmed_trainings(MINI, [*methods, "qwen3-large-openmed-merged"])
    assert compared == alone and card["base"] == "qwen3-large"
    with pytest.raises(ValueError, match="methods: none is this recipe's"):
        openmed_trainings(MINI, methods[:2])
    with pytest.raises(ValueError, match="'tiny' is not in"):
        openmed_trainings(MINI, ["tiny-openmed-merged"])


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_every_profile_gives_arguments_that_every_stage_takes_and_compares_methods_on_one_backbone(profile):
    given, loaded = strict.read(study.find_root() / "params" / profile / "13_openmed.yaml"), study.load(profile)
    assert len({backbone_of(loaded, given["methods"][name]) for name in ("MedPsy", "GSPO", "OpenMed")}) == 1
    shared = given["common"] | given["machine"]["compute"]
    for method, groups in {"sft": ["adam", "sft"], "dpo": ["dpo"], "rl": ["grpo", "rollout"]}.items():
        own = shared | {name: value for group in groups for name, value in given[group].items()}
        check(CONFIGS[method], profile, stage=own)
        told = CONFIGS[method](output_dir="x", use_cpu=True, **(GRPO if method == "rl" else {}) | own)
        assert told.gradient_accumulation_steps % given["machine"]["launch"]["processes"] == 0
    strict.build(Filters, given["filters"], strict.Place(profile))
    Settings(**given["protocol"])
    assert openmed_trainings(loaded, given["methods"].values())[0]["merged"] == given["methods"]["OpenMed"]


def test_a_missing_checkpoint_is_told_with_the_section_that_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    mini = dataclasses.replace(MINI, root=tmp_path)
    methods = ["small-rl2", "small-o1-gspo", "small-openmed-merged"]
    for name, section in zip(methods, ("05_rl", "12_gspo_judge"), strict=False):
        with pytest.raises(FileNotFoundError, match=f"'{name}'.* run section {section} first"):
            require_methods(mini, methods)
        (mini.models_dir / name).mkdir(parents=True)
        for file in study.WHOLE:
            (mini.models_dir / name / file).write_text("{}")
    require_methods(mini, methods)
    with pytest.raises(FileNotFoundError, match="'small-rl2' has no record"):
        training.recorded(mini, "small-rl2")
    (mini.models_dir / "small-rl2" / "training.json").write_text(json.dumps({"parent": "small-rl1"}))
    assert training.recorded(mini, "small-rl2") == {"parent": "small-rl1"}
    assert training.recorded(mini, "qwen3-small") is None


def test_documents_of_the_harness_are_the_questions_of_the_suites_in_their_order():
    files = {key: [json.loads(row) for row in raw.splitlines()] for key, raw in mini_files().items() if "jsonl" in key}
    health, pro = (evaluate.questions(MINI, [key], every=True)[key] for key in ("mmlu_health", "mmlu_pro_health"))
    for name in {one.subject for one in health.values()}:
        stems = [one.stem for one in health.values() if one.subject == name]
        assert [row["question"] for row in files[f"mmlu_{name}.jsonl"]] == stems
    assert [row["question"] for row in files["mmlu_pro.jsonl"]] == [one.stem for one in pro.values()]
    assert all(row["options"]["ABCDEFGHIJ".index(row["answer"])] for row in files["mmlu_pro.jsonl"])
    examples = {row["question"] for row in files["mmlu_pro_examples.jsonl"]}
    assert len(examples) == 5 and not examples & {row["question"] for row in files["mmlu_pro.jsonl"]}
    assert len(files["ifeval.jsonl"]) == 48


def test_the_cards_print_the_benchmarks_under_our_titles():
    titles = [one.title for one in BENCHMARKS["mini"]]
    assert list(published.table("openmed_benchmarks").index) == list(claims.cells()["stated"]["rl"]) == titles
    printed = {claim.id: float(claim.number) for claim in published.card_claims() if claim.number is not None}
    assert [printed[claim] for claim in claims.cells()["stated"]["rl"].values()] == [61.40, 33.16, 59.59]
