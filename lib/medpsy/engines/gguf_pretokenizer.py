"""Which pre-tokenizer a GGUF file must name; refuses to guess: only Qwen2's regular expression is recognised."""

from typing import Any

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # pre_tokenizer of tokenizer.json in Qwen/Qwen2.5 and Qwen/Qwen3; llama.cpp knows it as "qwen2"


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
