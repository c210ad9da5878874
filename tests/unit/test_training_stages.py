"""Stages as jobs: what each starts from and reads, what is refused, what is forecast, and what the tables say of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from medpsy import study, training
from medpsy.training import flops, loss_findings, rl_jobs, rl_set, sft_jobs, stages, switch_jobs
from medpsy.training.config import DapoConfig, arguments
from medpsy.training.flops import flops_per_token, memory, shape
from medpsy.training.save import model_card
from medpsy.training.stages import PARTS, scored
from training_examples import CONFIG, HUB, corpus, defined, job, rooted
from trl import SFTConfig

SFT = SFTConfig(output_dir="x", use_cpu=True, **CONFIG)
RL = DapoConfig(
    output_dir="x", use_cpu=True, generation_batch_size=8, num_generations=4, per_device_train_batch_size=4,
    max_completion_length=32, soft_punish_cache=8, max_prompt_length=128, save_steps=2, bf16=False,
    gradient_checkpointing=False, max_steps=6, epsilon_high=0.28, reward_weights=[1.0, 0.0, 1.0],
)  # fmt: skip
FORECAST = ["name", "rows", "tokens", "steps", "seconds", "memory_gib"]


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """The miniature's study with outputs of its own and a corpus of a few rows for each stage."""
    settings = rooted(tmp_path, monkeypatch)
    for name in ("corpus1", "corpus2"):
        corpus(settings.corpora_dir / name)
    return settings


@pytest.fixture
def annotated():
    """Attempts of the small target: two questions easy, one moderate, four difficult."""
    known = rl_set(study.load("mini"), size=7, held_out=4, seed=1)
    levels = ["easy", "easy", "moderate", "difficult", "difficult", "difficult", "difficult"]
    frame = pd.DataFrame({"question_id": [one.id for one in known.train], "level": levels, "attempts": 5, "right": 0})
    more = {"model": "small-sft2", "label": "Small, sft2", "size": "small", "seed": 7}
    return known, frame.assign(prompt_tokens=60, completion_tokens=80.0, **more)


def test_a_stage_starts_where_the_one_before_it_ended_and_reads_its_own_corpus(mini):
    large, small = sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])
    assert [one.name for one in large + small] == ["large-sft1", "large-sft2", "small-sft1", "small-sft2"]
    assert Path(small[0].parent).name == "qwen3-small" and small[1].parent == small[0].folder
    assert [Path(one.data[0]).parent.name for one in small] == ["corpus1", "corpus2"]
    assert large[0].opens_thinking and not small[0].opens_thinking
    *_, second = sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7, 8])  # which has checkpoints of its own
    assert second[1].name == "small-sft2-seed8" and second[1].parent == second[0].folder != small[0].folder
    assert mini.model("small-sft2-seed8").local_dir == Path(second[1].folder)


def test_what_cannot_be_trained_is_refused_with_what_to_do(mini):
    with pytest.raises(ValueError, match="nothing is trained in this profile"):
        stages.targets(replace(mini, targets={}), [7])
    with pytest.raises(ValueError, match="must name each seed once"):
        stages.targets(mini, [7, 7])
    shutil.copytree(HUB / "gemma3-small", mini.models_dir / "small-sft1")
    with pytest.raises(ValueError, match="small-sft1 is a Gemma3ForCausalLM, its backbone qwen3-small a Qwen3For"):
        sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])
    shutil.rmtree(mini.corpora_dir / "corpus2")
    with pytest.raises(FileNotFoundError, match="corpus2 is not there; run 03_training_data"):
        sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])


def test_the_forecast_of_sft_counts_the_rows_of_the_corpus_over_all_epochs(mini, monkeypatch):
    monkeypatch.setattr(flops, "ceiling", lambda precision: 1e11)
    sequences = sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])
    jobs, tokens = [one for sequence in sequences for one in sequence], 2 * 12 * 40  # epochs, rows, tokens of a row
    names = {"pd": pd, "flops": flops, "mfu": 0.2, "launching": {"processes": 2}, "sequences": sequences}
    names |= {"configs": {"sft1": SFT}, "config_of": {one.name: SFT for one in jobs}}
    forecast = pd.DataFrame(defined("04_sft", "costs", **names)(), columns=FORECAST)
    assert list(forecast["tokens"]) == [tokens] * 4 and forecast["memory_gib"].between(0.5, 2).all()
    each = [flops.flops_per_token(flops.model_shape(jobs[at].parent), 40) for at in (0, 0, 2, 2)]  # of two backbones
    assert list(forecast["seconds"]) == pytest.approx([tokens * one / (1e11 * 0.2 * 2) for one in each])


def test_operations_and_memory_are_those_of_the_cited_formulas():
    one = shape({"num_attention_heads": 4, "hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100}, 1000)
    assert flops_per_token(one, 0) == 6000 and flops_per_token(one, 10) == 6000 + 12 * 3 * 64 * 10
    whole = memory(one, 1 << 20, checkpointing=False) - memory(one, 0, checkpointing=False)
    assert whole == pytest.approx(34 * 64 * 3 * (1 << 20) / 2**30)
    assert memory(one, 1 << 20, checkpointing=True) < memory(one, 1 << 20, checkpointing=False)


@pytest.fixture
def small(mini):
    """The study with its small target alone, which has the checkpoint that RL starts from."""
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-sft2")
    return replace(mini, targets={"small": "qwen3-small"})


def test_rl_stages_ask_what_is_chosen_and_hold_out_the_rest(small, annotated):
    known, frame = annotated
    learnable = frame[frame["level"] != "difficult"].iloc[::-1]
    ((first,),) = rl_jobs(small, "rl1", RL, learnable, known, [7])
    assert pd.read_parquet(first.data[0])["id"].tolist() == frame["question_id"].tolist()[:3]
    assert len(pd.read_parquet(first.data[1])) == len(known.held_out)
    with pytest.raises(ValueError, match="small-rl1: none of 7 questions is chosen"):
        rl_jobs(small, "rl1", RL, frame[:0], known, [7])


def test_the_forecast_of_rl_shares_the_work_and_the_memory_among_processes(small, annotated):
    (small.models_dir / "small-sft2/training.json").write_text('{"tokens_per_second": 2000.0, "processes": 2}')
    ((one,),) = rl_jobs(small, "rl1", RL, annotated[1], annotated[0], [7])
    names = {"pd": pd, "arguments": arguments, "memory": memory, "model_shape": flops.model_shape, "settings": small}
    names |= {"training": training, "sampled_per_second": 500.0, "launching": {"processes": 2}}
    row = dict(zip(FORECAST, defined("05_rl", "costs", **names)(one, 140.0), strict=True))
    tokens = 3 * 8 * 140  # rollouts, responses, tokens of a prompt and a response
    assert (row["rows"], row["steps"], row["tokens"]) == (7, 6, tokens)
    assert row["seconds"] == pytest.approx(tokens / 2 * (1 / 500 + 1 / 1000))
    held = RL.per_device_train_batch_size * 140
    assert row["memory_gib"] == memory(flops.model_shape(one.parent), held, checkpointing=False, processes=2)


def test_every_part_of_dapo_is_left_out_once_and_the_first_run_has_all(small, annotated):
    known, frame = annotated
    ((stage,),) = rl_jobs(small, "rl1", RL, frame.assign(seed=8), known, [8])
    jobs = switch_jobs(small, RL, stage)
    every = arguments(jobs["all"]).to_dict()
    assert every["seed"] == 8
    for part, changed in PARTS.items():
        told = arguments(jobs[part]).to_dict()
        assert {name: told[name] for name in told if told[name] != every[name] and name != "output_dir"} == changed
    assert len({one.folder for one in jobs.values()}) == 6 and "switches" in jobs["all"].folder
    with pytest.raises(ValueError, match="clip_higher is off already"):
        switch_jobs(small, replace(RL, steps_per_generation=None, epsilon_high=0.2), stage)


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ([2.0 / step for step in range(2, 42)], "pattern holds"),
        ([1.0 + 0.1 * (step % 2) for step in range(40)], "too few to tell"),
        ([1.0], "too few to tell"),
    ],
)
def test_a_loss_that_does_not_fall_is_not_said_to_fall(losses, status):
    (finding,) = loss_findings({"small-sft1": {"log": [{"loss": loss} for loss in losses]}})
    assert finding["verdict"] == status


def test_scores_are_entered_into_a_card_once(tmp_path):
    one = job(tmp_path, corpus(tmp_path / "corpus1"))
    text = model_card(one, {"key": "abc", "parent": "base", "steps": 5, "tokens": 100, "seconds": 2.0})
    for score in (40.0, 50.0):
        text = scored(ModelCard(text), one.name, {"Average": (score, 4.0)})
    assert "| Average | 50.0 ± 4.0 |" in text and "40.0" not in text and text.count("## Limits") == 1
