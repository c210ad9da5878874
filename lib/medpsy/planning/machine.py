"""How fast this machine runs a GGUF file, measured in seconds before any is there.

``llama-bench``, which uses a GPU where llama.cpp sees one, reads and writes with a few layers of zeros in the shape of
Qwen3-1.7B, as Q4_K. What it takes is turned into the numbers of a data sheet, so that a forecast counts as for a GPU: a
step reads all weights once, whatever the number of responses, and computes for each.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import psutil

from medpsy.engines import programs
from medpsy.planning.costs import GIGA, TERA, Gpu, unit_costs

HERE, OTHER = "this machine", "a laptop of eight cores"
SECONDS = 30.0  # that the measurement may take
LAYERS = 4  # ours: of 28
MATRICES = {"attn_q": (2048, 2048), "attn_k": (1024, 2048), "attn_v": (1024, 2048), "attn_output": (2048, 2048)}
MATRICES |= {"ffn_gate": (6144, 2048), "ffn_up": (6144, 2048), "ffn_down": (2048, 6144)}
VECTORS = {"attn_norm": (2048,), "ffn_norm": (2048,), "attn_q_norm": (128,), "attn_k_norm": (128,)}
SHAPES = {"token_embd.weight": (16_384, 2048), "output_norm.weight": (2048,)}  # ours: words, of 151,936
SHAPES |= {f"blk.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in (MATRICES | VECTORS).items()}
READ, WRITTEN, REPEATS = 32, 8, 10  # tokens, and how often; ours: the fastest counts
# ours, where nothing is measured: that laptop, with two channels of memory
USUAL = Gpu(peak=1.0, bandwidth=0.04, memory=16.0, price=0.0)


def measured() -> Gpu | None:
    """Return this machine as a data sheet, without a price; None where it is too busy to be measured in `SECONDS`, or
    llama-bench is not installed; ValueError where that failed."""
    from medpsy.quantization.losses import hollow  # late: takes seconds

    with tempfile.TemporaryDirectory(prefix="llama-speed-") as scratch:
        hollow(Path(scratch) / "layers.gguf", SHAPES, "Q4_K")
        line = ["-m", "layers.gguf", "-p", READ, "-n", WRITTEN, "-r", REPEATS, "-o", "json"]
        try:
            command = [str(programs.find("llama-bench")), *map(str, line)]
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=SECONDS, check=True)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
        except subprocess.CalledProcessError as error:
            fix = "`medpsy doctor` says what works here; --gpu NAME counts by a data sheet"
            raise ValueError(f"llama-bench failed ({error.stderr.strip()[-200:]}); {fix}") from None
        weights = (Path(scratch) / "layers.gguf").stat().st_size
    # tokens per second, of a prompt and of what is written
    rates = {bool(row["n_prompt"]): max(row["samples_ts"]) for row in json.loads(done.stdout)}
    computing = 1 / rates[True]  # seconds per token; what a step of one response takes longer is reading
    reading = max(1 / rates[False] - computing, 0.1 / rates[False])
    operations = 2 * sum(rows * columns for rows, *more in SHAPES.values() for columns in more)
    peak = operations * rates[True] / unit_costs().serving.compute
    return Gpu(peak / TERA, weights / reading / TERA, psutil.virtual_memory().total / GIGA, 0.0)
