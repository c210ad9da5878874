"""DAPO: what each switch changes, which groups are replaced, and small runs of the real trainer on a hub model."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from medpsy import prompts, study
from medpsy.benchmarks.question import Question
from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.chat import Chat
from medpsy.training import rl
from medpsy.training.dapo import DapoTrainer, joined, useful_rows
from medpsy.training.job import Job
from medpsy.training.rl_config import chosen_generator, grpo_config, held_out_plan
from medpsy.training.rl_curves import curves
from medpsy.training.rl_questions import write_questions
from medpsy.training.rl_settings import RlSettings
from safetensors.torch import load_file
from training_examples import Kill, Killed, one_thread  # noqa: F401
from transformers import AutoTokenizer, TrainerCallback

SETTINGS = RlSettings(
    prompts_per_rollout=2,
    group_size=4,
    updates_per_rollout=2,
    micro_batch=4,
    learning_rate=3e-3,
    warmup=0,
    weight_decay=0.0,
    clip=1.0,
    max_new_tokens=12,
    overlong_buffer=4,
    most_prompt_tokens=200,
    evaluate_every=1,
    held_out_batch=4,
    precision="float32",
    checkpointing=False,
    seed=3,
    rollouts=2,
    report_to=(),
)
HUB = Path(study.__file__).parent / "mini" / "hub"
NAMES = ("lorin", "mazel", "pendra", "quist")


def question(number: int) -> Question:
    return Question(str(number), "alphamed", "", f"Which drug is number {number}?", NAMES, number % 4, None, "g")


@pytest.fixture
def job(tmp_path):
    train = write_questions(tmp_path / "train.parquet", [question(number) for number in range(6)])
    held = write_questions(tmp_path / "held_out.parquet", [question(number) for number in range(10, 14)])
    folders = {"parent": str(HUB / "qwen3-small"), "folder": str(tmp_path / "out"), "work": str(tmp_path / "work")}
    (tmp_path / "work").mkdir()
    files = (str(train), str(held))
    return Job("small-rl1", "rl", **folders, data=files, store=str(tmp_path), settings={}, opens_thinking=False)


@pytest.mark.parametrize(
    ("switch", "changed"),
    [
        ("token_level_loss", {"loss_type": "grpo"}),
        ("no_kl", {"beta": 0.04}),
        ("clip_higher", {"epsilon_high": 0.2}),
        ("overlong_penalty", {"reward_weights": [1.0, 0.0, 0.0]}),
        ("dynamic_sampling", {}),  # no argument of TRL: the trainer's own
    ],
)
def test_each_switch_changes_its_arguments_and_no_others(switch, changed, tmp_path):
    def arguments(settings):
        return {key: value for key, value in asdict(grpo_config(settings, tmp_path)).items() if key != "logging_dir"}

    on, off = arguments(SETTINGS), arguments(replace(SETTINGS, **{switch: False}))
    assert {key: value for key, value in off.items() if value != on[key]} == changed


def test_the_arguments_are_those_of_dapo_and_give_more_than_one_update_per_rollout(tmp_path):
    config = grpo_config(replace(SETTINGS, micro_batch=2), tmp_path)
    assert (config.loss_type, config.beta, config.epsilon, config.epsilon_high) == ("dapo", 0.0, 0.2, 0.28)
    assert config.generation_batch_size == 2 * 4
    assert config.steps_per_generation == 2 * config.gradient_accumulation_steps == 4
    assert (config.temperature, config.top_p, config.top_k, config.scale_rewards) == (1.0, 1.0, 0, "group")
    assert (config.save_steps, config.eval_steps, config.logging_steps) == (2, 2, 2)
    assert not config.use_vllm and not config.mask_truncated_completions


def test_vllm_gets_its_arguments_and_is_refused_without_a_gpu(tmp_path, monkeypatch):
    config = grpo_config(SETTINGS, tmp_path, generator="colocate")
    assert (config.use_vllm, config.vllm_mode, config.vllm_max_model_length) == (True, "colocate", 212)
    assert config.vllm_importance_sampling_mode == "token_truncate"
    server = replace(SETTINGS, generator="server", server_url="http://node:8000")
    assert grpo_config(server, tmp_path, generator="server").vllm_server_base_url == "http://node:8000"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_generator(SETTINGS) == "transformers"
    with pytest.raises(ValueError, match="'server' needs a GPU"):
        chosen_generator(server)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollouts": 0}, "give one of them"),
        ({"epochs": 1.0}, "give one of them"),
        ({"group_size": 1}, "a group needs 2"),
        ({"updates_per_rollout": 3}, "cannot share 8 responses"),
        ({"overlong_buffer": 12}, "must be below max_new_tokens"),
        ({"epsilon_high": 0.2}, "must be above epsilon"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0 must be above 0"),
        ({"generator": "magic"}, "'magic' is unknown"),
        ({"generator": "server"}, "server_url: it is empty"),
        ({"precision": "int8"}, "'int8' is unknown"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_processes_must_be_able_to_share_an_update():
    assert SETTINGS.accumulation(1) == 1
    with pytest.raises(ValueError, match="3 processes with 4 responses at a time cannot share the 4 of an update"):
        SETTINGS.accumulation(3)


def test_the_schedule_asks_every_question_once_per_epoch_and_is_a_function_of_the_seed():
    order = replace(SETTINGS, rollouts=0, epochs=2.0).schedule(6)
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order[:6] != order[6:]
    assert len(replace(SETTINGS, rollouts=5).schedule(3)) == 10
    assert replace(SETTINGS, rollouts=5).schedule(6)[:4] == SETTINGS.schedule(6)
    assert replace(SETTINGS, seed=4).schedule(6) != SETTINGS.schedule(6)


@pytest.mark.parametrize(
    ("questions", "processes", "most", "want"),
    [(100, 1, 128, (100, 100)), (500, 1, 64, (62, 496)), (500, 8, 64, (62, 496)), (7, 2, 4, (3, 6))],
)
def test_held_out_questions_are_answered_in_batches_of_one_size(questions, processes, most, want):
    assert held_out_plan(questions, processes, most) == want


def test_only_groups_whose_rewards_differ_are_useful():
    rewards = torch.tensor([1.0, 1.0, 0.1, 0.1 + 1e-8, 1.0, 0.0, 0.5, 1.0])
    assert useful_rows(rewards, 2).tolist() == [False] * 4 + [True] * 4


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
    rl.train(replace(job, parent=str(HUB / name), opens_thinking=opens), replace(SETTINGS, rollouts=1))
    chat = Chat(study.ModelSpec(name, str(HUB / name)), HUB / name)
    asked = [Prompt(str(at), prompts.closed_ended(question(at))) for at in (*range(6), *range(10, 14))]
    engine = {tuple(one.tokens) for one in chat.encode(asked, Sampling(12))}
    assert {tuple(ids) for ids in sent} <= engine
    tokenizer = AutoTokenizer.from_pretrained(HUB / name)
    assert tokenizer.decode(sent[0]).rstrip().endswith("<think>") == opens
    written = tokenizer("<think>\na</think>\n\nB", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(written, skip_special_tokens=False).count("think>") == 2


def test_with_two_updates_per_rollout_the_second_one_is_clipped(job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0])
    got = rows(rl.train(job, replace(SETTINGS, learning_rate=2e-2)))
    assert (got.loc[[2, 4], "clipped_low"] + got.loc[[2, 4], "clipped_high"]).max() > 0
    assert list(got.index) == [0, 2, 4]
    assert list(got["useful"].dropna()) == [1.0, 1.0] and list(got["rounds"].dropna()) == [0.0, 0.0]


def test_a_sequence_ratio_clips_whole_responses_and_a_message_says_what_it_needs(job, monkeypatch, tmp_path):
    spread_rewards(monkeypatch, [1.0, 0.0])
    gspo = replace(SETTINGS, ratio="sequence", token_level_loss=False, epsilon=3e-4, epsilon_high=4e-4, rollouts=1)
    config = grpo_config(gspo, tmp_path)
    assert (config.importance_sampling_level, config.loss_type) == ("sequence", "grpo")
    assert grpo_config(SETTINGS, tmp_path).importance_sampling_level == "token"
    got = rows(rl.train(job, gspo)).loc[2]
    responses = got["clipped"] * 2 * 4  # the log is the mean of two updates of four responses, the first never clipped
    assert 0 < got["clipped"] <= 0.5 and responses == pytest.approx(round(responses))
    assert got["reward_variance"] == pytest.approx(got["reward_std"] ** 2) and got["grad_norm"] > 0
    with pytest.raises(ValueError, match="token_level_loss: false"):
        replace(SETTINGS, ratio="sequence")


def test_equal_rewards_throughout_are_counted_and_train_nothing(job, monkeypatch):
    spread_rewards(monkeypatch, [0.1])
    outcome = rl.train(job, replace(SETTINGS, overlong_penalty=False))
    got = rows(outcome)
    assert list(got["useful"].dropna()) == [0.0, 0.0]
    assert list(got["drawn_equal"].dropna()) == [1.0, 1.0]
    assert list(got["rounds"].dropna()) == [2.0, 2.0]
    assert list(got["loss"].dropna()) == [0.0, 0.0]
    start = load_file(HUB / "qwen3-small" / "model.safetensors")
    for name, value in outcome.trainer.model.state_dict().items():
        assert name not in start or torch.equal(value, start[name].float())


def test_a_group_of_equal_rewards_is_replaced_by_another_question(job, monkeypatch):
    spread_rewards(monkeypatch, [1.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1])  # of two groups the second is of no use
    got = rows(rl.train(job, replace(SETTINGS, rollouts=1)))
    assert got["rounds"].dropna().item() == 1.0
    assert got["useful"].dropna().item() == 1.0
    assert got["drawn_equal"].dropna().item() == 0.5  # one is missing; at a yield of one in two, two more are drawn


def test_a_killed_run_goes_on_to_the_same_weights(job, tmp_path, monkeypatch):
    monkeypatch.setattr(rl, "Journal", lambda name, work: TrainerCallback())
    whole = rl.train(job, replace(SETTINGS, rollouts=3))
    other = replace(job, work=str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        patch.setattr(rl, "Journal", lambda name, work: Kill(2))
        with pytest.raises(Killed):
            rl.train(other, replace(SETTINGS, rollouts=3))
    resumed = rl.train(other, replace(SETTINGS, rollouts=3))
    assert resumed.trainer.state.global_step == whole.trainer.state.global_step == 6
    assert rows(resumed)[["reward", "held_out", "length"]].equals(rows(whole)[["reward", "held_out", "length"]])
    first, second = (load_file(Path(one.work) / "checkpoint-6" / "model.safetensors") for one in (job, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    best = load_file(Path(other.work) / f"checkpoint-{resumed.best_step}" / "model.safetensors")
    held = resumed.trainer.model.state_dict()
    assert all(torch.equal(best[name], held[name]) for name in best)


def test_the_parent_stays_where_every_checkpoint_is_worse(job, monkeypatch):
    scores = iter([1.0, 0.0, 0.0])

    def functions(known, decode, **_):
        def answer_reward(*, completion_ids, **_):
            return [float(at % 2) for at in range(len(completion_ids))]

        def accuracy(*, completion_ids, question_id, **_):
            held = question_id[0].split("/")[1] in ("10", "11", "12", "13")
            return [next(scores) if held else 0.0] * len(completion_ids)

        return answer_reward, accuracy

    monkeypatch.setattr(rl, "reward_functions", functions)
    outcome = rl.train(job, SETTINGS)
    assert outcome.best_step == 0 and outcome.weights == Path(job.parent)
    assert (outcome.numbers["held_out_before"], outcome.numbers["held_out_best"]) == (100.0, 100.0)


def test_where_the_last_checkpoint_is_kept_nothing_is_evaluated(job):
    done = rl.train(job, replace(SETTINGS, keep="last"))
    assert done.weights is None and done.best_step == done.trainer.state.global_step > 0
    assert not [row for row in done.trainer.state.log_history if rl.HELD_OUT in row]
    assert grpo_config(replace(SETTINGS, keep="last"), Path(job.work)).load_best_model_at_end is False


def test_what_cannot_be_trained_is_refused_before_it_starts(job, tmp_path):
    with pytest.raises(ValueError, match="make more than the 1024 tokens"):
        rl.train(job, replace(SETTINGS, max_new_tokens=900))
    with pytest.raises(ValueError, match="no prompt has 5 tokens or fewer"):
        rl.train(job, replace(SETTINGS, most_prompt_tokens=5))
    with pytest.raises(ValueError, match="6 questions occur twice"):
        rl.train(replace(job, data=(job.data[0], job.data[0])), SETTINGS)
    with pytest.raises(ValueError, match="opens_thinking: True in study.yaml"):
        rl.train(replace(job, opens_thinking=True), SETTINGS)
