"""A conversation with one model: answers appear as they are written, after a notice that they are no medical advice.

Stores and grades nothing; a model is found and loaded by `medpsy.partners`.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO

from medpsy import partners
from medpsy.chat_parts import Part, parts, show
from medpsy.engines.base import Message, Prompt, PromptTooLong
from medpsy.generation import replaying
from medpsy.partners import Loaded, Partner
from medpsy.study import Study


class Conversation:
    """What was said so far. An answer stopped halfway counts as far as it came; a turn without one is forgotten."""

    def __init__(self, partner: Partner, loaded: Loaded, *, system: str | None = None) -> None:
        self._partner, self._loaded = partner, loaded
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []
        self._turns: list[Message] = []

    def say(self, text: str) -> Iterator[Part]:
        """Yield the response to `text` in parts as it is written; where the context is full the oldest turns go.

        Raises:
            PromptTooLong: `text` alone does not fit.
            EngineError: the model cannot answer.
        """
        self._turns.append({"role": "user", "content": text})
        answer = []
        try:
            for part in parts(self._pieces(), self._partner.model.opens_thinking):
                answer += [] if part.thinking else [part.text]
                yield part
        finally:
            said = "".join(answer).strip()
            if said:
                self._turns.append({"role": "assistant", "content": said})
            else:
                self._turns.pop()

    @property
    def answer(self) -> str:
        """The last answer, without its reasoning; empty where there is none."""
        return self._turns[-1]["content"] if self._turns else ""

    def _pieces(self) -> Iterator[str]:
        while True:
            prompt = Prompt("chat", (*self._system, *self._turns))
            try:
                return (yield from self._loaded.stream(prompt, self._partner.sampling))
            except PromptTooLong:  # comes before the first piece
                if len(self._turns) == 1:
                    raise
                del self._turns[:2]


def ask(
    study: Study, model: str | Path, text: str, *, hide_thinking: bool = False, max_tokens: int | None = None
) -> str:
    """Print the notice, then the response of `model` to `text` as it is written; return its answer.

    For a cell of a notebook. A replay, which has no models, prints that and returns an empty answer.

    Args:
        model: an exported folder, or the name of a model, checkpoint or endpoint of `study`.
    """
    if replaying():
        print("A replay asks no model.")
        return ""
    partner = partners.find(model, lambda: study).sampled(max_tokens=max_tokens)
    print(partner.notice)
    with partner.load() as loaded:
        conversation = Conversation(partner, loaded)
        show(conversation.say(text), sys.stdout, hide_thinking=hide_thinking)
    return conversation.answer


def talk(conversation: Conversation, lines: Iterable[str], out: TextIO, *, hide_thinking: bool = False) -> None:
    """Answer each of `lines` on `out`. Ctrl-C stops an answer and not the talk; a line that is too long is passed over.

    Raises:
        EngineError: the model cannot answer any more.
    """
    for line in filter(str.strip, lines):
        try:
            with closing(conversation.say(line.strip())) as response:  # closed at once: its server stops writing, too
                show(response, out, hide_thinking=hide_thinking)
        except KeyboardInterrupt:
            print("(stopped)", file=out)
        except PromptTooLong as error:
            print(f"medpsy: {error}", file=sys.stderr)
