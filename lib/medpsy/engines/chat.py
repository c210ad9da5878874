"""From conversations to token ids and back, in one way for every engine that runs a model itself.

Prompts are rendered by the model's own chat template, whose special tokens alone are some: the same characters in what
was asked stay text. A template is a program that came with the model, and may never end: it runs in a fork of this
process, where the system stops what takes too much time or memory. One that asks for the date (``strftime_now``, or
``date_string`` as Llama's do) gets the day that the model's switch ``date_string`` names, and is refused without.
"""

import contextlib
import gc
import itertools
import multiprocessing
import re
import resource
import signal
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medpsy import families
from medpsy.engines.base import Engine, Message, Prompt, Response, Sampling
from medpsy.engines.models import Model, eos_ids, fingerprint, model_folder, text_config

WRITTEN = ("user", "tool")  # roles whose content is text; an assistant's own turns hold its markers of reasoning
CHUNK = 512  # prompts rendered and tokenized at a time: bounds the memory that a long generator of prompts needs
CPU_SECONDS = 10.0  # ours, for one conversation: templates of real models take some milliseconds
MEMORY = 2**30  # ours: bytes beyond what this process has
CHARACTERS = 2**24  # ours, of one conversation: four times what a context of a million tokens holds
SILENCE = 300.0  # seconds without a conversation after which a fork that does not even compute is given up
SWITCH = "date_string"
FORM = "%d %b %Y"  # as Llama's templates write it: 26 Jul 2024


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids, four bytes each; its messages are no longer held."""

    id: str
    tokens: array

    def failed(self, why: str, seconds: float) -> Response:
        return Response(self.id, "", "failed", len(self.tokens), 0, seconds, why)


class ChatEngine(Engine):
    """An engine that runs a model itself and gets token ids. `stop_ids` end a response; `context` is the tokens of
    prompt and response together, None if nobody says."""

    def __init__(self, model: Model, options: Any) -> None:
        from transformers import AutoTokenizer

        self._spec, self._options, self._folder = model, options, (folder := model_folder(model))
        self.fingerprint = fingerprint(model)
        self._tokenizer = tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not tokenizer.chat_template:
            fix = "save it with `tokenizer.chat_template` set"
            raise ValueError(f"model {model.name!r}: {model.path} has no chat template; {fix}")
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = re.compile(families.starts(special))
        added, end = tokenizer.get_added_vocab(), tokenizer.eos_token_id
        ends = [added[token] for token in families.known().ends if token in added]
        self.stop_ids = frozenset({*eos_ids(folder), *ends, *([] if end is None else [end])})
        limits = (text_config(folder).get("max_position_embeddings"), options.context)
        self.context = min(filter(None, limits), default=None)

    def _prepare(self, prompts: Iterable[Prompt], sampling: Sampling) -> tuple[list[Encoded], list[Response]]:
        """Return those `prompts` that fit the context together with `max_tokens` as token ids, in their order, and a
        failed response for each of the others. A ValueError names a prompt that the chat template refuses. All are held
        at once, as ids only (a million prompts of 300 tokens: 1.2 GB); messages are let go in chunks."""
        iterator, fitting, refused = iter(prompts), [], []
        while chunk := list(itertools.islice(iterator, CHUNK)):
            ids = self._tokenizer(self._rendered(chunk), add_special_tokens=False)["input_ids"]
            for prompt, row in zip(chunk, ids, strict=True):
                encoded, size = Encoded(prompt.id, array("I", row)), len(row) + sampling.max_tokens
                if self.context is None or size <= self.context:
                    fitting.append(encoded)
                else:
                    why = f"prompt {prompt.id!r} has {len(row)} tokens; with max_tokens {sampling.max_tokens} that is "
                    why += f"{size}, and the context of {self._spec.name} holds {self.context}; lower max_tokens"
                    refused.append(encoded.failed(why, 0.0))
        return fitting, refused

    def _rendered(self, prompts: Sequence[Prompt]) -> list[str]:
        try:
            texts = [[self._as_text(message) for message in prompt.messages] for prompt in prompts]
            return render(self._tokenizer, texts, self._spec.chat_template_kwargs)
        except TemplateError as error:
            refused = f"its chat template refuses prompt {prompts[error.place].id!r}: {error}"
            raise ValueError(f"model {self._spec.name!r}: {refused}") from None

    def _as_text(self, message: Message) -> Message:
        """Return `message` with a space in every special token that its content spells out."""
        if message["role"] not in WRITTEN:
            return message
        return message | {"content": self._special.sub(r"\g<0> ", message["content"])}

    def _response(self, prompt: Encoded, tokens: Sequence[int], seconds: float, *, stopped: bool = False) -> Response:
        """Return the response made of generated `tokens`, cut at the first that ends a response, or at the last where
        it ended it for the engine (`stopped`). The ending one counts, as in OpenAI-compatible servers."""
        last = len(tokens) - 1 if stopped else None
        end = next((at for at, token in enumerate(tokens) if token in self.stop_ids), last)
        count = len(tokens) if end is None else end + 1
        text = self._tokenizer.decode(list(tokens[:end]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        reason = "length" if end is None else "stop"
        return Response(prompt.id, text, reason, len(prompt.tokens), count, seconds)


class TemplateError(ValueError):
    """A chat template refused a conversation, or did not end within bounds; `place` is the conversation's."""

    def __init__(self, why: str, place: int) -> None:
        super().__init__(why)
        self.place = place


def tokenizer_of(model: Model) -> Any:
    """Return the model's own tokenizer, of its folder or of its commit on the hub; weights are not fetched."""
    from transformers import AutoTokenizer  # late: takes seconds to import

    revision = {} if model.local_dir else {"revision": model.revision}
    return AutoTokenizer.from_pretrained(model.local_dir or model.path, trust_remote_code=False, **revision)


def render(
    tokenizer: Any,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    switches: Mapping[str, Any],
    *,
    tools: Sequence[Sequence[Mapping[str, Any]]] | None = None,
    add_generation_prompt: bool = True,
) -> list[str]:
    """Return each of `conversations` as the chat template of `tokenizer` writes it with `switches`. `tools` are
    functions the model may call, as JSON schemas, of each conversation. TemplateError where the template refuses one or
    takes more than `CPU_SECONDS`, `MEMORY` or `CHARACTERS`."""
    common = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
    asked = [
        {"conversation": list(turns), **({"tools": list(some)} if some else {}), **common}  # or a switch holds them
        for turns, some in zip(conversations, tools or [()] * len(conversations), strict=True)
    ]
    forking = multiprocessing.get_context("fork")  # whose copy has everything that is needed already
    receiver, sender = forking.Pipe(duplex=False)
    process = forking.Process(target=_write, args=(sender, tokenizer, asked, dated(switches)), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the copy needs none of them
        process.start()
    sender.close()
    texts: list[str] = []
    try:
        while len(texts) < len(asked):
            if not receiver.poll(SILENCE):
                raise TemplateError(f"it wrote nothing for {SILENCE:g} s", len(texts))
            text, error = receiver.recv()
            if error:
                raise TemplateError(error, len(texts))
            texts.append(text)
    except EOFError:
        process.join()
        why = f"it ended the process that ran it ({process.exitcode}), for want of memory perhaps"
        if process.exitcode == -signal.SIGPROF:
            why = f"it takes more than {CPU_SECONDS:g} s for one conversation"
        raise TemplateError(why, len(texts)) from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    return texts


def _write(sender: Connection, tokenizer: Any, asked: Sequence[dict[str, Any]], switches: Mapping[str, Any]) -> None:
    """In the fork: send (text, "") or ("", error) for each of `asked`."""
    gc.disable()  # nothing of the other process's is to be finalized here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process stops this one
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # no /proc, as on a Mac: memory stays unbounded
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard, most = resource.getrlimit(resource.RLIMIT_AS)[1], pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    for arguments in asked:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            text = tokenizer.apply_chat_template(**arguments, **switches)
            answer = (text, "") if len(text) <= CHARACTERS else ("", f"it writes {len(text):,} characters")
        except MemoryError:
            answer = ("", f"it takes more than {MEMORY / 2**20:,.0f} MiB")
        except Exception as error:  # a template may raise anything
            answer = ("", str(error) or type(error).__name__)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sender.send(answer)


def dated(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Return `switches` of a chat template and the clock it may ask, for ``apply_chat_template``."""
    return {**switches, "strftime_now": partial(_today, switches.get(SWITCH))}


def _today(day: object, form: str) -> str:
    try:
        return datetime.strptime(str(day), FORM).strftime(form)
    except ValueError:
        given = "nobody names one" if day is None else f"{SWITCH} is {day!r}"
        fix = f"give the model chat_template_kwargs: {{{SWITCH}: 26 Jul 2024}} in study.yaml"
        raise ValueError(f"it asks for today's date, and {given}; {fix}") from None
