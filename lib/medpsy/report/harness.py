"""The OpenMed card's table, regenerated: base, stages and merged model under lm-evaluation-harness, beside the card.

Arranges what `medpsy.harness` found; runs nothing. Models are compared document by document.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from medpsy import published
from medpsy.harness.card import Benchmark
from medpsy.published import Claim
from medpsy.report import compare
from medpsy.report.display import MARGIN, Table, table
from medpsy.statistics import PairedDifference, Z, paired_difference

BASE, RL, MERGED = "base", "rl", "merged"  # parts that models play in the card's claims
CARD = {BASE: "Card: base", RL: "Card: after GRPO", MERGED: "Card: merged"}
TESTED = {  # part, part -> benchmark -> claims about the first minus the second
    (MERGED, BASE): {
        "MMLU": ("A001", "A031", "P433"),
        "MMLU-Pro": ("A002", "A004", "P434"),
        "IFEVAL": ("A003", "P435"),
    },
    (RL, BASE): {"MMLU": ("A023",), "MMLU-Pro": ("A024",), "IFEVAL": ("A025", "A026")},
    (MERGED, RL): {"MMLU": ("A027",), "MMLU-Pro": ("A028",), "IFEVAL": ("A029", "A030")},
}
FALLING = ("<0", "loss")  # printed values that claim less


def card_scores() -> pd.DataFrame:
    """Return what the two OpenMed cards print: benchmarks by base, checkpoint after GRPO and merged model, points."""
    printed = published.table("openmed_benchmarks")
    claims = [one for one in published.card_claims() if one.source == "openmed_rl_cot_card" and not one.formula]
    after = {claim.text.partition(" ")[0]: float(claim.number) for claim in claims}
    columns = {BASE: printed["AFM-4.5B (same harness)"], RL: pd.Series(after), MERGED: printed["AFM-4.5B-OpenMed"]}
    return pd.DataFrame(columns).loc[list(printed.index)].rename_axis("Benchmark")


def card_table(scores: pd.DataFrame, benchmarks: Sequence[Benchmark], models: Mapping[str, str]) -> Table:
    """Return one row per benchmark: our models with their margins, then the card's.

    Args:
        scores: as `medpsy.harness.evaluate` returns them.
        models: model -> heading of its column, in order: base, each stage, merged.

    Raises:
        KeyError: a model was not evaluated on a benchmark; names both.
    """
    known, printed, rows = scores.set_index(["model", "task", "metric"]), card_scores(), []
    for one in benchmarks:
        row: dict[str, object] = {"Benchmark": one.title}
        for model, heading in models.items():
            if (model, one.task, one.metric) not in known.index:
                raise KeyError(f"{model} was not evaluated on {one.task} ({one.metric}); name it to harness.evaluate")
            found = known.loc[(model, one.task, one.metric)]
            row |= {heading: float(found["value"]), heading + MARGIN: Z * float(found["stderr"])}
        rows.append(row | {title: float(printed.loc[one.title, part]) for part, title in CARD.items()})
    return table(pd.DataFrame(rows), "The card's benchmarks, by lm-evaluation-harness")


def difference(documents: pd.DataFrame, one: Benchmark, first: str, second: str) -> PairedDifference:
    """Return the score of model `first` minus that of `second` on a benchmark, paired by document, in points.

    Args:
        documents: as `medpsy.harness.documents` returns them.

    Raises:
        ValueError: the two were not given the same documents.
    """
    own = documents[(documents["task"] == one.task) & (documents["metric"] == one.metric)]
    wide = own.pivot(index="document", columns="model", values="value").reindex(columns=[first, second])
    if wide.empty or wide.isna().any(axis=None):
        raise ValueError(f"{first} and {second} were not given the same documents of {one.task}; evaluate both alike")
    return paired_difference(wide[[first]].to_numpy() / 100, wide[[second]].to_numpy() / 100)


def card_claims(
    documents: pd.DataFrame, benchmarks: Sequence[Benchmark], parts: Mapping[str, str], *, profile: str
) -> list[dict]:
    """Return one row per claim of the card about differences between base, RL checkpoint and merged model.

    Args:
        parts: ``"base"``, ``"rl"`` and ``"merged"`` -> model that plays the part.
    """
    claims = {claim.id: claim for claim in (*published.claims(), *published.card_claims())}
    rows = []
    for (first, second), asked in TESTED.items():
        for one in benchmarks:
            found = difference(documents, one, parts[first], parts[second])
            rows += [_tested(claims[name], found, profile) for name in asked[one.title]]
    return rows


def handling_table(handlings: pd.DataFrame, one: Benchmark) -> Table:
    """Return one row per model and one column per handling of its reasoning, with margins, points."""
    own = handlings[(handlings["task"] == one.task) & (handlings["metric"] == one.metric)]
    frame = pd.DataFrame({"Model": list(dict.fromkeys(own["model"]))})
    for name, rows in own.groupby("handling", sort=False):
        found = rows.set_index("model").loc[frame["Model"]]
        frame[name], frame[name + MARGIN] = found["value"].to_numpy(), Z * found["stderr"].to_numpy()
    return table(frame, f"{one.title} under three handlings of reasoning")


def _tested(claim: Claim, found: PairedDifference, profile: str) -> dict:
    """Return the row of a claim: a number as the profile allows, an order by the sign that it states."""
    number = None if claim.number is None else float(claim.number)
    if number is not None:
        measured = compare.Measured(number, found.difference, found.margin, difference=True)
        return compare.claim(claim.id, claim.text, measured, profile=profile)
    sign = -1 if claim.value in FALLING else 1
    row = {"id": claim.id, "claim": claim.text, "note": "", "published": None}
    row |= {"ours": found.difference, "margin": found.margin}
    return row | {"verdict": compare.pattern_verdict(sign * found.difference, found.margin)}
