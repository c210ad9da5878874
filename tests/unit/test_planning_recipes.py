"""What the two sister recipes ask and train, counted from their parameters."""

import pytest
from medpsy import planning, study
from medpsy.planning.artefacts import Loaded, Merged
from medpsy.planning.asking import Asked, Tally
from medpsy.planning.costs import costs
from medpsy.planning.trained import ADAPTER, FORWARD, FULL, WEIGHT, Trained
from medpsy.planning.work import RULES, resolved, sizes, work
from medpsy.training.effort import ADAM

GSPO, OPENMED = "12_gspo_judge", "13_openmed"


def done(section, profile="mini", **changes):
    """Return what `section` does alone, with some of its parameters changed."""
    one = study.load(profile)
    tally = Tally(one, costs().mini if one.source == "mini" else costs().hub, sizes(one))
    return RULES[section](tally, resolved(section, profile) | changes, {})


def of(found, kind, **wanted):
    return [one for one in found if isinstance(one, kind) and all(getattr(one, k) == v for k, v in wanted.items())]


def number(found):
    return sum(one.requests for one in found)


def test_three_methods_are_trained_by_two_seeds_each_with_an_adapter_on_one_start():
    trained = of(done(GSPO), Trained)
    start, *methods = trained
    assert start.name == "small-o1-sft" and start.operations == FULL and start.states == ADAM
    assert [one.name for one in methods] == [
        f"small-o1-{method}{seed}" for seed in ("", "-s8") for method in ("gspo", "grpo", "dapo")
    ]
    assert {(one.operations, one.states) for one in methods} == {(ADAPTER + FORWARD, WEIGHT)}  # 4 updates a rollout
    assert {one.launch for one in methods} == {"methods"} and len({one.lane for one in methods}) == 6
    assert {one.tokens for one in methods} == {6 * 8 * 4 * sum(costs().mini.open)}  # rollouts, questions, responses
    assert start.tokens == 3 * 480 * costs().mini.o1


def test_the_judge_decides_rewards_of_training_of_held_out_answers_and_of_altered_ones():
    verdicts = number(of(done(GSPO), Asked, what="verdicts"))
    responses = 6 * 6 * 8 * 4 + 8 * 72 * 2 + 72 * 9  # trainings; eight models, two runs; nine altered answers
    assert verdicts == pytest.approx(2 * responses * costs().mini.unjudged)
    measured = 4060  # of a run of profile mini
    assert verdicts == pytest.approx(measured, rel=0.1)


def test_a_judge_behind_an_endpoint_costs_no_gpu_and_is_told_apart():
    found = next(row for row in planning.plan("paper").rows if row.section == GSPO)
    verdicts = of(done(GSPO, "paper"), Asked, what="verdicts")
    assert {one.model for one in verdicts} == {"deepseek-chat"}
    assert found.elsewhere == pytest.approx(sum(one.tokens for one in verdicts)) and found.hours > 0


def test_all_rows_of_a_set_are_those_that_it_is_known_to_have():
    some, every = (done(GSPO, corpus={"configs": {"en": count}, "origin": {}}) for count in (480, 0))
    ratio = of(every, Trained)[0].tokens / of(some, Trained)[0].tokens
    assert ratio == pytest.approx(costs().mini.o1_set / 480)


def test_a_preference_stage_passes_both_sides_of_every_pair_through_policy_and_parent():
    sft, dpo, rl = of(done(OPENMED), Trained)
    assert dpo.tokens == pytest.approx(2 * 2 * 160 * costs().mini.paired * sum(costs().mini.attempt))
    assert dpo.operations == FULL + FORWARD and dpo.states == ADAM + WEIGHT
    assert rl.operations == FULL + 2 * FORWARD  # a KL term, and probabilities as they were when it sampled
    assert (dpo.launch, dpo.lane) == (rl.launch, rl.lane) != (sft.launch, sft.lane)


@pytest.mark.parametrize(("name", "measured"), [("sft", 145_690), ("dpo", 41_000), ("grpo", 52_400)])
def test_tokens_that_are_trained_on_are_near_those_of_a_run(name, measured):
    (found,) = (one for one in of(done(OPENMED), Trained) if one.name.endswith(name))
    assert found.tokens == pytest.approx(measured, rel=0.15)


def test_the_harness_reads_a_prompt_once_for_all_its_letters_and_writes_for_instructions_alone():
    documents = of(done(OPENMED), Asked, what="documents")
    letters = [one for one in documents if not one.written]
    assert number(letters) == 7 * (70 + 60)  # seven models; the questions of both tasks
    assert number(documents) - number(letters) == (7 + 2) * 48  # the merged model twice more, handled wrongly
    assert {one.slots for one in documents} == {64}


def test_a_limit_counts_for_every_part_of_a_task():
    found = done(OPENMED, protocol={"limit": 2, "batch_size": 64})
    assert number(of(found, Asked, what="documents")) == 7 * (6 * 2 + 2 + 2) + 2 * 2


def test_three_merges_are_made_and_only_one_is_asked_by_our_own_protocol():
    found = done(OPENMED)
    assert of(found, Merged) == [Merged("qwen3-small", 3)]
    assert of(found, Loaded) == [Loaded(2, 7 * 3 + 2)]
    asked = {one.model for one in of(found, Asked, what="answers")}
    assert "small-openmed-merged" in asked and "small-openmed-linear" not in asked
    assert {"small-rl2", "small-o1-gspo"} <= asked  # the methods it is compared with


def test_what_other_sections_asked_is_not_asked_again():
    found = next(one for one in work("mini") if one.name == OPENMED)
    asked = {one.model for one in of(found.asked, Asked, what="answers")}
    assert "small-rl2" not in asked and "qwen3-small" not in asked and "small-o1-gspo" in asked
