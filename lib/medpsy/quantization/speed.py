"""What a file costs to run on this machine: time to load, tokens per second, memory; llama.cpp's own bench beside ours.

Ours is what a user of ``llama-server`` sees with one request at a time, sampling included; ``llama-bench`` leaves
sampling and the server out. Speeds of two machines, or of one that does something else, say nothing about each other.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medpsy.engines.llama_server import LlamaServer, ServerOptions
from medpsy.noted import noted
from medpsy.quantization.family import Family, Variant
from medpsy.quantization.llama_tool import run
from medpsy.study import Study

PROMPT, WRITTEN = 256, 128  # tokens; ours
REPEATS = 3  # of each measurement; the fastest counts, since what else the machine does only ever slows one down
ROUNDS = {"prompt_per_second": "prompt", "predicted_per_second": "generation"}  # llama-server's name -> ours


def speeds(
    study: Study, families: Mapping[str, Family], *, threads: int = 1, prompt: int = PROMPT, written: int = WRITTEN
) -> pd.DataFrame:
    """Return one row per file; a replay tells what was noted.

    Args:
        threads: CPU threads of server and bench.
        prompt, written: tokens read and generated in one measurement.

    Returns:
        A data frame with columns ``name``, ``load`` (seconds until the server answers), ``memory`` (bytes held while
        serving, the file's mapped part included), ``prompt``, ``generation`` (tokens/s, ours), ``bench_prompt``,
        ``bench_generation`` (those of ``llama-bench``).
    """
    files = [one for family in families.values() for one in family.files]
    rows = noted(study.store_dir, "gguf-speeds", lambda: [_measured(one, threads, prompt, written) for one in files])
    return pd.DataFrame(rows)


def _measured(one: Variant, threads: int, prompt: int, written: int) -> dict[str, object]:
    _served(one, threads, prompt, 1)  # the file comes from the disk once: loading is compared from memory
    return {"name": one.name} | _served(one, threads, prompt, written) | _bench(one, threads, prompt, written)


def _served(one: Variant, threads: int, prompt: int, written: int) -> dict[str, float]:
    options = ServerOptions(slots=1, context=prompt + written, cache_type="f16", threads=threads)
    begun = time.perf_counter()
    with LlamaServer(one.file, options) as server:
        load = time.perf_counter() - begun
        body = {"n_predict": written, "ignore_eos": True, "cache_prompt": False, "temperature": 0.0}
        found = []
        with server.client(timeout=None) as client:
            for number in range(REPEATS):
                tokens = [(7 * place + number) % 100 + 5 for place in range(prompt)]  # any will do: no cache is used
                answer = client.post("/completion", json=body | {"prompt": tokens})
                answer.raise_for_status()
                found.append(answer.json()["timings"])
        best = {ours: max(one[theirs] for one in found) for theirs, ours in ROUNDS.items()}
        return {"load": load, "memory": server.resident_bytes} | best


def _bench(one: Variant, threads: int, prompt: int, written: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.gguf").symlink_to(one.file.resolve())
        arguments = ["-m", "model.gguf", "-p", prompt, "-n", written, "-t", threads, "-r", REPEATS, "-o", "json"]
        rows = json.loads(run("llama-bench", arguments, folder=Path(scratch)).stdout)
    return {"bench_prompt" if row["n_prompt"] else "bench_generation": max(row["samples_ts"]) for row in rows}
