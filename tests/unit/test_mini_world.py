"""The miniature's world: drawn from a seed, complete, and split into training and held-out cells by construction."""

import pytest
from case_rows import cases
from medpsy.mini import suites, world
from medpsy.mini.world import RELATIONS

WORLD = world.build()
SIDES = [world.cases(WORLD, held_out=held_out) for held_out in (False, True)]


def test_equal_seeds_give_equal_worlds_and_other_seeds_other_ones():
    assert world.build.__wrapped__(11) == WORLD
    assert world.build(12).names["condition"] != WORLD.names["condition"]


def test_every_name_is_used_once_and_every_subject_has_one_fact_of_each_relation():
    names = [name for kind in WORLD.names.values() for name in kind]
    assert len(names) == len(set(names))
    for relation, (subject_kind, object_kind) in RELATIONS.items():
        facts = [fact for fact in WORLD.facts if fact.relation == relation]
        assert sorted(fact.subject for fact in facts) == sorted(WORLD.names[subject_kind])
        assert all(name in WORLD.names[object_kind] for fact in facts for name in fact.objects)
    pairs = [frozenset(fact.objects) for fact in WORLD.facts if fact.relation == "signs"]
    assert len(set(pairs)) == len(pairs)  # two signs identify one condition
    for condition in WORLD.names["condition"]:
        assert WORLD.object("first_drug", condition) != WORLD.object("second_drug", condition)


def test_training_and_held_out_cells_are_apart_and_together_everything_and_no_name_opens_a_text():
    names, texts = {name for kind in WORLD.names.values() for name in kind}, map(world.recall, WORLD.facts)
    for form, make in world.CASE_FORMS.items():
        training, held_out = ({case.cell for case in side[form]} for side in SIDES)
        assert not training & held_out and len(training | held_out) == len(make(WORLD))
        texts = [*texts, *(case.stem for side in SIDES for case in side[form])]
    assert not [text for text in texts if text.split()[0].strip(".,") in names]  # where it would be another token


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


@pytest.mark.parametrize(("suite", "size", "counts"), cases("mini_suites", "suite", "size", "counts"))
def test_suites_have_the_shape_of_the_real_ones(suite, size, counts):
    questions = suites.load(suite)
    assert len(questions) == size
    assert {len(question.options) for question in questions} <= {*counts}
    assert len({question.id for question in questions}) == size
    assert all(question.suite == suite for question in questions)
    assert not {question.id for question in questions} & {case.cell for pool in SIDES[0].values() for case in pool}


def test_golds_are_the_worlds_own_facts_and_spread_over_the_letters():
    for question in suites.load("mmlu_health"):
        _, relation, subject = question.id.split("/")
        assert question.options[question.gold] == WORLD.object(relation, subject)
    golds = [question.gold for question in suites.load("medmcqa")]
    assert max(golds.count(letter) for letter in range(4)) < 0.45 * len(golds)
