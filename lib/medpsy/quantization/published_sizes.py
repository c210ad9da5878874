"""How large the published files must be, from the shapes of Qwen3's tensors and llama.cpp's own choice of formats.

llama.cpp mixes formats within a file (``Q4_K_M`` is no single type). Its rules are not copied here: ``llama-quantize
--dry-run`` applies them to a file that has the published shapes and no content. Counts tensors only: a real file also
holds tokenizer and chat template, some 6 MB for this vocabulary.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.noted import noted
from medpsy.quantization.family import BASE, FORMATS, WITHOUT_MATRIX
from medpsy.quantization.llama_tool import run
from medpsy.study import Study

HEAD = 128  # head size of Qwen3; in its configuration, not in the report
MODELS = {"table07_quant_4b": "Qwen3-4B", "table08_quant_1p7b": "Qwen3-1.7B"}  # table -> column of the architecture
ROWS = {"h": "Hidden size", "f": "FFN hidden size", "l": "Layers", "a": "Attention heads"}
ROWS |= {"k": "KV groups (GQA)", "v": "Vocab size"}
SIZE = "Size (GB)"
SOURCE, MATRIX, ALIGN = "shapes.gguf", "imatrix.gguf", 32
LINE = re.compile(
    r"^\[.*?\]\s+(\S+)\s+- \[\s*(\d+),\s*(\d+),.*?type =\s+(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE
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
    rows = noted(study.store_dir, "published-sizes", lambda: [row for table in MODELS for row in _rows(table)])
    return pd.DataFrame(rows)


def tensors(model: str, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of all tensors of `model`, a column of the report's architecture table."""
    column = published.table("architecture")[model]
    h, f, layers, a, k, v = (int(column[ROWS[name]].replace(",", "")) for name in "hflakv")
    outer = {"token_embd.weight": (v, h), "output_norm.weight": (h,)} | ({} if tied else {"output.weight": (v, h)})
    block = {"attn_norm": (h,), "ffn_norm": (h,), "attn_q": (a * HEAD, h), "attn_k": (k * HEAD, h)}
    block |= {"attn_v": (k * HEAD, h), "attn_output": (h, a * HEAD), "attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
    block |= {"ffn_gate": (f, h), "ffn_up": (f, h), "ffn_down": (h, f)}
    return outer | {f"blk.{n}.{name}.weight": shape for n in range(layers) for name, shape in block.items()}


def _rows(table: str) -> list[dict[str, object]]:
    printed, model = published.table(table), MODELS[table]
    apart, tied = (planned(tensors(model, tied=tied), (BASE, *FORMATS)) for tied in (False, True))
    rows = []
    for variant in printed.index:
        form = next((name for name in FORMATS if variant.endswith(name)), BASE)
        sizes = {"printed": float(printed.at[variant, SIZE])}
        sizes |= {"recomputed": apart[form][0] / 1e9, "tied": tied[form][0] / 1e9, "types": apart[form][1]}
        rows.append({"table": table, "variant": variant, "format": form} | sizes)
    return rows


def planned(shapes: Shapes, formats: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Return format -> bytes of all tensors, and the formats of the matrices, as llama.cpp would write them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _hollow(folder / SOURCE, shapes)
        _even_matrix(folder / MATRIX, shapes)
        return {form: _plan(folder, form) for form in formats}


def _plan(folder: Path, form: str) -> tuple[int, str]:
    matrix = [] if form in (BASE, *WITHOUT_MATRIX) else ["--imatrix", MATRIX]
    done = run("llama-quantize", ["--dry-run", *matrix, SOURCE, form], folder=folder)
    text = done.stdout + done.stderr
    found = [(int(first) * int(second), (new or old).upper()) for _, first, second, old, new in LINE.findall(text)]
    kinds = list(dict.fromkeys(kind for _, kind in found if kind != "F32"))
    return sum(_bytes(count, kind) for count, kind in found), ", ".join(kinds)


def _bytes(count: int, kind: str) -> int:
    import gguf

    names = {name.upper(): one for name, one in gguf.GGMLQuantizationType.__members__.items()}
    block, size = gguf.GGML_QUANT_SIZES[names[kind]]
    return count // block * size


def _hollow(path: Path, shapes: Shapes) -> None:
    """Write a GGUF file with tensors of `shapes` whose content is a hole: it takes no space on the disk."""
    import gguf

    writer = gguf.GGUFWriter(path, "qwen3")
    layers = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blk."))
    hidden, heads = shapes["output_norm.weight"][0], shapes["blk.0.attn_q.weight"][0] // HEAD
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(shapes["blk.0.ffn_up.weight"][0])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shapes["blk.0.attn_k.weight"][0] // HEAD)
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
