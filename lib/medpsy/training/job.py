"""What one training stage is: parent, data, settings, and the key by which its checkpoint is recognised.

A checkpoint is done when its folder holds `SUMMARY`, which is written with it in one step. Trains nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

from medpsy import strict
from medpsy.engines.identity import file_digest, weights_digest

SUMMARY = "training.json"
CODE = Path(__file__).parent
DECIDING = ("torch", "transformers", "trl", "accelerate", "peft")  # packages whose version can change a checkpoint
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One stage of one target, ready to be handed to another process.

    Args:
        name: of the checkpoint, e.g. ``"large-sft1"``.
        parent: folder with the weights it starts from.
        folder: where the checkpoint lands.
        work: folder for what is needed to resume; removed when the checkpoint stands.
        data: files it trains on.
        store: folder of the study's responses, beside which is noted what the training was like.
        settings: those of the method, e.g. the fields of `medpsy.training.sft.SftSettings`.
        opens_thinking, switches: how the target's chat template behaves, as in the study.
        judge: where a judge gives the reward, what decides its verdicts and where it is found: profile, fingerprint of
            the model, sampling and attempts; see `medpsy.training.recipes`.
    """

    name: str
    method: Literal["sft", "rl", "dpo"]
    parent: str
    folder: str
    work: str
    data: tuple[str, ...]
    store: str
    settings: Mapping[str, Any]
    opens_thinking: bool
    switches: Mapping[str, Any] = field(default_factory=dict)
    judge: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> str:
        """Return a digest of everything that decides the checkpoint: weights, data, settings, code, versions.

        Raises:
            FileNotFoundError: parent or data are not there; names the section to run first.
        """
        require(Path(self.parent), self.name)
        code = {path.name: file_digest(path) for path in sorted(CODE.glob("*.py"))}
        parts = {"parent": weights_digest(Path(self.parent)), "data": [file_digest(Path(one)) for one in self.data]}
        parts |= {"settings": dict(self.settings), "method": self.method, "code": code}
        parts |= {"opens_thinking": self.opens_thinking, "switches": dict(self.switches), "judge": dict(self.judge)}
        parts |= {"versions": {name: metadata.version(name) for name in DECIDING}}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def read(self, cls: type[T]) -> T:
        """Return the settings as `cls`, also where they have been through a file: JSON has lists for tuples."""
        return strict.build(cls, json.loads(json.dumps(dict(self.settings))), strict.Place(self.name))

    def done(self) -> bool:
        """Return whether the checkpoint stands and is the one that this job would make."""
        found = summary(Path(self.folder))
        return found is not None and Path(self.parent).is_dir() and found["key"] == self.key()


def require(folder: Path, name: str) -> None:
    """Raise FileNotFoundError unless `folder` holds a whole model that `name` can start from."""
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        shown = "/".join(folder.parts[-2:])
        raise FileNotFoundError(
            f"{name}: it starts from {shown}, which holds no model; run the section that leaves it first "
            "(backbones: `make minihub`; sft1, sft2: 04_sft; rl1, rl2: 05_rl; o1: 12_gspo_judge; openmed: 13_openmed)"
        )


def summary(folder: Path) -> dict[str, Any] | None:
    """Return what was recorded of the checkpoint in `folder`, or None if there is none."""
    try:
        return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{folder.name}/{SUMMARY} is not JSON ({error}); delete the folder and train again") from None


def write_jobs(path: Path, jobs: list[Job]) -> Path:
    """Write `jobs`, which one process does in turn, to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
    return path


def read_jobs(path: Path) -> list[Job]:
    return [Job(**{**entry, "data": tuple(entry["data"])}) for entry in json.loads(path.read_text(encoding="utf-8"))]
