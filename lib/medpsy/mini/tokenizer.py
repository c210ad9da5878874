"""The tokenizer of the miniature: byte-level BPE with Qwen2's pre-tokenizer, every word of the world one token.

One tokenizer serves the whole minihub, as one vocabulary serves a real model family. It covers any UTF-8 text
through its 256 byte tokens. `<think>` and `</think>` are ordinary added tokens, as in Qwen3, so they survive decoding.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# The pre-tokenizer pattern of the Qwen2 family, which llama.cpp knows under the name "qwen2".
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINKING = ("<think>", "</think>")
TEMPLATE = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and '</think>' in message.content %}
{{- message.content.split('</think>')[-1].lstrip('\\n') }}
{%- else %}{{- message.content }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\nOPENING' }}{%- endif %}"""


def train(texts: Iterable[str], words: Iterable[str]) -> Tokenizer:
    """Return a tokenizer in which each of `words`, led by a space, is one token.

    Raises:
        ValueError: naming the words that did not become single tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # an upper bound: merging stops when every word of the texts is whole
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in THINKING])
    split = [word for word in words if len(tokenizer.encode(" " + word).ids) != 1]
    if split:
        raise ValueError(f"these words are not single tokens: {split[:5]}; let each occur in the training texts")
    return tokenizer


def wrap(tokenizer: Tokenizer, *, opens_thinking: bool) -> PreTrainedTokenizerFast:
    """Return the transformers tokenizer with its chat template.

    `opens_thinking` puts `<think>` into the generation prompt (as Qwen3-4B-Thinking-2507 does), so responses hold
    only the closing tag; otherwise the model writes both tags (as Qwen3-1.7B does).
    """
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = TEMPLATE.replace("OPENING", "<think>\\n" if opens_thinking else "")
    return fast
