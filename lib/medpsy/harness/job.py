"""One task given to one model: what the harness is told, and the key by which its results are recognised.

Results are done when their folder holds `RECORD`, which appears with all of lm-evaluation-harness's own files in one
step. Runs nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from medpsy.engines.identity import fingerprint
from medpsy.engines.weights import read_json
from medpsy.harness.mini_data import TASKS, write
from medpsy.harness.settings import Settings
from medpsy.study import ModelSpec, Study

RECORD = "harness.json"
DECIDING = ("lm-eval", "transformers", "torch", "datasets")  # packages whose version can change a score


@dataclass(frozen=True)
class Job:
    """One model and one task (or group of tasks).

    Args:
        folder: where results land.
        model: arguments of the harness's backend.
        include: folder of the miniature's tasks; empty for the harness's own tasks.
        place: folder the process works in; paths in tasks and model arguments start there.
    """

    name: str
    key: str
    folder: str
    model: Mapping[str, Any]
    task: str
    settings: Mapping[str, Any]
    include: str
    place: str

    def done(self) -> bool:
        """Return whether the results of this very job stand."""
        return read_json(Path(self.folder) / RECORD).get("key") == self.key


def jobs(study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], settings: Settings) -> list[list[Job]]:
    """Return the jobs of every model, a list each; the documents of the miniature's tasks are written first.

    Raises:
        OSError, ValueError: a model is not to be had, stands behind an endpoint, or no task is named.
    """
    if not tasks:
        raise ValueError("no task is named; see medpsy.harness.benchmarks(study)")
    root, mini = study.outputs / "harness", study.source == "mini"
    place = root / "data"
    place.mkdir(parents=True, exist_ok=True)
    versions = {name: metadata.version(name) for name in DECIDING}
    known = [asdict(settings), versions, write(place) if mini else ""]
    shared = {
        "settings": asdict(settings),
        "include": os.path.relpath(TASKS, place) if mini else "",
        "place": str(place),
    }
    found = []
    for model in models:
        if model.base_url:
            raise ValueError(f"model {model.name!r} is behind an endpoint; the harness needs its weights")
        told = {"name": model.name, "model": arguments(model, settings, place)} | shared
        digest = fingerprint(model)
        keys = {task: hashlib.sha256(json.dumps([digest, task, *known]).encode()).hexdigest() for task in tasks}
        folders = {task: str(root / model.name / f"{task}-{key[:8]}") for task, key in keys.items()}
        found.append([Job(key=keys[task], folder=folders[task], task=task, **told) for task in tasks])
    return found


def arguments(model: ModelSpec, settings: Settings, place: Path) -> dict[str, Any]:
    """Return the arguments of the harness's backend for `model`; paths are relative: results name no machine."""
    local = model.local_dir
    found = {"pretrained": os.path.relpath(local, place) if local else model.path, "dtype": settings.dtype}
    found |= {"trust_remote_code": False, **settings.backend_options}
    found |= {"revision": model.revision} if model.revision and not local else {}
    found |= {"chat_template_args": dict(model.chat_template_kwargs)} if model.chat_template_kwargs else {}
    return found | ({"think_end_token": settings.think_end_token} if settings.think_end_token else {})
