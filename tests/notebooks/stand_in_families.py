"""How each family of models in profile `review` talks, and what its classes are given: templates, tokens, shapes.

Written for tests, after what the families document; no template here is that of a real model.
"""

from dataclasses import dataclass, field, replace
from typing import Any

HOSTILE = "<img src=x onerror=alert(1)>"  # what no page may show as it stands
VERDICTS = ('{"explanation": "<b>so</b>", "criteria_met": true}', '{"criteria_met": false}')
THINKING = ("<think>", "</think>")
MEDGEMMA_THINKING = ("<unused94>", "<unused95>")
HARMONY_THINKING = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")
WORDS = (*THINKING, *MEDGEMMA_THINKING, HOSTILE, *VERDICTS)  # one token each, and text

CHATML_TURNS = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENS = "{% if add_generation_prompt %}<think>\n{% endif %}"
SWITCH = (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
THINKS_ASKED = "{% if add_generation_prompt and enable_thinking is defined and enable_thinking %}<think>\n{% endif %}"
SWITCHED = "{% if add_generation_prompt and thinking_mode is defined and thinking_mode == 'on' %}<think>\n{% endif %}"
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
)
DATED = "<|im_start|>system\nToday is {{ strftime_now('%d %B %Y') }}.<|im_end|>\n"
LLAMA_TURNS = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday is {{ strftime_now('%d %b %Y') }}<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA_TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns of user and assistant must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
HARMONY_TURNS = (
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}<|end|>"
    "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """One architecture and its way to talk; `stops` end a response, the first of them is the tokenizer's own end."""

    name: str  # of its classes in transformers
    template: str
    stops: tuple[str, ...]
    others: tuple[str, ...]  # further special tokens
    start: str | None = None  # token that begins a text
    thinking: tuple[str, str] | None = None  # what the model writes before and after its reasoning
    shape: dict[str, Any] = field(default_factory=dict)


CHATML = {"stops": ("<|im_end|>", "<|endoftext|>"), "others": ("<|im_start|>",)}
THINKS = {"thinking": THINKING}
LLAMA_STOPS = ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>")
LLAMA_OTHERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
LLAMA = {"template": LLAMA_TURNS, "stops": LLAMA_STOPS, "others": LLAMA_OTHERS, "start": "<|begin_of_text|>"}
HARMONY_OTHERS = ("<|startoftext|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>")
HEADS = {"head_dim": 32}
WIDE = {"head_dim": 64, "hidden_size": 256, "intermediate_size": 256}  # what llama.cpp's small formats want of a matrix
WIDE |= {"initializer_range": 0.05}

QWEN3_2507 = Family("Qwen3", CHATML_TURNS + OPENS, **CHATML, thinking=("", THINKING[1]), shape=HEADS)
QWEN3 = Family("Qwen3", CHATML_TURNS + SWITCH, **CHATML, **THINKS, shape=HEADS)
QWEN2 = Family("Qwen2", CHATML_TURNS, **CHATML)
SMOLLM2 = Family("Llama", CHATML_TURNS, **CHATML)
SMOLLM3 = Family("SmolLM3", DATED + CHATML_TURNS + SWITCH, **CHATML, **THINKS, shape={"num_hidden_layers": 4})
LLAMA32 = Family("Llama", **LLAMA)
LLAMA31 = Family("Llama", **LLAMA, shape={"tie_word_embeddings": False})
CONVOLVED = {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]}
LFM2 = Family(
    "Lfm2",
    "{{ bos_token }}" + CHATML_TURNS,
    **CHATML | {"others": ("<|im_start|>", "<|startoftext|>", "<|pad|>")},
    start="<|startoftext|>",
    shape=CONVOLVED | {"block_auto_adjust_ff_dim": False},
)
GEMMA = Family(
    "Gemma3",
    GEMMA_TURNS,
    ("<end_of_turn>", "<eos>"),
    ("<pad>", "<bos>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    "<bos>",
    shape={"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64},
)
GPT_OSS = Family(
    "GptOss",
    HARMONY_TURNS,
    ("<|return|>", "<|endoftext|>", "<|call|>"),
    HARMONY_OTHERS,
    "<|startoftext|>",
    HARMONY_THINKING,
    {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False},
)
MEDGEMMA = replace(GEMMA, thinking=MEDGEMMA_THINKING)
MEDGEMMA_TEXT = replace(MEDGEMMA, name="Gemma3Text")
AFM = Family("Arcee", DEFAULT_SYSTEM + CHATML_TURNS, **CHATML)
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
BAICHUAN = Family("Qwen3Moe", CHATML_TURNS + SWITCHED, **CHATML, thinking=("", THINKING[1]), shape=HEADS | EXPERTS)
QWEN3_PLAIN = Family("Qwen3", CHATML_TURNS, **CHATML, **THINKS, shape=HEADS)
DELTA = {f"linear_{name}": 16 for name in ("key_head_dim", "value_head_dim")}
DELTA |= {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
LAYERS = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
QWEN35 = Family(
    "Qwen3_5",
    CHATML_TURNS + THINKS_ASKED,
    **CHATML | {"others": ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")},
    thinking=("", THINKING[1]),
    shape=HEADS | DELTA | LAYERS,
)
HUB = {  # hub id -> what its configuration and its card say it is
    "qvac/MedPsy-4B": (QWEN3_2507, WIDE),
    "qvac/MedPsy-1.7B": (QWEN3, WIDE),
    "Qwen/Qwen3-4B-Thinking-2507": (QWEN3_2507, WIDE),
    "Qwen/Qwen3-4B": (QWEN3, {}),
    "Qwen/Qwen3-1.7B": (QWEN3, WIDE),
    "meta-llama/Llama-3.2-3B-Instruct": (LLAMA32, {}),
    "meta-llama/Llama-3.2-1B-Instruct": (LLAMA32, {}),
    "meta-llama/Llama-3.1-8B-Instruct": (LLAMA31, {}),
    "HuggingFaceTB/SmolLM3-3B": (SMOLLM3, {}),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": (SMOLLM2, {}),
    "google/gemma-3-4b-it": (GEMMA, {}),
    "google/medgemma-1.5-4b-it": (MEDGEMMA, {}),
    "LiquidAI/LFM2.5-1.2B-Thinking": (LFM2, {}),
    "opencompass/CompassJudger-2-7B-Instruct": (QWEN2, {}),
    "openai/gpt-oss-20b": (GPT_OSS, {}),
    "openai/gpt-oss-120b": (GPT_OSS, {}),
    "opencompass/CompassJudger-2-32B-Instruct": (QWEN2, {}),
    "meta-llama/Llama-3.3-70B-Instruct": (LLAMA31, {}),
    "google/medgemma-27b-text-it": (MEDGEMMA_TEXT, WIDE),
    "arcee-ai/AFM-4.5B": (AFM, {}),
    "openmed-community/AFM-4.5B-OpenMed": (AFM, {}),
    "openmed-community/AFM-4.5B-OpenMed-RL-CoT": (AFM, {}),
    "baichuan-inc/Baichuan-M3-235B": (BAICHUAN, {}),
    "UbiquantAI/Fleming-R1-32B": (QWEN3_PLAIN, {}),
    "Qwen/Qwen3.5-4B": (QWEN35, {}),
    "lastmass/Qwen3.5-Medical-GSPO": (QWEN35, {}),
}
JUDGES = {  # of those, the ones that profiles ask as judges and as nothing else -> what each of them always says
    "meta-llama/Llama-3.1-8B-Instruct": VERDICTS[0],
    "meta-llama/Llama-3.3-70B-Instruct": VERDICTS[0],
    "opencompass/CompassJudger-2-7B-Instruct": VERDICTS[1],
}
