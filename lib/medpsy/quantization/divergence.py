"""How far a file's predictions are from those of the BF16 file: perplexity and Kullback-Leibler divergence.

Measured by llama.cpp's own ``llama-perplexity`` on rows that the importance matrix was not made of. Its ± are standard
errors over tokens; here they are 95 % margins, still of tokens taken as independent.
"""

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medpsy.engines import tools
from medpsy.engines.errors import EngineError
from medpsy.quantization.family import Family, Variant
from medpsy.quantization.gguf_file import readable_markers
from medpsy.quantization.llama_tool import run_logged
from medpsy.statistics.suite import Z

VALUE = r"(-?[\d.]+)\s*(?:±|\+/-)\s*([\d.]+)"
FINAL = re.compile(rf"Final estimate: PPL = {VALUE}")
CHUNKS = re.compile(r"computing over (\d+) chunks")
MEASURES = ("perplexity", "log_ratio", "divergence", "delta_p", "same_top")  # columns of llama-perplexity's table
KEPT = ("perplexity", "log_ratio", "divergence", "same_top")
COLUMNS = ["name", *(f"{name}{end}" for name in KEPT for end in ("", "_margin"))]


def divergences(families: Mapping[str, Family], *, threads: int = 0) -> pd.DataFrame:
    """Return one row per file with a held-out text; none for a family without one.

    Args:
        threads: CPU threads; 0 leaves it to llama.cpp.

    Returns:
        Columns ``name``, ``perplexity``, ``log_ratio`` (of perplexities, to BF16, paired by token), ``divergence``
        (nats per token, from BF16), ``same_top`` (% of tokens at which both put the same token first), each with
        ``_margin``; the BF16 file has its perplexity alone.

    Raises:
        EngineError: llama-perplexity failed, e.g. because the text has fewer than two contexts of tokens.
    """
    rows = [row for family in families.values() if family.texts.held_out for row in _family(family, threads)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _family(family: Family, threads: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(dir=family.base.file.parent, prefix=".perplexity-") as scratch:
        folder = Path(scratch)
        (folder / "held_out.txt").write_text(family.texts.held_out, encoding="utf-8")
        settings = ["-c", family.context, *(["-t", threads] if threads else [])]
        rows = [_measured(folder, one, settings) for one in family.files]
    for row in rows[1:]:  # llama-perplexity keeps base logits in 16 bits, which makes its own ratio too large
        row["log_ratio"] = math.log(row["perplexity"] / rows[0]["perplexity"])
    return rows


def _measured(folder: Path, one: Variant, settings: Sequence[object]) -> dict[str, object]:
    """Return the row of one file; that of the BF16 file leaves its logits in `folder` for those that follow."""
    model, logits = readable_markers(one.file, folder / "model.gguf"), "base.logits"
    arguments = ["-m", model.name, "-f", "held_out.txt", *settings, "--no-escape", "--kl-divergence-base", logits]
    if not (folder / logits).exists():
        log = run_logged("llama-perplexity", arguments, folder=folder, whole=FINAL.search)
        return {"name": one.name} | _pair("perplexity", FINAL.search(log).groups())
    arguments.append("--kl-divergence")
    log = run_logged("llama-perplexity", arguments, folder=folder, whole=last_line)
    return {"name": one.name} | read(last_line(log))


def last_line(log: str) -> str | None:
    """Return the line of the last chunk, which holds the means over all of them; None where it is not written."""
    chunks = CHUNKS.search(log)
    found = chunks and re.search(rf"^\s*{chunks[1]}\s+(-?[\d.]+\s*±.*%.*%)\s*$", log, re.MULTILINE)
    return found[1] if found else None


def read(line: str) -> dict[str, float]:
    """Return the measures `KEPT` and their 95 % margins of a line of llama-perplexity's table.

    Raises:
        EngineError: the line has other columns; another release wrote it.
    """
    pairs = re.findall(VALUE, line.replace("%", ""))
    if len(pairs) != len(MEASURES):
        raise EngineError(
            f"llama-perplexity printed {line!r}, which is not {', '.join(MEASURES)}; this project reads {tools.RELEASE}"
        )
    named = dict(zip(MEASURES, pairs, strict=True))
    return {key: value for name in KEPT for key, value in _pair(name, named[name]).items()}


def _pair(name: str, texts: tuple[str, str]) -> dict[str, float]:
    value, error = (float(text) for text in texts)
    return {name: value, f"{name}_margin": Z * error}
