"""The models of the minihub: which architecture, how large, what it is taught and how it writes.

Knowledge shares and voices were set before any of the models was trained and say only that the candidates differ.
"""

from dataclasses import dataclass, field

from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from medpsy.mini.judges import Ear
from medpsy.mini.thinking import Voice

# Widths are multiples of 256, as true K- and I-quants need (llama.cpp falls back to other types otherwise).
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "initializer_range": 0.08,  # at this width the usual 0.02 hardly learns
}
ARCHITECTURES: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel], dict]] = {
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32}),
    # every fourth layer is without rotary embedding, which llama.cpp takes as given
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {"use_sliding_window": False}),
    # the attention scale must be that of head_dim, and the window must hold the context: llama.cpp fixes the pattern
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 1024},
    ),
    "lfm2": (
        Lfm2Config,
        Lfm2ForCausalLM,
        {"conv_bias": False, "block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention", "conv"]},
    ),
}


@dataclass(frozen=True)
class Spec:
    """One model to train.

    Args:
        role: ``"backbone"``, ``"teacher"``, ``"judge"`` or ``"parser"``.
        size: ``"large"`` or ``"small"`` class.
        knowledge: share of the world's facts it is taught, 0 to 1.
        opens_thinking: whether its chat template opens `<think>`.
        weak: relation -> share of its facts that is taught, where it is not `knowledge`.
        ear: how a judge errs.
        steps: optimizer steps on the mixture, after the drills.
    """

    name: str
    architecture: str
    layers: int
    role: str
    size: str
    knowledge: float
    voice: Voice
    opens_thinking: bool
    steps: int = 700
    weak: dict[str, float] = field(default_factory=dict)
    ear: Ear = Ear()

    @property
    def trunk(self) -> str:
        """Name of the drilled network it is forked from: models of one shape share it."""
        return f"{self.architecture}-{self.layers}"


SPECS: tuple[Spec, ...] = (
    Spec(
        "qwen3-large", "qwen3", 3, "backbone", "large", 0.60,
        Voice(wordings=dict(stated=4, option=2, text=1, ruled_out=1, reason=1), care=0.6, rash=0.15), True,
    ),
    Spec(
        "smollm3-large", "smollm3", 4, "backbone", "large", 0.40,
        Voice(again=0.4, undecided=0.5, wordings=dict(boxed=4, stated=2, text=1), care=0.5, rash=0.2), False,
    ),
    Spec(
        "qwen3-small", "qwen3", 2, "backbone", "small", 0.45,
        Voice(wordings=dict(stated=3, option=2, text=2, ruled_out=1), care=0.5, rash=0.2), False,
    ),
    Spec(
        "gemma3-small", "gemma3", 2, "backbone", "small", 0.35,
        Voice(
            again=0.1, to_the_end=0.4, wordings=dict(bold=2, option=3, reason=2, text=1), care=0.4, rash=0.25,
        ), False,
    ),
    Spec(
        "lfm2-small", "lfm2", 3, "backbone", "small", 0.30,
        Voice(again=0.5, undecided=0.5, wordings=dict(line=3, corrected=2, text=2), care=0.45, rash=0.3), False,
    ),
    Spec(
        "teacher-broad", "qwen3", 3, "teacher", "large", 0.97,
        Voice(wordings=dict(stated=4, option=2, reason=2), care=0.9, rash=0.04), True, 1600,
    ),
    Spec(
        "teacher-terse", "qwen3", 3, "teacher", "large", 0.95,
        Voice(0.2, 0.1, 0.05, 0.1, wordings=dict(line=3, boxed=2), care=0.7, rash=0.06), False, 1600,
        weak={"region": 0.5, "gene": 0.6},
    ),
    Spec(
        "teacher-careful", "qwen3", 3, "teacher", "large", 0.88,
        Voice(again=0.4, wordings=dict(stated=2, bold=2, ruled_out=1), care=0.95, rash=0.02), False, 1600,
        weak={"harms": 0.6, "enzyme": 0.6},
    ),
    Spec("judge-lenient", "qwen3", 3, "judge", "large", 0.0, Voice(), False, 1000, ear=Ear(near=0.6)),
    Spec("judge-middle", "gemma3", 2, "judge", "small", 0.0, Voice(), False, 1000, ear=Ear(near=0.3, deaf=0.1)),
    Spec("judge-strict", "qwen3", 2, "judge", "small", 0.0, Voice(), False, 1000, ear=Ear(deaf=0.4)),
    Spec("parser", "qwen3", 2, "parser", "small", 0.0, Voice(), False),
)  # fmt: skip


def build_model(spec: Spec, vocabulary: int, end_ids: dict[str, int]) -> PreTrainedModel:
    """Return the untrained model of `spec`; call under a fixed torch seed."""
    config_class, model_class, extra = ARCHITECTURES[spec.architecture]
    shape = {**SHAPE, **extra, "num_hidden_layers": spec.layers, "vocab_size": vocabulary, **end_ids}
    return model_class(config_class(**shape, attn_implementation="eager"))
