"""From safetensors to GGUF: one file per model and number format, kept under the digest of what went in.

llama.cpp's converter runs in a process of its own, ``python -m medpsy.engines.convert SCRIPT``, loaded once for all
models that this process asks for. In: a JSON list of the converter's arguments per line. Out: an exit status per line.

For some architectures the converter loads tokenizers with code of the model's own: none is run, whatever the
architecture. It recognises a pre-tokenizer by a table of hashes that holds released tokenizers only; it is asked first,
and only where it knows nothing a tokenizer that splits as Qwen2's does is named so.
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
from medpsy.engines.programs import Child, failure, importable, replies

OUTTYPES = ("f32", "f16", "bf16", "q8_0")  # formats that the converter writes without a quantization tool
WORKER = "medpsy.engines.convert"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # all files are here
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # pre_tokenizer of tokenizer.json in Qwen/Qwen2.5 and Qwen/Qwen3; llama.cpp knows it as "qwen2"
# gguf reads Mistral's own tokenizer files through this package where it is there; we give it none, and importing it
# takes longer than a conversion
UNUSED = "mistral_common"


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
    with tempfile.TemporaryDirectory(dir=gguf_dir, prefix=".converting-") as scratch:
        source = _staged(folder, Path(scratch) / name)
        made = Path(scratch) / target.name
        _convert(model, source, made, outtype)
        os.replace(made, target)
    return target


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
    if problem := _converter(str(programs.find(programs.CONVERTER).resolve())).run(arguments):
        raise EngineError(f"model {model.name!r}: {model.path} was not converted to GGUF: {problem}")


class Converter:
    """A process with llama.cpp's converter loaded; it takes one model after another, and ends with this process."""

    def __init__(self, script: str) -> None:
        self._command = [sys.executable, "-m", WORKER, script]
        self._child: Child | None = None
        self._one = threading.Lock()

    def run(self, arguments: Sequence[str]) -> str:
        """Convert; return why it failed, or nothing. A process that died is replaced the next time."""
        with self._one:
            if not (self._child and self._child.alive):
                self._child = Child(self._command, env=importable() | OFFLINE, talk=True)
            with contextlib.suppress(OSError):  # it died: there is no reply
                self._child.send([arguments])
            if not (reply := self._child.stdout.readline()):
                problem = self._child.failure("the converter died")
                self._child.stop()
                return problem
            command, status = [*self._command, *arguments], int(reply)
            return failure("the converter failed", command, status, self._child.log_tail()) if status else ""


_converter = cache(Converter)


def is_qwen2(tokenizer: dict[str, Any]) -> bool:
    """Return whether `tokenizer` (the content of ``tokenizer.json``) is byte-level BPE that splits as Qwen2's does."""
    if (tokenizer.get("model") or {}).get("type") != "BPE":
        return False
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers") or []
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, to_bytes = steps
    same = split["pattern"] == {"Regex": QWEN2_PATTERN} and split["behavior"] == "Isolated" and not split["invert"]
    return same and not to_bytes["add_prefix_space"] and not to_bytes["use_regex"]


def load(script: Path) -> ModuleType:
    """Return the converter as a module; its support modules lie beside it."""
    sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return module


def recognise_qwen2(text_model: type) -> None:
    """Let the converter's class for text models call a pre-tokenizer of Qwen2's kind ``qwen2``."""
    known = text_model.get_vocab_base_pre

    def get_vocab_base_pre(self, tokenizer) -> str:
        try:
            return known(self, tokenizer)
        except NotImplementedError:
            if is_qwen2(json.loads((Path(self.dir_model) / "tokenizer.json").read_text(encoding="utf-8"))):
                return "qwen2"
            raise

    text_model.get_vocab_base_pre = get_vocab_base_pre


def refuse_code() -> None:
    """Let no code that comes with a model be imported in this process, even where a loader is told to trust it."""
    from transformers import dynamic_module_utils

    def refuse(class_name: str, *_: object, **__: object) -> None:
        raise ValueError(f"{class_name} is code that comes with the model; none is run")

    dynamic_module_utils.get_class_in_module = refuse


def run_converter(converter: ModuleType, arguments: list[str]) -> int:
    """Run the converter as a program called with `arguments`; return its exit status."""
    sys.argv = [converter.__name__, *arguments]
    try:
        converter.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    reply = replies()
    sys.modules[UNUSED] = None
    converter = load(Path(sys.argv[1]))
    base = sys.modules.get("conversion.base", converter)  # older releases keep everything in the one script
    refuse_code()
    recognise_qwen2(getattr(base, "TextModel", None) or base.Model)
    for line in sys.stdin:
        reply(run_converter(converter, json.loads(line)))


if __name__ == "__main__":
    main()
