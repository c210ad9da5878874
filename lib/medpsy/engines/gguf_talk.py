"""One GGUF file behind one llama-server, answering one prompt at a time, piece by piece.

Prompts are made of the model's own tokenizer and template, as the engine of many prompts (`llama_cpp_engine`) makes
them. Keeps no history.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx

from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.chat import Chat
from medpsy.engines.errors import EngineError
from medpsy.engines.llama_cpp_engine import request
from medpsy.engines.llama_server import LlamaServer, ServerOptions
from medpsy.engines.session import Session
from medpsy.engines.weights import Model

EVENT = "data: "  # how a line of a stream of server-sent events starts
SHOWN = 300  # characters of the server's message in an error


class GgufTalk(Session):
    """A model in one GGUF file.

    Args:
        folder: tokenizer, chat template and configuration of the model.
        context: tokens that prompt and response together may have, if fewer than the model allows.
        threads: CPU threads; by default llama.cpp's choice.

    Raises:
        FileNotFoundError: llama-server is not installed; says how to get it.
        EngineError: it cannot load the file; shows the end of its log.
    """

    def __init__(self, model: Model, folder: Path, gguf: Path, *, context: int, threads: int | None = None) -> None:
        self._chat = Chat(model, folder, context=context)
        self._server = LlamaServer(gguf, ServerOptions(1, self._chat.context, "f16", threads))

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Return the pieces of one response while it is written; closing the iterator stops the server's work on it.

        Raises:
            PromptTooLong: prompt and `max_tokens` do not fit the context.
            EngineError: with a piece; the server refuses the request or is gone.
        """
        (encoded,) = self._chat.encode([prompt], sampling)
        return self._pieces(request(encoded, sampling) | {"stream": True, "response_fields": []})

    def _pieces(self, body: dict[str, object]) -> Iterator[str]:
        try:
            with self._server.client(timeout=None) as client, client.stream("POST", "/completion", json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    text = answer.read().decode("utf-8", "replace")[:SHOWN]
                    raise EngineError(f"llama-server answered {answer.status_code}: {text}")
                for line in answer.iter_lines():
                    if line.startswith(EVENT):
                        yield json.loads(line.removeprefix(EVENT)).get("content", "")
        except httpx.TransportError as error:
            raise self._server.error("stopped answering") from error

    def close(self) -> None:
        self._server.stop()
