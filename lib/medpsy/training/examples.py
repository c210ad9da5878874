"""Rows of a corpus as a target sees them: prompt in its chat template, completion up to the end of its turn.

The prompt is, character by character, what an engine would send. Refuses a template that opens the thinking where the
study says that it does not, and one without an end of turn. Cuts nothing off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medpsy.engines.fixed_day import dated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<think>", "</think>"
PROBE = "What is asked?"


@dataclass(frozen=True)
class Form:
    """How one target is written to.

    Args:
        opens_thinking: its template ends the prompt with ``<think>``; otherwise the completion starts with it.
        end: the token that ends its turn.
        switches: of the chat template, as in the study.
    """

    opens_thinking: bool
    end: str
    switches: Mapping[str, Any]

    def prompt(
        self,
        tokenizer: PreTrainedTokenizerBase,
        messages: Sequence[Mapping[str, str]],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Return `messages` as the template writes them, up to where the model goes on.

        Args:
            tools: functions the model may call, as JSON schemas; none by default.

        Raises:
            ValueError: the template leaves a tool out.
        """
        turns, given = [dict(turn) for turn in messages], {"tools": list(tools)} if tools else {}
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **given, **dated(self.switches)
        )
        for tool in tools:
            if (called := tool.get("function", tool).get("name", "")) not in text or not called:
                raise ValueError(f"tool {called!r} is not in the prompt; give the model a chat template that has tools")
        return text

    def completion(self, reasoning: str, answer: str) -> str:
        opening = "" if self.opens_thinking else f"{OPEN}\n"
        return f"{opening}{reasoning.strip()}\n{CLOSE}\n\n{answer.strip()}{self.end}"

    def example(self, tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any]) -> dict[str, str]:
        """Return `row` of a corpus as ``prompt`` and ``completion``, the columns that TRL's SFTTrainer masks apart.

        Args:
            row: ``messages``, ``reasoning`` and ``answer``, which may be a tool call as the template writes it; where
                there are tools, ``prompt_tools`` holds them as a JSON list (an empty text for none).

        Raises:
            ValueError: the tools are no JSON list; names the row.
        """
        return {
            "prompt": self.prompt(tokenizer, row["messages"], tools_of(row)),
            "completion": self.completion(row["reasoning"], row["answer"]),
        }


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a corpus's `row`; most corpora have none and no column for them."""
    text = row.get("prompt_tools")
    try:
        tools = json.loads(text) if text else []
        if isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools):
            return tools
    except ValueError:
        pass
    raise ValueError(f"row {row.get('id')!r}: prompt_tools is no JSON list of functions; write the corpus again")


def form(tokenizer: PreTrainedTokenizerBase, *, opens_thinking: bool, switches: Mapping[str, Any]) -> Form:
    """Return how the model of `tokenizer` is written to, after looking at what its template really does.

    Raises:
        ValueError: the template opens the thinking and `opens_thinking` denies it, or the other way round; or its
            turns do not end with one token of the vocabulary.
    """
    asked = [{"role": "user", "content": PROBE}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, **dated(switches))
    opens = prompt.rstrip().endswith(OPEN)
    if opens != opens_thinking:
        does = "opens" if opens else "does not open"
        raise ValueError(
            f"opens_thinking: {opens_thinking} in study.yaml, but the chat template {does} the thinking; correct it"
        )
    answered = [*asked, {"role": "assistant", "content": PROBE}]
    tail = tokenizer.apply_chat_template(answered, tokenize=False, **dated(switches)).rpartition(PROBE)[2].strip()
    if len(tokenizer(tail, add_special_tokens=False)["input_ids"]) != 1:
        raise ValueError(f"the chat template ends a turn with {tail!r}, which is not one token; give it an end of turn")
    return Form(opens_thinking, tail, switches)


def lengths(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the tokens of each example, prompt and completion together."""
    texts = [one["prompt"] + one["completion"] for one in examples]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
