"""What this machine must have before anything can be installed; installs nothing itself.

A missing prerequisite is an error that names it and what to install.
"""

import glob
import os
import shutil
import sys
from pathlib import Path

GIB = 2**30
COMPILERS = {"CC": ("cc", "gcc", "clang"), "CXX": ("c++", "g++", "clang++")}


class Missing(Exception):
    """Something the set-up needs is not here; the message says how to get it."""


def need_venv() -> None:
    """Check that this Python can make a virtual environment; Debian splits that off."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        fix = f"install the missing part, on Debian and Ubuntu python3.{sys.version_info.minor}-venv"
        raise Missing(f"{sys.executable} cannot make virtual environments; {fix}") from None


def compiler(variable: str) -> str | None:
    """Return the C (`variable` ``CC``) or C++ (``CXX``) compiler: what the variable names, else the first there is."""
    names = (os.environ.get(variable) or "", *COMPILERS[variable])
    return next((name for name in names if name and shutil.which(name)), None)


def need_compiler() -> None:
    """Check for a C and a C++ compiler."""
    for variable in COMPILERS:
        if not compiler(variable):
            what = "C++" if variable == "CXX" else "C"
            fix = "install one, on Debian and Ubuntu build-essential, on macOS by xcode-select --install"
            raise Missing(f"no {what} compiler for the llama.cpp tools; {fix}")


def need_disk(folder: Path, gib: int, purpose: str) -> None:
    """Check that `gib` GiB are free where `folder` is, or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < gib:
        raise Missing(f"{purpose} needs {gib} GiB in {folder}, where {free:.1f} GiB are free. Make room and try again")


def accelerator() -> str:
    """Return ``"gpu"`` with an NVIDIA device, else ``"cpu"``; MEDPSY_ACCELERATOR overrides (log-in nodes have none)."""
    chosen = os.environ.get("MEDPSY_ACCELERATOR")
    if chosen not in (None, "", "cpu", "gpu"):
        raise Missing(f"MEDPSY_ACCELERATOR={chosen!r} is neither 'cpu' nor 'gpu'. Set one of them, or unset it")
    return chosen or ("gpu" if has_gpu() else "cpu")


def has_gpu() -> bool:
    return bool(glob.glob("/dev/nvidia[0-9]*"))
