"""Choosing some questions of a suite by seed."""

from collections import Counter

import pytest
from medpsy.benchmarks import Question, sample


def questions(**sizes):
    return [
        Question(f"{group}/{number}", "suite", group, "stem?", ("x", "y"), 0, None, weight_group=group)
        for number in range(max(sizes.values()))
        for group, size in sizes.items()
        if number < size
    ]


MMLU = questions(anatomy=135, knowledge=265, biology=144, college=173, genetics=100, professional=272)


def counts(chosen):
    return Counter(question.weight_group for question in chosen)


@pytest.mark.parametrize("n", [0, 1_089, 5_000])
def test_all_questions_come_back_in_their_order(n):
    assert sample(MMLU, n, seed=1) == tuple(MMLU)


@pytest.mark.parametrize("n", [6, 7, 40, 60, 700, 1_088])
def test_the_number_asked_for_comes_back_and_every_group_is_there(n):
    chosen = sample(MMLU, n, seed=1)
    assert len(chosen) == len(set(chosen)) == n
    assert len(counts(chosen)) == 6


def test_groups_share_equally_because_they_count_equally():
    assert set(counts(sample(MMLU, 60, seed=1)).values()) == {10}
    assert sorted(counts(sample(MMLU, 62, seed=1)).values()) == [10, 10, 10, 10, 11, 11]


def test_a_small_group_is_taken_whole_and_the_others_fill_up():
    chosen = sample(questions(big=50, small=3), 20, seed=1)
    assert counts(chosen) == {"big": 17, "small": 3}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_group_is_lost_even_to_a_tiny_sample(n):
    assert counts(sample(MMLU, n, seed=1)) == dict.fromkeys(counts(MMLU), 1)


def test_the_order_is_that_of_the_suite():
    chosen = sample(MMLU, 50, seed=3)
    assert sorted(chosen, key=MMLU.index) == list(chosen)


def test_the_same_seed_chooses_the_same_and_another_seed_others():
    assert sample(MMLU, 50, seed=3) == sample(MMLU, 50, seed=3)
    assert sample(MMLU, 50, seed=3) != sample(MMLU, 50, seed=4)


def test_row_order_does_not_matter():
    assert set(sample(MMLU[::-1], 50, seed=3)) == set(sample(MMLU, 50, seed=3))


def test_a_larger_sample_contains_the_smaller():
    assert set(sample(MMLU, 20, seed=3)) < set(sample(MMLU, 41, seed=3)) < set(sample(MMLU, 600, seed=3))


def test_it_is_not_the_first_rows():
    chosen = sample(questions(one=1_000), 100, seed=3)
    places = [int(question.id.split("/")[1]) for question in chosen]
    assert 400 < sum(places) / 100 < 600  # uniform: 500, standard error 27


def test_the_choice_is_pinned_across_releases():
    chosen = sample(questions(one=100), 5, seed=7)
    assert [question.id for question in chosen] == ["one/4", "one/23", "one/34", "one/67", "one/82"]


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="-1 questions; give a number of at least 0"):
        sample(MMLU, -1, seed=1)
