"""What one unit costs: sizes of models, speed of a GPU by its data sheet, the speed of this machine.

Costs are data with sources: GPUs, serving, tokens per request, the reference machine (``costs.yaml``), models
(``models.csv``), published training speeds (``anchors.csv``). Asks no model and downloads nothing.

How fast this machine runs a GGUF file is measured in seconds before any is there: ``llama-bench``, which uses a GPU
where llama.cpp sees one, reads and writes with a few layers of zeros in the shape of Qwen3-1.7B, as Q4_K. What it takes
is turned into the numbers of a data sheet, so that a forecast counts as for a GPU: a step reads all weights once,
whatever the number of responses, and computes for each.
"""

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil

from medpsy import published, strict
from medpsy.engines import programs
from medpsy.engines.models import text_config
from medpsy.study import CHECKPOINT, RECIPE, Study
from medpsy.training.flops import Shape, flops_per_token, model_shape

FOLDER = Path(__file__).parent
GROUPS = ("serving", "hub", "mini", "cpu")  # of costs.yaml, whose values have names of their own
CACHED = 2 * 2  # bytes per token, layer and unit of width: key and value in bfloat16
FINAL = {"large": "qvac/MedPsy-4B", "small": "qvac/MedPsy-1.7B"}  # how much a trained model writes (report 4.6)
FILES = {"qvac/MedPsy-4B": "table07_quant_4b", "qvac/MedPsy-1.7B": "table08_quant_1p7b"}  # how large their files are
TERA, GIGA = 1e12, 1e9
MATRIX_SIDE = 512  # of the square matrices: one product takes some milliseconds, so that some are not interrupted


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU: `peak` in TFLOP/s (bfloat16), `bandwidth` in TB/s, `memory` in GB, `price` in dollars/hour."""

    peak: float
    bandwidth: float
    memory: float
    price: float


@cache
def unit_costs() -> SimpleNamespace:
    """Return ``costs.yaml``: ``.gpus["H100"].peak``, ``.serving.slots``, ..."""
    raw = strict.read(FOLDER / "costs.yaml")
    costs = SimpleNamespace(**{key: SimpleNamespace(**raw[key]) if key in GROUPS else raw[key] for key in raw})
    place = strict.Place("costs.yaml", ("gpus",))
    costs.gpus = {name: strict.build(Gpu, gpu, place.at(name)) for name, gpu in costs.gpus.items()}
    return costs


def gpu_name(name: str) -> str:
    """Return `name`, written in any case, as ``costs.yaml`` writes it; a ValueError offers the nearest."""
    names = {each.lower(): each for each in unit_costs().gpus}
    if name.lower() not in names:
        near = strict.nearest(name, names.values())
        raise ValueError(f"gpu {name!r} is unknown; {near}; another one is a line in costs.yaml")
    return names[name.lower()]


def digests() -> dict[str, str]:
    """Return the SHA-256 digest of every data file of the package."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in (".yaml", ".csv"))
    return {f"planning/{path.name}": sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Size:
    """What a model costs: `active` parameters per token (fewer than all in a mixture of experts), bytes of `weights` as
    served and of `cache` per token of a response, tokens `written` in an average answer (0: not known), `remote`: to be
    downloaded."""

    shape: Shape
    active: float
    weights: float
    cache: float
    written: float = 0.0
    remote: bool = False


def backbone_of(study: Study, name: str) -> str:
    """Return the model of the study that the checkpoint `name` was trained from; of any other model, itself."""
    stage, recipe = CHECKPOINT.fullmatch(name), RECIPE.fullmatch(name)
    if stage:
        return study.targets[stage["size"]]
    return study.targets.get(recipe["base"], recipe["base"]) if recipe else name


def model_size(study: Study, name: str) -> Size:
    """Return the size of the model called `name`, of the study or a checkpoint of it that may not exist yet; a
    ValueError names a hub model that ``models.csv`` does not know."""
    trained = CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)
    if trained and name not in study.models:
        whole, kind = model_size(study, backbone_of(study, name)), trained.groupdict().get("size") or trained["base"]
        written = listed_sizes()[FINAL[kind]].written if whole.remote and kind in FINAL else whole.written
        return replace(whole, written=written, remote=False)
    spec = study.model(name)
    there = spec.local_dir and (spec.local_dir / "config.json").is_file()
    size = size_of_folder(spec.local_dir) if there else listed_size(spec.path, f"model {name!r}")
    served = {"weights": file_bytes(size.weights, spec.format), "remote": not spec.local_file} if spec.file else {}
    return replace(size, **served)


def file_bytes(whole: float, form: str) -> float:
    """Return the bytes of a GGUF file in the format `form` of a model of `whole` bytes in bfloat16: what is printed for
    the report's model of that size, else as much of `whole` as of the nearer one; ValueError where nothing is."""
    gap, near = min((abs(size.weights - whole), path) for path, size in listed_sizes().items() if path in FILES)
    sizes = published.table(FILES[near])["Size (GB)"].astype(float) * GIGA  # the output matrix apart from embeddings
    if (row := f"{Path(near).name}-{form}") not in sizes:
        raise ValueError(f"how large a file in {form} is, is not known; take one of those in Table 7 of the report")
    return sizes[row] * (whole / sizes.max() if gap > 0.01 * whole else 1)


def size_of_folder(folder: Path) -> Size:
    try:
        config, shape = text_config(folder), model_shape(folder)
        heads = config["num_attention_heads"]
        width = config.get("num_key_value_heads", heads) * (config.get("head_dim") or config["hidden_size"] // heads)
    except KeyError as missing:
        raise ValueError(f"{folder.name}/config.json: it has no {missing}; save the model again") from None
    return Size(shape, shape.parameters, 2 * shape.parameters, CACHED * shape.layers * width)


def listed_size(path: str, where: str) -> Size:
    """Return the size of the hub model `path`; a ValueError that begins with `where` if it is not listed."""
    if path not in listed_sizes():
        raise ValueError(f"{where}: the size of {path} is not known; add a line to planning/models.csv")
    return listed_sizes()[path]


@cache
def listed_sizes() -> dict[str, Size]:
    """Return the sizes in ``models.csv`` by hub id."""
    sizes = {}
    for row in pd.read_csv(FOLDER / "models.csv").itertuples():
        shape = Shape(round(1e9 * row.parameters), row.layers, row.attention, row.attention)
        weights, cached = 1e9 * row.parameters * row.bytes, CACHED * row.layers * row.kv
        sizes[row.path] = Size(shape, 1e9 * row.active, weights, cached, row.written, True)
    return sizes


def training_rate(size: Size, gpu: Gpu, utilization: float, document: float) -> float:
    """Return the tokens/s that one GPU trains on at `utilization` (0 to 1) of its peak, `document` tokens each."""
    return gpu.peak * TERA * utilization / flops_per_token(size.shape, document)


def gpus_needed(size: Size, gpu: Gpu) -> int:
    """Return how many GPUs hold the weights with as much room again for a tenth of cache: 1, 2, 4, 8 or more."""
    count = 1
    while 1.1 * size.weights > count * gpu.memory * GIGA * unit_costs().serving.memory:
        count *= 2
    return count


def at_once(size: Size, gpu: Gpu, context: float, slots: int = 0) -> float:
    """Return how many responses of `context` tokens `gpus_needed` GPUs write at a time, `slots` (vLLM's) at most."""
    serving = unit_costs().serving
    room = gpus_needed(size, gpu) * gpu.memory * GIGA * serving.memory - size.weights
    return max(1.0, min(slots or serving.slots, room / (size.cache * context)))


def step_seconds(size: Size, gpu: Gpu, context: float, responses: float) -> float:
    """Return the seconds in which `gpus_needed` GPUs write one token of each of `responses`, `context` tokens cached.
    One step reads all weights (of a mixture those of all experts) and caches at the bandwidth of the data sheet, and
    takes 2.4 ms itself and 0.080 ms per response: fitted to 26 public measurements of vLLM on one H100, met within 11
    %; bandwidth alone makes 256 short responses 2 to 2.5 times too fast. Where a GPU computes slowly, the operations of
    a response take its place."""
    serving, count = unit_costs().serving, gpus_needed(size, gpu)
    read = (size.weights + responses * size.cache * context) / (count * gpu.bandwidth * TERA)
    return read + serving.step + responses * max(serving.response, 1 / (count * reading_rate(size, gpu)))


def writing_rate(size: Size, gpu: Gpu, context: float, slots: int = 0) -> float:
    """Return the tokens per second and GPU that a server writes."""
    responses = at_once(size, gpu, context, slots)
    return responses / step_seconds(size, gpu, context, responses) / gpus_needed(size, gpu)


def reading_rate(size: Size, gpu: Gpu) -> float:
    """Return the tokens of prompts per second and GPU: 2 operations per active parameter."""
    return gpu.peak * TERA * unit_costs().serving.compute / (2 * size.active)


def slowness(seconds: float = 1.0) -> float:
    """Return how many times longer than the reference machine this one takes, at least 1: by the speed of products of
    matrices in float32 on one core, the fastest of `seconds`, since of all cores together a busy machine tells little.
    Never below 1: on a machine with 1.7 times the speed a run of mini took no less time."""
    import torch  # takes seconds, and a plan for a GPU needs none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matrix, best, end = torch.randn(MATRIX_SIDE, MATRIX_SIDE), float("inf"), time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            matrix @ matrix
            best = min(best, time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    return max(1.0, unit_costs().cpu.reference * GIGA * best / (2 * MATRIX_SIDE**3))


# This machine, where it runs GGUF files.

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
