"""What a record depends on besides its files: the library, and the parameters it was made with.

Decides nothing about when to run; the workflow asks here and compares.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from medpsy import parameters, study
from medpsy.run import DONE, PREVIOUS, RESULT, notebooks

LIBRARY = Path(__file__).resolve().parent
COMMANDS = (
    "__main__.py",
    "bench",
    "bench.py",
    "bench_judging.py",
    "bench_quantized.py",
    "bench_training.py",
    "cli.py",
    "cli_pin.py",
    "doctor.py",
    "execution.py",
    "hub_needs.py",
    "pinning.py",
    "pins.py",
    "readiness.py",
)
RUNNER = ("freshness.py", "installed.py", "parameters.py", "progress.py", "run.py")
PAGES = ("report/chunks.py", "report/indexing.py", "report/ledger_page.py", "report/notebooks.py", "report/pages.py")
SILENT = (*COMMANDS, *RUNNER, *PAGES, "report/site.py", "report/static", "report/templates")  # these change no number
IGNORED = ("__pycache__", ".ruff_cache", ".ipynb_checkpoints")


def library_digest(*, silent: tuple[str, ...] = SILENT) -> str:
    """Return a digest of the library's code and data by content; touching a file does not change it.

    Args:
        silent: files and folders left out, relative to the library: those that change no number.
    """
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*")):
        name = path.relative_to(LIBRARY).as_posix()
        skipped = set(path.parts) & set(IGNORED) or any(name == one or name.startswith(f"{one}/") for one in silent)
        if path.is_file() and not skipped:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def set_aside_altered(profile: str) -> list[str]:
    """Set aside every record of `profile` that was made with parameters other than the profile's; return the sections.

    Such a record is what ``medpsy run -p`` leaves, or a cell changed in JupyterLab; it must not pass for the profile's.
    """
    folder = study.ROOT / "outputs" / profile
    altered = [section for section, path in notebooks().items() if _altered(path, profile, folder / section)]
    for section in altered:
        os.replace(folder / section / RESULT, folder / section / PREVIOUS)
    return altered


def _altered(notebook: Path, profile: str, folder: Path) -> bool:
    own = f"params/{profile}/{notebook.stem}.yaml"
    if not (folder / RESULT).is_file() or not (study.ROOT / own).is_file():
        return False
    wanted = {name: parameter.default for name, parameter in parameters.declared(notebook).items()}
    wanted |= parameters.resolve(notebook, profile, files=[(study.ROOT / own, own)])
    recorded = [_read(folder / RESULT, "settings"), _read(folder / DONE, "metadata", "papermill", "parameters")]
    return any(values[name] != wanted[name] for values in recorded for name in wanted.keys() & values.keys())


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """Return the mapping under `keys` of a JSON file, or an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
