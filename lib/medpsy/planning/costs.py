"""What one unit costs, and what follows: sizes of models, speed of a GPU by its data sheet, the speed of this machine.

Costs are data: GPUs, serving, tokens per request, the reference machine (``costs.yaml``), models (``models.csv``) and
published training speeds (``anchors.csv``), each with its source. Runs nothing, asks no model, downloads nothing.
"""

import time
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from medpsy import strict
from medpsy.engines.models import text_config
from medpsy.study import CHECKPOINT, RECIPE, Study
from medpsy.training.flops import Shape, flops_per_token, model_shape

FOLDER = Path(__file__).parent
COSTS_FILE, MODELS_FILE = FOLDER / "costs.yaml", FOLDER / "models.csv"
GROUPS = ("serving", "hub", "mini", "cpu")  # of costs.yaml, whose values have names of their own
CACHED = 2 * 2  # bytes per token, layer and unit of width: key and value in bfloat16
FINAL = {"large": "qvac/MedPsy-4B", "small": "qvac/MedPsy-1.7B"}  # how much a trained model writes (report 4.6)
TERA, GIGA = 1e12, 1e9
MATRIX_SIDE = 512  # of the square matrices: one product takes some milliseconds, so that some are not interrupted
SPEED_SECONDS = 1.0


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU: `peak` in TFLOP/s (bfloat16), `bandwidth` in TB/s, `memory` in GB, `price` in dollars/hour."""

    peak: float
    bandwidth: float
    memory: float
    price: float


@cache
def unit_costs() -> SimpleNamespace:
    """Return ``costs.yaml``, which says what each value is: ``.gpus["H100"].peak``, ``.serving.slots``, ...

    Raises:
        strict.SettingsError: names the file, the line or the key of a GPU, and the fix.
    """
    raw, place = strict.read(COSTS_FILE), strict.Place(COSTS_FILE.name)
    costs = SimpleNamespace(**{key: SimpleNamespace(**raw[key]) if key in GROUPS else raw[key] for key in raw})
    costs.gpus = {name: strict.build(Gpu, gpu, place.at("gpus").at(name)) for name, gpu in costs.gpus.items()}
    return costs


def gpu_name(name: str) -> str:
    """Return `name`, written in any case, as ``costs.yaml`` writes it.

    Raises:
        ValueError: it is unknown; the nearest is offered.
    """
    names = {each.lower(): each for each in unit_costs().gpus}
    if name.lower() not in names:
        fix = f"{strict.nearest(name, names.values())}; another one is a line in {COSTS_FILE.name}"
        raise ValueError(f"gpu {name!r} is unknown; {fix}")
    return names[name.lower()]


def digests() -> dict[str, str]:
    """Return the SHA-256 digest of every data file of the package."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in (".yaml", ".csv"))
    return {f"planning/{path.name}": sha256(path.read_bytes()).hexdigest() for path in files}


def anchors() -> pd.DataFrame:
    """Return one row per published speed of training.

    Returns:
        Columns ``source``, ``setup``, ``gpu``, ``parameters`` (billions), ``operations`` (per parameter and token:
        6, or 4 where weights take no gradient), ``tokens_per_second`` (one GPU) and ``printed`` (share of the peak, 0
        to 1, or missing).
    """
    return pd.read_csv(FOLDER / "anchors.csv")


@dataclass(frozen=True)
class Size:
    """What a model costs to hold and to run.

    Args:
        active: parameters that one token passes; fewer than all in a mixture of experts.
        weights: bytes of the weights as they are served.
        cache: bytes per token of a response that is being written.
        written: tokens of an average answer; 0 where it is not known.
        remote: the weights have to be downloaded.
    """

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
    """Return the size of the model called `name`, of the study or a checkpoint of it that may not exist yet.

    Raises:
        ValueError: a hub model that ``models.csv`` does not know.
    """
    trained = CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)
    if trained and name not in study.models:
        whole, kind = model_size(study, backbone_of(study, name)), trained.groupdict().get("size") or trained["base"]
        written = listed_sizes()[FINAL[kind]].written if whole.remote and kind in FINAL else whole.written
        return replace(whole, written=written, remote=False)
    spec = study.model(name)
    if spec.local_dir and (spec.local_dir / "config.json").is_file():
        return size_of_folder(spec.local_dir)
    return listed_size(spec.path, f"model {name!r}")


def size_of_folder(folder: Path) -> Size:
    """Return the size of the model in `folder`, counted from its files."""
    config, shape = text_config(folder), model_shape(folder)
    heads = config["num_attention_heads"]
    width = config.get("num_key_value_heads", heads) * (config.get("head_dim") or config["hidden_size"] // heads)
    return Size(shape, shape.parameters, 2 * shape.parameters, CACHED * shape.layers * width)


def listed_size(path: str, where: str) -> Size:
    """Return the size of the hub model `path`.

    Raises:
        ValueError: ``models.csv`` does not know it; the message begins with `where`.
    """
    if path not in listed_sizes():
        raise ValueError(f"{where}: the size of {path} is not known; add a line to planning/{MODELS_FILE.name}")
    return listed_sizes()[path]


@cache
def listed_sizes() -> dict[str, Size]:
    """Return the sizes in ``models.csv`` by hub id."""
    sizes = {}
    for row in pd.read_csv(MODELS_FILE).itertuples():
        shape = Shape(round(1e9 * row.parameters), row.layers, row.attention, row.attention)
        weights, cache = 1e9 * row.parameters * row.bytes, CACHED * row.layers * row.kv
        sizes[row.path] = Size(shape, 1e9 * row.active, weights, cache, row.written, True)
    return sizes


def training_rate(size: Size, gpu: Gpu, utilization: float, document: float) -> float:
    """Return the tokens per second that one GPU trains on, documents being of `document` tokens.

    Args:
        utilization: model FLOPs as a share of the GPU's peak, 0 to 1.
    """
    return gpu.peak * TERA * utilization / flops_per_token(size.shape, document)


def gpus_needed(size: Size, gpu: Gpu) -> int:
    """Return how many GPUs hold the weights with as much room again for a tenth of cache: 1, 2, 4, 8 or more."""
    count = 1
    while 1.1 * size.weights > count * gpu.memory * GIGA * unit_costs().serving.memory:
        count *= 2
    return count


def at_once(size: Size, gpu: Gpu, context: float, slots: int = 0) -> float:
    """Return how many responses, of `context` tokens each, are written at a time by `gpus_needed` GPUs.

    Args:
        slots: responses at a time at most; by default those of vLLM.
    """
    serving = unit_costs().serving
    room = gpus_needed(size, gpu) * gpu.memory * GIGA * serving.memory - size.weights
    return max(1.0, min(slots or serving.slots, room / (size.cache * context)))


def step_seconds(size: Size, gpu: Gpu, context: float, responses: float) -> float:
    """Return the seconds in which `gpus_needed` GPUs write one token of each of `responses`.

    One step reads all weights, of a mixture those of all experts, and the cache of every response at the bandwidth of
    the data sheet, and takes 2.4 ms itself and 0.080 ms of every response for what is done one by one. These two were
    fitted to 26 public measurements of vLLM on one H100, which they meet within 11 %; bandwidth alone makes 256 short
    responses 2 to 2.5 times too fast. Where a GPU computes slowly, the operations of a response take its place.

    Args:
        context: tokens of prompt and response that lie in the cache on average.
    """
    serving, count = unit_costs().serving, gpus_needed(size, gpu)
    read = (size.weights + responses * size.cache * context) / (count * gpu.bandwidth * TERA)
    return read + serving.step + responses * max(serving.response, 1 / (count * reading_rate(size, gpu)))


def writing_rate(size: Size, gpu: Gpu, context: float, slots: int = 0) -> float:
    """Return the tokens per second and GPU that a server writes; arguments as those of `at_once`."""
    responses = at_once(size, gpu, context, slots)
    return responses / step_seconds(size, gpu, context, responses) / gpus_needed(size, gpu)


def reading_rate(size: Size, gpu: Gpu) -> float:
    """Return the tokens of prompts per second and GPU: 2 operations per active parameter, bound by the peak."""
    return gpu.peak * TERA * unit_costs().serving.compute / (2 * size.active)


def machine_speed(seconds: float = SPEED_SECONDS) -> float:
    """Return the GFLOP/s of the fastest product of two matrices in float32, on one core.

    `medpsy.training.flops.ceiling` takes all cores and waits for the slowest; on a busy machine it says little.
    """
    import torch  # takes seconds, and a plan for a GPU needs none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matrix, best, end = torch.randn(MATRIX_SIDE, MATRIX_SIDE), float("inf"), time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            matrix @ matrix
            best = min(best, time.perf_counter() - begun)
        return 2 * MATRIX_SIDE**3 / best / 1e9
    finally:
        torch.set_num_threads(threads)


def slowness() -> float:
    """Return how many times longer than the reference machine this one takes; never less than as long.

    Most of a section is not matrix products: of a machine with 1.7 times their speed a run of mini took no less time.
    """
    return max(1.0, unit_costs().cpu.reference / machine_speed())
