"""What a quantized model costs served beside llama.cpp's own bench, one response at a time.

The models of the miniature are so small that a request costs more than its tokens; what is measured here has random
weights and enough of them that the model is what takes the time.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

from medpsy import engines
from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.convert import to_gguf
from medpsy.engines.models import papers
from medpsy.provenance import cores
from medpsy.quantization.gguf import run_tool
from medpsy.study import ModelSpec

from bench.shape import random_model

SHAPE = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 16, "head_dim": 64}  # some 190 million
SHAPE |= {"num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 1024}
FORMAT = "Q4_K_M"
WRITTEN = 128  # tokens of a response
REPEATS = 3  # of each measurement; the fastest counts


def tokens_per_second(tokenizer: Path) -> tuple[float, float]:
    """Return generated tokens per second through our engine, prompts read included, and by ``llama-bench`` without.

    Args:
        tokenizer: folder of a Qwen3 model of the miniature, whose tokenizer and template the random model gets.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model = _quantized(Path(scratch), tokenizer)
        with engines.open_engine("llama_cpp", model, slots=1, threads=cores()) as engine:
            sampling = Sampling(max_tokens=WRITTEN)
            list(engine.generate([_prompt(-1)], sampling))  # starts the server
            ours = max(_speed(engine, number, sampling) for number in range(REPEATS))
        (gguf,) = model.local_dir.glob("*.gguf")
        arguments = ["-m", gguf.name, "-p", 0, "-n", WRITTEN, "-t", cores(), "-r", REPEATS, "-o", "json"]
        (row,) = json.loads(run_tool("llama-bench", arguments, folder=gguf.parent)[0])
    return ours, max(row["samples_ts"])


def _speed(engine: engines.Engine, number: int, sampling: Sampling) -> float:
    begun = time.perf_counter()
    written = sum(one.completion_tokens for one in engine.generate([_prompt(number)], sampling))
    return written / (time.perf_counter() - begun)


def _prompt(number: int) -> Prompt:
    return Prompt(f"bench/{number}", ({"role": "user", "content": "What is asked?"},))


def _quantized(scratch: Path, tokenizer: Path) -> ModelSpec:
    """Return a model of `SHAPE` with random weights as a GGUF file in a folder of its own."""
    raw, folder = random_model(scratch / "raw", SHAPE, tokenizer), scratch / "quantized"
    folder.mkdir()
    for name, path in papers(raw).items():
        shutil.copyfile(path, folder / name)
    base = to_gguf(ModelSpec("random", str(raw)), scratch / "gguf", outtype="bf16")
    run_tool("llama-quantize", [base, folder / "random.gguf", FORMAT], folder=scratch)
    return ModelSpec("random", str(folder))
