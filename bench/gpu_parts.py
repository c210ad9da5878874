"""Where the time of a training goes, measured from outside: timers around methods of a trainer, and one profiled step.

The timers wait for the GPU at both ends of a part, which hinders it from running ahead: what a training takes
undisturbed is measured without them.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

OPTIMIZER = (AcceleratedOptimizer, "step")
PROFILED = 1  # which step of a trainer is looked into; the first one still chooses its kernels
PRODUCTS, ATTENTION, REST = "matrix products", "attention", "all other operations"
OF_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
Method = tuple[type, str]


class Parts:
    """Seconds by part between the end of optimizer step `warm` and that of the newest one.

    A part that runs within another counts for itself alone.
    """

    def __init__(self, warm: int) -> None:
        self.seconds: dict[str, float] = {}
        self.whole = 0.0  # seconds, what belongs to no part included
        self.steps = -warm  # that were measured
        self._open: list[str] = []
        self._counted: defaultdict[str, float] = defaultdict(float)
        self._last = self._begun = 0.0

    @contextmanager
    def of(self, methods: Mapping[Method, str]) -> Iterator[None]:
        """Measure what runs within, by the name of its part; an optimizer's step is one of the `methods`."""
        with ExitStack() as stack:
            for (owner, name), part in methods.items():
                call = self._timed(getattr(owner, name), part, ends=(owner, name) == OPTIMIZER)
                stack.enter_context(patch.object(owner, name, call))
            yield

    def _timed(self, call: Callable, part: str, *, ends: bool) -> Callable:
        @functools.wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._mark()
            self._open.append(part)
            try:
                return call(*arguments, **options)
            finally:
                self._mark()
                self._open.pop()
                if ends:
                    self._step()

        return timed

    def _mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._open:
            self._counted[self._open[-1]] += now - self._last
        self._last = now

    def _step(self) -> None:
        self.steps += 1
        if self.steps == 0:
            self._counted.clear()
            self._begun = self._last
        self.seconds, self.whole = dict(self._counted), self._last - self._begun


@contextmanager
def operations(owner: type, method: str) -> Iterator[dict[str, float]]:
    """Give a mapping that holds, once `method` has run twice, the seconds of its second run by kind of operation.

    Seconds are those of the GPU where there is one, else of the processor.
    """
    found: dict[str, float] = {}
    calls, call = count(), getattr(owner, method)

    @functools.wraps(call)
    def looked_into(*arguments: Any, **options: Any) -> Any:
        if next(calls) != PROFILED:
            return call(*arguments, **options)
        devices = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        with profile(activities=devices) as look:
            done = call(*arguments, **options)
        found.update(by_kind(look.key_averages()))
        return done

    with patch.object(owner, method, looked_into):
        yield found


def by_kind(events: Any) -> dict[str, float]:
    """Return seconds by kind of operation; a kernel counts where it was called from, not once more for itself."""
    seconds = dict.fromkeys((PRODUCTS, ATTENTION, REST), 0.0)
    for event in events:
        if event.device_type == DeviceType.CPU:
            own = event.self_device_time_total if torch.cuda.is_available() else event.self_cpu_time_total
            seconds[kind(event.key)] += own / 1e6
    return seconds


def kind(operation: str) -> str:
    if operation in OF_PRODUCTS:
        return PRODUCTS
    return ATTENTION if "attention" in operation else REST
