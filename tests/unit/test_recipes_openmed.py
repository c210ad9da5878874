"""The steps of the OpenMed recipe: their names, and their settings in every profile that trains."""

import pytest
from medpsy import strict, study
from medpsy.corpus.recipe import Filters
from medpsy.harness import Settings
from medpsy.recipes import MERGES, openmed_parts, openmed_stages, openmed_trainings
from medpsy.report.compared import backbone_of
from medpsy.training.recipes import SETTINGS

METHODS = {"sft": ("sft", ("adam", "sft")), "dpo": ("dpo", ("dpo",)), "rl": ("rl", ("grpo", "rollout"))}


def test_the_study_finds_every_part_under_its_name():
    mini = study.load("mini")
    parts = openmed_parts(mini, "small-openmed-merged")
    assert parts["base"] == "qwen3-small" and parts["rl"] == "small-openmed-grpo"
    assert {parts[name] for name in MERGES} == {f"small-openmed-{name}" for name in ("merged", "linear", "slerp")}
    assert all(mini.model(name).path.startswith("outputs/") for part, name in parts.items() if part != "base")
    assert openmed_parts(study.load("paper"), "afm-4.5b-openmed-merged")["sft"] == "afm-4.5b-openmed-sft"
    with pytest.raises(ValueError, match="'tiny' is not in"):
        openmed_parts(mini, "tiny-openmed-merged")
    with pytest.raises(ValueError, match="'small-rl2' is none of this recipe's"):
        openmed_parts(mini, "small-rl2")


def test_the_recipe_is_run_once_on_every_backbone_that_card_and_comparison_need():
    mini, methods = study.load("mini"), ["small-rl2", "small-o1-gspo", "small-openmed-merged"]
    (alone,) = openmed_trainings(mini, methods)
    compared, card = openmed_trainings(mini, [*methods, "qwen3-large-openmed-merged"])
    assert compared == alone == openmed_parts(mini, "small-openmed-merged") and card["base"] == "qwen3-large"
    with pytest.raises(ValueError, match="methods: none is this recipe's"):
        openmed_trainings(mini, methods[:2])


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_every_profile_compares_the_methods_on_one_backbone(profile):
    given, one = strict.read(study.ROOT / "params" / profile / "13_openmed.yaml"), study.load(profile)
    assert len({backbone_of(one, given["methods"][name]) for name in ("MedPsy", "GSPO", "OpenMed")}) == 1


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_every_profile_gives_settings_that_every_stage_takes(profile):
    given = strict.read(study.ROOT / "params" / profile / "13_openmed.yaml")
    length, place = given["filters"]["packed_length"], strict.Place(profile)
    lengths = {"sft": {"packed_length": length}, "dpo": {"max_length": length}, "rl": {"most_prompt_tokens": length}}
    for part, (method, groups) in METHODS.items():
        own = openmed_stages(given["common"], given["machine"]["compute"])[part] | lengths[part]
        for group in groups:
            own |= given[group]
        made = strict.build(SETTINGS[method], own, place, seed=7)
        assert made.accumulation(given["machine"]["launch"]["processes"]) >= 1
    strict.build(Filters, given["filters"], place)
    Settings(**given["protocol"])
    assert openmed_trainings(study.load(profile), given["methods"].values())[0]["merged"] == given["methods"]["OpenMed"]


def test_the_rl_stage_is_plain_grpo_with_a_penalty_for_length():
    given = strict.read(study.ROOT / "params" / "mini" / "13_openmed.yaml")
    own = openmed_stages(given["common"], given["machine"]["compute"])["rl"] | given["grpo"] | given["rollout"]
    own |= {"most_prompt_tokens": 512}
    made = strict.build(SETTINGS["rl"], own, strict.Place("mini"), seed=7)
    assert (made.ratio, made.reward, made.keep) == ("token", "answer", "last")
    dapo = (made.token_level_loss, made.no_kl, made.clip_higher, made.dynamic_sampling)
    assert not any(dapo) and made.overlong_penalty


def test_a_setting_that_no_stage_has_is_refused():
    with pytest.raises(ValueError, match="no stage has a setting 'save_evry'"):
        openmed_stages({"clip": 1.0, "save_evry": 50})
