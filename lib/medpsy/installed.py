"""Which packages are installed, beside the versions the project was checked with. Installs and imports none."""

import re
from importlib import metadata

from medpsy import provenance, study

PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
LISTS = ("vllm-gpu.txt", "vllm-cpu.txt", "pins.txt")  # of the folder setup


def packages() -> dict[str, dict[str, str | None]]:
    """Return installed and pinned version of every direct dependency, and of vLLM in the form that is installed."""
    fixed = pins()
    names = dict.fromkeys([*_direct(), *(name for name in provenance.PACKAGES[1:] if _version(name))])
    return {name: {"installed": _version(name), "pinned": fixed.get(plain(name))} for name in names}


def pins() -> dict[str, str]:
    """Return the pinned version of every package, by its plain name; empty outside a clone of the project."""
    found = {}
    for path in (study.ROOT / "setup" / name for name in LISTS):
        if path.is_file():
            found |= {plain(package): version for package, version in PIN.findall(path.read_text(encoding="utf-8"))}
    return found


def plain(name: str) -> str:
    """Return a package's name as registries compare it: ``Sphinx`` is ``sphinx``, ``nh_3`` is ``nh-3``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _direct() -> list[str]:
    try:
        required = metadata.requires("medpsy") or []
    except metadata.PackageNotFoundError:
        return []
    return [re.match(r"[A-Za-z0-9._-]+", line).group() for line in required if "extra ==" not in line]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[0]  # 2.13.0+cpu is 2.13.0 built for a CPU
    except metadata.PackageNotFoundError:
        return None
