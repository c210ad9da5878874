"""Readers compared on the same responses: where they differ, how often they are right, and whether it changes a score.

Takes rows as `medpsy.report.gathering.readable` returns them for several readers, and reads nothing itself.
"""

import pandas as pd

from medpsy import statistics
from medpsy.benchmarks.question import LETTERS
from medpsy.mini import truth
from medpsy.report import compare
from medpsy.report.display import Table, table
from medpsy.report.scores import question_shares, suite_gap
from medpsy.study import Study

ROW = ["model", "suite", "question_id", "run"]
KINDS = {  # how a reading relates to another of the same answer
    (True, True, True): "same",
    (True, True, False): "another option",
    (True, False, False): "only the reference reads one",
    (False, True, False): "only this reader reads one",
    (False, False, True): "same",
}
SHOWN = 300  # characters of an answer in a table; the end is where it settles


def reader_agreement(rows: pd.DataFrame, *, reference: str) -> Table:
    """Return how often each reader chooses what `reference` chooses on answers that have one."""
    pairs = _pairs(rows, reference)
    counts = pd.crosstab(pairs["reader"], pairs["kind"]).reindex(pairs["reader"].unique())
    counts = counts.reindex(columns=list(dict.fromkeys(KINDS.values())), fill_value=0)
    frame = counts.rename_axis("Reader").rename(columns=str.capitalize).reset_index()
    frame.insert(1, "Same (%)", 100 * counts["same"].to_numpy() / counts.sum(axis=1).to_numpy())
    note = "Answers only: cut off and failed responses are the same for every reader."
    return table(frame, f"Readings beside those of {reference}", note=note)


def differing(rows: pd.DataFrame, *, reference: str, each: int = 2, seed: int = 0) -> Table:
    """Return up to `each` answers, drawn by seed, per reader and way of differing from `reference`."""
    pairs = _pairs(rows, reference)
    apart = pairs[pairs["kind"] != "same"].sample(frac=1, random_state=seed)
    apart = apart.drop_duplicates(["reader", "kind", "answer"]).groupby(["reader", "kind"], sort=False).head(each)
    found = {
        "Reader": apart["reader"],
        "Answer": [text[-SHOWN:] for text in apart["answer"]],
        "Reads": [_letter(value) for value in apart["chosen"]],
        f"{reference.capitalize()} reads": [_letter(value) for value in apart["chosen_reference"]],
        "Gold": [_letter(value) for value in apart["gold"]],
        "Difference": apart["kind"],
    }
    frame = pd.DataFrame(found).sort_values(["Reader", "Difference", "Answer"])
    return table(frame, "Answers that are read differently")


def reader_truth(study: Study, rows: pd.DataFrame) -> Table:
    """Return how often each reader names what an answer chose, where the miniature's grammar says what that is.

    Where the suites are real there is no such truth, and the table has no row.
    """
    title = "Readings against what the answers really chose"
    if study.source != "mini":
        return table(pd.DataFrame({"Reader": [], "Answers": []}), title, note="Only the miniature has such a truth.")
    answers = rows[rows["answer"].notna()]
    known = [
        truth.chosen(text, tuple(options)) for text, options in zip(answers["answer"], answers["options"], strict=True)
    ]
    answers = answers.assign(wording=[one.wording for one in known], truth=[one.choice for one in known])
    outside = answers["wording"].isna()
    lines = [_truth_row(str(reader), part) for reader, part in answers[~outside].groupby("reader", sort=False)]
    note = f"{int(outside.sum()) // rows['reader'].nunique()} answers are outside the grammar and have no truth."
    return table(pd.DataFrame(lines), title, note=note)


def truth_by_wording(study: Study, rows: pd.DataFrame) -> Table:
    """Return each reader's share of right readings (%) per wording of the miniature's answers."""
    title = "Right readings by wording of the answer (%)"
    if study.source != "mini":
        return table(pd.DataFrame({"Wording": []}), title, note="Only the miniature has such a truth.")
    answers = rows[rows["answer"].notna()]
    known = [
        truth.chosen(text, tuple(options)) for text, options in zip(answers["answer"], answers["options"], strict=True)
    ]
    answers = answers.assign(
        Wording=[one.wording for one in known],
        right=[100.0 * _same(a, one.choice) for a, one in zip(answers["chosen"], known, strict=True)],
    ).dropna(subset="Wording")
    shares = answers.pivot_table(index="Wording", columns="reader", values="right", sort=False)
    counts = answers.drop_duplicates(ROW)["Wording"].value_counts()
    frame = shares[list(answers["reader"].unique())].reset_index()
    frame.insert(1, "Answers", counts.reindex(frame["Wording"]).to_numpy())
    return table(frame, title, decimals=1)


def reader_verdicts(rows: pd.DataFrame, *, reference: str) -> list[dict]:
    """Return for each reader whether its average differs from that of `reference`, paired by question and model."""
    shares = question_shares(rows.assign(model=rows["reader"]))
    said = []
    for reader in [name for name in rows["reader"].unique() if name != reference]:
        suites = [suite_gap(shares, reader, reference, suite) for suite in rows["suite"].unique()]
        gap = pd.DataFrame(suites)[["difference", "margin"]].agg({"difference": "mean", "margin": _mean_margin})
        verdict = compare.value_verdict(0.0, gap["difference"], gap["margin"])
        text = f"{reader} gives the same scores as {reference}: difference {gap['difference']:+.2f} points"
        text += "" if pd.isna(gap["margin"]) else f" ± {gap['margin']:.2f}"
        said.append({"text": text, "verdict": verdict, "note": "mean over models and suites, paired by question"})
    return said


def _mean_margin(margins: pd.Series) -> float:
    """Return the margin of the mean of independent differences; missing where one of them is."""
    return float((margins**2).sum(skipna=False) ** 0.5 / len(margins))


def _pairs(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return one row per answer and other reader, with the reading of `reference` and how they relate."""
    answers = rows[rows["answer"].notna()]
    own = answers[answers["reader"] == reference][[*ROW, "chosen"]]
    pairs = answers[answers["reader"] != reference].merge(own, on=ROW, suffixes=("", "_reference"))
    kinds = [
        KINDS[not pd.isna(first), not pd.isna(second), _same(first, second)]
        for first, second in zip(pairs["chosen_reference"], pairs["chosen"], strict=True)
    ]
    return pairs.assign(kind=kinds)


def _truth_row(reader: str, part: pd.DataFrame) -> dict:
    right = [_same(first, second) for first, second in zip(part["chosen"], part["truth"], strict=True)]
    read, there = part["chosen"].notna().to_numpy(), part["truth"].notna().to_numpy()
    wrong = ~pd.Series(right).to_numpy()
    return {
        "Reader": reader,
        "Answers": len(part),
        "Right (%)": 100 * sum(right) / len(part),
        "Right (%) ±": statistics.proportion_margin(sum(right), len(part)),
        "Another option": int((wrong & read & there).sum()),
        "Missed": int((~read & there).sum()),
        "Invented": int((read & ~there).sum()),
    }


def _same(first: object, second: object) -> bool:
    return (pd.isna(first) and pd.isna(second)) or (not pd.isna(first) and not pd.isna(second) and first == second)


def _letter(choice: object) -> str | None:
    return None if pd.isna(choice) else LETTERS[int(choice)]
