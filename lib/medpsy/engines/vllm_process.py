"""Talk to the process in which vLLM runs (`medpsy.engines.vllm_worker`): one JSON object per line, each way.

Refuses to mix up two callers: every request carries the number of its call. Knows nothing of prompts as text.
"""

import contextlib
import itertools
import json
import queue
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from medpsy.engines.child import Child
from medpsy.engines.errors import EngineError

COMMAND = (sys.executable, "-m", "medpsy.engines.vllm_worker")
Queue = queue.SimpleQueue  # of one call's answers; None says that there is no more
LOADING = "loading"


class VllmProcess:
    """A running worker with one model loaded.

    Args:
        settings: arguments of vLLM's ``EngineArgs``.
        env: environment variables beside those of this process.
        timeout: seconds that loading may take.

    Raises:
        EngineError: the model could not be loaded; shows the end of the log.
    """

    def __init__(self, settings: Mapping[str, Any], *, env: Mapping[str, str], timeout: float) -> None:
        self._child = Child(COMMAND, env=env, talk=True)
        self._queues: dict[str, Queue] = {LOADING: Queue()}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._calls = itertools.count()
        threading.Thread(target=_sort, args=(self._child.stdout, self._queues, self._ended), daemon=True).start()
        try:
            self._send([{"engine": dict(settings)}])
            if self._queues[LOADING].get(timeout=timeout) is None:
                raise self.error("could not load the model")
        except queue.Empty:
            error = self.error(f"did not load the model within {timeout:g} s")
            self.stop()
            raise error from None
        except BaseException:  # Ctrl-C while loading, too
            self.stop()
            raise

    def ask(self, sampling: Mapping[str, Any], prompts: Sequence[tuple[list[int], int]]) -> Iterator[tuple[int, dict]]:
        """Yield (place, answer) for each of `prompts` (token ids and seed) as it finishes.

        An answer is ``{"tokens": [...], "stopped": true}`` or ``{"error": text}``. Leaving the iterator early aborts
        the rest.

        Raises:
            EngineError: the process ended; shows the end of its log.
        """
        call, waiting = str(next(self._calls)), len(prompts)
        answers = self._queues[call] = Queue()
        if self._ended.is_set():
            answers.put(None)
        try:
            self._send(_messages(call, sampling, prompts))
            while waiting:
                if (answer := answers.get()) is None:
                    raise self.error("ended before all responses were there")
                waiting -= 1
                yield int(answer["id"].partition(":")[2]), answer
        finally:
            del self._queues[call]
            if waiting and self._child.alive:
                with contextlib.suppress(EngineError):  # it may end at this very moment
                    self._send([{"abort": call}])

    def _send(self, messages: Iterable[dict[str, Any]]) -> None:
        try:
            with self._lock:
                for message in messages:
                    self._child.stdin.write(json.dumps(message).encode() + b"\n")
                self._child.stdin.flush()
        except (OSError, ValueError) as error:  # a broken or closed pipe
            raise self.error("does not take prompts any more") from error

    def error(self, what: str) -> EngineError:
        return EngineError(f"vLLM {what}; its log ends:\n{self._child.log_tail()}")

    @property
    def alive(self) -> bool:
        return self._child.alive

    def stop(self) -> None:
        self._child.stop()


def _messages(call: str, sampling: Mapping[str, Any], prompts: Sequence[tuple[list[int], int]]) -> Iterator[dict]:
    for place, (tokens, seed) in enumerate(prompts):
        yield {"id": f"{call}:{place}", "tokens": tokens, "sampling": {**sampling, "seed": seed}}


def _sort(output: IO[bytes], queues: dict[str, Queue], ended: threading.Event) -> None:
    """Put each answer into the queue of its call; at the end of the output, tell every call that there is no more."""
    with contextlib.suppress(ValueError):  # closed while being read
        for line in output:
            answer = json.loads(line)
            if found := queues.get(answer["id"].partition(":")[0]):
                found.put(answer)
    ended.set()
    for found in list(queues.values()):
        found.put(None)
