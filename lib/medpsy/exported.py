"""What an exported folder says of itself, in a file of its own: `medpsy export` writes it, `medpsy chat` reads it.

The file is also the mark by which an export may be replaced by another. Reads no weights.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medpsy import strict
from medpsy.engines.base import Sampling

MARK = "medpsy.json"


@dataclass(frozen=True)
class Exported:
    """One exported model.

    Args:
        name: of the checkpoint, e.g. ``"large-rl2"``.
        profile: of the study that trained it.
        variant: format of the GGUF file; None where the folder holds safetensors.
        weights: the file that llama.cpp loads, or the first that transformers loads.
        fiction: True where all it knows is invented.
        fingerprint: of the checkpoint, see `medpsy.engines.identity`.
        sampling: as the study had its open questions answered.
        threads: CPU threads the study serves it with; None leaves it to llama.cpp. Tiny models are slower with more.
    """

    name: str
    profile: str
    variant: str | None
    weights: str
    fiction: bool
    fingerprint: str
    sampling: Sampling
    threads: int | None = None
    opens_thinking: bool = False
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name


def write(folder: Path, one: Exported) -> None:
    """Mark `folder` as the export that `one` describes."""
    (folder / MARK).write_text(json.dumps(asdict(one), indent=1) + "\n", encoding="utf-8")


def is_export(folder: Path) -> bool:
    """Return whether `folder` bears the mark of an export."""
    return (folder / MARK).is_file()


def read(folder: Path) -> Exported:
    """Return what the export in `folder` says of itself.

    Raises:
        strict.SettingsError: its mark cannot be read; names file, key and fix.
        FileNotFoundError: its weights are not there.
    """
    place = strict.Place(f"{folder.name}/{MARK}")
    raw = strict.read(folder / MARK, place.file)  # JSON is YAML
    sampling = strict.build(Sampling, strict.take(raw, "sampling", place), place.at("sampling"))
    found = strict.build(Exported, raw, place, sampling=sampling)
    if Path(found.weights).name != found.weights or not (folder / found.weights).is_file():
        raise FileNotFoundError(f"{place}: weights: {found.weights!r} is not in the folder; export the model again")
    return found
