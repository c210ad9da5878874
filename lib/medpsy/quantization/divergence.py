"""How far a file's predictions are from those of the BF16 file: perplexity and Kullback-Leibler divergence.

llama.cpp's own ``llama-perplexity`` writes the predictions of every file on rows that the importance matrix was not
made of; the measures are taken here, since the program prints them from a thread that may not get to finish. As there,
the second half of every chunk is scored, and no token counts as less likely than the likeliest one by over 16 nats.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from medpsy.noted import noted
from medpsy.quantization.family import Family, Variant
from medpsy.quantization.gguf_file import readable_markers
from medpsy.quantization.llama_tool import run
from medpsy.study import Study

MAGIC = b"_logits_"  # llama-perplexity --save-all-logits: magic, then context, vocabulary and chunks as int32, tokens
HEAD = 4  # 16-bit words before every row: scale and offset of its log-probabilities, as two float32
AT_ONCE = 2**25  # log-probabilities held in memory at a time
MEASURES = ("perplexity", "log_ratio", "divergence", "same_top")
COLUMNS = ["name", "tokens", *(f"{name}{end}" for name in MEASURES for end in ("", "_margin"))]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a file predicts: `words` [chunks, scored tokens, words], 16 bits each; `tokens` [chunks, scored tokens]."""

    words: NDArray[np.uint16]
    tokens: NDArray[np.int32]
    vocabulary: int

    def blocks(self, chunk: int) -> Iterator[tuple[Array, NDArray[np.int32]]]:
        """Yield log-probabilities [some tokens, vocabulary] of one chunk, and the tokens that really came."""
        step = max(1, AT_ONCE // self.vocabulary)
        for start in range(0, self.words.shape[1], step):
            rows = self.words[chunk, start : start + step]
            scale, least = np.ascontiguousarray(rows[:, :HEAD]).view(np.float32).astype(np.float64).T
            levels = rows[:, HEAD : HEAD + self.vocabulary]
            yield least[:, None] + scale[:, None] * levels, self.tokens[chunk, start : start + step]


def divergences(study: Study, families: Mapping[str, Family], *, threads: int = 0) -> pd.DataFrame:
    """Return one row per file with a held-out text; none for a family without one. A replay tells what was noted.

    Args:
        threads: CPU threads; 0 leaves it to llama.cpp.

    Returns:
        Columns ``name``, ``tokens`` (scored), ``perplexity``, ``log_ratio`` (of perplexities, to BF16), ``divergence``
        (nats per token, from BF16), ``same_top`` (% of tokens at which both put the same token first), each with its
        95 % margin over chunks as ``_margin``: missing for a single chunk; the BF16 file has its perplexity alone.

    Raises:
        EngineError: llama-perplexity failed, e.g. because the text has fewer than two contexts of tokens.
    """
    rows = noted(
        study.store_dir,
        "gguf-divergences",
        lambda: [row for family in families.values() if family.texts.held_out for row in _family(family, threads)],
    )
    return pd.DataFrame(rows, columns=COLUMNS)


def _family(family: Family, threads: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(dir=family.base.file.parent, prefix=".perplexity-") as scratch:
        folder = Path(scratch)
        (folder / "held_out.txt").write_text(family.texts.held_out, encoding="utf-8")
        settings = ["-c", family.context, *(["-t", threads] if threads else [])]
        base = _predicted(folder, family.base, settings, "base.logits")
        rows = [{"name": family.base.name} | measures(base, base)]
        for one in family.variants:
            rows.append({"name": one.name} | measures(base, _predicted(folder, one, settings, "variant.logits")))
    rows[0] |= {f"{name}{end}": np.nan for name in MEASURES[1:] for end in ("", "_margin")}
    return rows


def _predicted(folder: Path, one: Variant, settings: Sequence[object], name: str) -> Predictions:
    model = readable_markers(one.file, folder / "model.gguf")
    arguments = ["-m", model.name, "-f", "held_out.txt", *settings, "--no-escape", "--save-all-logits", name]
    (folder / name).unlink(missing_ok=True)
    run("llama-perplexity", arguments, folder=folder)
    return read(folder / name)


def read(path: Path) -> Predictions:
    """Return the predictions that llama-perplexity wrote to `path`, mapped and not loaded.

    Raises:
        ValueError: the file has another form, or is not whole.
    """
    start = path.open("rb").read(len(MAGIC) + 12)
    context, vocabulary, chunks = np.frombuffer(start[len(MAGIC) :], dtype=np.int32) if len(start) == 20 else (0, 0, 0)
    scored, words = context - 1 - context // 2, 2 * ((vocabulary + 1) // 2) + HEAD
    body = 20 + 4 * chunks * context
    if start[: len(MAGIC)] != MAGIC or path.stat().st_size != body + 2 * chunks * scored * words:
        raise ValueError(f"{path.name} is not what llama-perplexity --save-all-logits writes; use the pinned llama.cpp")
    came = np.fromfile(path, np.int32, chunks * context, offset=20).reshape(chunks, context)[:, -scored:]
    shape = (int(chunks), int(scored), int(words))
    return Predictions(np.memmap(path, np.uint16, "r", body, shape), came, int(vocabulary))


def measures(base: Predictions, other: Predictions) -> dict[str, float]:
    """Return the measures of `other` against `base`, of the same tokens; each is a mean over chunks of equal length."""
    chunks = np.array([_chunk(base, other, number) for number in range(len(base.tokens))])
    nll, ratio, divergence, same = chunks.T
    (level, wide), pairs = _mean(nll), [_mean(values) for values in (ratio, divergence, 100 * same)]
    found = {"tokens": base.tokens.size, "perplexity": np.exp(level), "perplexity_margin": np.exp(level) * wide}
    for name, (value, margin) in zip(MEASURES[1:], pairs, strict=True):
        found |= {name: value, f"{name}_margin": margin}
    return found


def _chunk(base: Predictions, other: Predictions, number: int) -> Array:
    """Return surprise (nats), its excess over the base, divergence and agreement, means over the tokens of a chunk."""
    parts = []
    for (first, came), (second, _) in zip(base.blocks(number), other.blocks(number), strict=True):
        at = np.arange(len(came))
        divergence = (np.exp(first) * (first - second)).sum(axis=1)
        excess = first[at, came] - second[at, came]
        parts.append([-second[at, came], excess, divergence, first.argmax(axis=1) == second.argmax(axis=1)])
    return np.concatenate(parts, axis=1).mean(axis=1)


def _mean(values: Array) -> tuple[float, float]:
    """Return the mean and its 95 % margin by the t-distribution, NaN for a single value."""
    if len(values) < 2:
        return float(values.mean()), np.nan
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * error)
