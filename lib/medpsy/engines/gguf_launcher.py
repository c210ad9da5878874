"""Run llama.cpp's converter on a model whose tokenizer it cannot know.

Used as ``python -m medpsy.engines.gguf_launcher SCRIPT ARGUMENTS``.

The converter recognises a pre-tokenizer by a table of hashes that holds released tokenizers only. Refuses to override
that table: it is asked first, and only where it knows nothing a tokenizer that splits as Qwen2's does is named so.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

from medpsy.engines.gguf_pretokenizer import is_qwen2


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


def main() -> None:
    del sys.argv[0]  # what is left is the converter's own command line
    converter = load(Path(sys.argv[0]))
    base = sys.modules.get("conversion.base", converter)  # older releases keep everything in the one script
    recognise_qwen2(getattr(base, "TextModel", None) or base.Model)
    converter.main()


if __name__ == "__main__":
    main()
