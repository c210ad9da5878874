"""Which of our numbers stands in which cell of Tables 7 to 10, and of those in which a claim looks up a backbone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medpsy import published
from medpsy.report.quantized import BOTH, CLOSED, HARD, OPEN, PARTS, Quantized, Values
from medpsy.report.quantized_verdicts import TRADE_OFF

RATIO, MATRIX = "table09_degradation_ratio", "table10_imatrix_ablation"
CLASSES = {"table07_quant_4b": "4B", "table08_quant_1p7b": "1.7B"}  # what Tables 9 and 10 call their models
SIZE, DELTA_SIZE = "Size (GB)", "Δ Size"
BACKBONES = {
    "table01_closed_ended": {"Average": CLOSED},
    "table03_healthbench_dimensions": {"Overall": OPEN},
    "table04_healthbench_hard_dimensions": {"Overall": HARD},
    "table05_stages_1p7b": {"Average": CLOSED, "HealthBench": OPEN},
}  # tables in which a claim may look up the backbone
BACKBONE_ROWS = {
    "4B": dict.fromkeys(list(BACKBONES)[:3], "Qwen3-4B-Thinking-2507"),
    "1.7B": dict.fromkeys(list(BACKBONES)[:3], "Qwen3-1.7B (Thinking)")
    | {"table05_stages_1p7b": "Qwen3-1.7B (Thinking) backbone"},
}  # class -> table -> row of the backbone (report 3.1)


@dataclass(frozen=True)
class Place:
    """What stands in a printed cell: our values, and the models and measures behind them; none behind a size."""

    values: Values
    models: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()


Layout = Mapping[str, Mapping[str, Mapping[str, Place]]]  # published table -> row -> column -> what stands there


def layout(
    found: Quantized, stands_for: Mapping[str, str], backbones: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Place]]]:
    """Return what of `found` stands in which printed cell; arguments as of `quantized_claims`."""
    places = {table: _class_rows(found, size, table) for size, table in stands_for.items()}
    places |= {RATIO: _ratio_rows(found, stands_for), MATRIX: {}}
    for size, table in stands_for.items():
        for word, plain in (("with", False), ("without", True)):
            if one := found.variant(size, TRADE_OFF, plain=plain):
                cells = {measure: _score(found, one.name, measure) for measure in (CLOSED, OPEN)}
                places[MATRIX][f"{CLASSES[table]} | {TRADE_OFF} {word} imatrix"] = _comparable(found, cells)
    for size, model in backbones.items():
        for table, row in BACKBONE_ROWS[CLASSES[stands_for[size]]].items():
            cells = {column: _score(found, model, measure) for column, measure in BACKBONES[table].items()}
            places.setdefault(table, {})[row] = _comparable(found, cells)
    return places


def filled(places: Layout, at: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return sample `at` of all values as the published tables have them."""
    return {
        table: {
            row: {column: float(place.values[at]) for column, place in cells.items()} for row, cells in rows.items()
        }
        for table, rows in places.items()
    }


def _class_rows(found: Quantized, size: str, table: str) -> dict[str, dict[str, Place]]:
    """Return the rows of Table 7 or 8: the source model first, then every file built as the report built it."""
    family, names = found.families[size], list(published.table(table).index)
    whole = family.base.bytes
    rows = {names[0]: _row(found, family.source.name, whole, whole)}
    for one in (one for one in family.variants if not one.is_plain):
        changes = {"Δ Score": found.change(one), "Δ Score (rel %)": found.relative(one)}
        cells = {name: Place(values, (one.name, one.source), (BOTH,)) for name, values in changes.items()}
        row = next(name for name in names if name.endswith(one.format))
        rows[row] = _row(found, one.name, one.bytes, whole) | _comparable(found, cells)
    return rows


def _ratio_rows(found: Quantized, stands_for: Mapping[str, str]) -> dict[str, dict[str, Place]]:
    """Return the rows of Table 9 for the formats that every class has."""
    rows = {}
    for form in published.table(RATIO).index:
        files = {table: found.variant(size, form) for size, table in stands_for.items()}
        if len(files) == len(CLASSES) and None not in files.values():
            cells = {
                f"Δ Score {CLASSES[table]}": Place(found.change(one), (one.name, one.source), (BOTH,))
                for table, one in files.items()
            }
            rows[form] = _comparable(found, cells)
    return rows


def _row(found: Quantized, model: str, size: int, whole: int) -> dict[str, Place]:
    scores = {measure: _score(found, model, measure) for measure in PARTS}
    even = np.ones(len(found.score(model, CLOSED)))
    sizes = {SIZE: Place(even * size / 1e9), DELTA_SIZE: Place(even * 100 * (size / whole - 1))}
    return _comparable(found, scores) | sizes


def _score(found: Quantized, model: str, measure: str) -> Place:
    return Place(found.score(model, measure), (model,), (measure,))


def _comparable(found: Quantized, cells: Mapping[str, Place]) -> dict[str, Place]:
    """Return `cells` without those that are missing in some sample, and without HealthBench where the judge is another
    one than the report's."""
    known = {name: place for name, place in cells.items() if np.isfinite(place.values).all()}
    return {name: place for name, place in known.items() if found.comparable or place.measures == (CLOSED,)}
