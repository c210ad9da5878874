"""Tables 7 to 10 with our files: scores, changes against the source model, both size classes, with and without imatrix.

Arranges numbers of `medpsy.report.quantized`; published rows of other models are shown as such, never compared.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.quantization import Variant
from medpsy.report import compare
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.quantized import BOTH, CLOSED, HARD, HARD_SUITE, MEASURES, OPEN, Quantized, Values
from medpsy.report.rubric_scores import MAIN
from medpsy.report.rubric_tables import link
from medpsy.study import Study

SIZE, DELTA_SIZE, DELTA, RELATIVE = "Size (MB)", "Δ Size (%)", "Δ Score", "Δ Score (rel %)"
ROUNDED = "Δ, scores rounded"
STEP = 0.5  # points: what rounding HealthBench to whole points can move a difference of two AVG Scores by
PAIRED = "Points, 95 % margins; changes paired by question and conversation."
MANY = "Margins are not widened for the number of files: one change in twenty lies beyond its margin by chance."


def score_table(study: Study, found: Quantized, size: str, printed: str, *, title: str = "") -> Table:
    """Return Table 7 or 8 with the files of one size class, the published rows below.

    Args:
        printed: the published table whose models these are, or whose part they play.
    """
    family = found.families[size]
    source = replace(family.base, name=family.source.name, format="source model")
    rows = [_row(found, one, family.base.bytes) for one in (source, *family.variants)]
    frame = pd.concat([pd.DataFrame(rows), _published(study, printed)], ignore_index=True)
    small = (published.table(printed)[DELTA].iloc[1:].abs() <= STEP).sum()
    note = (
        f"{PAIRED} {MANY} Size of the source model: its BF16 file. {ROUNDED}: HealthBench rounded to whole points "
        f"before averaging, as in the report; that alone moves a difference by up to {STEP} points, and {small} of the "
        f"{len(published.table(printed)) - 1} printed differences are no larger."
    )
    names = [source.name, *(one.name for one in family.variants), *[None] * (len(frame) - len(rows))]
    links = {CLOSED: [name and urlencode({"model": name}) for name in names]}
    links |= {
        measure: [name and link(name, suite) for name in names] for measure, suite in ((OPEN, MAIN), (HARD, HARD_SUITE))
    }
    return table(frame, title or f"GGUF files of the {size} class", note=note, links=links)


def ratio_table(found: Quantized, *, large: str = "large", small: str = "small") -> Table:
    """Return Table 9: how much more the small class loses than the large one, format by format."""
    printed, rows = published.table("table09_degradation_ratio"), []
    for one in found.families[large].variants:
        other = found.variant(small, one.format, plain=one.is_plain)
        if other is None:
            continue
        first, second = found.change(one), found.change(other)
        more = first - second
        ratio = second[0] / first[0] if min(-first[0], -second[0]) > 0 else None
        row = {"Format": one.label} | _pair(f"{DELTA} {large}", found, first, BOTH)
        row |= _pair(f"{DELTA} {small}", found, second, BOTH) | _pair("Small loses more by", found, more, BOTH)
        row |= {"Ratio": ratio, "Published ratio": None if one.is_plain else printed.iloc[:, 2].get(one.format)}
        rows.append(row)
    note = f"{PAIRED} A ratio is given where both classes lose; its margin is that of the difference beside it."
    return table(pd.DataFrame(rows), "Loss by size class", note=note)


def imatrix_table(found: Quantized, stands_for: Mapping[str, str]) -> Table:
    """Return Table 10: each format that was also built without importance matrix, and what the matrix changes.

    Args:
        stands_for: size class -> published table of its files.
    """
    printed, rows = published.table("table10_imatrix_ablation"), []
    for size, family in found.families.items():
        model = "4B" if stands_for[size] == "table07_quant_4b" else "1.7B"
        for plain in (one for one in family.variants if one.is_plain):
            both = {"with": found.variant(size, plain.format), "without": plain}
            for word, one in ((word, one) for word, one in both.items() if one):
                name = f"{plain.format} {word} imatrix"
                row = {"Size class": size, "Variant": name}
                for measure in (CLOSED, OPEN):
                    row |= _pair(measure, found, found.score(one.name, measure), measure)
                    row |= _pair(f"{measure}, Δ vs source", found, found.change(one, measure), measure)
                key = f"{model} | {name}"
                rows.append(
                    row | {f"Published {CLOSED}": printed[CLOSED].get(key), f"Published {OPEN}": printed[OPEN].get(key)}
                )
            if both["with"]:
                rows.append({"Size class": size, "Variant": "gain by the matrix"} | _gain(found, both["with"], plain))
    note = f"{PAIRED} Published numbers are those of the report's models."
    return table(pd.DataFrame(rows), "With and without importance matrix", note=note)


def same_size_table(found: Quantized, pairs: Mapping[str, str]) -> Table:
    """Return what a larger model in few bits and a smaller one in many bits score at about the same size.

    Args:
        pairs: size class -> format of its file, e.g. ``{"large": "IQ3_M", "small": "Q8_0"}``.
    """
    chosen = [one for size, form in pairs.items() if (one := found.variant(size, form))]
    rows = [{"File": f"{one.size}, {one.label}", SIZE: one.bytes / 1e6} | _scores(found, one.name) for one in chosen]
    if len(chosen) == 2:
        lead = {
            measure: found.score(chosen[0].name, measure) - found.score(chosen[1].name, measure) for measure in MEASURES
        }
        row = {"File": "first minus second", SIZE: (chosen[0].bytes - chosen[1].bytes) / 1e6}
        rows.append(
            row | {key: value for name in MEASURES for key, value in _pair(name, found, lead[name], name).items()}
        )
    return table(pd.DataFrame(rows), "About the same size, fewer bits or fewer weights", note=PAIRED)


def _row(found: Quantized, one: Variant, whole: int) -> dict[str, object]:
    row = {"Variant": one.label, "Source": "ours", "Imatrix": "yes" if one.imatrix else "no"}
    row |= {SIZE: one.bytes / 1e6, DELTA_SIZE: 100 * (one.bytes / whole - 1)} | _scores(found, one.name)
    row |= _pair(DELTA, found, found.change(one), BOTH) | _pair(RELATIVE, found, found.relative(one), BOTH)
    rounded = [
        (np.floor(found.score(name, OPEN)[0] + 0.5) + found.score(name, CLOSED)[0]) / 2
        for name in (one.name, one.source)
    ]
    return row | {ROUNDED: rounded[0] - rounded[1]}


def _scores(found: Quantized, model: str) -> dict[str, object]:
    return {
        key: value for name in MEASURES for key, value in _pair(name, found, found.score(model, name), name).items()
    }


def _gain(found: Quantized, one: Variant, plain: Variant) -> dict[str, object]:
    gains = {name: found.score(one.name, name) - found.score(plain.name, name) for name in (CLOSED, OPEN)}
    return {key: value for name, gain in gains.items() for key, value in _pair(name, found, gain, name).items()}


def _pair(name: str, found: Quantized, values: Values, measure: str) -> dict[str, float | None]:
    return {name: float(values[0]), name + MARGIN: found.margin(values, measure)}


def _published(study: Study, printed: str) -> pd.DataFrame:
    frame = published.table(printed).rename_axis("Variant").reset_index()
    source = "published" if compare.mode(study.profile) == "values" else "published (other models)"
    frame[SIZE], frame[DELTA_SIZE] = 1000 * frame["Size (GB)"], frame["Δ Size"]
    return frame.drop(columns=["Size (GB)", "Δ Size"]).assign(Source=source)
