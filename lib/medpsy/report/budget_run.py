"""The teacher's run over all rows of the report, on paper: amounts, time by part on N GPUs, what a crash costs.

Costs per row are measured with this project (`lib/medpsy/planning/costs.yaml`), GPUs follow from their data sheet.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from medpsy.corpus.storage import SHARD_ROWS as CORPUS_ROWS
from medpsy.noted import noted
from medpsy.planning.costs import costs
from medpsy.planning.formulas import GIGA, HOUR
from medpsy.planning.teacher_run import TeacherRun
from medpsy.report.budget import Assumed
from medpsy.report.display import Table, table
from medpsy.responses import SHARD_ROWS, SHARD_SECONDS, ResponseStore
from medpsy.study import Study

MINUTE = 60.0


def teacher_runs(
    about: Assumed, stored: dict[str, Any], gpus: Sequence[int], batches: Sequence[int]
) -> list[TeacherRun]:
    """Return the runs of all rows: each number of `gpus` with each number of rows asked at a time.

    Args:
        stored: as `stored_rows` returns it.

    Raises:
        ValueError: too few GPUs for one copy of the teacher, or a batch below 1.
    """
    known = costs()
    store = replace(known.store, token=stored["token"] or known.store.token)
    shared = (about.teacher, about.sheet, known.serving, store, about.rows, about.prompt, about.row)
    return [TeacherRun(*shared, batch, count) for batch in batches for count in gpus]


def stored_rows(study: Study) -> dict[str, Any]:
    """Return what this profile stores per token and row; a replay tells what was noted.

    Returns:
        ``{rows, shards, token, corpus}``: responses, their shards, bytes per token (None where nothing is stored, and
        in the miniature, whose tokens are words), bytes per row of the corpora (None where there are none).
    """
    return noted(study.store_dir, "stored-rows", lambda: _stored(study))


def amounts_table(runs: Sequence[TeacherRun], stored: dict[str, Any]) -> Table:
    """Return what all rows are on the disk and in memory, with where each number comes from."""
    one, most = runs[0], max(runs, key=lambda run: run.batch)
    basis = "measured in this profile" if stored["token"] is not None else "measured on public outputs of real models"
    rows = [["Bytes of a response with its prompt", one.row_bytes, f"{one.store.token:g} bytes per token, {basis}"]]
    rows += [["Bytes of a response in this profile", stored["response"], f"{stored['rows']:,} responses are stored"]]
    rows += [["Bytes of a row of the corpora in this profile", stored["corpus"], "files of 03_training_data"]]
    rows += [["GB of all responses", one.rows * one.row_bytes / GIGA, f"{one.rows:,.0f} rows"]]
    rows += [["Files of the corpora", one.corpus_files, f"{CORPUS_ROWS:,} rows each"]]
    rows += [["MB of such a file", CORPUS_ROWS * one.row_bytes / 1e6, "as much per row as a response"]]
    rows += [["GB of the index of duplicates", one.rows * one.store.index / GIGA, "measured per row"]]
    rows += [["Files of prompts for Ray Data", most.prompt_files, f"of {most.batch:,} rows; deleted behind them"]]
    rows += [["GB that the driver holds of them", most.memory(most.batch), "measured per prompt"]]
    rows += [["GB if all rows were asked at once", one.memory(one.rows), "why there are batches"]]
    note = "What the text of a response takes hangs on the language; the miniature's tokens are whole words."
    return table(
        pd.DataFrame(rows, columns=["Amount", "Value", "From"], dtype=object),
        "All rows on paper",
        note=note,
        decimals=1,
    )


def runs_table(runs: Sequence[TeacherRun]) -> Table:
    """Return the hours of every run by part, one part after another."""
    rows = []
    for run in runs:
        hours = run.hours()
        rows.append([run.batch, run.gpus, run.rows_per_second, *hours.values(), sum(hours.values()) / 24])
    columns = ["Rows at a time", "GPUs", "Rows/s", *(f"{part} (h)" for part in runs[0].hours()), "Days in all"]
    note = (
        f"A copy of the teacher takes {runs[0].per_copy} GPUs. Nothing overlaps: the engine loads the model for every "
        "batch, and one process filters while no GPU writes. Tokens are counted beside, and disks shared by all are "
        "not a limit here."
    )
    return table(pd.DataFrame(rows, columns=columns), "The teacher's run over all rows", note=note, decimals=1)


def restart_table(runs: Sequence[TeacherRun]) -> Table:
    """Return the files of each number of GPUs, and what the death of a copy and of the process that asks costs."""
    rows = []
    for run in {run.gpus: run for run in runs}.values():
        files = [round(run.shards), run.shard_rows * run.row_bytes / 1e6]
        again, driver = run.load_seconds + run.response_seconds / 2, run.driver_loss
        lost = [run.lost_rows, again / MINUTE, driver / MINUTE, run.gpus * driver / HOUR]
        rows.append([run.gpus, run.copies, *files, *lost])
    columns = [
        "GPUs",
        "Copies",
        "Shards",
        "MB per shard",
        "Responses lost with a copy",
        "Minutes until it writes again",
    ]
    columns += ["Minutes lost with the driver", "GPU hours lost with it"]
    note = (
        f"A shard is written at {SHARD_ROWS:,} rows or after {SHARD_SECONDS:.0f} seconds, so slow runs leave many "
        "small ones. Responses under way are lost and written again by the same seeds; stored ones never are. With the "
        "driver go the open shard and all that is under way; then every copy is loaded."
    )
    return table(pd.DataFrame(rows, columns=columns), "Files and restarts", note=note, decimals=1)


def run_verdicts(runs: Sequence[TeacherRun]) -> list[dict]:
    """Return whether writing takes most of the time, as it should, with the largest batch on each number of GPUs."""
    found = []
    for run in {run.gpus: run for run in sorted(runs, key=lambda run: run.batch)}.values():
        hours = run.hours()
        share = 100 * hours["Writing"] / sum(hours.values())
        other = max((name for name in hours if name != "Writing"), key=lambda name: hours[name])
        text = f"On {run.gpus} GPUs, {run.batch:,} rows at a time, the teacher writes for most of the time"
        note = f"{share:.0f} %; next comes {other.lower()}, {hours[other]:,.0f} hours"
        found.append({"text": text, "verdict": "pattern holds" if share > 50 else "pattern fails", "note": note})
    return found


def _stored(study: Study) -> dict[str, Any]:
    stats = ResponseStore(study.store_dir).stats()
    tokens = sum(one["prompt_tokens"] + one["completion_tokens"] for one in stats["models"].values())
    token = stats["bytes"] / tokens if tokens and study.source == "hub" else None
    response = stats["bytes"] / stats["rows"] if stats["rows"] else None
    files = sorted(study.corpora_dir.glob("corpus*/part-*.parquet"))
    rows, size = sum(pq.read_metadata(file).num_rows for file in files), sum(file.stat().st_size for file in files)
    corpus = size / rows if rows else None
    return {"rows": stats["rows"], "shards": stats["shards"], "token": token, "response": response, "corpus": corpus}
