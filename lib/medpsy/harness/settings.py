"""How the harness is run: its backend, its batch, what it does with a chat template and with reasoning."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Settings:
    """Settings of one run; the defaults are the card's, or where it says nothing the harness's own.

    Args:
        backend: ``"hf"`` (transformers) or ``"vllm"``.
        batch_size: documents at a time.
        dtype: number format of the weights in memory.
        apply_chat_template, fewshot_as_multiturn: as the card's commands have them.
        think_end_token: where the reasoning ends; what stands before it is not scored. None scores all of it. The
            card gives none, since its models do not think. Scores of log-likelihoods do not depend on it.
        max_gen_toks: tokens a response may have; None leaves it to the task, and where that is silent the harness
            stops after 256.
        limit: documents per task; 0 means all.
        backend_options: further arguments of the backend, e.g. ``{"parallelize": True}``.
    """

    backend: Literal["hf", "vllm"] = "hf"
    batch_size: int = 64
    dtype: str = "bfloat16"
    apply_chat_template: bool = True
    fewshot_as_multiturn: bool = True
    think_end_token: str | None = "</think>"
    max_gen_toks: int | None = None
    limit: int = 0
    backend_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.limit < 0 or (self.max_gen_toks is not None and self.max_gen_toks < 1):
            raise ValueError(
                f"batch_size {self.batch_size}, limit {self.limit}, max_gen_toks {self.max_gen_toks}: counts of at "
                "least 1 are wanted (limit: 0 for all documents; max_gen_toks: None for the task's own)"
            )
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("fewshot_as_multiturn needs apply_chat_template: turns exist in a chat only")
        if code := [name for name in self.backend_options if name.startswith("trust_remote_code")]:
            raise ValueError(f"backend_options: {code[0]} stays off; code that comes with a model is not run")
