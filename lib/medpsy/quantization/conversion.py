"""From safetensors to GGUF: one file per model and number format, kept under the digest of what went in.

Refuses to run code that comes with a model, to edit the installed converter, and to leave a half-written file behind.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from medpsy.engines import tools
from medpsy.engines.child import Child, importable
from medpsy.engines.errors import EngineError
from medpsy.engines.identity import weights_digest
from medpsy.engines.weights import FILES, Model, gguf_file, model_folder

OUTTYPES = ("f32", "f16", "bf16", "q8_0")  # formats that the converter writes without a quantization tool
WORKER = "medpsy.engines.gguf_worker"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # all files are here
KILLED = -9  # exit status of a converter that ended without one
PREFIX = ".converting-"
STALE = 24 * 3600.0  # seconds after which a conversion under way must have been killed


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
    arguments = [str(source), "--outfile", str(made), "--outtype", outtype]
    status, log = _converter(str(tools.find(tools.CONVERTER))).run(arguments)
    if status or not made.is_file():
        raise EngineError(f"model {model.name!r}: {model.path} was not converted to GGUF; the log ends:\n{log}")


class Converter:
    """A process with llama.cpp's converter loaded; it takes one model after another, and ends with this process."""

    def __init__(self, script: str) -> None:
        self._command = [sys.executable, "-m", WORKER, script]
        self._child: Child | None = None
        self._one = threading.Lock()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Return the converter's exit status and the end of its log; a process that died is replaced the next time."""
        with self._one:
            if not (self._child and self._child.alive):
                self._child = Child(self._command, env=importable() | OFFLINE, talk=True)
            try:
                self._child.stdin.write(json.dumps(arguments).encode() + b"\n")
                self._child.stdin.flush()
                reply = self._child.stdout.readline()
            except OSError:
                reply = b""
            log = self._child.log_tail()
            if not reply:
                self._child.stop()
            return int(reply or KILLED), log


_converter = cache(Converter)
