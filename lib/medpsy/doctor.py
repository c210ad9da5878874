"""What this machine has, and what is missing for which profile.

Looks only: starts no model, installs nothing, asks no network.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from medpsy import installed, provenance, study
from medpsy.engines import tools
from medpsy.study import ModelSpec, Study

PACKAGES = {  # engine -> what it imports
    "transformers": ("torch", "transformers"),
    "llama_cpp": ("torch", "transformers", "gguf", "httpx"),
    "vllm": ("torch", "vllm"),
    "ray": ("vllm", "ray"),
    "openai": ("openai", "transformers"),
}
DISK = {"smoke": 1, "mini": 1, "review": 100, "paper": 1000}  # GiB that models and outputs take, rounded up
CLUSTER = ("paper",)  # profiles whose trainings take several nodes
SECONDS = 180  # vLLM alone imports in some 15 s on two idle cores


def examine(profiles: Sequence[str] | None = None) -> dict:
    """Return what was found as JSON-ready data: machine, packages, tools, engines, profiles.

    Args:
        profiles: those to look at; None means all.

    Raises:
        medpsy.strict.SettingsError: a named profile does not exist or cannot be read.
    """
    studies = {name: study.load(name) for name in profiles or study.profiles()}
    found = {"machine": machine(), "packages": installed.packages(), "tools": llama_tools()}
    found["engines"] = engines(found["tools"])
    return found | {"profiles": {name: {"missing": missing(one, found)} for name, one in studies.items()}}


def machine() -> dict:
    """Return this machine in numbers."""
    return {
        "python": sys.version.split()[0],
        "cores": provenance.cores(),
        "memory_gib": provenance.memory_gib(),
        "gpus": provenance.gpus(),
        "sbatch": shutil.which("sbatch"),
        "free_disk_gib": round(shutil.disk_usage(study.ROOT).free / 2**30, 1),
    }


def llama_tools() -> dict[str, dict[str, str | None]]:
    """Return where each tool of llama.cpp is and the version it states, or why it is not there."""
    return {name: _tool(name) for name in (*tools.PROGRAMS, tools.CONVERTER)}


def engines(found: dict) -> dict[str, str | None]:
    """Return for each engine why it cannot be used, or None; each is really imported, in a process of its own."""
    lacking = [name for name, tool in found.items() if tool["problem"]]
    waiting = {kind: _importing(names) for kind, names in PACKAGES.items()}
    problems = {kind: process if isinstance(process, str) else _outcome(process) for kind, process in waiting.items()}
    if lacking and not problems["llama_cpp"]:
        problems["llama_cpp"] = f"{', '.join(lacking)} not found"
    return problems


def missing(one: Study, found: dict) -> list[str]:
    """Return what `one` needs and this machine has not, a sentence each."""
    lacking, here = [], found["machine"]
    if found["engines"][one.engine]:
        lacking.append(f"engine {one.engine}: {found['engines'][one.engine]}")
    if one.engine in ("vllm", "ray") and not one.engine_options.get("address") and not here["gpus"]:
        lacking.append("no NVIDIA GPU; its models are too large for a CPU")
    if one.profile in CLUSTER and not here["sbatch"]:
        lacking.append("sbatch of Slurm not found; its trainings take several nodes: make report EXECUTOR=slurm")
    if here["free_disk_gib"] < DISK.get(one.profile, 1):
        lacking.append(f"{here['free_disk_gib']} GiB of disk are free; {DISK[one.profile]} are needed")
    absent = [model for model in one.models.values() if not _is_here(model)]
    folders = [model.name for model in absent if model.local_dir]
    lacking += [f"no model in {one.model(name).path} ({name})" for name in folders]
    if remote := [model.name for model in absent if not model.local_dir]:
        lacking.append(f"to be downloaded on first use: {', '.join(remote)}")
    gone = [f"{suite}: no folder {path}" for suite, path in one.data_dirs.items() if not (study.ROOT / path).is_dir()]
    return lacking + gone


def printed(found: dict) -> str:
    """Return `examine`'s answer as text."""
    here = found["machine"]
    lines = [
        f"Python {here['python']}, {here['cores']} cores, {here['memory_gib']} GiB of memory, "
        f"{here['free_disk_gib']} GiB of disk free, GPU: {', '.join(here['gpus']) or 'none'}, "
        f"Slurm: {here['sbatch'] or 'none'}"
    ]
    lines += ["", "Engines"]
    lines += [f"  {kind}: {problem or 'ready'}" for kind, problem in found["engines"].items()]
    lines += ["", "Tools of llama.cpp"]
    lines += [f"  {name}: {tool['problem'] or _place(tool)}" for name, tool in found["tools"].items()]
    off = {name: row for name, row in found["packages"].items() if row["pinned"] not in (None, row["installed"])}
    lines += ["", f"Packages: {len(found['packages']) - len(off)} at their pinned versions"]
    lines += [f"  {name}: {row['installed'] or 'absent'}, pinned {row['pinned']}" for name, row in off.items()]
    lines += ["", "Profiles"]
    for name, one in found["profiles"].items():
        lines += [f"  {name}: {'ready' if not one['missing'] else 'not ready'}"]
        lines += [f"    {sentence}" for sentence in one["missing"]]
    return "\n".join(lines)


def _importing(names: Sequence[str]) -> subprocess.Popen | str:
    """Start importing `names`; return the process, or what is not installed."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    command = [sys.executable, "-c", f"import {', '.join(names)}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _outcome(process: subprocess.Popen) -> str | None:
    try:
        _, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"its import took more than {SECONDS} s"
    return f"its import failed: {errors.strip().splitlines()[-1]}" if process.returncode and errors.strip() else None


def _tool(name: str) -> dict[str, str | None]:
    try:
        path = tools.find(name)
    except FileNotFoundError as error:
        return {"path": None, "version": None, "problem": str(error)}
    if name == tools.CONVERTER:
        return {"path": str(path), "version": None, "problem": None}
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"path": str(path), "version": None, "problem": f"{path} does not start: {error}"}
    if done.returncode < 0:
        problem = f"{path} ends with signal {-done.returncode}: built for another processor? Delete it and `make setup`"
        return {"path": str(path), "version": None, "problem": problem}
    stated = re.search(r"version: (.+)", done.stdout + done.stderr)
    return {"path": str(path), "version": stated.group(1) if stated else None, "problem": None}


def _place(tool: dict) -> str:
    return f"{tool['path']} ({tool['version']})" if tool["version"] else tool["path"]


def _is_here(model: ModelSpec) -> bool:
    """Return whether nothing has to be downloaded to load `model`."""
    if model.base_url:
        return True
    if model.local_dir:
        return (model.local_dir / "config.json").is_file()
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model.path, "config.json", revision=model.revision), str)
