"""What an OpenAI-compatible endpoint says: its answers as responses, its refusals sorted by what they mean for a run.

Refuses to pass on the key: it is struck out of whatever text an endpoint sends back.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import openai

from medpsy.engines.base import Response

STOP = ("stop", "eos", "end_turn", "stop_sequence")
LENGTH = ("length", "max_tokens", "max_output_tokens")
TOO_LONG = ("context_length", "context length", "exceed_context_size", "maximum context", "too many tokens")
UNKNOWN = (401, 403, 404)  # key, access or model: no prompt can succeed
REASONING = ("reasoning_content", "reasoning")  # vLLM, llama.cpp, DeepSeek; newer vLLM, OpenRouter
SHOWN = 300  # characters of an endpoint's message in an error


def read(prompt_id: str, completion: Any, seconds: float) -> Response:
    """Return an answer of the chat completions interface as a response.

    What the server parsed out as reasoning is put back before the text, between ``<think>`` and ``</think>``. Token
    counts are the server's, 0 where it gives none.
    """
    usage = getattr(completion, "usage", None)
    counts = (getattr(usage, "prompt_tokens", None) or 0, getattr(usage, "completion_tokens", None) or 0)
    choices = getattr(completion, "choices", None)
    if not choices:
        return Response(prompt_id, "", "failed", *counts, seconds, "the endpoint's answer holds no choices")
    reason = choices[0].finish_reason
    if reason not in (*STOP, *LENGTH):
        error = f"the endpoint ended the response for the reason {reason!r}"
        return Response(prompt_id, "", "failed", *counts, seconds, error)
    finish = "length" if reason in LENGTH else "stop"
    message = choices[0].message
    text = _joined(_reasoning(message), message.content or "", finish)
    return Response(prompt_id, text, finish, *counts, seconds)


def pieces(chunks: Iterable[Any]) -> Iterator[str]:
    """Yield the text of a streamed answer as it comes, reasoning put back as `read` does it."""
    thinking = False
    for delta in (choice.delta for chunk in chunks for choice in chunk.choices[:1]):
        reasoning, answer = _reasoning(delta), delta.content or ""
        if reasoning:
            yield reasoning if thinking else f"<think>\n{reasoning}"
        if answer:
            yield f"\n</think>\n{answer}" if thinking or reasoning else answer
        thinking = (thinking or bool(reasoning)) and not answer


def _reasoning(message: Any) -> str:
    """Return what the server parsed out of a message, or out of a piece of one."""
    more = message.model_extra or {}
    return next((more[name] for name in REASONING if isinstance(more.get(name), str) and more[name]), "")


def _joined(reasoning: str, answer: str, finish: str) -> str:
    if not reasoning:
        return answer
    if not answer and finish == "length":
        return f"<think>\n{reasoning}"  # cut off while reasoning: closing it would pass it off as done
    return f"<think>\n{reasoning}\n</think>\n{answer}"


def explain(error: Exception, key: str | None) -> str:
    """Return what went wrong in a few words, without `key`."""
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else None
    text = f"{error} ({type(cause).__name__})" if cause else str(error) or type(error).__name__
    return (text.replace(key, "[key]") if key else text)[:SHOWN]


def is_unknown(error: Exception) -> bool:
    """Return whether the endpoint knows neither key nor model, so that no prompt can succeed."""
    return isinstance(error, openai.APIStatusError) and error.status_code in UNKNOWN


def is_too_long(error: Exception) -> bool:
    """Return whether the endpoint refused a prompt for its length."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 413, 422):
        return False
    return error.status_code == 413 or any(sign in str(error).lower() for sign in TOO_LONG)


def is_unreachable(error: Exception) -> bool:
    """Return whether there was no connection at all; an answer that takes too long is another matter."""
    return isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
