"""What a GGUF file says of itself: tensor types, chat template, special tokens. Refuses a damaged or truncated file."""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROL, USER_DEFINED = 3, 4  # token types of GGUF: llama.cpp reads only the second kind out of plain text
SPECIAL = ("bos", "eos", "eot", "padding", "unknown")  # tokens with a role, where the file names one


@dataclass(frozen=True)
class Contents:
    """The header of one file.

    Args:
        types: tensor -> number format, e.g. ``"Q4_K"``; vectors stay ``"F32"``.
        weights: tensor -> how many numbers it holds.
        tokens: role -> text of the special token.
        control: texts of all control tokens.
    """

    types: Mapping[str, str]
    weights: Mapping[str, int]
    chat_template: str
    tokens: Mapping[str, str]
    control: frozenset[str]

    @property
    def matrices(self) -> Counter:
        """Number format -> numbers held in it, vectors left out."""
        found: Counter = Counter()
        for name, kind in self.types.items():
            if kind != "F32":
                found[kind] += self.weights[name]
        return found


def read(path: Path) -> Contents:
    """Return the contents of the GGUF file `path`, whose tensors all lie within it.

    Raises:
        ValueError: it is no GGUF file, or was cut short; names the file and the fix.
    """
    reader = _reader(path)
    tokens, kinds = (_contents(reader, f"tokenizer.ggml.{name}") or [] for name in ("tokens", "token_type"))
    ids = {role: _contents(reader, f"tokenizer.ggml.{role}_token_id") for role in SPECIAL}
    return Contents(
        {one.name: one.tensor_type.name for one in reader.tensors},
        {one.name: int(one.n_elements) for one in reader.tensors},
        _contents(reader, "tokenizer.chat_template") or "",
        {role: tokens[number] for role, number in ids.items() if number is not None},
        frozenset(token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL),
    )


def readable_markers(source: Path, target: Path) -> Path:
    """Copy the GGUF file `source` to `target` with its control tokens called user-defined; return `target`.

    ``llama-perplexity`` has no switch to read chat markers out of a text; without this it would score their letters.
    """
    shutil.copyfile(source, target)
    import gguf

    reader = gguf.GGUFReader(target, "r+")
    field = reader.fields["tokenizer.ggml.token_type"]
    for part in (field.parts[number] for number in field.data):
        if part[0] == CONTROL:
            part[0] = USER_DEFINED
    reader.data.flush()
    return target


def _reader(path: Path):
    import gguf  # late: only those who read files need it

    try:
        return gguf.GGUFReader(path)
    except OSError:
        raise
    except Exception as error:  # the reader fails in many ways on bytes that are no GGUF
        raise ValueError(
            f"{path.parent.name}/{path.name} is no whole GGUF file ({path.stat().st_size:,} bytes; {error}); "
            "delete it and make it again"
        ) from error


def _contents(reader: object, key: str) -> object:
    field = reader.get_field(key)
    return None if field is None else field.contents()
