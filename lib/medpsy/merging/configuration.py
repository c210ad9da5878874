"""What a merge is: two models that fit together, a method, and the configuration that mergekit reads.

Refuses models of different architecture or shapes before anything is computed. Computes nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from medpsy.engines.weights import model_folder, read_json, weight_files
from medpsy.strict import nearest
from medpsy.study import ModelSpec

METHODS = ("arcee_fusion", "linear", "slerp")
TIED = "lm_head.weight"  # a model that shares its embedding may store it or not
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Pair:
    """The folders of two models that can be merged, and their names."""

    base: Path
    other: Path
    names: tuple[str, str]


def pair(base: ModelSpec, other: ModelSpec) -> Pair:
    """Return the two models after checking that they fit: same architecture, same tensors, same shapes.

    Raises:
        OSError, ValueError: one is not to be had, or they do not fit; names both models and the first difference.
    """
    one, two = model_folder(base), model_folder(other)
    kinds = [read_json(folder / "config.json").get("architectures") for folder in (one, two)]
    if kinds[0] != kinds[1]:
        raise _unfit(base, other, f"architectures {kinds[0]} and {kinds[1]}")
    shapes = [tensor_shapes(folder) for folder in (one, two)]
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        found = [shape.get(name) for shape in shapes]
        if found[0] != found[1] and (name != TIED or None not in found):
            raise _unfit(base, other, f"tensor {name} has shapes {found[0]} and {found[1]}")
    return Pair(one, two, (base.name, other.name))


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a model, read from the heads of its files."""
    return {
        name: tuple(file.get_slice(name).get_shape())
        for path in weight_files(folder)
        for file in (safe_open(path, framework="np"),)
        for name in file.keys()  # noqa: SIM118  # a file is no mapping: it cannot be walked without `keys`
    }


def stored_dtype(folder: Path) -> str:
    """Return the number format that the model's configuration names; bfloat16 where it names none."""
    config = read_json(folder / "config.json")
    name = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    if name not in DTYPES:
        raise ValueError(f"{folder.name}/config.json: dtype {name!r} cannot be merged; {nearest(name, DTYPES)}")
    return name


def configuration(method: str, models: tuple[str, str], *, dtype: str, share: float) -> dict[str, Any]:
    """Return mergekit's configuration: computed in float32, since small differences drown in fewer bits.

    Args:
        models: base and other, as paths for mergekit or as names for a record.
        dtype: number format of what is written.
        share: of the other model, 0 to 1, for `linear` and `slerp`; Arcee Fusion has no parameter.

    Raises:
        ValueError: unknown method, or a share that is none.
    """
    if method not in METHODS:
        raise ValueError(f"merge method {method!r} is unknown; {nearest(method, METHODS)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} of the other model must lie between 0 and 1")
    base, other = models
    found: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": dtype}
    if method == "linear":
        weights = {base: 1 - share, other: share}
        entries = [{"model": name, "parameters": {"weight": weight}} for name, weight in weights.items()]
        return found | {"models": entries}
    found |= {"base_model": base, "models": [{"model": base}, {"model": other}]}
    return found | ({"parameters": {"t": share}} if method == "slerp" else {})


def _unfit(base: ModelSpec, other: ModelSpec, why: str) -> ValueError:
    return ValueError(f"{base.name} and {other.name} cannot be merged: {why}; merge checkpoints of one backbone")
