"""Whether a GGUF file asks and stops as its source model does: chat template, roles of tokens, control tokens."""

from medpsy.engines.identity import chat_template
from medpsy.engines.weights import eos_ids, model_folder, read_json
from medpsy.quantization.gguf_file import Contents
from medpsy.study import ModelSpec


def unlike(source: ModelSpec, found: Contents) -> tuple[str, ...]:
    """Return what of a file's contents is not as in the folder of `source`; empty for a faithful copy."""
    folder = model_folder(source)
    added = read_json(folder / "tokenizer.json").get("added_tokens", [])
    texts = {token["id"]: token["content"] for token in added}
    special = {token["content"] for token in added if token["special"]}
    ends = {texts.get(number) for number in eos_ids(folder)}
    checks = {
        "chat template": found.chat_template == chat_template(folder),
        "end of turn": not ends or found.tokens.get("eos") in ends,
        "special tokens": found.control == special,
    }
    return tuple(name for name, same in checks.items() if not same)
