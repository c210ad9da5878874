"""From safetensors to GGUF: one file per model and number format, kept under the digest of what went in.

Refuses to run code that comes with a model, to edit the installed converter, and to leave a half-written file behind.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medpsy.engines import tools
from medpsy.engines.child import importable
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import weights_digest
from medpsy.engines.weights import FILES, Model, gguf_file, model_folder

OUTTYPES = ("f32", "f16", "bf16", "q8_0")  # formats that the converter writes without a quantization tool
LAUNCHER = "medpsy.engines.gguf_launcher"
PREFIX = ".converting-"
STALE = 24 * 3600.0  # seconds after which a conversion under way must have been killed
SHOWN = 1500  # characters of the converter's log in an error


def to_gguf(model: Model, gguf_dir: Path, *, outtype: str = "f32") -> Path:
    """Return the GGUF file of `model` in `gguf_dir`, converting it the first time; one that is a GGUF file is itself.

    Args:
        outtype: number format of the matrices; ``"f32"`` loses nothing. A GGUF file keeps its own.

    Raises:
        OSError, ValueError: the model is not to be had or `outtype` is unknown.
        EngineError: the converter failed; shows the end of its log.
    """
    if outtype not in OUTTYPES:
        raise ValueError(f"outtype {outtype!r} is unknown; choose one of {', '.join(OUTTYPES)}")
    folder = model_folder(model)
    if own := gguf_file(folder):
        return own
    name = re.sub(r"[^\w.-]+", "-", model.name)
    target = gguf_dir / f"{name}-{weights_digest(folder)[:16]}-{outtype}.gguf"
    if target.is_file():
        return target
    gguf_dir.mkdir(parents=True, exist_ok=True)
    _sweep(gguf_dir)
    with tempfile.TemporaryDirectory(dir=gguf_dir, prefix=PREFIX) as scratch:
        source = _staged(folder, Path(scratch) / name)
        made = Path(scratch) / target.name
        _convert(model, source, made, outtype)
        os.replace(made, target)
    return target


def _sweep(gguf_dir: Path) -> None:
    """Remove what killed conversions left behind."""
    for scratch in gguf_dir.glob(f"{PREFIX}*"):
        if time.time() - scratch.stat().st_mtime > STALE:
            shutil.rmtree(scratch, ignore_errors=True)


def _staged(folder: Path, staged: Path) -> Path:
    """Return a folder of links to the model's data files only: no Python file lies where a loader might run it."""
    staged.mkdir()
    for pattern in FILES:
        for path in folder.glob(pattern):
            if not (staged / path.name).is_symlink():
                (staged / path.name).symlink_to(path.resolve())
    return staged


def _convert(model: Model, source: Path, made: Path, outtype: str) -> None:
    command = [sys.executable, "-m", LAUNCHER, str(tools.find(tools.CONVERTER)), str(source)]
    command += ["--outfile", str(made), "--outtype", outtype]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, errors="replace")
    if done.returncode or not made.is_file():
        log = (done.stdout + done.stderr)[-SHOWN:]
        raise EngineError(
            f"model {model.name!r}: {model.path} was not converted to GGUF; the converter's log ends:\n{log}"
        )


def _environment() -> dict[str, str]:
    """Return this process's environment with `medpsy` importable and the hub out of reach: all files are here."""
    return {**os.environ, **importable(), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
