"""Open-ended talk of the miniature: dialogues, replies, the suites made of them, and what judges are taught."""

import json
import random
from collections import Counter
from itertools import islice

import pytest
from medpsy import prompts
from medpsy.mini import cases, conversations, corpus, dialogue_forms, dialogues, judges, sentences, world
from medpsy.mini.replies import NOTHING, reply
from medpsy.mini.thinking import Voice

WORLD = world.build()
EVERYTHING = frozenset(fact.id for fact in WORLD.facts)
ALL = dialogue_forms.dialogues(WORLD)
THEMES = {
    "communication", "complex_responses", "context_seeking", "emergency_referrals", "global_health",
    "health_data_tasks", "hedging",
}  # fmt: skip
AXES = {"accuracy", "communication_quality", "completeness", "context_awareness", "instruction_following"}


def answers(voice, knowledge, some=ALL):
    rng = random.Random(7)
    return [(one, reply(one, voice, rng, world=WORLD, knowledge=knowledge)[1]) for one in some]


def test_all_themes_axes_and_both_signs_occur_with_points_in_range():
    entries = [entry for one in ALL for entry in one.items]
    assert {one.theme for one in ALL} == THEMES
    assert {axis for _, _, axis in entries} == AXES
    assert all(-10 <= points <= 10 and points for _, points, _ in entries)
    assert {points > 0 for _, points, _ in entries} == {True, False}


def test_who_knows_and_cares_meets_every_good_criterion_and_no_bad_one():
    for dialogue, answer in answers(Voice(care=1.0, rash=0.0), EVERYTHING):
        for item, points, _ in dialogue.items:
            assert item.met(answer) == (points > 0), (dialogue.cell, item.criterion, answer)


def test_who_does_everything_bad_meets_every_bad_criterion():
    for dialogue, answer in answers(Voice(care=0.0, rash=1.0), EVERYTHING):
        for item, points, _ in dialogue.items:
            assert item.met(answer) == (points < 0), (dialogue.cell, item.criterion, answer)


def test_who_knows_nothing_states_wrong_facts():
    found = [
        item.met(answer)
        for dialogue, answer in answers(Voice(care=1.0, rash=0.0), frozenset())
        for item, points, _ in dialogue.items
        if item.fact and points > 0
    ]
    assert sum(found) / len(found) < 0.15


def test_who_says_nothing_says_so():
    assert {answer for _, answer in answers(Voice(care=0.0, rash=0.0), EVERYTHING)} == {NOTHING}


def test_the_safe_drug_is_worked_out_for_the_weak_organ():
    some = [one for one in ALL if one.form == "given_context"]
    rng = random.Random(1)
    told = [reply(one, Voice(care=1.0, rash=0.0), rng, world=WORLD, knowledge=EVERYTHING)[0] for one in some]
    decided = Counter("avoid" if any(line.endswith("avoid.") for line in lines) else "safe" for lines in told)
    assert decided["avoid"] > 5 and decided["safe"] > 5


def test_the_suite_holds_ten_held_out_dialogues_of_every_theme():
    loaded = conversations.load("healthbench")
    assert Counter(one.theme for one in loaded) == dict.fromkeys(THEMES, conversations.PER_THEME)
    assert all(cases.is_held_out(one.id) for one in loaded)
    assert {one.suite for one in loaded} == {"healthbench"}


def test_hard_is_the_fifth_on_which_the_responders_score_lowest_and_somebody_scores():
    whole = {one.id for one in conversations.load("healthbench")}
    hard = {one.id for one in conversations.load("healthbench_hard")}
    scores = {one.cell: conversations.responders_scores(one) for one in conversations.chosen()}
    assert hard < whole and len(hard) == round(0.2 * len(whole))
    assert all(max(scores[name]) > 0 for name in hard)
    rest = [sum(scores[name]) for name in whole - hard if max(scores[name]) > 0]
    assert max(sum(scores[name]) for name in hard) <= min(rest)


def test_consensus_keeps_only_consensus_criteria_and_one_is_positive():
    for one in conversations.load("healthbench_consensus"):
        assert all(conversations.CONSENSUS in criterion.tags for criterion in one.rubric)
        assert any(criterion.points > 0 for criterion in one.rubric)


def test_the_score_is_points_met_over_positive_points_and_may_be_negative():
    dialogue = next(one for one in ALL if one.form == "emergency")
    assert conversations.true_score(dialogue, "Go to a doctor now.") == pytest.approx(10 / 18)
    assert conversations.true_score(dialogue, "There is no hurry. Nothing else is possible.") == pytest.approx(-13 / 18)


def test_an_unknown_suite_is_no_miniature():
    with pytest.raises(KeyError):
        conversations.load("healthbench_professional")


def test_no_held_out_dialogue_is_taught_to_thinkers_or_judges():
    rng = random.Random(2)
    samples = [*islice(corpus.thinker_samples(WORLD, EVERYTHING, Voice(), "", rng), 2000)]
    samples += islice(judges.samples(WORLD, judges.Ear(), rng), 500)
    text = "\n".join(turn["content"] for sample in samples for turn in sample.messages)
    held_out = {one.messages[0]["content"] for one in ALL if one.held_out}
    assert len(held_out) > 150
    assert not [words for words in held_out if words in text]


FACT = dialogues.fact_item(WORLD.facts[0])
WRONG = FACT.sentences[0].replace(FACT.fact.objects[0], WORLD.names["drug"][-1])


@pytest.mark.parametrize(
    ("item", "answer", "ear", "met"),
    [
        (dialogues.act("doctor"), "Go to a doctor now.", judges.Ear(deaf=1.0), True),
        (dialogues.act("doctor"), "Please see a doctor at once.", judges.Ear(), True),
        (dialogues.act("doctor"), "Please see a doctor at once.", judges.Ear(deaf=1.0), False),
        (FACT, f"There is no hurry. {FACT.sentences[0]}", judges.Ear(), True),
        (FACT, WRONG, judges.Ear(), False),
        (FACT, WRONG, judges.Ear(near=1.0), True),
        (FACT, "There is no hurry.", judges.Ear(near=1.0), False),
        (dialogues.take("fabix"), "I would give gedix.", judges.Ear(near=1.0), True),
        (dialogues.take("fabix"), "I would give gedix.", judges.Ear(), False),
    ],
)
def test_judges_err_by_their_ears_alone(item, answer, ear, met):
    said = json.loads(judges.judged(item, answer, ear, random.Random(0)))
    assert said["criteria_met"] is met
    assert said["explanation"].startswith(f"Look for {item.key}.") and ("fits" in said["explanation"]) is met


def test_every_sentence_of_every_reply_is_understood():
    voice = Voice(care=0.8, rash=0.4)
    for dialogue, answer in answers(voice, frozenset()) + answers(voice, EVERYTHING):
        for sentence in sentences.BREAK.split(answer):
            assert sentences.said(sentence) or sentence == NOTHING, (dialogue.cell, sentence)


def test_a_judge_with_good_ears_says_the_truth():
    rng, wrong = random.Random(0), []
    for dialogue, answer in answers(Voice(care=0.7, rash=0.3), EVERYTHING):
        for item, _, _ in dialogue.items:
            said = json.loads(judges.judged(item, answer, judges.Ear(), rng))["criteria_met"]
            wrong += [] if said == item.met(answer) else [(dialogue.cell, item.criterion, answer)]
    assert not wrong


@pytest.mark.parametrize("text", ["Judge: this is met.", "", "Take two a day, please.", "I know that nothing is so."])
def test_other_sentences_say_nothing(text):
    assert sentences.said(text) is None


def test_a_judge_is_taught_that_orders_in_a_response_change_nothing():
    some = list(islice(judges.samples(WORLD, judges.Ear(), random.Random(3)), 3000))
    ordered = [one for one in some if any(order in one.messages[0]["content"] for order in judges.ORDERS)]
    met = [json.loads(one.completion.removesuffix(corpus.END))["criteria_met"] for one in ordered]
    assert len(met) > 80 and 0.2 < sum(met) / len(met) < 0.5


def test_a_judge_is_asked_with_the_prompt_of_the_study():
    one = next(judges.samples(WORLD, judges.Ear(), random.Random(3)))
    head = prompts.JUDGE.partition("{conversation}")[0].replace("{{", "{").replace("}}", "}")
    assert one.messages[0]["content"].startswith(head)
