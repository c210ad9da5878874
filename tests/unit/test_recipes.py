"""Steps of the sister recipes as jobs: their names, parents, data and judges, and how the study finds them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from medpsy.training import recipe_job
from medpsy.training.data import write
from medpsy.training.rewards import Judge, Tier
from test_judge_reward import QUESTIONS
from training_examples import CONFIG, HUB, corpus, rooted

SFT = {name: value for name, value in CONFIG.items() if name != "seed"}
TIERS = (Tier("It says {reference}", 2.0), Tier("It is sound", 0.5))
JUDGE = Judge("judge-strict", TIERS, otherwise=-1.0, no_conclusion=-1.0)
RL = {
    "generation_batch_size": 8, "num_generations": 4, "per_device_train_batch_size": 2, "max_completion_length": 32,
    "soft_punish_cache": 8, "max_prompt_length": 128, "save_steps": 4, "max_steps": 12, "bf16": False,
    "importance_sampling_level": "sequence", "loss_type": "grpo", "reward_weights": [1.0, 0.0],
}  # fmt: skip
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """The miniature's study with outputs of its own."""
    return rooted(tmp_path, monkeypatch)


def gspo(mini, name="small-o1-gspo", parent="small-o1-sft", judge=JUDGE, lora=LORA, **changes):
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-o1-sft", dirs_exist_ok=True)
    file = write(mini.outputs / "questions.parquet", QUESTIONS)
    how = {"config": {**RL, **changes}, "judge": judge, "lora": lora}
    return recipe_job(mini, name, parent=parent, method="rl", data=[file], **how)


def test_a_step_starts_where_the_one_before_it_ended_and_the_study_finds_it(mini):
    backbone = mini.model("qwen3-small")
    data = [corpus(mini.outputs / "o1")]
    first = recipe_job(mini, "small-o1-sft", parent=backbone, method="sft", config=SFT, data=data)
    second = gspo(mini)
    assert Path(first.parent).samefile(HUB / "qwen3-small")
    assert second.parent == first.folder == str(mini.models_dir / "small-o1-sft")
    assert mini.model("small-o1-gspo").local_dir == Path(second.folder)
    assert mini.model("small-o1-gspo").label == "Qwen3 small, o1 gspo"
    assert first.config["seed"] == mini.seed and not first.lora and not first.judge and second.lora == LORA
    other = gspo(mini, "small-o1-gspo-s8")  # another seed is part of the name
    assert other.config["seed"] == 8 and mini.model(other.name).label == "Qwen3 small, o1 gspo, seed 8"
    assert mini.model("qwen3-small-openmed-merge").local_dir == mini.models_dir / "qwen3-small-openmed-merge"


def test_whatever_decides_a_judges_verdict_is_in_the_key(mini):
    one = gspo(mini)
    assert one.judge["attempts"] == mini.judge_attempts and one.judge["sampling"]["temperature"] == 0.5
    other = gspo(mini, judge=replace(JUDGE, model="judge-lenient"))
    again = gspo(mini, judge=replace(JUDGE, otherwise=0.0))
    assert len({one.judge["fingerprint"], other.judge["fingerprint"]}) == 2
    assert len({one.key(), other.key(), again.key(), gspo(mini).key()}) == 3


SLIPS = {
    "judge-stern": {"judge": replace(JUDGE, model="judge-stern")},
    "12_gspo_judge.yaml: lora.rang: LoraConfig has no such argument": {"lora": {**LORA, "rang": 4}},
    "lora.r: 4.5 must be a whole number": {"lora": {**LORA, "r": 4.5}},
    "lora.lora_dropout: 0.1 would change the ratios": {"lora": {**LORA, "lora_dropout": 0.1}},
    "dapo weighs responses by length": {"loss_type": "dapo"},
    "gspo.max_step: DapoConfig has no such argument; did you mean 'max_steps'": {"max_step": 3},
    "gspo.seed: leave it out": {"seed": 3},
    "with a judge it is false": {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 4},
}


def test_a_slip_in_the_settings_is_named_with_its_place_and_names_and_parents_are_checked(mini):
    for words, changes in SLIPS.items():
        with pytest.raises(ValueError, match=words):
            gspo(mini, **changes)
    how = {"method": "sft", "config": SFT, "data": [corpus(mini.outputs / "o1")]}
    for name in ("small-o2-gspo", "tiny-o1-gspo", "small-o1", "small-o1-", "small-sft9"):
        with pytest.raises(ValueError, match="is not in params/mini/study.yaml"):
            mini.model(name)
    with pytest.raises(ValueError, match="must be <size>-<recipe>-<step>"):
        recipe_job(mini, "small-sft1", parent="qwen3-small", **how)
    with pytest.raises(ValueError, match="gemma3-small is a Gemma3ForCausalLM, its backbone qwen3-small a Qwen3"):
        recipe_job(mini, "small-o1-sft", parent="gemma3-small", **how)
