"""From two checkpoints to a merged one, through mergekit's own Python interface, on the CPU.

The merged folder appears in one step and is made anew only if models, method, seed, code or versions change. Refuses
pickled weights and code that comes with a model.
"""

import hashlib
import json
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from medpsy import study as studies
from medpsy.engines.identity import file_digest, weights_digest
from medpsy.engines.weights import papers, read_json
from medpsy.folders import whole_folder
from medpsy.merging.configuration import Pair, configuration, pair, stored_dtype
from medpsy.noted import noted
from medpsy.study import ModelSpec, Study
from medpsy.training.job import SUMMARY

RECORD = "merging.json"
CODE = Path(__file__).parent
DECIDING = ("mergekit", "torch", "transformers")  # packages whose version can change a merged model
NOT_ITS_OWN = (RECORD, SUMMARY)  # records of the base, not of what is merged
CARD = """---
library_name: transformers
---

# {name}

Merged by mergekit ({method}) from `{base}` (base) and `{other}`, computed in float32, stored in {dtype}. Nothing was
trained. **Not medical advice**: nothing that this model writes may guide the care of a person. Configuration, digests
and versions: `merging.json`.
"""


@dataclass(frozen=True)
class Merged:
    """A merged model and how it came about.

    Args:
        record: ``{key, name, configuration, digests, seed, versions, seconds}``; names instead of paths.
    """

    model: ModelSpec
    record: dict[str, Any]


def merge(
    study: Study,
    name: str,
    *,
    base: ModelSpec,
    other: ModelSpec,
    method: str = "arcee_fusion",
    share: float = 0.5,
    seed: int = 0,
) -> Merged:
    """Merge `other` into `base` as the model `name` of the study's outputs; a replay tells what was noted.

    Args:
        method: one of `medpsy.merging.configuration.METHODS`.
        share: of `other`, for linear and slerp.
        seed: Arcee Fusion finds its threshold on a sample where a tensor has more than a million elements.

    Raises:
        OSError, ValueError: a model is not to be had, or the two do not fit together.
    """
    place = study.models_dir / name
    where = {"path": place.relative_to(studies.ROOT).as_posix(), "revision": None, "base_url": None}
    spec = replace(base, name=name, label=f"{base.label}, {method}", **where)
    make = partial(_stands_or_made, place, base, other, method=method, share=share, seed=seed)
    return Merged(spec, noted(study.store_dir, f"merging-{name}", make))


def _stands_or_made(place: Path, base: ModelSpec, other: ModelSpec, **how: Any) -> dict[str, Any]:
    found = pair(base, other)
    if place.resolve() in (found.base.resolve(), found.other.resolve()):
        raise ValueError(f"a merge called {place.name!r} would take the place of one of its parts; rename it")
    record = _planned(place.name, found, **how)
    stands = read_json(place / RECORD)
    if stands.get("key") == record["key"]:
        return stands
    begun = time.monotonic()
    with whole_folder(place) as folder:
        _write(found, folder, **how)
        record["seconds"] = time.monotonic() - begun
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        named = {"name": place.name, "method": how["method"], "dtype": record["configuration"]["out_dtype"]}
        (folder / "README.md").write_text(CARD.format(base=base.name, other=other.name, **named), encoding="utf-8")
    return record


def _planned(name: str, found: Pair, *, method: str, share: float, seed: int) -> dict[str, Any]:
    """Return the record of a merge that is to be, with the key that recognises it."""
    digests = {"base": weights_digest(found.base), "other": weights_digest(found.other)}
    parts = {"configuration": configuration(method, found.names, dtype=stored_dtype(found.base), share=share)}
    parts |= {"digests": digests, "seed": seed, "versions": {one: metadata.version(one) for one in DECIDING}}
    code = {path.name: file_digest(path) for path in sorted(CODE.glob("*.py"))}
    key = hashlib.sha256(json.dumps([name, parts, code], sort_keys=True).encode()).hexdigest()
    return {"key": key, "name": name, **parts}


def _write(found: Pair, folder: Path, *, method: str, share: float, seed: int) -> None:
    """Merge into `folder`: weights by mergekit; configuration, tokenizer and template byte by byte from the base."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    paths = (str(found.base), str(found.other))
    wanted = configuration(method, paths, dtype=stored_dtype(found.base), share=share)
    options = MergeOptions(device="cpu", random_seed=seed, copy_tokenizer=False, write_model_card=False, quiet=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        run_merge(MergeConfiguration.model_validate(wanted), scratch, options)
        for file in [*Path(scratch).glob("*.safetensors"), *Path(scratch).glob("*.safetensors.index.json")]:
            shutil.move(file, folder / file.name)
    for name, path in papers(found.base).items():
        if name not in NOT_ITS_OWN:
            shutil.copy(path, folder / name)
