"""What an OpenAI-compatible endpoint says: its answers as responses, its refusals sorted by what they mean for a run.

Refuses to pass on the key: it is struck out of whatever text an endpoint sends back.
"""

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
    more = message.model_extra or {}
    reasoning = next((more[name] for name in REASONING if isinstance(more.get(name), str) and more[name]), "")
    return Response(prompt_id, _joined(reasoning, message.content or "", finish), finish, *counts, seconds)


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
