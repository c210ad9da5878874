"""Steps of the sister recipes as jobs: their names, parents, data and judges, and how the study finds them."""

import shutil
from pathlib import Path

import pytest
from medpsy import strict
from medpsy.training import recipe_job, write_open_questions
from test_dpo import SETTINGS as DPO
from test_judge_reward import QUESTIONS
from training_examples import HUB, SETTINGS, corpus, rooted

SFT = {name: value for name, value in SETTINGS.items() if name != "seed"}
TIERS = [{"criterion": "It says {reference}", "reward": 2.0}, {"criterion": "It is sound", "reward": 0.5}]
RL = {
    "prompts_per_rollout": 2, "group_size": 4, "updates_per_rollout": 4, "micro_batch": 2, "learning_rate": 1e-5,
    "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "max_new_tokens": 32, "overlong_buffer": 8,
    "most_prompt_tokens": 128, "evaluate_every": 1, "held_out_batch": 4, "precision": "float32", "rollouts": 3,
    "checkpointing": False, "ratio": "sequence", "token_level_loss": False, "keep": "last", "reward": "judge",
    "judge": {"model": "judge-strict", "tiers": TIERS, "otherwise": -1.0, "no_conclusion": -1.0},
    "lora": {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["q_proj"]},
}  # fmt: skip


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """The miniature's study with outputs of its own."""
    return rooted(tmp_path, monkeypatch)


def gspo(mini, name="small-o1-gspo", parent="small-o1-sft", **changes):
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-o1-sft", dirs_exist_ok=True)
    file = write_open_questions(mini.outputs / "questions.parquet", QUESTIONS)
    return recipe_job(mini, name, parent=parent, method="rl", settings={**RL, **changes}, data=[file])


def test_a_step_starts_where_the_one_before_it_ended_and_the_study_finds_it(mini):
    backbone = mini.model("qwen3-small")
    data = [corpus(mini.outputs / "o1")]
    first = recipe_job(mini, "small-o1-sft", parent=backbone, method="sft", settings=SFT, data=data)
    second = gspo(mini)
    assert Path(first.parent).samefile(HUB / "qwen3-small")
    assert second.parent == first.folder == str(mini.models_dir / "small-o1-sft")
    assert mini.model("small-o1-gspo").local_dir == Path(second.folder)
    assert mini.model("small-o1-gspo").label == "Qwen3 small, o1 gspo"
    assert first.settings["seed"] == mini.seed and first.settings["lora"] is None


def test_another_seed_is_part_of_the_name(mini):
    one = gspo(mini, "small-o1-gspo-s8")
    assert one.settings["seed"] == 8 and mini.model(one.name).label == "Qwen3 small, o1 gspo, seed 8"
    assert mini.model("qwen3-small-openmed-merge").local_dir == mini.models_dir / "qwen3-small-openmed-merge"


@pytest.mark.parametrize("name", ["small-o2-gspo", "tiny-o1-gspo", "small-o1", "small-o1-", "small-sft9"])
def test_an_unknown_name_is_still_an_error(mini, name):
    with pytest.raises(ValueError, match="is not in params/mini/study.yaml"):
        mini.model(name)


def test_old_names_mean_what_they_meant(mini):
    assert mini.model("small-sft1-seed8").label == "Qwen3 small, sft1, seed8"
    assert mini.model("large-rl2").local_dir == mini.models_dir / "large-rl2"


def test_whatever_decides_a_judges_verdict_is_in_the_key(mini):
    one = gspo(mini)
    assert one.judge["attempts"] == mini.judge_attempts and one.judge["sampling"]["temperature"] == 0.5
    other = gspo(mini, judge={**RL["judge"], "model": "judge-lenient"})
    again = gspo(mini, judge={**RL["judge"], "otherwise": 0.0})
    assert len({one.judge["fingerprint"], other.judge["fingerprint"]}) == 2
    assert len({one.key(), other.key(), again.key(), gspo(mini).key()}) == 3
    assert not recipe_job(
        mini, "small-o1-sft", parent="qwen3-small", method="sft", settings=SFT, data=[corpus(mini.outputs / "o1")]
    ).judge


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge": {**RL["judge"], "model": "judge-stern"}}, "judge-stern"),
        ({"judge": {**RL["judge"], "tiers": [{"criterion": "x"}]}}, r"12_gspo_judge.yaml: gspo.judge.tiers.0.reward"),
        ({"lora": {**RL["lora"], "rang": 4}}, "gspo.lora.rang: unknown key; did you mean 'rank'"),
        ({"lora": {**RL["lora"], "rank": 4.5}}, "must be a whole number"),
        ({"token_level_loss": True}, "set token_level_loss: false"),
        ({"seed": 3}, "gspo.seed: unknown key"),
    ],
)
def test_a_slip_in_the_settings_is_named_with_its_place(mini, changes, words):
    with pytest.raises(ValueError, match=words):
        gspo(mini, **changes)


def test_names_methods_parents_and_data_that_cannot_be_meant_are_refused(mini):
    rows = {"data": [corpus(mini.outputs / "o1")]}
    with pytest.raises(ValueError, match="it must be <size>-<recipe>-<step>"):
        recipe_job(mini, "small-sft1", parent="qwen3-small", method="sft", settings=SFT, **rows)
    with pytest.raises(strict.SettingsError, match="did you mean 'dpo'"):
        recipe_job(mini, "small-openmed-dpo", parent="qwen3-small", method="dpoo", settings=DPO, **rows)
    with pytest.raises(FileNotFoundError, match=r"none.parquet is not there"):
        recipe_job(
            mini, "small-o1-sft", parent="qwen3-small", method="sft", settings=SFT, data=[Path("x/none.parquet")]
        )
    with pytest.raises(ValueError, match="2 files of data; rl reads 1 here"):
        recipe_job(mini, "small-o1-gspo", parent="qwen3-small", method="rl", settings=RL, data=rows["data"] * 2)
    with pytest.raises(ValueError, match="gemma3-small is a Gemma3ForCausalLM, its backbone qwen3-small a Qwen3"):
        recipe_job(mini, "small-o1-sft", parent="gemma3-small", method="sft", settings=SFT, **rows)
