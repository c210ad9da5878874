"""Tables of response lengths: by suite, weighted means beside published ones, parts of a response, outcomes, frontier.

Arranges numbers of `medpsy.report.length_draws`. Published lengths of other models are shown and never compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.benchmarks import OPEN_SUITES
from medpsy.report import compare
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.length_draws import CUT_OFF, REASONING, SUITE_NAMES, TOKENS, LengthDraws, Values
from medpsy.report.rubric_scores import MAIN, overall
from medpsy.report.stages import BACKBONE, LAST, Ladder
from medpsy.scoring import AVERAGE
from medpsy.study import Study

OVERALL = "All, weighted by questions"
WEIGHTS = (
    "Means over suites are weighted by the questions each suite has; 95 % margins, the same questions for all models."
)
Cells = dict[str, float | None]


def length_table(found: LengthDraws, size: str, *, title: str = "") -> Table:
    """Return one row per suite and one for all: tokens at both ends, what was cut, the ratio, and cut-off responses."""
    ladder, rows = found.ladders[size], []
    for name, suites in [(OVERALL, found.suites), *((SUITE_NAMES[suite], [suite]) for suite in found.suites)]:
        first, last = (found.mean(ladder.models[stage], TOKENS, suites) for stage in (BACKBONE, LAST))
        row = {"Suite": name, "Questions": sum(found.asked[suite] for suite in suites)}
        row |= _cell(found, BACKBONE, first, suites) | _cell(found, LAST, last, suites)
        row |= _cell(found, "Fewer tokens", first - last, suites)
        row |= _cell(found, "Ratio", found.ratio(ladder, suites), suites)
        for stage in (BACKBONE, LAST):
            row[f"Cut off {stage} (%)"] = 100 * float(found.mean(ladder.models[stage], CUT_OFF, suites)[0])
        rows.append(row)
    note = f"Tokens per response; ratio: {BACKBONE} to {LAST}. {WEIGHTS} A cut-off response would have been longer: "
    note += "the model that is cut off more often looks shorter than it is."
    return table(pd.DataFrame(rows), title or f"Response length, {size} class", note=note)


def efficiency_table(study: Study, found: LengthDraws, *, title: str = "Token efficiency") -> Table:
    """Return each class's weighted means and their ratio, published ones below, and the ratio taken in other ways."""
    source = "published" if compare.mode(study.profile) == "values" else "published (other models)"
    rows = []
    for size, ladder in found.ladders.items():
        row = {"Class": size, "Source": "ours"}
        row |= _cell(found, BACKBONE, found.mean(ladder.models[BACKBONE]))
        row |= _cell(found, LAST, found.mean(ladder.models[LAST]))
        plain = [np.mean([found.mean(model, TOKENS, [one]) for one in found.suites], axis=0) for model in _ends(ladder)]
        ways = {"Ratio": found.ratio(ladder), "Ratio, closed-ended": found.ratio(ladder, found.closed)}
        ways |= {"Ratio, suites unweighted": plain[0] / plain[1]}
        row |= {name: value for way in ways.items() for name, value in _cell(found, *way).items()}
        finished, asked = found.finished_ratio(ladder), found.finished(ladder)
        row |= {
            "Ratio, both finished": float(finished[0]),
            "Ratio, both finished ±": found.margin(finished, asked=asked),
        }
        rows.append(row | {"Both finished": asked})
    rows += [_printed(size, source, ladder) for size, ladder in found.ladders.items()]
    note = f"Tokens per response. {WEIGHTS} The report says neither how many questions a suite has nor whether "
    note += (
        "HealthBench Hard counts twice; here its conversations count once. Both finished: questions on which neither "
    )
    note += "model was cut off in any run."
    return table(pd.DataFrame(rows).astype({"Both finished": "Int64"}), title, note=note)


def parts_table(found: LengthDraws, *, title: str = "Reasoning and answer") -> Table:
    """Return one row per model and kind of suite: tokens of reasoning and answer, and how much was cut off."""
    rows = []
    for size, stage, model in _models(found):
        for kind, suites in _kinds(found):
            whole, reasoning = (found.mean(model, name, suites) for name in (TOKENS, REASONING))
            row = {"Class": size, "Stage": stage, "Suites": kind}
            for name, values in (("Whole", whole), ("Reasoning", reasoning), ("Answer", whole - reasoning)):
                row |= _cell(found, name, values, suites)
            row["Reasoning (%)"] = 100 * float(reasoning[0] / whole[0])
            row["Cut off (%)"] = 100 * float(found.mean(model, CUT_OFF, suites)[0])
            rows.append(row)
    note = "Tokens per response by the model's own tokenizer; the marker that ends the reasoning counts as answer. "
    note += WEIGHTS
    return table(pd.DataFrame(rows), title, note=note)


def outcome_lengths(found: LengthDraws, *, title: str = "Length of correct and wrong responses") -> Table:
    """Return one row per model: tokens of its correct and of its wrong responses, and the difference."""
    rows = []
    for size, stage, model in _models(found):
        correct, wrong = (found.of_outcome(model, outcome) for outcome in ("correct", "wrong"))
        row = {"Class": size, "Stage": stage, "Correct (%)": 100 * float(found.mean(model, "correct", found.closed)[0])}
        for name, values in (("Correct", correct), ("Wrong", wrong), ("Wrong minus correct", wrong - correct)):
            row |= _cell(found, name, values, found.closed)
        rows.append(row)
    note = (
        "Tokens per response to closed-ended questions; unreadable and cut-off responses belong to neither. Different "
    )
    note += "questions are answered right and wrong, so the difference is no effect of length."
    return table(pd.DataFrame(rows), title, note=note)


def frontier(found: LengthDraws, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> pd.DataFrame:
    """Return score against length of every model, on closed-ended suites and on HealthBench.

    Args:
        scores, rubric: as `medpsy.report.scored` and `medpsy.report.rubric_scored` return them.
        judge: whose HealthBench scores are taken.

    Returns:
        Columns ``kind``, ``size``, ``stage``, ``tokens``, ``tokens_margin``, ``score``, ``margin``, ``on`` (no other
        model has a higher score with no more tokens, or as high a one with fewer).
    """
    opened = overall(rubric)
    averages = scores[scores["suite"] == AVERAGE].set_index("model")[["score", "margin"]]
    known = {"closed-ended": averages}
    known[SUITE_NAMES[MAIN]] = opened[opened["judge"] == judge].set_index("model")[["score", "margin"]]
    rows = []
    for kind, suites in _kinds(found):
        for size, stage, model in _models(found):
            tokens = found.mean(model, TOKENS, suites)
            about = {"kind": kind, "size": size, "stage": stage, "tokens": float(tokens[0])}
            rows.append(about | {"tokens_margin": found.margin(tokens, suites)} | known[kind].loc[model].to_dict())
    frame = pd.DataFrame(rows).astype({"tokens_margin": float})
    return frame.assign(on=[not _beaten(frame, one) for one in frame.itertuples()])


def frontier_table(points: pd.DataFrame, *, title: str = "Score against length") -> Table:
    """Return the points of `frontier` as a table."""
    names = {
        "kind": "Suites",
        "size": "Class",
        "stage": "Stage",
        "tokens": "Tokens",
        "tokens_margin": "Tokens" + MARGIN,
    }
    names |= {"score": "Score", "margin": "Score" + MARGIN, "on": "On the frontier"}
    note = (
        "On the frontier: no other model here scores higher with no more tokens, or as high with fewer; margins apart."
    )
    return table(points[list(names)].rename(columns=names), title, note=note)


def _beaten(frame: pd.DataFrame, one: tuple) -> bool:
    others = frame[frame["kind"] == one.kind]
    better = (others["score"] >= one.score) & (others["tokens"] <= one.tokens)
    return bool((better & ((others["score"] > one.score) | (others["tokens"] < one.tokens))).any())


def _models(found: LengthDraws) -> Iterator[tuple[str, str, str]]:
    """Yield size class, stage and model of all ladders."""
    for size, ladder in found.ladders.items():
        yield from ((size, stage, model) for stage, model in ladder.models.items())


def _ends(ladder: Ladder) -> tuple[str, str]:
    return ladder.models[BACKBONE], ladder.models[LAST]


def _kinds(found: LengthDraws) -> list[tuple[str, list[str]]]:
    opened = [suite for suite in found.suites if suite in OPEN_SUITES]
    kinds = [("closed-ended", found.closed), *((SUITE_NAMES[suite], [suite]) for suite in opened)]
    return [(name, suites) for name, suites in kinds if suites]


def _cell(found: LengthDraws, name: str, values: Values, suites: Sequence[str] | None = None) -> Cells:
    return {name: float(values[0]), name + MARGIN: found.margin(values, suites)}


def _printed(size: str, source: str, ladder: Ladder) -> dict[str, object]:
    """Return the published means of the class; their row is the first, and its columns backbone and final model."""
    means, *_ = published.tables(ladder.table).groupby("row", sort=False)["number"].agg(list)
    return {"Class": size, "Source": source, BACKBONE: means[0], LAST: means[1], "Ratio": means[0] / means[1]}
