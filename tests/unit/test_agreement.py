"""Agreement of raters: published examples, missing labels, and the cases that have no answer."""

import pandas as pd
import pytest
from medpsy.statistics import cohen_kappa, fleiss_kappa, macro_f1, rank_correlations

FLEISS = [  # ten items, 14 raters, five categories: the worked example of Fleiss' kappa, 0.210
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def pairs(*counts: tuple[object, object, int]) -> tuple[list, list]:
    """Return two lists of labels from (first, second, how often)."""
    rows = [(first, second) for first, second, times in counts for _ in range(times)]
    return [first for first, _ in rows], [second for _, second in rows]


def test_cohens_kappa_of_the_textbook_example():
    first, second = pairs((True, True, 20), (True, False, 5), (False, True, 10), (False, False, 15))
    assert cohen_kappa(first, second) == pytest.approx(0.4)  # observed 0.7, by chance 0.5


def test_cohens_kappa_leaves_out_what_either_rater_left_out():
    first, second = pairs(("met", "met", 20), ("met", "not met", 5), ("not met", "met", 10), ("not met", "not met", 15))
    assert cohen_kappa([*first, None, "met"], [*second, "met", float("nan")]) == pytest.approx(0.4)


@pytest.mark.parametrize(("first", "second"), [([], []), ([None], ["met"]), (["met"] * 3, ["met"] * 3)])
def test_without_chance_of_disagreement_there_is_no_kappa(first, second):
    assert cohen_kappa(first, second) is None


def test_total_disagreement_is_negative_and_total_agreement_is_one():
    assert cohen_kappa([1, 0, 1, 0], [0, 1, 0, 1]) == -1
    assert cohen_kappa([1, 0, 1, 0], [1, 0, 1, 0]) == 1
    assert fleiss_kappa([[1, 1, 1], [0, 0, 0]]) == 1


def test_fleiss_kappa_of_the_textbook_example():
    ratings = [[kind for kind, times in enumerate(row) for _ in range(times)] for row in FLEISS]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([*ratings, [None] + [1] * 13]) == pytest.approx(0.210, abs=5e-4)  # left out, not guessed


def test_fleiss_kappa_wants_a_label_or_none_of_every_rater():
    assert fleiss_kappa([]) is None and fleiss_kappa([[None, True]]) is None
    with pytest.raises(ValueError, match="one label .* of each rater"):
        fleiss_kappa([[True, False], [True]])
    with pytest.raises(ValueError, match="two raters"):
        fleiss_kappa([[True]])


def test_macro_f1_counts_both_classes_equally():
    labels, said = pairs((True, True, 6), (True, False, 2), (False, True, 1), (False, False, 1))
    met, not_met = 2 * 6 / (8 + 7), 2 * 1 / (2 + 3)
    assert macro_f1(labels, said) == pytest.approx((met + not_met) / 2)
    assert macro_f1([*labels, True], [*said, None]) == pytest.approx((met + not_met) / 2)
    assert macro_f1([True, True], [True, True]) == 1 and macro_f1([], []) is None


def test_kappa_and_f1_are_those_of_scikit_learn_where_it_is_installed():
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = pairs((0, 0, 11), (0, 1, 4), (1, 0, 6), (1, 1, 9), (2, 1, 3), (2, 2, 5))
    assert cohen_kappa(first, second) == pytest.approx(metrics.cohen_kappa_score(first, second))
    assert macro_f1(first, second) == pytest.approx(metrics.f1_score(first, second, average="macro"))


def test_judges_may_order_models_alike_although_their_scores_differ():
    scores = pd.DataFrame(
        {"strict": [10.0, 20, 30, None], "kind": [60.0, 70, 90, 50], "contrary": [3.0, 2, 1, 0], "flat": [5.0] * 4}
    )
    table = rank_correlations(scores).set_index(["first", "second"])
    assert table.loc[("strict", "kind"), ["models", "spearman", "kendall"]].tolist() == [3, 1.0, 1.0]
    assert table.loc[("strict", "contrary"), "kendall"] == -1
    assert table.loc[("kind", "contrary"), "kendall"] == pytest.approx(0.0)
    assert pd.isna(table.loc[("kind", "flat"), "spearman"])
