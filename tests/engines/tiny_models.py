"""Random models of a few hundred thousand weights in six real architectures, with a tokenizer and chat template."""

from pathlib import Path
from typing import Any

import torch
import transformers
from medpsy.engines.convert import QWEN2_PATTERN
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINKING = ("<think>", "</think>")
ASKING = """
from pathlib import PosixPath
from medpsy.engines import Prompt, Sampling, open_engine, vllm_engine
from medpsy.study import ModelSpec
vllm_engine.COMMAND = {command!r} or vllm_engine.COMMAND
prompts = [Prompt(str(at), ({{"role": "user", "content": "which drug"}},)) for at in range({count})]
engine = open_engine({kind!r}, ModelSpec("tiny", {folder!r}), **{options!r})
for response in engine.generate(prompts, Sampling(max_tokens={tokens})):
    print("answered", flush=True)
"""
WORDS = ("question", "answer", "option", "which", "drug", "treats", "the", "fever", "of", "lorin", "mazel", "best")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
COMMON = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
COMMON |= {"max_position_embeddings": 512, "initializer_range": 0.1, "tie_word_embeddings": True}
GEMMA3 = {"num_hidden_layers": 6, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16}
LFM2 = {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False}
QWEN3_5 = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "head_dim": 64}
QWEN3_5 |= {"linear_key_head_dim": 32, "linear_value_head_dim": 32}
QWEN3_5 |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
ARCHITECTURES = {  # name in transformers -> class of its configuration, what differs from COMMON
    "Qwen3": ("Qwen3Config", {"num_hidden_layers": 2, "head_dim": 64}),
    "Llama": ("LlamaConfig", {"num_hidden_layers": 2}),
    "SmolLM3": ("SmolLM3Config", {"num_hidden_layers": 4}),
    "Gemma3": ("Gemma3TextConfig", GEMMA3),
    "Lfm2": ("Lfm2Config", LFM2),
    "Qwen3_5": ("Qwen3_5TextConfig", QWEN3_5),
}


def asking(kind: str, model: Any, count: int = 3000, tokens: int = 200, command: Any = None, **options: Any) -> str:
    """Return a program, without a main guard, that opens an engine and writes a line for every response."""
    options, folder = options | {"threads": 1}, str(model.local_dir)
    return ASKING.format_map(locals())


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with Qwen2's pre-tokenizer, a few whole words and the chat tokens."""
    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in [start + word for word in WORDS for start in ("Ġ", "")]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in THINKING])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIALS[2], pad_token=SPECIALS[0])
    fast.chat_template = TEMPLATE
    return fast


def save_tiny(folder: Path, architecture: str = "Qwen3", **overrides: Any) -> Path:
    """Save a random model of `architecture` with tokenizer and chat template under `folder`; return `folder`."""
    tokenizer = make_tokenizer()
    config_name, shape = ARCHITECTURES[architecture]
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    settings = {**COMMON, **shape, "vocab_size": len(tokenizer), **ids, **overrides}
    torch.manual_seed(0)
    model = getattr(transformers, f"{architecture}ForCausalLM")(getattr(transformers, config_name)(**settings))
    with torch.no_grad():
        _write_words_only(model, tokenizer)
        if architecture == "Gemma3":
            _let_layers_matter(model)
    model.to(torch.bfloat16)
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _write_words_only(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """Make tokens that are no text by themselves improbable: single bytes and all chat tokens but the end of a turn."""
    rows = model.get_input_embeddings().weight
    rows[:256] *= 0.05
    for token in (*SPECIALS[:2], *THINKING):
        rows[tokenizer.convert_tokens_to_ids(token)] *= 0.05


def _let_layers_matter(model: Any) -> None:
    """Gemma 3 scales its embedding up; without larger layers a random one only repeats its last token."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.normal_(8 if "post_" in name else 0, 0.2)
