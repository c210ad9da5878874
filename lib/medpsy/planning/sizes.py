"""How large a model is: parameters, the shape that its cost depends on, bytes of weights and of a token's cache.

Counted from the files where they are, else looked up in ``models.csv``; downloads nothing.
"""

import csv
import re
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

from medpsy import published
from medpsy.engines.weights import text_config
from medpsy.quantization.published_sizes import HEAD, ROWS, tensors
from medpsy.study import CHECKPOINT, RECIPE, Study
from medpsy.training.effort import Shape
from medpsy.training.stages import model_shape

FILE = Path(__file__).with_name("models.csv")
CACHED = 2 * 2  # bytes per token, layer and unit of width: key and value in bfloat16
FINAL = {"large": "qvac/MedPsy-4B", "small": "qvac/MedPsy-1.7B"}  # how much a trained model writes (report 4.6)


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


def size(study: Study, name: str) -> Size:
    """Return the size of the model called `name`, of the study or a checkpoint of it that may not exist yet.

    Raises:
        ValueError: a hub model that ``models.csv`` does not know.
    """
    trained = CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name)
    if trained and name not in study.models:
        whole, kind = size(study, backbone_of(study, name)), trained.groupdict().get("size") or trained["base"]
        written = known()[FINAL[kind]].written if whole.remote and kind in FINAL else whole.written
        return replace(whole, written=written, remote=False)
    spec = study.model(name)
    if spec.local_dir and (spec.local_dir / "config.json").is_file():
        return local(spec.local_dir)
    if spec.path not in known():
        raise ValueError(f"model {name!r}: the size of {spec.path} is not known; add a line to planning/{FILE.name}")
    return known()[spec.path]


def backbone_of(study: Study, name: str) -> str:
    """Return the model of the study that the checkpoint `name` was trained from; of any other model, itself."""
    stage, recipe = CHECKPOINT.fullmatch(name), RECIPE.fullmatch(name)
    if stage:
        return study.targets[stage["size"]]
    return study.targets.get(recipe["base"], recipe["base"]) if recipe else name


def local(folder: Path) -> Size:
    """Return the size of the model in `folder`, counted from its files."""
    config, own = text_config(folder), model_shape(folder)
    heads = config["num_attention_heads"]
    width = config.get("num_key_value_heads", heads) * (config.get("head_dim") or config["hidden_size"] // heads)
    return Size(own, own.parameters, 2 * own.parameters, CACHED * own.layers * width)


@cache
def known() -> dict[str, Size]:
    """Return the sizes in ``models.csv`` by hub id."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["path"]: _size(row) for row in csv.DictReader(file)}


def _size(row: dict[str, str]) -> Size:
    whole, active = (1e9 * float(row[name]) for name in ("parameters", "active"))
    layers, attention, width = (int(row[name]) for name in ("layers", "attention", "kv"))
    shape = Shape(round(whole), layers, attention, attention)
    return Size(shape, active, whole * float(row["bytes"]), CACHED * layers * width, float(row["written"]), True)


def printed(model: str) -> Size:
    """Return the size of `model`, a column of the report's table of architectures (``"Qwen3-4B"``).

    The head size is that of Qwen3's configuration; embedding and output are one matrix, as in both published models.
    """
    column = published.table("architecture")[model]
    hidden, layers, heads, groups = (int(re.sub(",", "", column[ROWS[name]])) for name in "hlak")
    count = sum(map(prod, tensors(model, tied=True).values()))
    shape = Shape(count, layers, hidden, heads * HEAD)
    return Size(shape, count, 2 * count, CACHED * layers * groups * HEAD)
