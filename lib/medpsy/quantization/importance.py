"""The importance matrix: how much each input of a weight matters, measured by llama.cpp on a calibration text."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from medpsy.engines import tools
from medpsy.engines.identity import file_digest
from medpsy.files import write_whole
from medpsy.quantization.llama_tool import run


def importance_matrix(base: Path, text: str, context: int, *, threads: int = 0) -> Path:
    """Return the importance matrix of the file `base` on `text`, made the first time; it lies beside the file.

    Args:
        context: tokens that llama.cpp reads at a time.
        threads: CPU threads; 0 leaves it to llama.cpp.

    Raises:
        EngineError: llama-imatrix failed, e.g. because the text is shorter than `context`; shows the end of its log.
    """
    known = digest({"base": file_digest(base), "text": text, "context": context, "tool": tools.RELEASE})
    target = base.with_name(f"{base.stem}-{known[:16]}-imatrix.gguf")
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=base.parent, prefix=".imatrix-") as scratch:
        folder = Path(scratch)
        (folder / "calibration.txt").write_text(text, encoding="utf-8")
        (folder / "model.gguf").symlink_to(base.resolve())
        arguments = [
            "-m",
            "model.gguf",
            "-f",
            "calibration.txt",
            "-o",
            "imatrix.gguf",
            "-c",
            context,
            *(["-t", threads] if threads else []),
        ]
        run("llama-imatrix", [*arguments, "--parse-special", "--no-escape", "--no-ppl"], folder=folder)
        return write_whole(target, lambda made: shutil.copyfile(folder / "imatrix.gguf", made))


def digest(parts: Mapping[str, object]) -> str:
    """Return 64 hexadecimal digits over `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
