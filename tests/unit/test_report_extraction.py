"""Readers side by side: how they differ, and how right they are where the miniature knows the truth."""

from types import SimpleNamespace

import pandas as pd
from medpsy.report import differing, reader_agreement, reader_truth, reader_verdicts, truth_by_wording

OPTIONS = ["fabix", "gedix", "hodix", "kulix"]
ANSWERS = {  # question -> answer, gold, reading of the parser, reading of the rule
    "q0": ("The answer is B.", 1, 1, 1),
    "q1": ("I would choose gedix.", 1, 1, None),  # the rule cannot read it
    "q2": ("A is wrong. The answer is C.", 2, 2, 0),  # the rule takes the wrong letter
    "q3": ("I cannot tell.", 3, None, 3),  # the rule invents one
    "q4": ("Well, hard to say", 0, None, None),  # outside the grammar
}


def rows():
    return pd.DataFrame(
        {"model": "m", "suite": "medqa", "weight_group": "medqa", "question_id": name, "run": 0, "reader": reader}
        | {"answer": answer, "options": OPTIONS, "gold": gold, "chosen": choice}
        | {"outcome": "unreadable" if choice is None else "correct" if choice == gold else "wrong"}
        for name, (answer, gold, *choices) in ANSWERS.items()
        for reader, choice in zip(("parser", "rule"), choices, strict=True)
    ).astype({"chosen": "Int64"})


MINI = SimpleNamespace(source="mini", profile="mini")


def test_every_way_of_differing_is_counted_apart():
    (row,) = reader_agreement(rows(), reference="parser").frame.to_dict("records")
    assert row["Reader"] == "rule"
    assert row["Same (%)"] == 40
    assert row["Another option"] == 1
    assert row["Only the reference reads one"] == 1
    assert row["Only this reader reads one"] == 1


def test_answers_that_are_read_differently_are_shown_with_both_letters():
    frame = differing(rows(), reference="parser").frame.set_index("Answer")
    assert len(frame) == 3
    row = frame.loc["A is wrong. The answer is C."]
    assert (row["Reads"], row["Parser reads"], row["Gold"]) == ("A", "C", "C")


def test_readings_are_measured_against_what_the_answers_chose():
    table = reader_truth(MINI, rows())
    right = table.frame.set_index("Reader")
    assert right.loc["parser", "Right (%)"] == 100
    assert right.loc["rule", "Right (%)"] == 25
    assert tuple(right.loc["rule", ["Another option", "Missed", "Invented"]]) == (1, 1, 1)
    assert right.loc["rule", "Answers"] == 4
    assert table.note.startswith("1 answers are outside")


def test_the_truth_by_wording_tells_which_forms_a_rule_misreads():
    frame = truth_by_wording(MINI, rows()).frame.set_index("Wording")
    assert frame.loc["stated", "rule"] == 100
    assert frame.loc["text", "rule"] == 0
    assert frame.loc["text", "parser"] == 100


def test_real_suites_have_no_such_truth():
    hub = SimpleNamespace(source="hub", profile="paper")
    assert reader_truth(hub, rows()).frame.empty
    assert truth_by_wording(hub, rows()).frame.empty


def test_a_reader_of_other_scores_differs_from_the_reference():
    few = pd.concat([rows().assign(question_id=lambda r, n=n: r["question_id"] + f"-{n}") for n in range(60)])
    (said,) = reader_verdicts(few, reference="parser")
    assert said["verdict"] == "differs"
    assert said["text"].startswith("rule gives the same scores as parser: difference -20.00")


def test_too_few_answers_settle_nothing():
    (said,) = reader_verdicts(rows(), reference="parser")
    assert said["verdict"] == "too few to tell"
