"""The record of one section: `result.json`, its tables (CSV), figures (PNG, SVG) and evidence (Parquet).

`result.json` is written last and whole, so it alone means that a section is done. Refuses to hold a secret, an
infinite number, or a missing number that is not written as null on purpose. Computes nothing.

Fields of `result.json` (checked by ``result.schema.json`` beside this file):

========== =====================================================================================================
schema     1
section    name of the notebook, e.g. ``"01_backbone_selection"``; title and profile beside it
claims     ``[{id, verdict, published, ours, margin, note, claim?, effort?}]``; the ledger reads these
verdicts   ``[{text, verdict, note?}]``: what the section concludes, in sentences
tables     ``{name: {title, note, decimals, columns, rows, links, marks?, csv}}``; a missing cell is null
figures    ``{name: {title, alt, png, svg}}``
responses  ``{file, rows}`` of the responses to questions behind the scores, or null
conversations
           the same of the responses in conversations; a record without any may leave it out
settings   parameters of the run; inputs: name -> digest of what was read
provenance commit, dirty flag, versions, machine; seconds, tokens: cost
chosen     what later sections use, e.g. the selected backbone, or null
========== =====================================================================================================
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pandas as pd
from matplotlib.figure import Figure as Canvas

from medpsy import study
from medpsy.files import write_text
from medpsy.report import artefacts, leaks, reading
from medpsy.report.conversing import CONVERSATIONS
from medpsy.report.display import Figure, Table
from medpsy.report.evidence import Evidence
from medpsy.report.plain import plain
from medpsy.report.reading import RESPONSES

SCHEMA = 1
FILE = "result.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ResultError(ValueError):
    """A record cannot be written or read; the message names the file, the field and the fix."""


@dataclass(frozen=True)
class Result:
    """A record that was read back; `folder` holds the files its entries name. Fields as in the module's docstring."""

    folder: Path
    section: str
    title: str
    profile: str
    claims: list[dict]
    verdicts: list[dict]
    tables: dict[str, dict]
    figures: dict[str, dict]
    responses: dict | None
    settings: dict
    inputs: dict[str, str]
    provenance: dict
    seconds: float | None
    tokens: dict | None
    chosen: dict | None
    conversations: dict | None = None

    @property
    def evidence(self) -> dict[Evidence, int]:
        """The kinds of evidence the record has, with the number of their responses."""
        held = {kind: getattr(self, kind.name) for kind in (RESPONSES, CONVERSATIONS)}
        return {kind: entry["rows"] for kind, entry in held.items() if entry and entry["rows"]}

    def table(self, name: str) -> Table:
        """Return table `name` as it was written."""
        return Table(**{key: value for key, value in self.tables[name].items() if key != "csv"})


def section_dir(section: str, profile: str) -> Path:
    """Return the folder a section writes to, ``outputs/<profile>/<section>``."""
    for name in (section, profile):
        if not NAME.fullmatch(name):
            raise ResultError(f"{name!r} cannot name a folder; use letters, digits, _ . and -")
    return study.ROOT / "outputs" / profile / section


def write_result(
    section: str,
    *,
    profile: str,
    title: str,
    settings: Mapping[str, Any],
    claims: Iterable[Mapping] = (),
    verdicts: Iterable[Mapping] = (),
    tables: Mapping[str, Table | pd.DataFrame] | None = None,
    figures: Mapping[str, Figure | Canvas] | None = None,
    responses: pd.DataFrame | None = None,
    conversations: pd.DataFrame | None = None,
    inputs: Mapping[str, str] | None = None,
    chosen: Mapping | None = None,
    tokens: Mapping | None = None,
    seconds: float | None = None,
) -> Path:
    """Write the record of `section` and everything it names; return the path of `result.json`.

    The last record of the section goes first: after an error there is none.

    Args:
        responses: what `medpsy.report.gathering.readable` returns; the site lets people read it.
        conversations: the same of `medpsy.report.gathering.readable_conversations`.

    Raises:
        ResultError: a field is missing, unknown or of the wrong kind.
        medpsy.report.leaks.SecretFound: the value of a ``*_TOKEN`` or ``*_KEY`` variable is in it.
    """
    shown, drawn = artefacts.as_tables(tables or {}), artefacts.as_figures(figures or {})
    whole = None if responses is None else reading.one_row_per_response(responses)
    evidence = {RESPONSES: whole, CONVERSATIONS: conversations}
    record = {"section": section, "title": title, "profile": profile, "settings": settings, "inputs": inputs or {}}
    record |= {"claims": list(map(dict, claims)), "verdicts": list(map(dict, verdicts)), "chosen": chosen}
    record |= {"tables": artefacts.table_entries(shown), "figures": artefacts.figure_entries(drawn)}
    record |= {kind.name: kind.entry(rows) for kind, rows in evidence.items()}
    record |= {"tokens": tokens, "seconds": seconds}
    folder = section_dir(section, profile)
    text = _checked({"schema": SCHEMA, **record, "provenance": study.provenance()}, folder / FILE)
    (folder / FILE).unlink(missing_ok=True)  # without it the rest is nothing
    artefacts.write_files(folder, shown, drawn)
    for kind, rows in evidence.items():
        kind.write(rows, folder)
    return write_text(folder / FILE, text)


def read_result(path: Path) -> Result:
    """Return the record at `path`, a `result.json` or the folder that holds it.

    Raises:
        ResultError: there is none, it is not a record, or another version of the project wrote it.
    """
    path = path / FILE if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"{path}: no record; run the section first") from error
    except ValueError as error:
        raise ResultError(f"{path}: not JSON ({error}); run the section again") from error
    _validate(record, path)
    record.pop("schema")
    return Result(folder=path.parent, **record)


def _checked(record: dict, path: Path) -> str:
    """Return the record as JSON text, refused if it breaks the schema or holds a secret."""
    try:
        settled = {
            key: plain(value, f"{path.parent.name}: {key}", missing=key == "tables") for key, value in record.items()
        }
    except (TypeError, ValueError) as error:
        raise ResultError(str(error)) from error
    _validate(settled, path)
    text = json.dumps(settled, ensure_ascii=False, allow_nan=False, indent=1)
    leaks.refuse(text, f"{path.parent.name}: {FILE}")
    return text + "\n"


def _validate(record: object, path: Path) -> None:
    try:
        _validator()(record)
    except fastjsonschema.JsonSchemaValueException as error:
        held = "" if isinstance(error.value, dict | list) else f"; it holds {error.value!r}"
        raise ResultError(f"{path}: {error.message.replace('data', 'record', 1)}{held}") from error
    for name, table in record["tables"].items():
        if any(len(row) != len(table["columns"]) for row in table["rows"]):
            raise ResultError(f"{path}: tables/{name}: a row does not have {len(table['columns'])} cells")


@cache
def _validator() -> Callable[[object], object]:
    schema = json.loads(Path(__file__).with_name("result.schema.json").read_text(encoding="utf-8"))
    return fastjsonschema.compile(schema)
