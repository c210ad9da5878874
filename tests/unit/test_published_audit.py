"""The audit: counts, groups and grades; and which scores so many questions can have, as section 00 reckons it."""

import itertools

import case_rows
import nbformat
import numpy as np
import pandas as pd
import pytest
from medpsy import published


@pytest.fixture(scope="module")
def audited():
    return published.audit()


def test_groups_and_their_grades(audited):
    groups = published.groups(audited).set_index("group")
    wanted = {each["group"]: each["claims"] for each in case_rows.rows("audit_groups")}
    assert groups["claims"].str.replace(",", "").to_dict() == wanted
    grades = groups["grade"]
    assert grades[6] == "acknowledged separate runs" and grades[13] == "within rounding"
    assert set(grades.index[grades == "a conclusion changes"]) == {1, 2, 5, 8, 9, 10, 11}
    assert set(grades) == set(published.GRADES)
    assert audited.set_index("id").at["P253", "grade"] == "a conclusion changes"  # unlike the rest of its group


def test_rounding_explains_the_gaps_that_are_graded_so_and_disagreements_alone_have_a_grade(audited):
    rows = audited.dropna(subset=["gap", "reach"])
    assert len(rows) > 30
    explained = rows["gap"].abs() <= rows["reach"] + 1e-12
    assert (explained == (rows["grade"] == "within rounding")).all()
    disagrees = audited["state"] == "disagree"
    assert (audited["group"].notna() == disagrees).all()
    assert (audited["grade"].isin(published.GRADES) == disagrees).all()


@pytest.fixture(scope="module")
def section(root):
    """The functions of section 00 that say which printed values so many questions and runs can produce."""
    cells = nbformat.read(root / "notebooks/00_published_claims.ipynb", as_version=4).cells
    names = {"np": np, "pd": pd, "by_hand": []}
    for cell in cells:
        if cell.id in ("possible", "rounded", "subjects"):
            exec(cell.source, names)
    return names


@pytest.mark.parametrize("rounded_runs", [False, True])
@pytest.mark.parametrize(("size", "runs"), [(7, 1), (7, 2), (11, 3), (29, 2)])
def test_possible_scores_against_every_combination_of_right_answers(section, size, runs, rounded_runs):
    tried = set()
    for right in itertools.combinations_with_replacement(range(size + 1), runs):
        scores = [100 * count / size for count in right]
        tried.add(round(100 * sum(round(score, 2) if rounded_runs else score for score in scores) / runs))
    possible = set(np.flatnonzero(section["rounded_first" if rounded_runs else "averaged"](size, runs)))
    assert tried <= possible
    assert all(min(abs(value - other) for other in tried) <= 1 for value in possible - tried)  # ties round either way
    assert len(possible - tried) <= len(tried) // 2 if runs == 2 else possible == tried


def test_ties_round_either_way_and_means_of_subjects_hold_only_values_that_occur(section):
    once, twice = section["averaged"](16, 1), section["averaged"](32, 1)
    assert once[625] and not once[626]  # 1/16 is 6.25, 1/32 is 3.125
    assert twice[312] and twice[313]
    sums = {round(100 * (a / 2 + b / 3) / 2 * 100) for a in range(3) for b in range(4)}
    assert set(np.flatnonzero(section["mean_of_subjects"]([2, 3], 1))) == sums
