"""Open-ended talk of the miniature: dialogues, replies, the suites made of them, and what judges are taught."""

import json
import random
from collections import Counter
from itertools import islice

import pytest
from fake_engine import fenced
from medpsy import prompts
from medpsy.data.healthbench import AXES, THEMES
from medpsy.mini import suites, voices, world
from medpsy.mini.voices import NOTHING, Voice, Writer

WORLD = world.build()
EVERYTHING = frozenset(WORLD.by_id)
ALL = world.dialogues(WORLD)


def answers(voice, knowledge, some=ALL):
    writer = Writer(WORLD, knowledge, voice, random.Random(7))
    return [(one, writer.reply(one)[1]) for one in some]


def test_all_themes_axes_and_both_signs_occur_with_points_in_range():
    entries = [entry for one in ALL for entry in one.items]
    assert {one.theme for one in ALL} == {*THEMES}
    assert {axis for _, _, axis in entries} == {*AXES}
    assert all(-10 <= points <= 10 and points for _, points, _ in entries)
    assert {points > 0 for _, points, _ in entries} == {True, False}


@pytest.mark.parametrize("good", [True, False])
def test_who_cares_meets_every_good_criterion_alone_and_who_is_rash_every_bad_one(good):
    for dialogue, answer in answers(Voice(care=float(good), rash=float(not good)), EVERYTHING):
        for item, points, _ in dialogue.items:
            assert item.met(answer) == ((points > 0) == good), (dialogue.cell, item.criterion, answer)


def test_who_knows_nothing_states_wrong_facts():
    found = [
        item.met(answer)
        for dialogue, answer in answers(Voice(care=1.0, rash=0.0), frozenset())
        for item, points, _ in dialogue.items
        if item.fact and points > 0
    ]
    assert sum(found) / len(found) < 0.15


def test_the_safe_drug_is_worked_out_for_the_weak_organ():
    some = [one for one in ALL if one.form == "given_context"]
    writer = Writer(WORLD, EVERYTHING, Voice(care=1.0, rash=0.0), random.Random(1))
    told = [writer.reply(one)[0] for one in some]
    decided = Counter("avoid" if any(line.endswith("avoid.") for line in lines) else "safe" for lines in told)
    assert decided["avoid"] > 5 and decided["safe"] > 5


def test_the_suite_holds_ten_held_out_dialogues_of_every_theme_and_hard_the_fifth_that_scores_lowest():
    loaded = suites.load_conversations("healthbench")
    assert Counter(one.theme for one in loaded) == dict.fromkeys(THEMES, suites.PER_THEME)
    assert all(world.is_held_out(one.id) for one in loaded)
    assert {one.suite for one in loaded} == {"healthbench"}
    whole, hard = {one.id for one in loaded}, {one.id for one in suites.load_conversations("healthbench_hard")}
    scores = {one.cell: suites.responders_scores(one) for one in suites.truth().values()}
    assert hard < whole and len(hard) == round(0.2 * len(whole))
    assert all(max(scores[name]) > 0 for name in hard)
    rest = [sum(scores[name]) for name in whole - hard if max(scores[name]) > 0]
    assert max(sum(scores[name]) for name in hard) <= min(rest)
    for one in suites.load_conversations("healthbench_consensus"):
        assert all(suites.CONSENSUS in criterion.tags for criterion in one.rubric)
        assert any(criterion.points > 0 for criterion in one.rubric)


def test_no_held_out_dialogue_is_taught_to_thinkers_or_judges():
    rng = random.Random(2)
    samples = [*islice(voices.thinker_samples(WORLD, EVERYTHING, Voice(), "", rng), 2000)]
    samples += islice(suites.judge_samples(WORLD, suites.Ear(), rng), 500)
    text = "\n".join(turn["content"] for sample in samples for turn in sample.messages)
    held_out = {one.messages[0]["content"] for one in ALL if one.held_out}
    assert len(held_out) > 150
    assert not [words for words in held_out if words in text]
    head = prompts.TEMPLATES["judge"].partition("{conversation}")[0].replace("{{", "{").replace("}}", "}")
    assert samples[-1].messages[0]["content"].startswith(head)  # judges are taught with the prompt of the study


FACT = world.fact_item(WORLD.facts[0])
WRONG = FACT.sentences[0].replace(FACT.fact.objects[0], WORLD.names["drug"][-1])


@pytest.mark.parametrize(
    ("item", "answer", "ear", "met"),
    [
        (world.act("doctor"), "Go to a doctor now.", suites.Ear(deaf=1.0), True),
        (world.act("doctor"), "Please see a doctor at once.", suites.Ear(), True),
        (world.act("doctor"), "Please see a doctor at once.", suites.Ear(deaf=1.0), False),
        (FACT, f"There is no hurry. {FACT.sentences[0]}", suites.Ear(), True),
        (FACT, WRONG, suites.Ear(), False),
        (FACT, WRONG, suites.Ear(near=1.0), True),
        (FACT, "There is no hurry.", suites.Ear(near=1.0), False),
        (world.take("fabix"), "I would give gedix.", suites.Ear(near=1.0), True),
        (world.take("fabix"), "I would give gedix.", suites.Ear(), False),
    ],
)
def test_judges_err_by_their_ears_alone(item, answer, ear, met):
    said = json.loads(suites.judge_reply(item, answer, ear, random.Random(0)))
    assert said["criteria_met"] is met
    assert said["explanation"].startswith(f"Look for {item.key}.") and ("fits" in said["explanation"]) is met


def test_every_sentence_of_every_reply_is_understood_and_a_judge_with_good_ears_says_the_truth():
    voice, rng = Voice(care=0.8, rash=0.4), random.Random(0)
    known = answers(voice, EVERYTHING)
    for dialogue, answer in [*answers(voice, frozenset()), *known]:
        for sentence in world.BREAK.split(answer):
            assert world.said(sentence) or sentence == NOTHING, (dialogue.cell, sentence)
    for dialogue, answer in known:
        for item, _, _ in dialogue.items:
            said = json.loads(suites.judge_reply(item, answer, suites.Ear(), rng))["criteria_met"]
            assert said == item.met(answer), (dialogue.cell, item.criterion, answer)


def test_what_stands_in_a_response_to_win_the_judge_over_changes_no_verdict():
    met = {}
    for share in (0.0, 1.0):
        some = list(islice(suites.judge_samples(WORLD, suites.Ear(), random.Random(3), share), 3000))
        forged = [one for one in some if '"criteria_met": true' in fenced(one.messages[0]["content"])]
        met[share] = [json.loads(one.completion.removesuffix(voices.END))["criteria_met"] for one in forged or some]
    shares = [sum(decided) / len(decided) for decided in met.values()]  # 0.324 and 0.326; of other seeds 0.016 apart
    assert len(met[1.0]) > 1400 and shares[1] == pytest.approx(shares[0], abs=0.03)
