"""From safetensors to GGUF: one file per model and number format, kept under the digest of what went in.

llama.cpp's converter runs in a process of its own, ``python -m medpsy.engines.convert SCRIPT``, loaded once for all
models that this process asks for. In: a JSON list of the converter's arguments per line. Out: an exit status per line.

For some architectures the converter loads tokenizers with code of the model's own: none is run. It recognises a
pre-tokenizer by a table of hashes that holds released tokenizers only; where that knows nothing, a tokenizer that
splits as Qwen2's does is named so.
"""

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from medpsy.engines import programs
from medpsy.engines.base import EngineError
from medpsy.engines.models import FILES, Model, gguf_file, model_folder, weights_digest
from medpsy.files import swept

OUTTYPES = ("f32", "f16", "bf16", "q8_0")  # formats that the converter writes without a quantization tool
SCRATCH = ".converting-"  # begins the name of the folder that a conversion works in
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # all files are here
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # pre_tokenizer of tokenizer.json in Qwen/Qwen2.5 and Qwen/Qwen3; llama.cpp knows it as "qwen2"
QWEN2 = {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False}
TO_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
# gguf reads Mistral's own tokenizer files through this package where it is there; we give it none, and importing it
# takes longer than a conversion
UNUSED = "mistral_common"


def to_gguf(model: Model, gguf_dir: Path, *, outtype: str = "f32") -> Path:
    """Return the GGUF file of `model` in `gguf_dir`, converting it the first time; one that is a GGUF file is itself.
    `outtype` is the number format of the matrices; ``"f32"`` loses nothing. OSError or ValueError where the model is
    not to be had, EngineError where the converter failed."""
    if outtype not in OUTTYPES:
        raise ValueError(f"outtype {outtype!r} is unknown; choose one of {', '.join(OUTTYPES)}")
    folder = model_folder(model)
    if file := gguf_file(folder):
        return file
    name = re.sub(r"[^\w.-]+", "-", model.name)
    target = gguf_dir / f"{name}-{weights_digest(folder)[:16]}-{outtype}.gguf"
    if target.is_file():
        return target
    gguf_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=swept(gguf_dir, SCRATCH), prefix=SCRATCH) as scratch:
        source, made = staged(folder, Path(scratch) / name), Path(scratch) / target.name
        arguments = [str(source), "--outfile", str(made), "--outtype", outtype]
        if problem := converter(str(programs.find(programs.CONVERTER).resolve())).run(arguments):
            raise EngineError(f"model {model.name!r}: {model.path} was not converted to GGUF: {problem}")
        os.replace(made, target)
    return target


def staged(folder: Path, target: Path) -> Path:
    """Fill `target` with links to the model's data files only: no Python file lies where a loader might run it."""
    target.mkdir()
    for path in {path for pattern in FILES for path in folder.glob(pattern)}:
        (target / path.name).symlink_to(path.resolve())
    return target


class Converter:
    """A process with llama.cpp's converter loaded; it takes one model after another, and ends with this process."""

    def __init__(self, script: str) -> None:
        self._command = [sys.executable, "-m", "medpsy.engines.convert", script]
        self._child: programs.Child | None = None
        self._busy = threading.Lock()

    def run(self, arguments: Sequence[str]) -> str:
        """Convert; return why it failed, or nothing. A process that died is replaced the next time."""
        with self._busy:
            if not (self._child and self._child.alive):
                self._child = programs.Child(self._command, env=programs.importable() | OFFLINE, talk=True)
            with contextlib.suppress(OSError):  # it died: there is no reply
                self._child.send([arguments])
            if not (reply := self._child.stdout.readline()):
                problem = self._child.failure("the converter died")
                self._child.stop()
                return problem
            if status := int(reply):
                return f"it ended with exit code {status}; the converter's log ends:\n{self._child.log_tail()}"
            return ""


converter = cache(Converter)


def is_qwen2(tokenizer: dict[str, Any]) -> bool:
    """Return whether `tokenizer` (the content of ``tokenizer.json``) is byte-level BPE that splits as Qwen2's does."""
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers") or []
    if (tokenizer.get("model") or {}).get("type") != "BPE" or len(steps) != 2:
        return False
    return steps[0].items() >= QWEN2.items() and steps[1].items() >= TO_BYTES.items()


def recognise_qwen2(text_model: type) -> None:
    """Let the converter's class for text models call a pre-tokenizer of Qwen2's kind ``qwen2``."""
    by_table = text_model.get_vocab_base_pre

    def get_vocab_base_pre(self, tokenizer) -> str:
        try:
            return by_table(self, tokenizer)
        except NotImplementedError:
            if is_qwen2(json.loads((Path(self.dir_model) / "tokenizer.json").read_text(encoding="utf-8"))):
                return "qwen2"
            raise

    text_model.get_vocab_base_pre = get_vocab_base_pre


def load(script: Path) -> ModuleType:
    """Return the converter as a module that runs no code of a model's, even where it would trust it."""
    sys.modules[UNUSED] = None
    from transformers import dynamic_module_utils

    def refuse(class_name: str, *_: object, **__: object) -> None:
        raise ValueError(f"{class_name} is code that comes with the model; none is run")

    dynamic_module_utils.get_class_in_module = refuse
    sys.path.insert(0, str(script.parent))  # its support modules lie beside it
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    base = sys.modules.get("conversion.base", module)  # older releases keep everything in the one script
    recognise_qwen2(getattr(base, "TextModel", None) or base.Model)
    return module


def main() -> None:
    reply, module = programs.replies(), load(Path(sys.argv[1]))
    for line in sys.stdin:
        sys.argv, status = [module.__name__, *json.loads(line)], 0
        try:
            module.main()
        except BaseException as end:
            status = end.code or 0 if isinstance(end, SystemExit) and not isinstance(end.code, str) else 1
            if status:
                traceback.print_exception(end)
        reply(status)


if __name__ == "__main__":
    main()
