"""The process in which vLLM runs: ``python -m medpsy.engines.vllm_worker``, one JSON object per line in and out.

In: ``{"engine": {...}}`` once; then ``{"id": "CALL:PLACE", "tokens": [...], "sampling": {...}}`` and
``{"abort": "CALL"}``.
Out: ``{"id": "loading"}`` once; then, as each response finishes,
``{"id": ..., "tokens": [...], "stopped": true}`` or ``{"id": ..., "error": ...}``.

A process of its own keeps vLLM's changes to torch and transformers away from the caller, needs no guarded main script
or notebook, and gives all memory back when it ends. It ends when its input does. Refuses to read text: token ids only.
"""

import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

END = object()


class Worker:
    """vLLM's engine, fed from a queue of messages; `reply` takes each answer."""

    def __init__(self, engine: Any, messages: queue.SimpleQueue, reply: Any) -> None:
        self._engine, self._messages, self._reply = engine, messages, reply
        self._running: dict[str, str] = {}  # our id -> vLLM's

    def run(self) -> None:
        """Serve until the input ends."""
        while True:
            busy = self._engine.has_unfinished_requests()
            for message in self._arrived(wait=not busy):
                if message is END:
                    return
                self._handle(message)
            if self._engine.has_unfinished_requests():
                self._step()

    def _arrived(self, *, wait: bool) -> list[Any]:
        found = [self._messages.get()] if wait else []
        while not self._messages.empty():
            found.append(self._messages.get())
        return found

    def _handle(self, message: dict[str, Any]) -> None:
        if "abort" in message:
            names = [name for name in self._running if name.partition(":")[0] == message["abort"]]
            self._engine.abort_request([self._running.pop(name) for name in names], internal=True)
        else:
            self._add(message)

    def _add(self, message: dict[str, Any]) -> None:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        name = message["id"]
        try:
            final = RequestOutputKind.FINAL_ONLY
            params = SamplingParams(**message["sampling"], detokenize=False, output_kind=final)
            prompt = TokensPrompt(prompt_token_ids=message["tokens"])
            self._running[name] = self._engine.add_request(name, prompt, params)
        except (ValueError, VLLMClientError) as error:  # this prompt only: vLLM refuses it
            self._reply({"id": name, "error": str(error)})

    def _step(self) -> None:
        for output in self._engine.step():
            if output.finished and self._running.pop(output.request_id, None):
                self._reply({"id": output.request_id, **answer(output.outputs[0])})


def answer(found: Any) -> dict[str, Any]:
    """Return what vLLM generated, and whether an end token ended it."""
    if found.finish_reason not in ("stop", "length"):
        return {"error": f"vLLM ended the response for the reason {found.finish_reason!r}"}
    return {"tokens": list(found.token_ids), "stopped": found.finish_reason == "stop"}


def private_output() -> IO[str]:
    """Return the standard output for answers only; whatever else is printed goes to the log (standard error)."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def read(messages: queue.SimpleQueue) -> None:
    """Pass on the messages of standard input; at its end, give the engine no time to finish what nobody will read."""
    for line in sys.stdin:
        messages.put(json.loads(line))
    messages.put(END)
    threading.Event().wait(3.0)  # an idle engine ends by itself meanwhile
    os.killpg(0, signal.SIGKILL)  # a busy one, and processes that vLLM started


def main() -> None:
    answers = private_output()

    def reply(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    messages: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=read, args=(messages,), daemon=True).start()
    settings = messages.get()["engine"]

    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    engine = LLMEngine.from_engine_args(EngineArgs(**settings))
    reply({"id": "loading"})
    Worker(engine, messages, reply).run()


if __name__ == "__main__":
    main()
