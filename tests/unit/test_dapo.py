"""DAPO: what each switch changes, which groups are replaced, and small runs of the real trainer on a hub model."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from case_rows import cases
from medpsy import prompts, study
from medpsy.data.questions import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.chat import ChatEngine
from medpsy.engines.local import Options
from medpsy.training import rl
from medpsy.training.config import DapoConfig
from medpsy.training.dapo import DapoTrainer, joined, useful_rows
from medpsy.training.data import write
from medpsy.training.jobs import Job
from medpsy.training.rewards import HELD_OUT
from medpsy.training.rl import held_out_plan, rollout_arguments, schedule
from medpsy.training.stages import curves
from safetensors.torch import load_file
from training_examples import Kill, Killed, one_thread  # noqa: F401
from transformers import AutoTokenizer, TrainerCallback

CONFIG = {
    "generation_batch_size": 8, "num_generations": 4, "per_device_train_batch_size": 4, "learning_rate": 3e-3,
    "lr_scheduler_type": "constant_with_warmup", "max_completion_length": 12, "soft_punish_cache": 4,
    "max_prompt_length": 200, "save_steps": 2, "bf16": False, "gradient_checkpointing": False, "seed": 3,
    "max_steps": 4,
    "loss_type": "dapo", "beta": 0.0, "epsilon": 0.2, "epsilon_high": 0.28, "reward_weights": [1.0, 0.0, 1.0],
    "sampling_rounds": 2, "temperature": 1.0,
}  # fmt: skip
LAST = dict(CONFIG)
CONFIG |= {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4, "num_generations_eval": 1}
CONFIG |= {"load_best_model_at_end": True, "metric_for_best_model": HELD_OUT, "greater_is_better": True}
HUB = Path(study.__file__).parent / "mini" / "hub"
NAMES = ("lorin", "mazel", "pendra", "quist")


def question(number: int) -> Question:
    return Question(str(number), "alphamed", "", f"Which drug is number {number}?", NAMES, number % 4, None, "g")


@pytest.fixture
def job(tmp_path):
    train = write(tmp_path / "train.parquet", [question(number) for number in range(6)])
    held = write(tmp_path / "held_out.parquet", [question(number) for number in range(10, 14)])
    folders = {"parent": str(HUB / "qwen3-small"), "folder": str(tmp_path / "out"), "work": str(tmp_path / "work")}
    (tmp_path / "work").mkdir()
    files = (str(train), str(held))
    return Job("small-rl1", "rl", **folders, data=files, store=str(tmp_path), config=CONFIG, opens_thinking=False)


def train(job, **changes):
    """Train with CONFIG but for the changes; return what came out under names."""
    trainer, numbers, weights = rl.train(replace(job, config={**job.config, **changes}))
    return SimpleNamespace(trainer=trainer, numbers=numbers, weights=weights, best_step=numbers["best_step"])


def test_the_arguments_are_those_of_dapo_and_give_more_than_one_update_per_rollout(job):
    more = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    config = rollout_arguments(replace(job, config={**CONFIG, **more}))
    assert (config.loss_type, config.beta, config.epsilon, config.epsilon_high) == ("dapo", 0.0, 0.2, 0.28)
    assert (config.updates, config.prompts, config.steps_per_generation) == (2, 2, 4)
    assert (config.temperature, config.top_p, config.top_k, config.scale_rewards) == (1.0, 1.0, 0, "group")
    assert (config.save_steps, config.eval_steps, config.logging_steps) == (2, 2, 2)
    assert not config.use_vllm and not config.mask_truncated_completions


def test_vllm_gets_its_arguments_and_is_refused_without_a_gpu(job, monkeypatch):
    asked = replace(job, config={**CONFIG, "use_vllm": True})
    with pytest.raises(ValueError, match="use_vllm: true needs a GPU and vLLM; set it to false"):
        rollout_arguments(asked)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(rl.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(rl, "arguments", lambda job, **more: DapoConfig(output_dir="x", use_cpu=True, **asked.config))
    config = rollout_arguments(asked)
    assert (config.use_vllm, config.vllm_mode, config.vllm_max_model_length) == (True, "colocate", 212)
    assert config.vllm_importance_sampling_mode == "token_truncate"


@pytest.mark.parametrize(("change", "message"), cases("contradicting_arguments", "change", "message"))
def test_arguments_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DapoConfig(output_dir="x", use_cpu=True, **{**CONFIG, **change})


def test_the_schedule_asks_every_question_once_per_epoch_and_is_a_function_of_the_seed():
    def order(questions, **changes):
        return schedule(DapoConfig(output_dir="x", use_cpu=True, **{**CONFIG, **changes}), questions)

    twice = order(6, max_steps=-1, num_train_epochs=2.0)
    assert sorted(twice[:6]) == sorted(twice[6:]) == list(range(6))
    assert twice[:6] != twice[6:]
    assert len(order(3, max_steps=10)) == 10
    assert order(6, max_steps=10)[:4] == order(6)
    assert order(6, seed=4) != order(6)


@pytest.mark.parametrize(
    ("questions", "processes", "most", "want"), [(100, 1, 128, (100, 100)), (500, 8, 64, (62, 496)), (7, 2, 4, (3, 6))]
)
def test_held_out_questions_are_answered_in_batches_of_one_size(questions, processes, most, want):
    assert held_out_plan(questions, processes, most) == want


def test_only_groups_with_rewards_that_differ_are_useful():
    nan = torch.nan
    rewards = torch.tensor([1.0, 1.0, 0.1, 0.1 + 1e-8, 1.0, 0.0, 0.5, 1.0, nan, 1.0, nan, nan])
    assert useful_rows(rewards, 2).tolist() == [False] * 4 + [True] * 4 + [False] * 4


def test_batches_of_different_widths_are_joined_with_prompts_to_the_right_of_their_padding():
    def batch(prompt, completion):
        ids = {"prompt_ids": torch.full((2, prompt), 7), "completion_ids": torch.full((2, completion), 8)}
        masks = {"prompt_mask": torch.ones(2, prompt), "completion_mask": torch.ones(2, completion)}
        return ids | masks | {"advantages": torch.ones(2), "num_items_in_batch": torch.tensor(4)}

    both = joined([batch(2, 3), batch(3, 1)], pad=9)
    assert both["prompt_ids"].tolist() == [[9, 7, 7]] * 2 + [[7, 7, 7]] * 2
    assert both["completion_ids"].tolist() == [[8, 8, 8]] * 2 + [[8, 9, 9]] * 2
    assert both["prompt_mask"][0].tolist() == [0, 1, 1] and both["completion_mask"][2].tolist() == [1, 0, 0]
    assert both["advantages"].shape == (4,) and "num_items_in_batch" not in both


def spread_rewards(monkeypatch, values):
    """Let the reward of the k-th response of a rollout be ``values[k % len(values)]``, whatever it says."""

    def functions(known, decode, **_):
        def answer_reward(*, completion_ids, **_):
            return [values[at % len(values)] for at in range(len(completion_ids))]

        def accuracy(*, completion_ids, **_):
            return [float(value > 0.5) for value in answer_reward(completion_ids=completion_ids)]

        return answer_reward, accuracy

    monkeypatch.setattr(rl, "reward_functions", functions)


def rows(outcome):
    return curves(outcome.trainer.state.log_history).set_index("step")


@pytest.mark.parametrize(("name", "opens"), [("qwen3-large", True), ("qwen3-small", False)])
def test_a_policy_is_sent_what_an_engine_sends_and_keeps_its_thinking_tags(name, opens, job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0])
    sent, generate = [], DapoTrainer._generate_single_turn

    def recorded(self, prompt_ids, *more, **options):
        sent.extend(prompt_ids)
        return generate(self, prompt_ids, *more, **options)

    monkeypatch.setattr(DapoTrainer, "_generate_single_turn", recorded)
    train(replace(job, parent=str(HUB / name), opens_thinking=opens), max_steps=2)
    chat = ChatEngine(study.ModelSpec(name, str(HUB / name)), Options())
    asked = [Prompt(str(at), prompts.closed_ended(question(at))) for at in (*range(6), *range(10, 14))]
    engine = {tuple(one.tokens) for one in chat._prepare(asked, Sampling(12))[0]}
    assert {tuple(ids) for ids in sent} <= engine
    tokenizer = AutoTokenizer.from_pretrained(HUB / name)
    assert tokenizer.decode(sent[0]).rstrip().endswith("<think>") == opens
    written = tokenizer("<think>\na</think>\n\nB", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(written, skip_special_tokens=False).count("think>") == 2


def test_with_two_updates_per_rollout_the_second_one_is_clipped(job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0])
    got = rows(train(job, learning_rate=2e-2))
    assert (got.loc[[2, 4], "clipped_low"] + got.loc[[2, 4], "clipped_high"]).max() > 0
    assert list(got.index) == [0, 2, 4]
    assert list(got["useful"].dropna()) == [1.0, 1.0] and list(got["rounds"].dropna()) == [0.0, 0.0]


def test_a_sequence_ratio_clips_whole_responses_and_the_last_checkpoint_is_kept_unevaluated(job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0])
    gspo = {"importance_sampling_level": "sequence", "loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4}
    done = train(replace(job, config={**LAST, **gspo, "max_steps": 2}))
    assert done.weights is None and done.best_step == done.trainer.state.global_step > 0
    assert not [row for row in done.trainer.state.log_history if rl.HELD_OUT in row]
    got = rows(done).loc[2]
    responses = got["clipped"] * 2 * 4  # the log is the mean of two updates of four responses, the first never clipped
    assert 0 < got["clipped"] <= 0.5 and responses == pytest.approx(round(responses))
    assert got["reward_variance"] == pytest.approx(got["reward_std"] ** 2) and got["grad_norm"] > 0


@pytest.mark.parametrize("further", [0, 2])  # rounds: they are counted also where none is drawn
def test_equal_rewards_throughout_are_counted_and_train_nothing(job, monkeypatch, further):
    spread_rewards(monkeypatch, [0.1])
    outcome = train(job, reward_weights=[1.0, 0.0, 0.0], max_steps=2, sampling_rounds=further)
    got = rows(outcome)
    expected = {"useful": 0.0, "drawn_equal": 1.0, "rounds": further, "loss": 0.0}
    assert {name: got[name].dropna().item() for name in expected} == expected
    start = load_file(HUB / "qwen3-small" / "model.safetensors")
    for name, value in outcome.trainer.model.state_dict().items():
        assert name not in start or torch.equal(value, start[name].float())


def test_a_group_of_equal_rewards_is_replaced_by_another_question(job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1])  # of two groups the second is of no use
    got = rows(train(job, max_steps=2))
    assert got["rounds"].dropna().item() == 1.0
    assert got["useful"].dropna().item() == 1.0
    assert got["drawn_equal"].dropna().item() == 0.5  # one is missing; at a yield of one in two, two more are drawn


def test_a_killed_run_goes_on_to_the_same_weights(job, tmp_path, monkeypatch):
    monkeypatch.setattr(rl, "Journal", lambda name, work: TrainerCallback())
    whole = train(job, max_steps=6)
    other = replace(job, work=str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        patch.setattr(rl, "Journal", lambda name, work: Kill(2))
        with pytest.raises(Killed):
            train(other, max_steps=6)
    resumed = train(other, max_steps=6)
    assert resumed.trainer.state.global_step == whole.trainer.state.global_step == 6
    assert rows(resumed)[["reward", "held_out", "length"]].equals(rows(whole)[["reward", "held_out", "length"]])
    first, second = (load_file(Path(one.work) / "checkpoint-6" / "model.safetensors") for one in (job, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    best = load_file(Path(other.work) / f"checkpoint-{resumed.best_step}" / "model.safetensors")
    held = resumed.trainer.model.state_dict()
    assert all(torch.equal(best[name], held[name]) for name in best)


def score_held_out(monkeypatch, *scores):
    """Let the questions from 10 on be answered as right as `scores` say: by the parent, then by each checkpoint."""
    coming = iter(scores)

    def functions(known, decode, **_):
        def answer_reward(*, completion_ids, **_):
            return [float(at % 2) for at in range(len(completion_ids))]

        def accuracy(*, completion_ids, question_id, **_):
            held_out = int(question_id[0].split("/")[1]) >= 10
            return [next(coming) if held_out else 0.0] * len(completion_ids)

        return answer_reward, accuracy

    monkeypatch.setattr(rl, "reward_functions", functions)


def test_the_parent_stays_where_every_checkpoint_is_worse(job, monkeypatch):
    score_held_out(monkeypatch, 1.0, 0.0, 0.0)
    outcome = train(job)
    assert outcome.best_step == 0 and outcome.weights == Path(job.parent)
    assert (outcome.numbers["held_out_before"], outcome.numbers["held_out_best"]) == (100.0, 100.0)


def test_what_cannot_be_trained_is_refused_before_it_starts(job):
    with pytest.raises(ValueError, match="make more than the 1024 tokens"):
        train(job, max_completion_length=900)
    with pytest.raises(ValueError, match="no prompt has 5 tokens or fewer"):
        train(job, max_prompt_length=5)
    with pytest.raises(ValueError, match="6 questions occur twice"):
        train(replace(job, data=(job.data[0], job.data[0])))
    with pytest.raises(ValueError, match="opens_thinking: True in study.yaml"):
        train(replace(job, opens_thinking=True))


def test_a_reward_that_is_written_as_the_readme_says_is_what_a_policy_is_trained_with(job, tmp_path, root, monkeypatch):
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    head, file, function = re.search(r"`(def [^`]+)`.+?`reward: (\w+\.py):(\w+)`", readme).groups()
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    (tmp_path / file).write_text(f"{head}:\n    return -len(text) / 1000\n")
    got = rows(train(job, reward=f"{file}:{function}", max_steps=2))
    assert got.loc[2, "reward"] < 0
    named = replace(job, config={**CONFIG, "reward": f"{file}:{function}"})
    key = named.key()
    (tmp_path / file).write_text(f"{head}:\n    return -len(text) / 100\n")
    assert named.key() != key
    with pytest.raises(ValueError, match=f"reward: '{file}:longer' names no function"):
        train(job, reward=f"{file}:longer")
