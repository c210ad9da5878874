"""Records of invented sections, written as a notebook writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pandas as pd
from medpsy import evidence
from medpsy.record import FILE, Record


def write_record(
    outputs: Path, section: str, *, title: str = "A section", settings: Mapping = {}, tables: Mapping = {},
    figures: Mapping = {}, claims: Sequence = (), verdicts: Sequence = (), responses: pd.DataFrame | None = None,
    conversations: pd.DataFrame | None = None, seconds: float = 0.0, **closing,
) -> Path:  # fmt: skip
    """Write the record of `section` into `outputs`, the folder of a profile; return the path of its `result.json`.

    Args:
        responses: one row per response and reader; conversations: one per response.
        closing: chosen, inputs, tokens.
    """
    study = SimpleNamespace(outputs=outputs, profile=outputs.name, so_far=None)
    with mock.patch("medpsy.record.perf_counter", side_effect=(0.0, seconds)):  # opened, closed
        record = Record(section, study, title, parameters=settings)
        for name, shown in tables.items():
            record.table(name, shown)
        for name, drawn in figures.items():
            record.figure(name, drawn.canvas, drawn.title, alt=drawn.alt)
        record.claims(claims, verdicts)
        if responses is not None:
            record.evidence[evidence.RESPONSES] = evidence.one_row_per_response(responses)
        if conversations is not None:
            record.evidence[evidence.CONVERSATIONS] = conversations
        record.close(**closing)
    return record.folder / FILE
