"""One model under two protocols: lm-evaluation-harness beside the study's own evaluation, on the same questions.

A document of the harness and a question of a suite are the same where both are read from the same rows in the same
order; their number within a subject then tells. What differs between the protocols is `medpsy.harness.protocols`' to
say. Runs nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from medpsy import evaluate
from medpsy.harness.card import Benchmark
from medpsy.harness.protocols import SUITES
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.scores import TITLES, question_shares
from medpsy.statistics import PairedDifference, Z, paired_difference
from medpsy.study import Study

BY_SUBJECT = ("MMLU",)  # benchmarks whose task has a part for every subject
KEYS = {TITLES[key]: key for key in TITLES}


def both_protocols(
    study: Study,
    scores: pd.DataFrame,
    documents: pd.DataFrame,
    own: pd.DataFrame,
    graded: pd.DataFrame,
    benchmarks: Sequence[Benchmark],
    models: Mapping[str, str],
) -> Table:
    """Return one row per benchmark and model: the harness's score, ours, and their difference on the same questions.

    Args:
        scores, documents: as `medpsy.harness.evaluate` and `medpsy.harness.documents` return them.
        own: as `medpsy.report.scored` returns it; `graded` is what it was made of.
        models: heading -> model.
    """
    theirs = scores.set_index(["model", "task", "metric"])
    ours, rows = own.set_index(["model", "title"]), []
    for one in (one for one in benchmarks if one.title in SUITES):
        for heading, model in models.items():
            found, mine = theirs.loc[(model, one.task, one.metric)], ours.loc[(model, SUITES[one.title])]
            row = {"Benchmark": one.title, "Suite": SUITES[one.title], "Model": heading}
            row |= {"Harness": found["value"], "Harness" + MARGIN: Z * found["stderr"]}
            row |= {"Ours": mine["score"], "Ours" + MARGIN: mine["margin"]}
            gap = same_questions(study, documents, graded, one, model)
            row |= {"Same questions": gap and gap.questions, "Harness − ours": gap and gap.difference}
            rows.append(row | {"Harness − ours" + MARGIN: gap and gap.margin})
    note = (
        "Points, 95 % margins. The difference is paired on questions that both asked, subjects weighing alike; it is "
        "missing where the harness's documents cannot be told apart by subject."
    )
    frame = pd.DataFrame(rows).astype({"Same questions": "Int64"})
    return table(frame, "The same models under both protocols", note=note)


def same_questions(
    study: Study, documents: pd.DataFrame, graded: pd.DataFrame, one: Benchmark, model: str
) -> PairedDifference | None:
    """Return the harness's score minus ours on the questions that both asked `model`; None where they cannot be told.

    Subjects with a single such question are left out: they have no spread.
    """
    suite = KEYS[SUITES[one.title]]
    names = _documents(study, one, suite)
    if names is None:
        return None
    told = documents[(documents["model"] == model) & (documents["metric"] == one.metric)]
    told = told[told["task"] == one.task].set_index("document")["value"] / 100
    shares = question_shares(graded[(graded["model"] == model) & (graded["suite"] == suite)]).reset_index()
    pairs = shares.assign(harness=shares["question_id"].map(names).map(told)).dropna(subset=["harness", "right"])
    pairs = pairs[pairs.groupby("weight_group")["harness"].transform("size") > 1]
    if pairs.empty:
        return None
    values = (pairs[[name]].to_numpy() for name in ("harness", "right"))
    return paired_difference(*values, groups=pairs["weight_group"].to_list())


def _documents(study: Study, one: Benchmark, suite: str) -> dict[str, str] | None:
    """Return the harness's name of every question of `suite`, or None where it has none by which to tell."""
    if one.title not in BY_SUBJECT and study.source != "mini":
        return None
    names, seen = {}, Counter()
    for question in evaluate.questions(study, [suite], every=True)[suite].values():
        task = f"{one.task}_{question.subject}" if one.title in BY_SUBJECT else one.task
        names[question.id] = f"{task}/{seen[task]}"
        seen[task] += 1
    return names
