"""The process in which llama.cpp's converter runs, loaded once for all models that another process asks for.

Used as ``python -m medpsy.engines.gguf_worker SCRIPT``. In: a JSON list of the converter's arguments per line. Out: an
exit status per line; what the converter says goes to the log (standard error).

The converter recognises a pre-tokenizer by a table of hashes that holds released tokenizers only. Refuses to override
that table: it is asked first, and only where it knows nothing a tokenizer that splits as Qwen2's does is named so.
"""

import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from medpsy.engines.gguf_pretokenizer import is_qwen2

# gguf reads Mistral's own tokenizer files through this package where it is there; we give it none, and importing it
# takes longer than a conversion
UNUSED = "mistral_common"


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


def convert(converter: ModuleType, arguments: list[str]) -> int:
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
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    sys.modules[UNUSED] = None
    converter = load(Path(sys.argv[1]))
    base = sys.modules.get("conversion.base", converter)  # older releases keep everything in the one script
    recognise_qwen2(getattr(base, "TextModel", None) or base.Model)
    for line in sys.stdin:
        print(convert(converter, json.loads(line)), file=replies, flush=True)


if __name__ == "__main__":
    main()
