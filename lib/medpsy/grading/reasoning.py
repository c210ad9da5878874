"""Split what a model wrote into reasoning and answer.

Refuses to guess: reasoning that never ended is not an answer, whatever letters it holds. Reads no option; that is
the work of `medpsy.grading.readers` and of the parser model.
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["answer", "cut off", "unreadable"]


@dataclass(frozen=True)
class Markers:
    """How one family of models writes its reasoning; `closes` ends it, `opens` starts it where it is written."""

    family: str
    opens: tuple[str, ...]
    closes: tuple[str, ...]


# Sources: model cards and chat templates as collected by the reasoning parsers of vLLM 0.20 to 0.22, the harmony
# format page of gpt-oss, the Gemma 4 prompt formatting page, the MedGemma 1.5 chat format (Gemma 3 tokenizer).
FAMILIES = (
    Markers("Qwen3, DeepSeek-R1, SmolLM3, GLM, most others", ("<think>",), ("</think>",)),
    Markers("prompted chain of thought", ("<thinking>", "<thought>"), ("</thinking>", "</thought>")),
    Markers("MedGemma", ("<unused94>",), ("<unused95>",)),
    Markers("Gemma 4", ("<|channel>thought",), ("<channel|>",)),
    # "assistantfinal" is what is left of gpt-oss's markers when special tokens were dropped while decoding.
    Markers("gpt-oss", ("<|channel|>analysis<|message|>",), ("<|channel|>final<|message|>", "assistantfinal")),
    Markers("Mistral reasoning models", ("[THINK]",), ("[/THINK]",)),
    Markers("Command A Reasoning", ("<|START_THINKING|>",), ("<|END_THINKING|>",)),
    Markers("Kimi", ("◁think▷",), ("◁/think▷",)),
    Markers("Seed-OSS", ("<seed:think>",), ("</seed:think>",)),
)
OPENS = tuple(marker for family in FAMILIES for marker in family.opens)
CLOSES = tuple(marker for family in FAMILIES for marker in family.closes)

# End-of-turn tokens that a server may leave in the text; they are no part of an answer.
TURN_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<|return|>", "<|end|>", "<turn|>", "</s>")


@dataclass(frozen=True)
class Split:
    """A response in two parts; `answer` is None unless `state` is ``"answer"``."""

    reasoning: str
    answer: str | None
    state: State


def split(text: str, *, opens_thinking: bool, finish_reason: str | None) -> Split:
    """Return reasoning and answer of one response; everything before the last end marker is reasoning.

    Args:
        opens_thinking: the chat template already wrote the opening marker, so the model starts inside its reasoning.
        finish_reason: ``"length"`` when generation hit the token limit; anything else (also None) counts as finished.
    """
    reasoning, marker, rest = _at_last_close(text)
    answer = _without_turn_ends(rest)
    unfinished = _opened(rest) or (not marker and opens_thinking)
    if not marker and (unfinished or finish_reason == "length"):
        return Split(text, None, _no_answer(finish_reason))
    if unfinished:  # a second block of reasoning was opened after the first and never closed
        return Split(text, None, _no_answer(finish_reason))
    if not answer:
        return Split(reasoning, None, _no_answer(finish_reason))
    return Split(reasoning, answer, "answer")


def _at_last_close(text: str) -> tuple[str, str, str]:
    """Split at the end marker that stands last in `text`; without one, everything is the rest."""
    at, marker = max((text.rfind(close), close) for close in CLOSES)
    if at < 0:
        return "", "", text
    return text[:at], marker, text[at + len(marker) :]


def _opened(text: str) -> bool:
    return any(marker in text for marker in OPENS)


def _no_answer(finish_reason: str | None) -> State:
    return "cut off" if finish_reason == "length" else "unreadable"


def _without_turn_ends(text: str) -> str:
    text = text.strip()
    while ends := [end for end in TURN_ENDS if text.endswith(end)]:
        text = text.removesuffix(ends[0]).rstrip()
    return text
