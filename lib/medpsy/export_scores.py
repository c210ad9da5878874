"""What the records of a study say of one exported model: scores with their margins, or plainly that there are none.

Takes no score of other weights than those exported. Computes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from medpsy.engines.identity import fingerprint
from medpsy.exported import Exported
from medpsy.quantization.family import BASE
from medpsy.report.display import MARGIN, Table
from medpsy.report.plain import Plain
from medpsy.report.result import FILE, Result, read_result
from medpsy.study import ModelSpec, Study

STAGES, VARIANTS = "08_stage_ablations", "10_quantization"
ROWS = {STAGES: "Stage", VARIANTS: "Variant"}  # section -> first column of its tables of scores
Points = Mapping[str, tuple[float, float | None]]  # measure -> points and margin


@dataclass(frozen=True)
class Scored:
    """What one record holds of one model; `scores` is empty where `note` says why."""

    model: str
    section: str
    scores: Points
    note: str = ""


def found(study: Study, one: Exported, folder: Path) -> list[Scored]:
    """Return what the records there are say of the checkpoint, and of the variant if that is what `folder` holds."""
    checkpoint = _scored(study, STAGES, one.name, one.fingerprint)
    if one.variant in (None, BASE):  # BF16 rounds nothing
        return [checkpoint]
    switches = one.chat_template_kwargs
    variant = fingerprint(ModelSpec(one.title, str(folder.resolve()), chat_template_kwargs=switches))
    return [_scored(study, VARIANTS, one.title, variant), checkpoint]


def _scored(study: Study, section: str, model: str, digest: str) -> Scored:
    """Return the scores of the model whose fingerprint is `digest` in the record of `section`."""
    folder = study.section_dir(section)
    if not (folder / FILE).is_file():
        return Scored(model, section, {}, f"not evaluated yet: section {section} has no record.")
    record = read_result(folder)
    if record.inputs.get(f"model/{model}") != digest:
        return Scored(model, section, {}, f"not evaluated: the record of section {section} is not of these weights.")
    scores = _linked(record, model)
    return Scored(model, section, scores, "" if scores else f"the record of section {section} has no score of it.")


def _linked(record: Result, model: str) -> Points:
    """Return the scores of `model`: the cells of the section's tables whose links lead to its responses."""
    tables = [table for table in map(record.table, record.tables) if table.columns[0] == ROWS[record.section]]
    found = {
        measure: (row[table.columns.index(measure)], _margin(table, row, measure))
        for table in tables
        for measure, links in table.links.items()
        for row, link in zip(table.rows, links, strict=True)
        if link and parse_qs(link.rpartition("#")[2]).get("model") == [model]
    }
    return {measure: points for measure, points in found.items() if points[0] is not None}


def _margin(table: Table, row: Sequence[Plain], measure: str) -> float | None:
    column = measure + MARGIN
    return row[table.columns.index(column)] if column in table.columns else None
