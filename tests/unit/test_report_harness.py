"""The card's table regenerated, and its claims tested on paired documents."""

import numpy as np
import pandas as pd
import pytest
from medpsy import published
from medpsy.harness import BENCHMARKS
from medpsy.report.harness import TESTED, card_claims, card_scores, card_table, difference, handling_table

MINI = BENCHMARKS["mini"]
IFEVAL = MINI[2]
PARTS = {"base": "before", "rl": "after", "merged": "fused"}


def scores(models=("before", "after", "fused"), **skip):
    rows = [
        {"model": model, "task": one.task, "metric": one.metric, "value": 40.0 + place, "stderr": 2.0}
        for model in models
        for place, one in enumerate(MINI)
    ]
    return pd.DataFrame(rows)


def documents(ifeval):
    """Return 60 documents per benchmark: alike in all models but for IFEval, whose shares `ifeval` gives."""
    rows = []
    for model in PARTS.values():
        for one in MINI:
            right = round(60 * (ifeval[model] if one is IFEVAL else 0.5))
            values = np.repeat([100.0, 0.0], [right, 60 - right])
            names = [f"{one.task}/{number}" for number in range(60)]
            place = {"model": model, "task": one.task, "metric": one.metric}
            rows += [place | {"document": name, "value": value} for name, value in zip(names, values, strict=True)]
    return pd.DataFrame(rows)


def verdicts(rows):
    return {row["id"]: row["verdict"] for row in rows}


def test_the_cards_own_numbers_are_read_from_both_cards():
    printed = card_scores()
    assert printed.loc["IFEVAL"].tolist() == [63.67, 59.59, 63.55]
    assert printed.loc["MMLU"].tolist() == [55.53, 61.40, 61.10]
    assert printed.loc["MMLU-Pro"].tolist() == [32.61, 33.16, 33.44]


def test_the_table_has_our_models_with_margins_beside_the_card():
    headings = {"before": "Base", "after": "GRPO", "fused": "Merged"}
    frame = card_table(scores(), MINI, headings).frame.set_index("Benchmark")
    assert frame.columns.tolist()[:2] == ["Base", "Base ±"] and frame.loc["IFEVAL", "Merged"] == 42.0
    assert frame.loc["MMLU", "Base ±"] == pytest.approx(3.92, abs=0.01)
    assert frame.loc["IFEVAL", "Card: after GRPO"] == 59.59
    with pytest.raises(KeyError, match="other was not evaluated on mini_mmlu"):
        card_table(scores(), MINI, {"other": "Other"})


def test_differences_are_paired_and_other_documents_refused():
    rows = documents({"before": 0.6, "after": 0.3, "fused": 0.6})
    found = difference(rows, IFEVAL, "after", "before")
    assert found.difference == pytest.approx(-30) and found.questions == 60 and 5 < found.margin < 15
    with pytest.raises(ValueError, match="not given the same documents of mini_ifeval"):
        difference(rows.drop(rows[(rows["model"] == "after")].index[-1]), IFEVAL, "after", "before")


def test_the_cards_pattern_holds_fails_or_stays_open_as_the_documents_say():
    back = verdicts(card_claims(documents({"before": 0.6, "after": 0.3, "fused": 0.6}), MINI, PARTS, profile="mini"))
    assert back["A026"] == back["A025"] == back["A030"] == back["A029"] == "pattern holds"
    assert back["A001"] == back["A031"] == "too few to tell"  # equal scores show no gain
    lost = verdicts(card_claims(documents({"before": 0.3, "after": 0.6, "fused": 0.3}), MINI, PARTS, profile="mini"))
    assert lost["A026"] == lost["A030"] == "pattern fails"


def test_values_are_compared_where_the_published_models_are_run():
    rows = documents({"before": 0.6, "after": 0.3, "fused": 0.6})
    found = verdicts(card_claims(rows, MINI, PARTS, profile="paper"))
    assert found["A025"] == "differs"  # -30 measured, -4.08 printed
    assert found["A026"] == "pattern holds"  # an order has no value to miss


def test_every_claim_that_is_tested_is_one_and_its_section_answers_for_it():
    claims = {one.id: one for one in (*published.claims(), *published.card_claims())}
    tested = [name for asked in TESTED.values() for names in asked.values() for name in names]
    assert len(tested) == len(set(tested)) and set(tested) <= set(claims)
    assert all(claims[name].notebook == "13_openmed" for name in tested if name.startswith("A"))


def test_three_handlings_stand_side_by_side():
    frames = [scores().assign(handling=name) for name in ("stripped", "left in")]
    table = handling_table(pd.concat(frames), IFEVAL)
    assert list(table.columns) == ["Model", "stripped", "stripped ±", "left in", "left in ±"] and len(table.rows) == 3
