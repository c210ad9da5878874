"""The record of one section: `result.json`, its tables (CSV), figures (PNG, SVG) and evidence (Parquet).

A notebook makes a `Record` in the cell after its parameters, hands over what it shows, and closes it. `result.json`,
whose fields ``result.schema.json`` describes, is written last and whole: it alone means that a section is done. Refuses
to hold a secret, an infinite number, or a missing number that is not written as null on purpose.
"""

import hashlib
import html
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import fastjsonschema
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure as Canvas

from medpsy import evaluate, evidence, judge, prompts, provenance
from medpsy.evidence import CONVERSATIONS, RESPONSES, Evidence
from medpsy.files import write_text, write_whole
from medpsy.show import Figure, Findings, Table, claim_table, plain, table
from medpsy.store import ResponseStore
from medpsy.study import SO_FAR_RECORD, Study

SCHEMA = 1
FILE = "result.json"
MIME = "medpsy"  # key of an output's metadata that says which part of the record it shows
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
DRAWN = ("png", "svg")  # files of a figure
TABLE_FIELDS = ("title", "note", "decimals", "columns", "rows", "links", "marks")
SHORTEST_SECRET = 8  # characters; shorter values are placeholders such as EMPTY and would match ordinary words


class ResultError(ValueError):
    """A record cannot be written or read; the message names the file, the field and the fix."""


class SecretFound(ValueError):
    """The value of a secret would have been written to a result or a page."""


class Record:
    """What a section shows, concludes and rests on; a file only once it is closed. Cells may run again: what has the
    same name, or is the same sentence, takes the place of the former. `parameters` are by default the annotated
    variables of the notebook (``runs: int = 3``) with the values they have now."""

    def __init__(self, section: str, study: Study, title: str, *, parameters: Mapping[str, Any] | None = None) -> None:
        for name in (section, study.outputs.name):
            if not NAME.fullmatch(name):
                raise ResultError(f"{name!r} cannot name a folder; use letters, digits, _ . and -")
        self.folder, self._so_far = study.outputs / section, study.so_far
        self._root, self._started = study.outputs.parents[1], perf_counter()
        self._header = {"schema": SCHEMA, "section": section, "title": title, "profile": study.profile}
        if parameters is None:
            main = vars(sys.modules["__main__"])
            parameters = {name: main[name] for name in main.get("__annotations__", {}) if name in main}
        self._settings = self._plain(parameters, "settings")
        self._tables: dict[str, Table] = {}
        self._figures: dict[str, Figure] = {}
        self._claims: list[dict] = []
        self._findings: dict[str, dict] = {}
        self.evidence: dict[Evidence, pd.DataFrame] = {}
        self._inputs: dict[str, str] = {}
        self._tokens: dict[str, int] = {}

    def table(
        self, name: str, shown: Table | pd.DataFrame, title: str = "", *, show: bool = True, **options: Any
    ) -> None:
        """Keep `shown` as table `name`, and unless `show` is False, show it; `options` as of `medpsy.show.table`."""
        self._tables[name] = shown if isinstance(shown, Table) else table(shown, title or name, **options)
        if show:
            display(self._tables[name], metadata={MIME: {"table": name}})

    def figure(self, name: str, canvas: Canvas, title: str = "", *, alt: str = "") -> None:
        """Keep a matplotlib figure as `name`, and show it; `alt` replaces it for a reader who cannot see it."""
        self._figures[name] = Figure(canvas, title or name, alt or title or name)
        plt.close(canvas)  # or pyplot would show it once more behind the cell
        display(self._figures[name], metadata={MIME: {"figure": name}})

    def claims(self, claims: Iterable[Mapping], findings: Iterable[Mapping] = (), *, show: bool = True) -> None:
        """Keep `claims` in the place of any former ones and show them; keep `findings`, which `close` shows."""
        self._claims = list(map(dict, claims))
        self.findings(findings)
        if self._claims and show:
            display(claim_table(self._claims))

    def findings(self, findings: Iterable[Mapping]) -> None:
        """Keep sentences with a status each, in the order they are given; `close` shows all of them."""
        self._findings |= {finding["text"]: dict(finding) for finding in findings}

    def responses(
        self, study: Study, graded: pd.DataFrame | Mapping[str, pd.DataFrame], *, texts: bool = True
    ) -> pd.DataFrame | None:
        """Keep what the section rests on: digests of questions, prompts and models, tokens of prompts and responses
        (what parser and judges wrote is not counted), and the texts to read, which are returned: `evidence.readable`.
        `graded` is as `medpsy.evaluate` returns it, or one such frame per reader of the same responses; `texts` is
        False where the same responses are read beside another section."""
        frame = graded if isinstance(graded, pd.DataFrame) else next(iter(graded.values()))
        self._digest(study, evaluate.questions(study), [*frame["model"].unique(), study.parser])
        self._tokens |= frame[["prompt_tokens", "completion_tokens", "reasoning_tokens"]].sum().astype(int).to_dict()
        if not texts:
            return None
        rows = evidence.readable(study, graded)
        self.evidence[RESPONSES] = evidence.one_row_per_response(rows)
        return rows

    def conversations(self, study: Study, judged: pd.DataFrame, *, texts: bool = True) -> pd.DataFrame | None:
        """Keep what judged conversations (rows of `medpsy.judge`) rest on, as `responses` does; return a row each."""
        if judged.empty:  # none so far
            return None
        asked = judge.conversations(study, list(judged["suite"].unique()))
        self._digest(study, asked, [*judged["model"].unique(), *judged["judge"].unique()])
        if own := prompts.grader(study):
            self._inputs["prompt/grader"] = hashlib.sha256(own.encode()).hexdigest()
        self._tokens["conversation_tokens"] = int(judged.drop_duplicates("key")["completion_tokens"].sum())
        if texts:
            self.evidence[CONVERSATIONS] = evidence.readable_conversations(study, judged)
        return self.evidence.get(CONVERSATIONS)

    def trained(self, trainings: Mapping[str, Mapping]) -> None:
        """Keep the keys of trained checkpoints and the tokens that they were trained on."""
        self._inputs |= {f"checkpoint/{name}": training["key"] for name, training in trainings.items()}
        self._tokens["trained"] = sum(training["tokens"] for training in trainings.values())

    def close(
        self, *, chosen: Mapping | None = None, inputs: Mapping[str, str] = {}, tokens: Mapping[str, int] = {}
    ) -> None:
        """Show the findings, and write the record with everything it names; the last record of the section goes first.
        `chosen` is what later sections use, `inputs` name -> digest of what else was read, `tokens` what else was
        generated. Nothing is written where a field is missing, unknown or of the wrong kind (ResultError), or the value
        of a ``*_TOKEN`` or ``*_KEY`` variable is in it (SecretFound)."""
        record = {**self._header, "settings": self._settings, "inputs": self._inputs | dict(inputs)}
        record |= {"claims": self._claims, "verdicts": list(self._findings.values()), "chosen": chosen}
        record["tables"] = {
            name: {field: getattr(shown, field) for field in TABLE_FIELDS} | {"csv": f"tables/{name}.csv"}
            for name, shown in self._tables.items()
        }
        record["figures"] = {
            name: {"title": drawn.title, "alt": drawn.alt} | {kind: f"figures/{name}.{kind}" for kind in DRAWN}
            for name, drawn in self._figures.items()
        }
        for kind in evidence.KINDS:
            rows = self.evidence.get(kind)
            record[kind.name] = None if rows is None else {"file": kind.file, "rows": len(rows)}
            if rows is not None and _secrets():
                for name in rows.select_dtypes(exclude="number"):
                    refuse_secrets(map(str, rows[name]), f"{kind.name}, column {name!r}")
        record |= {"tokens": self._tokens | dict(tokens) or None, "seconds": perf_counter() - self._started}
        record |= {"provenance": provenance.collect(self._root), "so_far": self._so_far}
        settled = {field: self._plain(value, field) for field, value in record.items()}
        _validate(settled, self.folder / FILE)
        text = json.dumps(settled, ensure_ascii=False, allow_nan=False, indent=1)
        refuse_secrets(text, f"{self.folder.name}: {FILE}")
        for name in (FILE, SO_FAR_RECORD):  # without it the rest is nothing
            (self.folder / name).unlink(missing_ok=True)
        for name in ("tables", "figures"):  # none of an earlier record outlives its table
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name, shown in self._tables.items():
            write_text(self.folder / f"tables/{name}.csv", shown.exact.to_csv(index=False, lineterminator="\n"))
        for name, drawn in self._figures.items():
            for kind in DRAWN:
                write_whole(self.folder / f"figures/{name}.{kind}", drawn.save)
        for kind in evidence.KINDS:
            kind.write(self.evidence.get(kind), self.folder)
        write_text(self.folder / (FILE if self._so_far is None else SO_FAR_RECORD), text + "\n")
        if self._findings:
            display(Findings(record["verdicts"]), metadata={MIME: {"findings": True}})

    def _digest(self, study: Study, asked: Mapping[str, Mapping], models: Iterable[str]) -> None:
        store = ResponseStore(study.store_dir)  # knows the models of stored responses, where the weights are gone
        for suite, group in asked.items():
            lines = "\n".join(sorted(map(repr, group.values())))
            self._inputs[f"suite/{suite}"] = hashlib.sha256(lines.encode()).hexdigest()
        self._inputs |= {f"prompt/{name}": prompts.version(name) for name in prompts.TEMPLATES}
        self._inputs |= {f"model/{name}": store.fingerprint(study.model(name)) for name in models}

    def _plain(self, value: object, field: str) -> Any:
        try:
            return plain(value, f"{self.folder.name}: {field}", missing=field == "tables")
        except (TypeError, ValueError) as error:
            raise ResultError(str(error)) from error


class Result(SimpleNamespace):
    """A record that was read back: the fields of ``result.schema.json``, its `file`, and `folder`, which holds that and
    the files that its entries name."""

    @property
    def evidence(self) -> dict[Evidence, int]:
        """The kinds of evidence the record has, with the number of their responses."""
        entries = ((kind, getattr(self, kind.name)) for kind in evidence.KINDS)
        return {kind: entry["rows"] for kind, entry in entries if entry and entry["rows"]}

    @property
    def digest(self) -> str:
        return hashlib.sha256((self.folder / self.file).read_bytes()).hexdigest()

    def table(self, name: str) -> Table:
        return Table(**{key: value for key, value in self.tables[name].items() if key != "csv"})


def read(path: Path) -> Result:
    """Return the record at `path`, a `result.json` or the folder that holds it; a `ResultError` says what to do where
    there is none, it is not a record, or another version of the project wrote it."""
    path = path / FILE if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"{path}: no record; run the section first") from error
    except ValueError as error:
        raise ResultError(f"{path}: not JSON ({error}); run the section again") from error
    _validate(record, path)
    return Result(**{"conversations": None, "so_far": None, **record, "folder": path.parent, "file": path.name})


def read_all(outputs: Path) -> dict[str, Result]:
    """Return the records of all sections in `outputs`, the folder of a profile, in reading order; errors as `read`."""
    return {path.parent.name: read(path) for path in sorted(outputs.glob(f"[0-9]*/{FILE}"))}


def refuse_secrets(texts: str | Iterable[str], where: str) -> None:
    """Raise `SecretFound` if one of `texts` holds the value of a variable ``*_TOKEN`` or ``*_KEY``; it is not told."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    for name, value in _secrets().items():
        forms = {value, json.dumps(value)[1:-1], html.escape(value)}  # as it is, inside JSON, inside a page
        if any(form in text for text in texts for form in forms):
            raise SecretFound(f"{where} holds the value of ${name}; remove it from the settings or outputs")


def _secrets() -> dict[str, str]:
    named = {name: value.strip() for name, value in os.environ.items() if name.upper().endswith(("_TOKEN", "_KEY"))}
    return {name: value for name, value in named.items() if len(value) >= SHORTEST_SECRET}


def _validate(record: object, path: Path) -> None:
    try:
        _validator()(record)
    except fastjsonschema.JsonSchemaValueException as error:
        held = "" if isinstance(error.value, dict | list) else f"; it holds {error.value!r}"
        raise ResultError(f"{path}: {error.message.replace('data', 'record', 1)}{held}") from error
    for name, entry in record["tables"].items():
        if any(len(row) != len(entry["columns"]) for row in entry["rows"]):
            raise ResultError(f"{path}: tables/{name}: a row does not have {len(entry['columns'])} cells")


@cache
def _validator() -> Callable[[object], object]:
    return fastjsonschema.compile(json.loads(Path(__file__).with_name("result.schema.json").read_text("utf-8")))
