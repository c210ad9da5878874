"""From conversations to token ids and back, in one way for every engine that runs a model itself.

Prompts are rendered by the model's own chat template and checked, all of them, before an engine generates anything.
Refuses a prompt that does not fit. Loads no weights.
"""

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medpsy import families
from medpsy.engines.base import Prompt, PromptTooLong, Response, Sampling
from medpsy.engines.fixed_day import dated
from medpsy.engines.weights import Model, eos_ids, text_config

CHUNK = 512  # prompts rendered and tokenized at a time: bounds the memory that a long generator of prompts needs


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids, four bytes each; its messages are no longer held."""

    id: str
    tokens: array

    @property
    def size(self) -> int:
        return len(self.tokens)


class Sized(Protocol):
    """What a response tells of its prompt: id and number of tokens."""

    id: str
    size: int


class Chat:
    """Tokenizer and chat template of one model.

    Args:
        stop_ids: tokens that end a response.
        context: tokens that prompt and response together may have; None if nobody says.
    """

    def __init__(self, model: Model, folder: Path, *, context: int | None = None) -> None:
        from transformers import AutoTokenizer

        self._model = model
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not self._tokenizer.chat_template:
            raise ValueError(
                f"model {model.name!r}: {model.path} has no chat template; save it with `tokenizer.chat_template` set"
            )
        self.stop_ids = self._stops(folder)
        limits = [limit for limit in (text_config(folder).get("max_position_embeddings"), context) if limit]
        self.context = min(limits, default=None)

    def _stops(self, folder: Path) -> frozenset[int]:
        added = self._tokenizer.get_added_vocab()
        own = self._tokenizer.eos_token_id
        known = {added[token] for token in families.known().ends if token in added}
        return frozenset({*eos_ids(folder), *known, *([] if own is None else [own])})

    def encode(self, prompts: Iterable[Prompt], sampling: Sampling) -> list[Encoded]:
        """Return all `prompts` as token ids, in their order.

        All are held at once, as ids only (a million prompts of 300 tokens: 1.2 GB); messages are let go in chunks.

        Raises:
            PromptTooLong: some prompt and `max_tokens` do not fit the context; names the longest.
            ValueError: impossible sampling, a prompt id used twice, or messages that the chat template refuses.
        """
        check_sampling(sampling)
        iterator, encoded = iter(prompts), []
        while chunk := list(itertools.islice(iterator, CHUNK)):
            ids = self._tokenizer([self._render(prompt) for prompt in chunk], add_special_tokens=False)["input_ids"]
            encoded += [Encoded(prompt.id, array("I", row)) for prompt, row in zip(chunk, ids, strict=True)]
        check_ids(item.id for item in encoded)
        self._require_fit(encoded, sampling.max_tokens)
        return encoded

    def _render(self, prompt: Prompt) -> str:
        switches = dated(self._model.chat_template_kwargs)
        try:
            return self._tokenizer.apply_chat_template(
                list(prompt.messages), tokenize=False, add_generation_prompt=True, **switches
            )
        except Exception as error:  # a template may raise anything
            raise ValueError(
                f"model {self._model.name!r}: its chat template refuses prompt {prompt.id!r}: {error}"
            ) from error

    def _require_fit(self, encoded: Sequence[Encoded], max_tokens: int) -> None:
        longest = max(encoded, key=lambda item: len(item.tokens), default=None)
        if longest is None or self.context is None or len(longest.tokens) + max_tokens <= self.context:
            return
        over = sum(len(item.tokens) + max_tokens > self.context for item in encoded)
        raise PromptTooLong(
            f"model {self._model.name!r}: prompt {longest.id!r} has {len(longest.tokens)} tokens; with max_tokens "
            f"{max_tokens} that is {len(longest.tokens) + max_tokens}, and the context holds {self.context} "
            f"({over} of {len(encoded)} prompts do not fit); lower max_tokens or shorten the prompt"
        )

    def response(self, prompt: Sized, tokens: Sequence[int], seconds: float, *, stopped: bool = False) -> Response:
        """Return the response made of generated `tokens`, which are cut at the first token that ends a response.

        `stopped` says that the last token ended it for the engine, whether or not we know that token as an end.
        `completion_tokens` counts every generated token, the ending one included, as OpenAI-compatible servers do.
        """
        last = len(tokens) - 1 if stopped else None
        end = next((at for at, token in enumerate(tokens) if token in self.stop_ids), last)
        count = len(tokens) if end is None else end + 1
        text = self._tokenizer.decode(list(tokens[:end]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Response(prompt.id, text, "length" if end is None else "stop", prompt.size, count, seconds)

    def detokenizer(self) -> Callable[[int], str | None]:
        """Return what turns one token after another into text; None while a character is not whole."""
        from tokenizers.decoders import DecodeStream

        decoded, tokenizer = DecodeStream(skip_special_tokens=False), self._tokenizer.backend_tokenizer
        return lambda token: decoded.step(tokenizer, token)


def check_ids(ids: Iterable[str]) -> None:
    """Raise ValueError if an id occurs twice: its two responses could not be told apart."""
    seen: set[str] = set()
    for prompt_id in ids:
        if prompt_id in seen:
            raise ValueError(f"prompt id {prompt_id!r} is used twice; give each prompt its own id")
        seen.add(prompt_id)


def check_sampling(sampling: Sampling) -> None:
    """Raise ValueError, naming setting and value, if `sampling` makes no sense."""
    allowed = {
        "max_tokens": (sampling.max_tokens >= 1, "1 or more"),
        "temperature": (0 <= sampling.temperature < float("inf"), "0 (greedy) or more"),
        "top_p": (0 < sampling.top_p <= 1, "above 0 and at most 1"),
        "top_k": (sampling.top_k >= 0, "0 (off) or more"),
    }
    for name, (fits, fix) in allowed.items():
        if not fits:
            raise ValueError(f"sampling.{name} is {getattr(sampling, name)}; it must be {fix}")
