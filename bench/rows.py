"""What a benchmark leaves: rows on the screen, and the same rows in a file with where they were measured."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from medpsy import provenance, study
from medpsy.files import write_text


@dataclass(frozen=True)
class Row:
    """One comparison; `ours` and `reference` in `unit`, `ratio` is ours over reference."""

    name: str
    ours: float
    reference: float
    ratio: float
    unit: str = "tokens/s"


def keep(rows: Sequence[Row], name: str) -> Path:
    """Print `rows` and write them to the file `name` in ``outputs/bench``; return its path."""
    for row in rows:
        print(f"{row.name:50} {row.ours:10.4g} {row.reference:10.4g} {row.unit}   ratio {row.ratio:.2f}")
    folder = study.find_root() / "outputs" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"rows": [asdict(row) for row in rows], "provenance": provenance.collect(study.find_root())}
    return write_text(folder / name, json.dumps(record, indent=1) + "\n")


def in_own_process(call: Callable, *arguments: object) -> object:
    """Return what `call` returns in a new process, whose memory is free again afterwards."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()
