"""Models that have a shape and nothing else: random weights, with tokenizer and template of a miniature's model."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from medpsy.engines.models import papers, text_config

# config.json of Qwen3-1.7B
QWEN3_1_7B = {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "head_dim": 128}
QWEN3_1_7B |= {"num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936}
QWEN3_1_7B |= {"max_position_embeddings": 40960, "tie_word_embeddings": True}


def random_model(folder: Path, shape: Mapping[str, object], tokenizer: Path) -> Path:
    """Write a Qwen3 model of `shape` (fields of its configuration) with random weights in bfloat16; return `folder`.

    Args:
        tokenizer: folder of a Qwen3 model of the miniature; what `shape` leaves out of the vocabulary is its too.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    own = {key: text_config(tokenizer)[key] for key in ("vocab_size", "eos_token_id", "tie_word_embeddings")}
    Qwen3ForCausalLM(Qwen3Config(**own | dict(shape))).to(torch.bfloat16).save_pretrained(folder)
    for name, path in papers(tokenizer).items():
        if not (folder / name).exists():
            shutil.copyfile(path, folder / name)
    return folder
