"""What this machine has, and what is missing for which profile.

Looks only: starts no model, installs nothing, and asks no network but the endpoints that a profile names.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medpsy import hub_needs, installed, provenance, study
from medpsy.engines import tools
from medpsy.readiness import readiness

PACKAGES = {  # engine -> what it imports
    "transformers": ("torch", "transformers"),
    "llama_cpp": ("torch", "transformers", "gguf", "httpx"),
    "vllm": ("torch", "vllm"),
    "ray": ("vllm", "ray"),
    "openai": ("openai", "transformers"),
}
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
    return found | {"profiles": {name: readiness(one, found) for name, one in studies.items()}}


def machine() -> dict:
    """Return this machine in numbers; the disk of the hub's cache only where it is another one than the project's."""
    cache = next(folder for folder in (hub_needs.cache(), *hub_needs.cache().parents) if folder.is_dir())
    return {
        "python": sys.version.split()[0],
        "cores": provenance.cores(),
        "memory_gib": provenance.memory_gib(),
        "gpus": provenance.gpus(),
        "gpu_memory_gib": provenance.gpu_memory(),
        "llama_gpus": _llama_gpus(),
        "sbatch": shutil.which("sbatch"),
        "free_disk_gib": _free(study.ROOT),
        "free_cache_gib": _free(cache) if cache.stat().st_dev != study.ROOT.stat().st_dev else None,
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
        lines += [f"    ahead: {sentence}" for sentence in one["ahead"]]
        if one["disk_gb"] is not None:
            lines += [
                f"    {_amount(one['disk_gb'])} of disk in all, {_amount(one['download_gb'])} of it for downloads"
            ]
    return "\n".join(lines)


def _llama_gpus() -> list[str]:
    """Return the GPUs that llama.cpp can use; none where it was built without CUDA."""
    try:
        command = [tools.find("llama-server"), "--list-devices"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):  # its row among the tools says why
        return []
    return re.findall(r"^ +(\w+: .+)$", done.stdout, re.MULTILINE)


def _free(folder: Path) -> float:
    return round(shutil.disk_usage(folder).free / 2**30, 1)


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


def _amount(gigabytes: float) -> str:
    return f"{gigabytes:,.0f} GB" if gigabytes >= 10 or not gigabytes else f"{gigabytes:.1f} GB"


def _place(tool: dict) -> str:
    return f"{tool['path']} ({tool['version']})" if tool["version"] else tool["path"]
