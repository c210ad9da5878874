"""A project in which a profile of the real study runs without hub, GPU or hours, on stand-ins.

Its parameters are the shipped ones but for what a `World` lays over them: addresses, folders and sizes.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stand_in_families
import stand_in_models
import stand_in_rows
import yaml
from medpsy.report.compare import VERDICTS
from medpsy.report.result import Result, read_result
from medpsy.study import HUB_ID
from stub_endpoint import Reply, Stub, completion, serving

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_TOKEN": ""}
THREADS = {"OMP_NUM_THREADS": "1"}  # tiny matrices gain nothing from more
WHOLE = ("notebooks", "lib", "Snakefile")
SMALL = {"runs": 2, "questions_per_suite": 12, "conversations_per_suite": 2, "judge_attempts": 2}
SHORT = {"max_tokens": 16}
SIZES = SMALL | dict.fromkeys(("sampling", "open_sampling", "judge_sampling", "parser_sampling"), SHORT)


@dataclass(frozen=True)
class Ran:
    """A project whose sections have run, its profile's outputs, and what its endpoint was asked."""

    folder: Path
    outputs: Path
    asked: list[dict[str, Any]]


@dataclass(frozen=True)
class World:
    """A profile, and what is laid over its files.

    Args:
        study: over study.yaml; the engine, the folders of data and the addresses of endpoints are changed besides.
        sections: section -> what is laid over its parameters.
        data: writes rows to a folder; returns suite -> folder.
        alone: fields of a model that say on how many GPUs it runs, and are left out.
    """

    profile: str
    study: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Callable[[Path], dict[str, Path]] = stand_in_rows.write_all
    alone: tuple[str, ...] = ()

    def run(self, folder: Path) -> Ran:
        """Make the project in `folder`, with an endpoint of its own, and run all its sections."""
        stub = Stub(chatty())
        with serving(stub) as address:
            self.make(folder, address)
            self.report(folder)
        return Ran(folder, self.outputs(folder), stub.asked)

    def make(self, folder: Path, address: str, **changes: Any) -> Path:
        """Make the project in `folder` and return it.

        Args:
            address: of the endpoint that serves the models which the profile does not load itself.
            changes: further settings of the study.
        """
        for name in WHOLE:
            (folder / name).symlink_to(ROOT / name)
        (folder / "params" / self.profile).mkdir(parents=True)
        for profile in (ROOT / "params").iterdir():
            if profile.name != self.profile:
                (folder / "params" / profile.name).symlink_to(profile)
        for path in (ROOT / "params" / self.profile).glob("*.yaml"):
            (folder / "params" / self.profile / path.name).symlink_to(path)
        data = {name: path.relative_to(folder).as_posix() for name, path in self.data(folder / "data").items()}
        self._rewrite(folder, "study", self.own_study(data, address) | changes)
        for name, changed in self.sections.items():
            self._rewrite(folder, name, laid_over(self.shipped(name), changed))
        for hub_id in self.hub_ids():
            stand_in_models.save(folder, hub_id)
        return folder

    def shipped(self, name: str = "study") -> dict[str, Any]:
        """Return a file of the profile as it is shipped."""
        return yaml.safe_load((ROOT / "params" / self.profile / f"{name}.yaml").read_text(encoding="utf-8"))

    def hub_ids(self) -> list[str]:
        """Return the hub ids of the models that this profile loads itself."""
        return [one["path"] for one in self.shipped()["models"].values() if not one.get("base_url")]

    def own_study(self, data: Mapping[str, str], address: str) -> dict[str, Any]:
        """Return the shipped study with other addresses, folders and sizes.

        A model's `path` stays: a folder of that name under the root goes before the hub.
        """
        study = laid_over(self.shipped(), self.study) | {"engine": "transformers", "data_dirs": dict(data)}
        for model in study["models"].values():
            assert model.get("base_url") or HUB_ID.fullmatch(model["path"])
            model |= {"base_url": address} if model.get("base_url") else {}
            for name in self.alone:
                model.pop(name, None)
        return study

    def _rewrite(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        path = folder / "params" / self.profile / f"{name}.yaml"
        path.unlink()  # a link to the shipped one
        path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")

    def names(self) -> list[str]:
        """Return the sections of the profile, in reading order."""
        return sorted(path.stem for path in (ROOT / "params" / self.profile).glob("[0-9]*.yaml"))

    def outputs(self, folder: Path) -> Path:
        return folder / "outputs" / self.profile

    def record(self, folder: Path, section: str) -> Result:
        return read_result(self.outputs(folder) / section / "result.json")

    def require_whole(self, folder: Path, section: str) -> None:
        """Assert that a section left tables, figures and verdicts, and no number that is none."""
        found, place = self.record(folder, section), self.outputs(folder) / section
        assert (found.section, found.profile) == (section, self.profile) and found.tables and found.verdicts
        for entry in [*found.tables.values(), *found.figures.values()]:
            assert all((place / entry[kind]).stat().st_size for kind in ("csv", "png", "svg") if kind in entry)
        assert {one["verdict"] for one in [*found.claims, *found.verdicts]} <= set(VERDICTS)
        said = [one[key] for one in [*found.claims, *found.verdicts] for key in ("text", "claim", "note") if key in one]
        assert [text for text in said if re.search(r"\bnan\b|\binf\b|None", text or "")] == []

    def medpsy(self, folder: Path, *words: str) -> subprocess.CompletedProcess:
        """Run the command `medpsy` of this project on `folder`."""
        return _called(folder, "medpsy", *words, "--profile", self.profile)

    def report(self, folder: Path) -> None:
        """Run all sections of `folder` to its site, as `make report` does, but two at a time: stand-ins are small."""
        words = ["--cores", "2", "--resources", "machine=2", "--quiet", "all", "--config", f"profile={self.profile}"]
        done = _called(folder, "snakemake", *words, "--nolock", "--keep-going")
        assert done.returncode == 0, done.stderr[-8000:] + done.stdout[-1000:]


def laid_over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with `changes`, mapping by mapping; what is None goes."""
    found = dict(settings)
    for name, value in changes.items():
        found[name] = laid_over(found[name], value) if isinstance(value, Mapping) and name in found else value
    return {name: value for name, value in found.items() if name not in changes or value is not None}


def _called(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | OFFLINE | THREADS | {"MEDPSY_ROOT": str(folder), "PYTHONPATH": str(ROOT / "lib")}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1800)


def chatty() -> Callable[[dict[str, Any], int], Reply]:
    """Return how the endpoint answers: reasoning apart, an option, now and then too long or nothing at all."""

    def answer(body: dict[str, Any], _times: int) -> Reply:
        place = sum(body["messages"][-1]["content"].encode()) + len(body["model"])
        said = (f"The answer is {'ABC'[place % 3]}.", stand_in_families.HOSTILE, "Either A or B.", "")[place % 4]
        return 200, completion(said, "length" if place % 7 == 0 else "stop", reasoning_content="Let me think.")

    return answer
