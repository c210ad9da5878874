"""What a GGUF file loses and costs: its predictions beside those of BF16, load time, tokens per second, memory, size.

``llama-perplexity`` writes the predictions of every file on rows that the importance matrix was not made of; the
section measures them itself, since the program prints its numbers from a thread that may not get to finish. As there,
the second half of every chunk is scored, and no token counts as less likely than the likeliest one by over 16 nats.
Sizes of the published files follow from the shapes of their tensors and ``llama-quantize --dry-run``, since llama.cpp
mixes formats within a file; they leave out tokenizer and chat template, some 6 MB for this vocabulary.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy import published
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.files import swept
from medpsy.quantization.gguf import BASE, CONTROL, FORMATS, WITHOUT_MATRIX, dry_run, held_out_file, reader, run_tool
from medpsy.store import noted
from medpsy.study import Study

MAGIC = b"_logits_"  # llama-perplexity --save-all-logits: magic, then context, vocabulary and chunks as int32, tokens
ROW_HEAD = 4  # 16-bit words before every row: scale and offset of its log-probabilities, as two float32
AT_ONCE = 2**25  # log-probabilities held in memory at a time
SCRATCH = ".perplexity-"  # begins the name of the folder that llama-perplexity works in
USER_DEFINED = 4  # token type of GGUF: llama.cpp reads it out of plain text, unlike CONTROL
PROMPT, WRITTEN = 256, 128  # tokens read and written by a measurement of speed; ours
REPEATS = 3  # of each measurement; the fastest counts, since what else the machine does only ever slows one down
ROUNDS = {"prompt_per_second": "prompt", "predicted_per_second": "generation"}  # llama-server's name -> ours
SIZE_TABLES = {"table07_quant_4b": "Qwen3-4B", "table08_quant_1p7b": "Qwen3-1.7B"}  # table -> model
SHAPES_FILE, ALIGN = "shapes.gguf", 32
Shapes = Mapping[str, tuple[int, ...]]
Measure = Callable[["Predictions", "Predictions"], Mapping[str, float]]  # of BF16, and of a file


@dataclass(frozen=True)
class Predictions:
    """What a file predicts: `words` [chunks, scored tokens, words], 16 bits each; `tokens` [chunks, scored tokens]."""

    words: NDArray[np.uint16]
    tokens: NDArray[np.int32]
    vocabulary: int

    def blocks(self, chunk: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int32]]]:
        """Yield log-probabilities [some tokens, vocabulary] of one chunk, and the tokens that really came."""
        step = max(1, AT_ONCE // self.vocabulary)
        for start in range(0, self.words.shape[1], step):
            rows = self.words[chunk, start : start + step]
            scale, least = np.ascontiguousarray(rows[:, :ROW_HEAD]).view(np.float32).astype(np.float64).T
            levels = rows[:, ROW_HEAD : ROW_HEAD + self.vocabulary]
            yield least[:, None] + scale[:, None] * levels, self.tokens[chunk, start : start + step]


def divergences(study: Study, files: pd.DataFrame, measure: Measure, *, context: int, threads: int = 0) -> pd.DataFrame:
    """Return one row per file of `build` whose source has a held-out text: its ``name``, and what `measure` says of the
    predictions of BF16 and of the file, which may be BF16 itself, on the same tokens, by name; a replay tells what was
    noted, and a source without a text has no row.

    llama.cpp reads `context` tokens at a time with `threads` CPU threads (0 leaves it to it). EngineError where
    llama-perplexity failed, e.g. because the text has fewer than two contexts of tokens.
    """
    line = ["-m", "model.gguf", "-f", "held_out.txt", "-c", context, *(["-t", threads] if threads else [])]

    def rows() -> Iterator[dict[str, object]]:
        for source, family in files.groupby("source", sort=False):
            text, beside = held_out_file(study, source), swept(family["file"].iloc[0].parent, SCRATCH)
            if not text.stat().st_size:
                continue
            with tempfile.TemporaryDirectory(dir=beside, prefix=SCRATCH) as scratch:
                folder, base = Path(scratch), None
                (folder / "held_out.txt").symlink_to(text.resolve())
                for row in family.itertuples():  # that of BF16 is the first
                    readable_markers(row.file, folder / "model.gguf")
                    output = folder / ("base.logits" if base is None else "variant.logits")
                    output.unlink(missing_ok=True)
                    run_tool("llama-perplexity", [*line, "--no-escape", "--save-all-logits", output.name], folder)
                    predicted = read_predictions(output)
                    base = base or predicted
                    yield {"name": row.name} | measure(base, predicted)

    return pd.DataFrame(noted(study.store_dir, "gguf-divergences", lambda: list(rows())))


def readable_markers(source: Path, target: Path) -> None:
    """Copy the GGUF file `source` to `target` with its control tokens called user-defined: ``llama-perplexity`` has no
    switch to read chat markers out of a text, and would score their letters."""
    shutil.copyfile(source, target)
    copy = reader(target, "r+")
    field = copy.fields["tokenizer.ggml.token_type"]
    for part in (field.parts[number] for number in field.data):
        if part[0] == CONTROL:
            part[0] = USER_DEFINED
    copy.data.flush()


def read_predictions(path: Path) -> Predictions:
    """Return the predictions that llama-perplexity wrote to `path`, mapped and not loaded; ValueError if not whole."""
    start = path.open("rb").read(len(MAGIC) + 12)
    context, vocabulary, chunks = np.frombuffer(start[len(MAGIC) :], dtype=np.int32) if len(start) == 20 else (0, 0, 0)
    scored, words = context - 1 - context // 2, 2 * ((vocabulary + 1) // 2) + ROW_HEAD
    body = 20 + 4 * chunks * context
    if start[: len(MAGIC)] != MAGIC or path.stat().st_size != body + 2 * chunks * scored * words:
        raise ValueError(f"{path.name} is not what llama-perplexity --save-all-logits writes; use the pinned llama.cpp")
    came = np.fromfile(path, np.int32, chunks * context, offset=20).reshape(chunks, context)[:, -scored:]
    shape = (int(chunks), int(scored), int(words))
    return Predictions(np.memmap(path, np.uint16, "r", body, shape), came, int(vocabulary))


def speeds(study: Study, files: pd.DataFrame, *, threads: int = 1) -> pd.DataFrame:
    """Return one row per file of `build`, with `threads` CPU threads; a replay tells what was noted.

    Columns ``name``, ``load`` (seconds until the server answers), ``memory`` (bytes held while serving, the file's
    mapped part included), ``prompt``, ``generation`` (tokens/s of one request at a time), ``bench_prompt``,
    ``bench_generation`` (those of ``llama-bench``, which leaves sampling and the server out).
    """

    def rows() -> Iterator[dict[str, object]]:
        for row in files.itertuples():
            _server_speed(row.file, threads, 1)  # it comes from the disk once: loading is compared from memory
            yield {"name": row.name} | _server_speed(row.file, threads, WRITTEN) | _bench_speed(row.file, threads)

    return pd.DataFrame(noted(study.store_dir, "gguf-speeds", lambda: list(rows())))


def _server_speed(file: Path, threads: int, written: int) -> dict[str, float]:
    options = ServerOptions(slots=1, context=PROMPT + written, cache_type="f16", threads=threads)
    begun = time.perf_counter()
    with LlamaServer(file, options) as server, server.client(timeout=None) as client:
        load, timings = time.perf_counter() - begun, []
        body = {"n_predict": written, "ignore_eos": True, "cache_prompt": False, "temperature": 0.0}
        for number in range(REPEATS):
            tokens = [(7 * place + number) % 100 + 5 for place in range(PROMPT)]  # any will do: no cache is used
            answer = client.post("/completion", json=body | {"prompt": tokens}).raise_for_status().json()
            timings.append(answer["timings"])
        best = {ours: max(timing[theirs] for timing in timings) for theirs, ours in ROUNDS.items()}
        return {"load": load, "memory": server.resident_bytes} | best


def _bench_speed(file: Path, threads: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.gguf").symlink_to(file.resolve())
        arguments = ["-m", "model.gguf", "-p", PROMPT, "-n", WRITTEN, "-t", threads, "-r", REPEATS, "-o", "json"]
        rows = json.loads(run_tool("llama-bench", arguments, Path(scratch))[0])
    return {"bench_prompt" if row["n_prompt"] else "bench_generation": max(row["samples_ts"]) for row in rows}


def published_sizes(study: Study, tensors: Callable[[str, bool], Shapes]) -> pd.DataFrame:
    """Return one row per published file: its size as printed and as recomputed; a replay tells what was noted.

    `tensors` gives name -> shape of all tensors for a column of the report's architecture table, and whether embedding
    and output are one matrix. Columns ``table``, ``variant`` (row of the table), ``format``, ``printed`` (GB),
    ``recomputed`` (GB, embedding and output apart), ``tied`` (GB, one matrix), ``types`` (formats that the file mixes).
    """

    def rows() -> Iterator[dict[str, object]]:
        for table, model in SIZE_TABLES.items():
            apart, tied = (planned(tensors(model, same), (BASE, *FORMATS)) for same in (False, True))
            for variant, printed in published.table(table)["Size (GB)"].items():
                form = next((name for name in FORMATS if variant.endswith(name)), BASE)
                sizes = {"printed": float(printed), "recomputed": apart[form][0] / 1e9, "tied": tied[form][0] / 1e9}
                yield {"table": table, "variant": variant, "format": form} | sizes | {"types": apart[form][1]}

    return pd.DataFrame(noted(study.store_dir, "published-sizes", lambda: list(rows())))


def planned(shapes: Shapes, formats: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Return format -> bytes of all tensors, and the formats of the matrices, as llama.cpp would write them."""
    import gguf

    plans = {}
    with tempfile.TemporaryDirectory() as scratch:
        hollow(file := Path(scratch) / SHAPES_FILE, shapes)
        for form in formats:
            total, kinds = 0, []
            for _, count, kind in dry_run(file, form, shapes, form not in (BASE, *WITHOUT_MATRIX)):
                block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
                total += count // block * size
                kinds += [kind] if kind != "F32" else []  # vectors
            plans[form] = total, ", ".join(dict.fromkeys(kinds))
    return plans


def hollow(path: Path, shapes: Shapes, kind: str = BASE) -> None:
    """Write a GGUF file of Qwen3's architecture with tensors of `shapes`, matrices as `kind`, whose content is a hole:
    it takes no space on the disk."""
    import gguf

    (head,) = shapes["blk.0.attn_q_norm.weight"]
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blk.")))
    writer.add_embedding_length(shapes["output_norm.weight"][0])
    writer.add_feed_forward_length(shapes["blk.0.ffn_up.weight"][0])
    writer.add_head_count(shapes["blk.0.attn_q.weight"][0] // head)
    writer.add_head_count_kv(shapes["blk.0.attn_k.weight"][0] // head)
    writer.add_context_length(1)  # any will do: nothing is run
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(shapes["token_embd.weight"][0])
    total = 0
    for name, shape in shapes.items():
        held = gguf.GGMLQuantizationType[kind if len(shape) > 1 else "F32"]
        block, size = gguf.GGML_QUANT_SIZES[held]
        count = int(np.prod(shape)) // block * size
        writer.add_tensor_info(name, shape, np.dtype("float32"), count, held)
        total += -(-count // ALIGN) * ALIGN
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // ALIGN) * ALIGN + total)
