"""Which weights a model's name stands for, recorded beside the responses, so that a replay needs no weights.

Refuses to generate with a recorded fingerprint: without the model itself only what is stored can be read.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from medpsy import engines
from medpsy.generation import refuse, replaying
from medpsy.shards import lock, publish
from medpsy.study import ModelSpec

FILE = "models.json"


@dataclass(frozen=True)
class Known:
    """A model's fingerprint; `absent` says why the model itself is not to be had, where only the record knows it."""

    fingerprint: str
    absent: Exception | None = None

    def require(self, model: ModelSpec, missing: int) -> None:
        """Raise an error that names the model and the number of `missing` responses if the model is not to be had."""
        if self.absent:
            text = f"{missing} responses of {model.name} are not stored and the model is not to be had: {self.absent}"
            raise FileNotFoundError(text) from self.absent


def known(root: Path, model: ModelSpec) -> Known:
    """Return the fingerprint of `model`, taken from the record of the store `root` where the model is not to be had.

    In a replay the record is asked first: the responses are those of the recorded model, whatever lies here now.

    Raises:
        OSError, ValueError: the model is not to be had and not on record.
        medpsy.generation.NotStored: it is not on record, and this is a replay.
    """
    if replaying():
        if model.name not in recorded(root):
            refuse(f"no response of model {model.name!r} is stored")
        return Known(recorded(root)[model.name])
    try:
        found = engines.fingerprint(model)
    except (OSError, ValueError) as error:
        if model.name not in recorded(root):
            raise
        return Known(recorded(root)[model.name], error)
    if recorded(root).get(model.name) != found:
        record(root, {model.name: found})
    return Known(found)


def recorded(root: Path) -> dict[str, str]:
    """Return name -> fingerprint as recorded in the store `root`."""
    path = root / FILE
    if not path.exists():
        return {}
    try:
        return names(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{root.name}/{FILE}: {error}; delete the file, it is written anew") from None


def record(root: Path, more: dict[str, str]) -> None:
    """Add `more` names to the record; a lock keeps two processes from losing each other's."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{FILE}.lock").open("a") as held:
        lock(held)
        together = dict(sorted({**recorded(root), **more}.items()))
        publish(root / FILE, (json.dumps(together, indent=2) + "\n").encode())


def names(raw: object) -> dict[str, str]:
    """Return `raw` if it maps names to fingerprints.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise ValueError("not a mapping of model names to fingerprints")
    return raw
