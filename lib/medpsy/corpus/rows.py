"""Rows of training data: what makes a response one, how a target's chat template writes it, how many tokens that is.

The prompt is, character by character, what an engine would send. Numbers of tokens are kept in the response store, so a
replay needs no tokenizer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from medpsy.corpus.seeds import Seed
from medpsy.engines.base import Message
from medpsy.engines.chat import render, tokenizer_of
from medpsy.grading.readers import CLOSES, OPENS, split
from medpsy.store import ResponseStore
from medpsy.study import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FAILED, CUT_OFF, UNREADABLE = "failed", "cut off", "unreadable"
TOO_LONG, EXACT, NEAR, CONTAMINATED = "too long", "exact duplicate", "near duplicate", "contaminated"
FILTERS = (FAILED, CUT_OFF, UNREADABLE, TOO_LONG, EXACT, NEAR, CONTAMINATED)  # in their order
TEXT = pa.string()
MESSAGE = pa.struct([("role", TEXT), ("content", TEXT)])
SCHEMA = pa.schema(
    {name: TEXT for name in ("id", "corpus", "kind")}
    | {"messages": pa.list_(MESSAGE), "reasoning": TEXT, "answer": TEXT, "facts": pa.list_(TEXT)}
    | {"teacher": TEXT, "key": TEXT, "tokens": pa.int32()}
)
TOOL_SCHEMA = SCHEMA.append(pa.field("prompt_tools", TEXT))


@dataclass(frozen=True)
class TrainingRow:
    """A prompt and the teacher's reasoning and answer; columns as in `TOOL_SCHEMA`."""

    id: str
    corpus: str
    kind: str
    messages: tuple[Message, ...]
    reasoning: str
    answer: str
    facts: tuple[str, ...]
    teacher: str
    key: str  # of the response in the store; empty where the store has none
    tokens: int = 0  # until they are counted
    prompt_tools: str = ""  # functions that the prompt offers, a JSON list

    @property
    def written(self) -> list[object]:
        return [self.messages, self.reasoning, self.answer, *([self.prompt_tools] if self.prompt_tools else [])]

    @property
    def readable(self) -> TrainingRow | str:
        """The row, or the filter that drops it: a second think block, which no training row may hold."""
        return UNREADABLE if marked(self.reasoning) or marked(self.answer) else self

    @property
    def text(self) -> str:
        return "\n".join([*(turn["content"] for turn in self.messages), self.reasoning, self.answer])


def row_of_response(seed: Seed, response: Any, teacher: ModelSpec) -> TrainingRow | str:
    """Return the row that `response` (a row of the response store) makes, or the filter that drops it."""
    if response.finish_reason == "failed":
        return FAILED
    if response.finish_reason == "length":
        return CUT_OFF
    part = split(response.text, opens_thinking=teacher.opens_thinking, finish_reason=response.finish_reason)
    reasoning = without_opening(part.reasoning)
    if part.answer is None or not reasoning or marked(reasoning) or marked(part.answer):
        return UNREADABLE
    place = (seed.id, seed.corpus, seed.kind, seed.messages)
    return TrainingRow(*place, reasoning, part.answer, seed.facts, teacher.name, response.key)


def without_opening(reasoning: str) -> str:
    """Return `reasoning` without the marker that opens it, where the model wrote one."""
    reasoning = reasoning.strip()
    opening = next((marker for marker in OPENS if reasoning.startswith(marker)), "")
    return reasoning.removeprefix(opening).strip()


def marked(text: str) -> bool:
    """Return whether a marker of reasoning is left in `text`."""
    return any(marker in text for marker in (*OPENS, *CLOSES))


OPEN, CLOSE = "<think>", "</think>"
PROBE = "What is asked?"


@dataclass(frozen=True)
class Form:
    """How one target is written to."""

    opens_thinking: bool  # its template ends the prompt with ``<think>``; otherwise the completion starts with it
    end: str  # the token that ends its turn
    switches: Mapping[str, Any]  # of the chat template, as in the study

    def prompts(self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the conversation of each of `rows` as the template writes it, up to where the model goes on. Rows have
        ``messages``, and where there are tools ``prompt_tools``: a JSON list, an empty text for none. A tool that the
        template leaves out is a ValueError."""
        tools = [json.loads(row.get("prompt_tools") or "[]") for row in rows]
        conversations = [[dict(turn) for turn in row["messages"]] for row in rows]
        texts = render(tokenizer, conversations, self.switches, tools=tools)
        for text, offered in zip(texts, tools, strict=True):
            for name in (tool.get("function", tool).get("name", "") for tool in offered):
                if name not in text or not name:
                    fix = "give the model a chat template that has tools"
                    raise ValueError(f"tool {name!r} is not in the prompt; {fix}")
        return texts

    def completion(self, reasoning: str, answer: str) -> str:
        opening = "" if self.opens_thinking else f"{OPEN}\n"
        return f"{opening}{reasoning.strip()}\n{CLOSE}\n\n{answer.strip()}{self.end}"

    def examples(self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Return `rows` of a corpus as ``prompt`` and ``completion``, the columns that TRL's SFTTrainer masks apart."""
        completions = [self.completion(row["reasoning"], row["answer"]) for row in rows]
        pairs = zip(self.prompts(tokenizer, rows), completions, strict=True)
        return [{"prompt": prompt, "completion": completion} for prompt, completion in pairs]


def chat_form(tokenizer: PreTrainedTokenizerBase, *, opens_thinking: bool, switches: Mapping[str, Any]) -> Form:
    """Return how the model of `tokenizer` is written to; a template that opens the thinking otherwise than is said, or
    has no end of turn, is a ValueError."""
    asked = [{"role": "user", "content": PROBE}]
    (prompt,) = render(tokenizer, [asked], switches)
    if (opens := prompt.rstrip().endswith(OPEN)) != opens_thinking:
        does = f"the chat template {'opens' if opens else 'does not open'} the thinking"
        raise ValueError(f"opens_thinking: {opens_thinking} in study.yaml, but {does}; correct it")
    answered = [*asked, {"role": "assistant", "content": PROBE}]
    (whole,) = render(tokenizer, [answered], switches, add_generation_prompt=False)
    tail = whole.rpartition(PROBE)[2].strip()
    if len(tokenizer(tail, add_special_tokens=False)["input_ids"]) != 1:
        raise ValueError(f"the chat template ends a turn with {tail!r}, which is not one token; give it an end of turn")
    return Form(opens_thinking, tail, switches)


def example_lengths(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Mapping[str, str]]) -> list[int]:
    texts = [example["prompt"] + example["completion"] for example in examples]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []


class Lengths:
    """Counts rows for `targets`; a target's tokenizer is loaded when a number is not stored yet."""

    def __init__(self, store: ResponseStore, targets: Sequence[ModelSpec]) -> None:
        self.store, self.targets = store, targets
        self._forms: dict[str, tuple[PreTrainedTokenizerBase, Form]] = {}

    def longest(self, rows: Sequence[TrainingRow]) -> list[int]:
        return np.max([self._counted(target, rows) for target in self.targets], axis=0).tolist() if rows else []

    def _counted(self, target: ModelSpec, rows: Sequence[TrainingRow]) -> np.ndarray:
        def count(missing: list[int]) -> list[int]:
            if target.name not in self._forms:
                tokenizer = tokenizer_of(target)
                form = chat_form(tokenizer, opens_thinking=target.opens_thinking, switches=target.chat_template_kwargs)
                self._forms[target.name] = tokenizer, form
            tokenizer, form = self._forms[target.name]
            return example_lengths(tokenizer, form.examples(tokenizer, [vars(rows[at]) for at in missing]))

        start = self.store.fingerprint(target).encode()
        keys = [hashlib.sha256(start + json.dumps(row.written).encode()).hexdigest() for row in rows]
        return self.store.counts("row_tokens", keys, count)
