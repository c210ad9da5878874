"""The miniature's world: drawn from a seed, complete, and split into training and held-out cells by construction."""

import pytest
from medpsy.mini import suites, world
from medpsy.mini.world import RELATIONS

WORLD = world.build()


def test_equal_seeds_give_equal_worlds_and_other_seeds_other_ones():
    assert world.build(11) == WORLD
    assert world.build.__wrapped__(11) == WORLD
    assert world.build(12).names["condition"] != WORLD.names["condition"]


def test_every_name_is_used_once():
    names = [name for kind in WORLD.names.values() for name in kind]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_subject_has_one_fact_of_each_relation(relation):
    subject_kind, object_kind = RELATIONS[relation]
    facts = [fact for fact in WORLD.facts if fact.relation == relation]
    assert sorted(fact.subject for fact in facts) == sorted(WORLD.names[subject_kind])
    assert all(name in WORLD.names[object_kind] for fact in facts for name in fact.objects)


def test_two_signs_identify_one_condition_whose_second_drug_is_never_the_first():
    pairs = [frozenset(fact.objects) for fact in WORLD.facts if fact.relation == "signs"]
    assert len(set(pairs)) == len(pairs)
    for condition in WORLD.names["condition"]:
        assert WORLD.object("first_drug", condition) != WORLD.object("second_drug", condition)


def test_every_name_follows_a_space_in_every_sentence():
    """A name that opens a text would be another token than the same name elsewhere."""
    texts = [world.recall(fact) for fact in WORLD.facts]
    texts += [
        case.stem
        for held_out in (True, False)
        for pool in world.cases(WORLD, held_out=held_out).values()
        for case in pool
    ]
    names = {name for kind in WORLD.names.values() for name in kind}
    assert not [text for text in texts if text.split()[0].strip(".,") in names]


def test_training_and_held_out_cells_are_apart_and_together_everything():
    training, held_out = (world.cases(WORLD, held_out=flag) for flag in (False, True))
    for form, make in world.CASE_FORMS.items():
        apart = [{case.cell for case in side[form]} for side in (training, held_out)]
        assert not apart[0] & apart[1]
        assert len(apart[0] | apart[1]) == len(make(WORLD))


def test_a_contraindicated_drug_is_never_the_answer():
    for case in world.contraindications(WORLD):
        if "harms/" + case.answer in WORLD.by_id and len(case.facts) == 3:
            assert WORLD.object("harms", case.answer) != case.working
    unsafe = [case for case in world.contraindications(WORLD) if len(case.facts) == 4]
    assert unsafe
    assert all(case.answer == WORLD.object("second_drug", case.about.split("/")[0]) for case in unsafe)


def test_a_trial_is_answered_by_its_own_report_and_not_by_the_decoy():
    for case in world.trials(WORLD)[:300]:
        assert case.working in case.context
        helps = "With it many got well, without it few" in case.working
        expected = "maybe" if "was small" in case.working else "yes" if helps else "no"
        assert case.answer == expected


@pytest.mark.parametrize(
    ("suite", "size", "counts"),
    [
        ("mmlu_health", 70, {4}),
        ("afrimedqa", 51, {4, 5}),
        ("mmlu_pro_health", 60, set(range(3, 11))),
        ("medmcqa", 60, {4}),
        ("medqa", 60, {4}),
        ("medxpertqa", 45, {10}),
        ("pubmedqa", 60, {3}),
    ],
)
def test_suites_have_the_shape_of_the_real_ones(suite, size, counts):
    questions = suites.load(suite)
    assert len(questions) == size
    assert {len(question.options) for question in questions} <= counts
    assert len({question.id for question in questions}) == size
    assert all(question.suite == suite for question in questions)


def test_golds_are_the_worlds_own_facts():
    for question in suites.load("mmlu_health"):
        _, relation, subject = question.id.split("/")
        assert question.options[question.gold] == WORLD.object(relation, subject)


def test_golds_are_spread_over_the_letters():
    golds = [question.gold for question in suites.load("medmcqa")]
    assert max(golds.count(letter) for letter in range(4)) < 0.45 * len(golds)


def test_all_suite_questions_are_held_out():
    training = {case.cell for pool in world.cases(WORLD, held_out=False).values() for case in pool}
    for suite in ("mmlu_health", "afrimedqa", "mmlu_pro_health", "medmcqa", "medqa", "medxpertqa", "pubmedqa"):
        assert not training & {question.id for question in suites.load(suite)}
