"""The miniature's judges measured against its world: how often they are right, per axis and sign of criterion.

Which sentences meet a criterion is known there, so what a judge should have said can be had without any judgement.
"""

from collections.abc import Mapping

import pandas as pd

from medpsy import statistics
from medpsy.benchmarks.healthbench import AXES
from medpsy.grading.verdicts import MET, UNJUDGED
from medpsy.mini import conversations
from medpsy.report.display import MARGIN, Table, table
from medpsy.study import Study

TITLE = "Judges against what the responses really say"
NO_TRUTH = "Only the miniature has such a truth."
GOOD, BAD = "good (points above 0)", "bad (points below 0)"


def judge_truth(study: Study, judged: pd.DataFrame, responses: pd.DataFrame) -> Table:
    """Return how often each judge is right, over all criteria and by sign of their points.

    Args:
        judged: as `medpsy.open_ended.open_ended` returns it.
        responses: as `medpsy.report.readable_conversations` returns it.
    """
    if study.source != "mini":
        return table(pd.DataFrame({"Judge": [], "Criteria": []}), TITLE, note=NO_TRUTH)
    known = _with_truth(judged, responses)
    known["sign"] = [GOOD if points > 0 else BAD for points in known["points"]]
    rows = []
    for judge, part in known.groupby("judge", sort=False):
        for sign, group in [("all", part), *part.groupby("sign", sort=False)]:
            rows.append({"Judge": study.model(judge).label, "Criteria are": sign} | _row(group))
    return table(pd.DataFrame(rows), TITLE, note="Unjudged criteria count as not right.")


def truth_by_axis(study: Study, judged: pd.DataFrame, responses: pd.DataFrame) -> Table:
    """Return each judge's share of right verdicts (%) per axis; arguments as in `judge_truth`."""
    title = "Right verdicts by axis (%)"
    if study.source != "mini":
        return table(pd.DataFrame({"Axis": []}), title, note=NO_TRUTH)
    known = _with_truth(judged, responses)
    shares = known.assign(right=100.0 * known["right"]).pivot_table(index="axis", columns="judge", values="right")
    shares = shares[list(judged["judge"].unique())].rename(columns=lambda name: study.model(name).label)
    counts = known[known["judge"] == known["judge"].iloc[0]]["axis"].value_counts()
    frame = shares.rename_axis(None, axis=1).reset_index()
    frame.insert(1, "Criteria", counts.reindex(frame["axis"]).to_numpy())
    return table(frame.assign(axis=frame["axis"].map(AXES)).rename(columns={"axis": "Axis"}), title, decimals=1)


def _with_truth(judged: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Return `judged` without failed responses, with ``truth`` (met or not) and ``right``."""
    answers = dict(zip(responses["key"], responses["answer"].fillna(""), strict=True))  # a cut-off response has none
    dialogues = conversations.truth()
    rubrics: Mapping[str, list] = {name: list(one.items) for name, one in dialogues.items()}
    known = judged[(judged["finish_reason"] != "failed") & (judged["suite"] != "healthbench_consensus")]
    truth = [
        rubrics[name][place][0].met(answers[key])
        for name, place, key in zip(known["conversation_id"], known["criterion"], known["key"], strict=True)
    ]
    right = [
        outcome != UNJUDGED and (outcome == MET) == true for outcome, true in zip(known["outcome"], truth, strict=True)
    ]
    return known.assign(truth=truth, right=right)


def _row(part: pd.DataFrame) -> dict:
    met, right = part["outcome"] == MET, int(part["right"].sum())
    return {
        "Criteria": len(part),
        "Right (%)": 100 * right / len(part),
        "Right (%)" + MARGIN: statistics.proportion_margin(right, len(part)),
        "Passed, not said": int((met & ~part["truth"]).sum()),
        "Said, not passed": int((~met & part["truth"] & (part["outcome"] != UNJUDGED)).sum()),
        "Unjudged": int((part["outcome"] == UNJUDGED).sum()),
    }
