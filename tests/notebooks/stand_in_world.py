"""A project in which a profile of the real study runs without GPU or hours, on stand-ins from a hub of its own.

Its parameters are the shipped ones but for what a `World` lays over them, sizes and addresses; all that it reads comes
from the hub, through the real clients, at commits that `medpsy pin` has written.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import stand_in_models
import stand_in_rows
import stub_hub
import yaml
from medpsy import prompts
from medpsy.claims import STATUSES as VERDICTS
from medpsy.record import Result, read
from medpsy.study import HUB_ID
from stub_endpoint import Reply, Stub, completion, serving

ROOT = Path(__file__).resolve().parents[2]
THREADS = {"OMP_NUM_THREADS": "1"}  # tiny matrices gain nothing from more
WHOLE = ("notebooks", "lib", "Snakefile")
SMALL = {"runs": 2, "questions_per_suite": 12, "conversations_per_suite": 2, "judge_attempts": 2}
SHORT = {"max_tokens": 16}
SIZES = SMALL | dict.fromkeys(("sampling", "open_sampling", "judge_sampling", "parser_sampling"), SHORT)
COPIES = ("original/model.safetensors", "original/config.json", "consolidated.safetensors")  # nobody loads them


@dataclass(frozen=True)
class Project:
    """A project and what it reaches."""

    folder: Path
    profile: str  # the one that is run
    hub: str  # address of the hub that it reads
    asked: list[dict[str, Any]]  # what the endpoint of its foreign models was asked
    fetched: list[str]  # files of the hub that were fetched

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs" / self.profile

    def record(self, section: str) -> Result:
        return read(self.outputs / section / "result.json")

    def python(self, *words: str) -> subprocess.CompletedProcess:
        """Run Python on the project, as its sections run."""
        own = {"MEDPSY_ROOT": str(self.folder), "PYTHONPATH": f"{ROOT / 'lib'}:{self.folder}"}
        hub = {"HF_ENDPOINT": self.hub, "HF_HOME": str(self.folder / "cache"), "HF_TOKEN": "hf_stand_in"}
        hub |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        command = {"args": [sys.executable, *words], "env": os.environ | hub | own | THREADS}
        return subprocess.run(**command, cwd=self.folder, capture_output=True, text=True, timeout=3600)

    def medpsy(self, *words: str) -> subprocess.CompletedProcess:
        """Run the command `medpsy` of this project."""
        return self.python("-m", "medpsy", *words, "--profile", self.profile)

    def report(self) -> None:
        """Run all sections to the site, as `make report` does, but two at a time: stand-ins are small."""
        words = ["--cores", "2", "--resources", "machine=2", "--quiet", "all", "--config", f"profile={self.profile}"]
        done = self.python("-m", "snakemake", *words, "--nolock", "--keep-going")
        assert done.returncode == 0, done.stderr[-8000:] + done.stdout[-1000:]

    def require_whole(self, section: str) -> None:
        """Assert that a section left tables, figures and verdicts, and no number that is none."""
        found, place = self.record(section), self.outputs / section
        assert (found.section, found.profile) == (section, self.profile) and found.tables and found.verdicts
        for entry in [*found.tables.values(), *found.figures.values()]:
            assert all((place / entry[kind]).stat().st_size for kind in ("csv", "png", "svg") if kind in entry)
        assert {one["verdict"] for one in [*found.claims, *found.verdicts]} <= set(VERDICTS)
        said = [one[key] for one in [*found.claims, *found.verdicts] for key in ("text", "claim", "note") if key in one]
        assert [text for text in said if re.search(r"\bnan\b|\binf\b|None", text or "")] == []

    def require_site(self, sections: Iterable[str]) -> list[str]:
        """Assert that the site has all sections, and shows text of a model as text alone; return its pages."""
        site, hostile = self.outputs / "report", stand_in_models.HOSTILE
        front = (site / "index.html").read_text(encoding="utf-8")
        assert all(f"sections/{section}/" in front for section in sections)
        pages = {path.relative_to(site): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
        assert [path for path, text in pages.items() if hostile in text or "<b>so</b>" in text] == []
        return list(pages.values())


@dataclass(frozen=True)
class World:
    """A profile, and what is laid over its files."""

    profile: str
    study: Mapping[str, Any] = field(default_factory=lambda: SIZES)  # addresses of endpoints are changed besides
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # over the parameters of a section
    alone: tuple[str, ...] = ()  # fields of a model that say on how many GPUs it runs, and are left out
    engine: str = "transformers"  # the one that answers

    @contextmanager
    def project(self, folder: Path, **changes: Any) -> Iterator[Project]:
        """Make the project in `folder`, with `changes` of its study, pin what it reads, and yield it while hub and
        endpoint answer."""
        stub, fetched = Stub(chatty()), []
        with serving(stub) as address, stub_hub.serving(folder / "hub", fetched) as hub:
            self._write(folder, address, changes)
            project = Project(folder, self.profile, hub, stub.asked, fetched)
            done = project.medpsy("pin")
            assert done.returncode == 0, done.stdout + done.stderr
            yield project

    def _write(self, folder: Path, address: str, changes: Mapping[str, Any]) -> None:
        """Write parameters, and what the hub has."""
        for name in WHOLE:
            (folder / name).symlink_to(ROOT / name)
        (folder / "params" / self.profile).mkdir(parents=True)
        for profile in (ROOT / "params").iterdir():
            if profile.name != self.profile:
                (folder / "params" / profile.name).symlink_to(profile)
        for path in (ROOT / "params" / self.profile).glob("*.yaml"):
            (folder / "params" / self.profile / path.name).symlink_to(path)
        self._rewrite(folder, "study", self.own_study(address) | changes)
        for name, changed in self.sections.items():
            self._rewrite(folder, name, laid_over(self.shipped(name), changed))
        carried = folder / prompts.HEALTHBENCH / prompts.CARRIED  # the package has no part in the environment
        carried.parent.mkdir(parents=True)
        carried.write_text(f"WORDS = {' '.join(prompts.PLACES)!r}\n", encoding="utf-8")
        stand_in_rows.write_all(folder / "hub" / "datasets")
        for hub_id in self.hub_ids():
            stand_in_models.save(folder / "hub" / "models", hub_id)
        for one in self.shipped()["models"].values():
            if one.get("file"):
                stand_in_models.save_file(folder / "hub" / "models", one["path"], one["file"])
        for hub_id, copy in product(self.hub_ids(), COPIES):
            path = folder / "hub" / "models" / hub_id / copy
            path.parent.mkdir(exist_ok=True)
            path.write_text("the same once more")

    def shipped(self, name: str = "study") -> dict[str, Any]:
        """Return a file of the profile as it is shipped."""
        return yaml.safe_load((ROOT / "params" / self.profile / f"{name}.yaml").read_text(encoding="utf-8"))

    def hub_ids(self) -> list[str]:
        """Return the hub ids of the models that this profile loads itself."""
        return list(dict.fromkeys(one["path"] for one in self.shipped()["models"].values() if not one.get("base_url")))

    def own_study(self, address: str) -> dict[str, Any]:
        """Return the shipped study with other addresses and sizes; `address` is that of the endpoint."""
        study = laid_over(self.shipped(), self.study) | {"engine": self.engine}
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


def laid_over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with `changes`, mapping by mapping; what is None goes."""
    found = dict(settings)
    for name, value in changes.items():
        found[name] = laid_over(found[name], value) if isinstance(value, Mapping) and name in found else value
    return {name: value for name, value in found.items() if name not in changes or value is not None}


def chatty() -> Callable[[dict[str, Any], int], Reply]:
    """Return how the endpoint answers: reasoning apart, an option, now and then too long or nothing at all."""

    def answer(body: dict[str, Any], _times: int) -> Reply:
        place = sum(body["messages"][-1]["content"].encode()) + len(body["model"])
        said = (f"The answer is {'ABC'[place % 3]}.", stand_in_models.HOSTILE, "Either A or B.", "")[place % 4]
        return 200, completion(said, "length" if place % 7 == 0 else "stop", reasoning_content="Let me think.")

    return answer
