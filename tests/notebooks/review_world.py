"""A project in which profile `review` runs without hub, GPU or hours: stand-ins for its models, data and endpoints.

Its parameters are the shipped ones but for what `SMALL` and `write_study` say: addresses, folders and sizes.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import stand_in_families
import stand_in_models
import stand_in_rows
import yaml
from medpsy.study import HUB_ID
from stub_endpoint import Reply, completion

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "review"
SMALL = {"runs": 2, "questions_per_suite": 12, "conversations_per_suite": 2, "judge_attempts": 2}
TOKENS = {"sampling": 16, "open_sampling": 16, "judge_sampling": 16, "parser_sampling": 16}
LIMITED = "10_quantization"  # the one section with sizes of its own, where 0 means all of a suite
ASKED = {"asked": {"questions": 1, "conversations": 1}, "threads": 1}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_TOKEN": ""}
THREADS = {"OMP_NUM_THREADS": "1"}  # tiny matrices gain nothing from more
WHOLE = ("notebooks", "lib", "Snakefile")


def make(folder: Path, address: str, **changes: Any) -> Path:
    """Make the project in `folder` and return it.

    Args:
        address: of the endpoint that serves the teachers.
        changes: further settings of the study.
    """
    for name in WHOLE:
        (folder / name).symlink_to(ROOT / name)
    (folder / "params").mkdir()
    for profile in (ROOT / "params").iterdir():
        (folder / "params" / profile.name).symlink_to(profile)
    (folder / "params" / PROFILE).unlink()
    (folder / "params" / PROFILE).mkdir()
    for path in (ROOT / "params" / PROFILE).glob("*.yaml"):
        (folder / "params" / PROFILE / path.name).symlink_to(path)
    data = stand_in_rows.write_all(folder / "data")
    write_study(folder, {name: path.relative_to(folder).as_posix() for name, path in data.items()}, address, changes)
    _rewrite(folder, f"{LIMITED}.yaml", shipped(LIMITED) | ASKED)
    for hub_id in hub_ids():
        stand_in_models.save(folder, hub_id)
    return folder


def shipped(name: str = "study") -> dict[str, Any]:
    """Return a file of profile `review` as it is shipped."""
    return yaml.safe_load((ROOT / "params" / PROFILE / f"{name}.yaml").read_text(encoding="utf-8"))


def hub_ids() -> list[str]:
    """Return the hub ids of the models that this profile loads itself."""
    return [one["path"] for one in shipped()["models"].values() if not one.get("base_url")]


def write_study(folder: Path, data: Mapping[str, str], address: str, changes: Mapping[str, Any]) -> None:
    """Write the study of `folder`: the shipped one with other addresses, folders and sizes.

    A model's `path` stays: a folder of that name under the root goes before the hub.
    """
    study = shipped() | {"engine": "transformers", "data_dirs": dict(data)} | SMALL | dict(changes)
    for name, most in TOKENS.items():
        study[name] = study[name] | {"max_tokens": most}
    for model in study["models"].values():
        assert HUB_ID.fullmatch(model["path"])
        model |= {"base_url": address} if model.get("base_url") else {}
    _rewrite(folder, "study.yaml", study)


def _rewrite(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    path = folder / "params" / PROFILE / name
    path.unlink()  # a link to the shipped one
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")


def sections() -> list[str]:
    """Return the sections of the profile, in reading order."""
    return sorted(path.stem for path in (ROOT / "params" / PROFILE).glob("[0-9]*.yaml"))


def medpsy(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run the command `medpsy` of this project on `folder`."""
    return _called(folder, "medpsy", *words, "--profile", PROFILE)


def report(folder: Path) -> None:
    """Run all sections of `folder` to its site, as `make report` does, but for two at a time: stand-ins are small."""
    words = ["--cores", "2", "--resources", "machine=2", "--quiet", "all", "--config", f"profile={PROFILE}", "--nolock"]
    done = _called(folder, "snakemake", *words, "--keep-going")
    assert done.returncode == 0, done.stderr[-8000:] + done.stdout[-1000:]


def _called(folder: Path, module: str, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | OFFLINE | THREADS | {"MEDPSY_ROOT": str(folder), "PYTHONPATH": str(ROOT / "lib")}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1200)


def teacher() -> Callable[[dict[str, Any], int], Reply]:
    """Return how the endpoint answers: reasoning apart, an option, now and then too long or nothing at all."""

    def answer(body: dict[str, Any], _times: int) -> Reply:
        place = sum(body["messages"][-1]["content"].encode()) + len(body["model"])
        said = (f"The answer is {'ABC'[place % 3]}.", stand_in_families.HOSTILE, "Either A or B.", "")[place % 4]
        return 200, completion(said, "length" if place % 7 == 0 else "stop", reasoning_content="Let me think.")

    return answer
