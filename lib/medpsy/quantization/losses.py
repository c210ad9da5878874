"""What a GGUF file loses and costs: perplexity and divergence from BF16, load time, tokens per second, memory, size.

``llama-perplexity`` writes the predictions of every file on rows that the importance matrix was not made of; the
measures are taken here, since the program prints them from a thread that may not get to finish. As there, the second
half of every chunk is scored, and no token counts as less likely than the likeliest one by over 16 nats. Our speeds are
what a user of ``llama-server`` sees with one request at a time; ``llama-bench`` leaves sampling and the server out.
Sizes of the published files follow from the shapes of Qwen3's tensors and ``llama-quantize --dry-run``: llama.cpp
mixes formats within a file, and its rules are not copied here. They count tensors only: a real file also holds
tokenizer and chat template, some 6 MB for this vocabulary.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from medpsy import published
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.files import swept
from medpsy.quantization.gguf import BASE, CONTROL, FORMATS, WITHOUT_MATRIX, Calibration, reader, run_tool, texts
from medpsy.store import noted
from medpsy.study import Study

MAGIC = b"_logits_"  # llama-perplexity --save-all-logits: magic, then context, vocabulary and chunks as int32, tokens
ROW_HEAD = 4  # 16-bit words before every row: scale and offset of its log-probabilities, as two float32
AT_ONCE = 2**25  # log-probabilities held in memory at a time
MEASURES = ("perplexity", "log_ratio", "divergence", "same_top")
COLUMNS = ["name", "tokens", *(f"{name}{end}" for name in MEASURES for end in ("", "_margin"))]
SCRATCH = ".perplexity-"  # begins the name of the folder that llama-perplexity works in
USER_DEFINED = 4  # token type of GGUF: llama.cpp reads it out of plain text, unlike CONTROL
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
            scale, least = np.ascontiguousarray(rows[:, :ROW_HEAD]).view(np.float32).astype(np.float64).T
            levels = rows[:, ROW_HEAD : ROW_HEAD + self.vocabulary]
            yield least[:, None] + scale[:, None] * levels, self.tokens[chunk, start : start + step]


def divergences(
    study: Study, files: pd.DataFrame, *, calibration: Mapping[str, object], threads: int = 0
) -> pd.DataFrame:
    """Return one row per file of `build` with a held-out text; none for a source without one. A replay tells what was
    noted.

    Args:
        calibration: as for `build`.
        threads: CPU threads; 0 leaves it to llama.cpp.

    Returns:
        Columns ``name``, ``tokens`` (scored), ``perplexity``, ``log_ratio`` (of perplexities, to BF16), ``divergence``
        (nats per token, from BF16), ``same_top`` (% of tokens at which both put the same token first), each with its
        95 % margin over chunks as ``_margin``: missing for a single chunk; the BF16 file has its perplexity alone.

    Raises:
        EngineError: llama-perplexity failed, e.g. because the text has fewer than two contexts of tokens.
    """
    settings = Calibration.of(study, calibration)

    def rows() -> list[dict[str, object]]:
        families = files.groupby("source", sort=False)
        held_out = {source: texts(study, study.model(source), settings)[1] for source, _ in families}
        arguments = ["-c", settings.context, *(["-t", threads] if threads else [])]
        return [
            row
            for source, family in families
            if held_out[source]
            for row in _family_losses(family, held_out[source], arguments)
        ]

    return pd.DataFrame(noted(study.store_dir, "gguf-divergences", rows), columns=COLUMNS)


def _family_losses(family: pd.DataFrame, text: str, arguments: Sequence[object]) -> Iterator[dict[str, object]]:
    """Yield the losses of the files of one source, that of BF16 first."""
    beside = swept(family["file"].iloc[0].parent, SCRATCH)
    with tempfile.TemporaryDirectory(dir=beside, prefix=SCRATCH) as scratch:
        folder, base = Path(scratch), None
        (folder / "held_out.txt").write_text(text, encoding="utf-8")
        for row in family.itertuples():
            readable_markers(row.file, folder / "model.gguf")
            line = ["-m", "model.gguf", "-f", "held_out.txt", *arguments, "--no-escape"]
            output = folder / ("base.logits" if base is None else "variant.logits")
            output.unlink(missing_ok=True)
            run_tool("llama-perplexity", [*line, "--save-all-logits", output.name], folder=folder)
            predicted = read_predictions(output)
            alone = {f"{name}{end}": np.nan for name in MEASURES[1:] for end in ("", "_margin")} if base is None else {}
            base = base or predicted
            yield {"name": row.name} | measures(base, predicted) | alone


def readable_markers(source: Path, target: Path) -> None:
    """Copy the GGUF file `source` to `target` with its control tokens called user-defined.

    ``llama-perplexity`` has no switch to read chat markers out of a text; without this it would score their letters.
    """
    shutil.copyfile(source, target)
    copy = reader(target, "r+")
    field = copy.fields["tokenizer.ggml.token_type"]
    for part in (field.parts[number] for number in field.data):
        if part[0] == CONTROL:
            part[0] = USER_DEFINED
    copy.data.flush()


def read_predictions(path: Path) -> Predictions:
    """Return the predictions that llama-perplexity wrote to `path`, mapped and not loaded.

    Raises:
        ValueError: the file has another form, or is not whole.
    """
    start = path.open("rb").read(len(MAGIC) + 12)
    context, vocabulary, chunks = np.frombuffer(start[len(MAGIC) :], dtype=np.int32) if len(start) == 20 else (0, 0, 0)
    scored, words = context - 1 - context // 2, 2 * ((vocabulary + 1) // 2) + ROW_HEAD
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


PROMPT, WRITTEN = 256, 128  # tokens; ours
REPEATS = 3  # of each measurement; the fastest counts, since what else the machine does only ever slows one down
ROUNDS = {"prompt_per_second": "prompt", "predicted_per_second": "generation"}  # llama-server's name -> ours


def speeds(
    study: Study, files: pd.DataFrame, *, threads: int = 1, prompt: int = PROMPT, written: int = WRITTEN
) -> pd.DataFrame:
    """Return one row per file of `build`; a replay tells what was noted.

    Args:
        threads: CPU threads of server and bench.
        prompt, written: tokens read and generated in one measurement.

    Returns:
        Columns ``name``, ``load`` (seconds until the server answers), ``memory`` (bytes held while serving, the file's
        mapped part included), ``prompt``, ``generation`` (tokens/s, ours), ``bench_prompt``, ``bench_generation``
        (those of ``llama-bench``).
    """

    def measured(file: Path) -> dict[str, float]:
        _server_speed(file, threads, prompt, 1)  # it comes from the disk once: loading is compared from memory
        return _server_speed(file, threads, prompt, written) | _bench_speed(file, threads, prompt, written)

    def rows() -> list[dict[str, object]]:
        return [{"name": row.name} | measured(row.file) for row in files.itertuples()]

    return pd.DataFrame(noted(study.store_dir, "gguf-speeds", rows))


def _server_speed(file: Path, threads: int, prompt: int, written: int) -> dict[str, float]:
    options = ServerOptions(slots=1, context=prompt + written, cache_type="f16", threads=threads)
    begun = time.perf_counter()
    with LlamaServer(file, options) as server, server.client(timeout=None) as client:
        load, timings = time.perf_counter() - begun, []
        body = {"n_predict": written, "ignore_eos": True, "cache_prompt": False, "temperature": 0.0}
        for number in range(REPEATS):
            tokens = [(7 * place + number) % 100 + 5 for place in range(prompt)]  # any will do: no cache is used
            timings.append(client.post("/completion", json=body | {"prompt": tokens}).raise_for_status().json())
        best = {ours: max(one["timings"][theirs] for one in timings) for theirs, ours in ROUNDS.items()}
        return {"load": load, "memory": server.resident_bytes} | best


def _bench_speed(file: Path, threads: int, prompt: int, written: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.gguf").symlink_to(file.resolve())
        arguments = ["-m", "model.gguf", "-p", prompt, "-n", written, "-t", threads, "-r", REPEATS, "-o", "json"]
        rows = json.loads(run_tool("llama-bench", arguments, folder=Path(scratch))[0])
    return {"bench_prompt" if row["n_prompt"] else "bench_generation": max(row["samples_ts"]) for row in rows}


HEAD_SIZE = 128  # head size of Qwen3; in its configuration, not in the report
SIZE_TABLES = {
    "table07_quant_4b": "Qwen3-4B",
    "table08_quant_1p7b": "Qwen3-1.7B",
}  # table -> model
ROWS = {"h": "Hidden size", "f": "FFN hidden size", "l": "Layers", "a": "Attention heads"}
ROWS |= {"k": "KV groups (GQA)", "v": "Vocab size"}
SIZE_COLUMN = "Size (GB)"
SHAPES_FILE, MATRIX_FILE, ALIGN = "shapes.gguf", "imatrix.gguf", 32
DRY_RUN_LINE = re.compile(
    r"^\[.*?\]\s+\S+\s+- \[\s*(\d+),\s*(\d+),.*?type =\s+(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE
)
Shapes = Mapping[str, tuple[int, ...]]


def published_sizes(study: Study) -> pd.DataFrame:
    """Return one row per published file: its size as printed and as recomputed; a replay tells what was noted.

    Returns:
        Columns ``table``, ``variant`` (row of the table), ``format``, ``printed`` (GB), ``recomputed`` (GB, embedding
        and output apart), ``tied`` (GB, one matrix for both), ``types`` (formats that the file mixes).

    Raises:
        FileNotFoundError: llama-quantize is not built; says how to get it.
    """

    def rows() -> list[dict[str, object]]:
        return [row for table in SIZE_TABLES for row in _size_rows(table)]

    return pd.DataFrame(noted(study.store_dir, "published-sizes", rows))


def tensors(model: str, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of all tensors of `model`, a column of the report's architecture table."""
    column = published.table("architecture")[model]
    h, f, layers, a, k, v = (int(column[ROWS[name]].replace(",", "")) for name in "hflakv")
    outer = {"token_embd.weight": (v, h), "output_norm.weight": (h,)} | ({} if tied else {"output.weight": (v, h)})
    block = {"attn_norm": (h,), "ffn_norm": (h,), "attn_q": (a * HEAD_SIZE, h), "attn_k": (k * HEAD_SIZE, h)}
    block |= {"attn_v": (k * HEAD_SIZE, h), "attn_output": (h, a * HEAD_SIZE)}
    block |= {"attn_q_norm": (HEAD_SIZE,), "attn_k_norm": (HEAD_SIZE,)}
    block |= {"ffn_gate": (f, h), "ffn_up": (f, h), "ffn_down": (h, f)}
    return outer | {f"blk.{n}.{name}.weight": shape for n in range(layers) for name, shape in block.items()}


def _size_rows(table: str) -> list[dict[str, object]]:
    printed, model = published.table(table), SIZE_TABLES[table]
    apart, tied = (planned(tensors(model, tied=tied), (BASE, *FORMATS)) for tied in (False, True))
    rows = []
    for variant in printed.index:
        form = next((name for name in FORMATS if variant.endswith(name)), BASE)
        sizes = {"printed": float(printed.at[variant, SIZE_COLUMN])}
        sizes |= {"recomputed": apart[form][0] / 1e9, "tied": tied[form][0] / 1e9, "types": apart[form][1]}
        rows.append({"table": table, "variant": variant, "format": form} | sizes)
    return rows


def planned(shapes: Shapes, formats: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Return format -> bytes of all tensors, and the formats of the matrices, as llama.cpp would write them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _hollow(folder / SHAPES_FILE, shapes)
        _even_matrix(folder / MATRIX_FILE, shapes)
        return {form: _plan(folder, form) for form in formats}


def _plan(folder: Path, form: str) -> tuple[int, str]:
    import gguf

    matrix = [] if form in (BASE, *WITHOUT_MATRIX) else ["--imatrix", MATRIX_FILE]
    text = "".join(run_tool("llama-quantize", ["--dry-run", *matrix, SHAPES_FILE, form], folder=folder))
    total, kinds = 0, {}
    for first, second, old, new in DRY_RUN_LINE.findall(text):
        kind = (new or old).upper()
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        total += int(first) * int(second) // block * size
        kinds |= {kind: kind != "F32"}
    return total, ", ".join(kind for kind, matrix in kinds.items() if matrix)


def _hollow(path: Path, shapes: Shapes) -> None:
    """Write a GGUF file with tensors of `shapes` whose content is a hole: it takes no space on the disk."""
    import gguf

    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blk.")))
    writer.add_embedding_length(shapes["output_norm.weight"][0])
    writer.add_feed_forward_length(shapes["blk.0.ffn_up.weight"][0])
    writer.add_head_count(shapes["blk.0.attn_q.weight"][0] // HEAD_SIZE)
    writer.add_head_count_kv(shapes["blk.0.attn_k.weight"][0] // HEAD_SIZE)
    writer.add_context_length(1)  # any will do: nothing is run
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("none")
    total = 0
    for name, shape in shapes.items():
        kind, width = ("BF16", 2) if len(shape) > 1 else ("F32", 4)
        count = int(np.prod(shape)) * width
        writer.add_tensor_info(name, shape, np.dtype("float32"), count, gguf.GGMLQuantizationType[kind])
        total += -(-count // ALIGN) * ALIGN
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // ALIGN) * ALIGN + total)


def _even_matrix(path: Path, shapes: Shapes) -> None:
    """Write an importance matrix that calls every input equal: its being there already changes llama.cpp's choice."""
    import gguf

    writer = gguf.GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 1)
    for name, shape in shapes.items():
        if name.startswith("blk.") and len(shape) > 1:
            writer.add_tensor(f"{name}.in_sum2", np.ones((1, shape[1]), dtype=np.float32))
            writer.add_tensor(f"{name}.counts", np.ones((1, 1), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
