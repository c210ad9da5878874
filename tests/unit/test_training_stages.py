"""Stages as jobs: what each starts from and reads, what is refused, what is forecast, and what the tables say of it."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from medpsy import report, strict, study
from medpsy.training import rl_forecast, rl_jobs, rl_set, seen, sft_forecast, sft_jobs, stages, switch_jobs
from medpsy.training.card import enter_scores, model_card
from medpsy.training.effort import flops_per_token, memory, shape
from medpsy.training.sft_settings import SftSettings
from medpsy.training.switches import PARTS
from training_examples import HUB, SETTINGS, corpus, job, rooted

SFT = {name: value for name, value in SETTINGS.items() if name != "seed"}
RL = {
    "prompts_per_rollout": 2, "group_size": 4, "updates_per_rollout": 2, "micro_batch": 4, "learning_rate": 1e-5,
    "warmup": 0, "weight_decay": 0.0, "clip": 1.0, "max_new_tokens": 32, "overlong_buffer": 8,
    "most_prompt_tokens": 128, "evaluate_every": 1, "held_out_batch": 4, "precision": "float32",
    "checkpointing": False, "rollouts": 3,
}  # fmt: skip


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


def test_a_second_seed_has_checkpoints_of_its_own(mini):
    first, second = sft_jobs(replace(mini, targets={"small": "qwen3-small"}), {"sft1": SFT, "sft2": SFT}, [7, 8])
    assert (first[1].name, second[1].name) == ("small-sft2", "small-sft2-seed8")
    assert second[1].parent == second[0].folder != first[0].folder
    assert mini.model("small-sft2-seed8").local_dir == Path(second[1].folder)


@pytest.mark.parametrize(
    ("given", "seeds", "words"),
    [
        ({"sft1": SFT}, [7], "must be"),
        ({"sft1": SFT, "sft2": {**SFT, "epoch": 3.0}}, [7], "did you mean 'epochs'"),
        ({"sft1": SFT, "sft2": {**SFT, "clip": "one"}}, [7], "clip"),
        ({"sft1": SFT, "sft2": SFT}, [], "at least one"),
        ({"sft1": SFT, "sft2": SFT}, [7, 7], "once"),
    ],
)
def test_a_slip_in_the_stages_is_named(mini, given, seeds, words):
    with pytest.raises((strict.SettingsError, ValueError), match=words):
        sft_jobs(mini, given, seeds)


def test_a_profile_without_targets_trains_nothing(mini):
    with pytest.raises(ValueError, match="nothing is trained in this profile"):
        stages.targets(replace(mini, targets={}), [7])


def test_a_missing_corpus_names_its_section(mini):
    shutil.rmtree(mini.corpora_dir / "corpus2")
    with pytest.raises(FileNotFoundError, match="corpus2 is not there; run 03_training_data"):
        sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])


def test_a_checkpoint_of_another_architecture_is_refused(mini):
    shutil.copytree(HUB / "gemma3-small", mini.models_dir / "small-sft1")
    with pytest.raises(
        ValueError, match="small-sft1 is a Gemma3ForCausalLM, its backbone qwen3-small a Qwen3ForCausalLM"
    ):
        sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])


def test_the_forecast_counts_the_rows_of_the_corpus_over_all_epochs(mini, monkeypatch):
    monkeypatch.setattr(stages, "ceiling", lambda precision: 1e11)
    forecast = sft_forecast(mini, sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7]), mfu=0.1)
    assert list(forecast["tokens"]) == [2 * 12 * 40] * 4  # epochs, rows, tokens of a row
    assert (forecast["seconds"] > 0).all() and forecast["memory_gib"].between(0.5, 2).all()
    twice = sft_forecast(mini, sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7]), mfu=0.2)
    assert list(2 * twice["seconds"]) == pytest.approx(list(forecast["seconds"]))


def test_operations_and_memory_are_those_of_the_cited_formulas():
    one = shape({"num_attention_heads": 4, "hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100}, 1000)
    assert flops_per_token(one, 0) == 6000 and flops_per_token(one, 10) == 6000 + 12 * 3 * 64 * 10
    whole = memory(one, 1 << 20, checkpointing=False) - memory(one, 0, checkpointing=False)
    assert whole == pytest.approx(34 * 64 * 3 * (1 << 20) / 2**30)
    assert memory(one, 1 << 20, checkpointing=True) < memory(one, 1 << 20, checkpointing=False)


def test_what_the_targets_see_is_shown_for_both_templates(mini):
    large, small = seen(mini, sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7]))
    assert large["Prompt ends"].endswith("<think>⏎") and small["Completion begins"].startswith("<think>⏎Recall")
    assert large["Completion ends"].endswith("<|im_end|>") and small["Tokens under the loss"] > 0
    assert "Template opens thinking" in report.template_table([large, small]).columns


def test_rl_stages_take_the_questions_of_the_report(mini, annotated):
    known, frame = annotated
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-sft2")
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-rl1")
    first, second = (rl_jobs(mini, stage, RL, frame, known)[0][0] for stage in ("rl1", "rl2"))
    asked = [pd.read_parquet(one.data[0])["id"].tolist() for one in (first, second)]
    levels = frame.set_index("question_id")["level"]
    assert sorted(levels[asked[0]]) == ["easy", "easy", "moderate"]
    assert sorted(levels[asked[1]] == "difficult") == [False, False, True, True, True, True]  # right : wrong is 1 : 2
    assert len(pd.read_parquet(first.data[1])) == len(known.held_out)
    forecast = rl_forecast(mini, [[first], [second]], frame, sampled_per_second=1000.0)
    assert list(forecast["steps"]) == [6, 6] and list(forecast["tokens"]) == [3 * 8 * 140] * 2


def test_every_part_of_dapo_is_off_once_and_the_first_run_has_all(mini, annotated):
    known, frame = annotated
    shutil.copytree(HUB / "qwen3-small", mini.models_dir / "small-sft2")
    jobs = [one for jobs in switch_jobs(mini, RL, frame, known, beside=2) for one in jobs]
    off = {one.name: [part for part in PARTS if not one.settings[part]] for one in jobs}
    assert off.pop("small-rl1-all") == [] and sorted(sum(off.values(), [])) == sorted(PARTS)
    assert len({one.folder for one in jobs}) == 6 and "switches" in jobs[0].folder
    with pytest.raises(ValueError, match="no_kl is off already"):
        switch_jobs(mini, {**RL, "no_kl": False}, frame, known, beside=2)


def records():
    log = [{"step": step, "loss": 2.0 / (1 + step), "num_tokens": 10 * step, "seconds": step} for step in range(1, 41)]
    numbers = {"settings": {"report_to": ["tensorboard"], "clip": 1.0}, "log": log, "tokens": 400, "steps": 40}
    numbers |= {"seconds": 40.0, "memory_gib": 1.0, "tokens_per_second": 10.0, "mfu": 0.2}
    flat = [{**row, "loss": 1.0 + 0.1 * (row["step"] % 2)} for row in log]
    return {"large-sft1": numbers, "small-sft1": numbers | {"log": flat}}


def test_a_loss_that_does_not_fall_is_not_said_to_fall():
    falls, stays = report.loss_verdicts(records())
    assert (falls["verdict"], stays["verdict"]) == ("pattern holds", "too few to tell")
    short = {"x": {"log": [{"loss": 1.0}]}}
    assert report.loss_verdicts(short)[0]["verdict"] == "too few to tell"


def test_the_cost_table_sets_the_forecast_beside_what_came():
    forecast = pd.DataFrame([(name, 5, 500, 50, 20.0, 0.9) for name in records()])
    forecast.columns = ["name", "rows", "tokens", "steps", "seconds", "memory_gib"]
    shown = report.forecast_table(forecast, records()).frame
    assert list(shown["Seconds, expected"]) == [20.0, 20.0] and list(shown["Seconds, actual"]) == [40.0, 40.0]
    assert list(shown["MFU (%)"]) == [20.0, 20.0]
    assert report.settings_table(records()).frame.set_index("Setting").at["clip", "large-sft1"] == 1.0


def test_curves_have_a_panel_per_logged_quantity():
    panels = {"loss": "loss (nats per token)", "never_logged": "nothing"}
    figure = report.training_curves(report.journal(records()), panels, title="SFT")
    drawn = [axes for axes in figure.canvas.axes if axes.has_data()]
    assert [axes.get_ylabel() for axes in drawn] == ["loss (nats per token)"]
    assert "large-sft1, small-sft1" in figure.alt


def test_scores_are_entered_into_a_card_once(tmp_path):
    one = job(tmp_path, corpus(tmp_path / "corpus1"))
    numbers = {"key": "abc", "steps": 5, "tokens": 100, "seconds": 2.0}
    (tmp_path / "README.md").write_text(model_card(one, numbers), encoding="utf-8")
    for score in (40.0, 50.0):
        enter_scores(tmp_path, {"Average": (score, 4.0)})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| Average | 50.0 ± 4.0 |" in text and "40.0" not in text and text.count("## Limits") == 1


def test_settings_survive_their_way_into_a_job_and_back(mini):
    one = sft_jobs(mini, {"sft1": SFT, "sft2": SFT}, [7])[0][0]
    assert asdict(SftSettings(**one.settings)) == dict(one.settings)
