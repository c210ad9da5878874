"""Ask many things at once from code that is not asynchronous, in a notebook too.

The event loop lives in a thread of its own. Refuses to outlive its reader: leaving the iterator cancels what is under
way.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[T], Awaitable[R]]


@dataclass(frozen=True)
class _End(Generic[R]):
    error: BaseException | None = None


class _Loop(Generic[T, R]):
    def __init__(self, items: Iterable[T], open_work: Callable[[], AbstractAsyncContextManager[Work]], limit: int):
        self._items, self._open, self._limit = iter(items), open_work, limit
        self.results: queue.SimpleQueue[R | _End] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._all())  # before the thread starts, so that `cancel` always finds it
        self._thread = threading.Thread(target=self._run, daemon=True, name="medpsy-requests")
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._task)
            self.results.put(_End())
        except BaseException as error:  # whatever it was is raised where the results are read
            self.results.put(_End(error))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _all(self) -> None:
        async with self._open() as work, asyncio.TaskGroup() as group:
            for _ in range(self._limit):
                group.create_task(self._each(work))

    async def _each(self, work: Work) -> None:
        for item in self._items:
            self.results.put(await work(item))

    def cancel(self) -> None:
        """Cancel what is under way and wait until it is gone."""
        with contextlib.suppress(RuntimeError):  # the loop has closed: nothing is under way
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()


def bounded(items: Iterable[T], open_work: Callable[[], AbstractAsyncContextManager[Work]], limit: int) -> Iterator[R]:
    """Yield the results of work on `items` as they finish, `limit` at a time.

    Args:
        open_work: opens what the work shares (a client); entered and left in the event loop's thread.

    Raises:
        Exception: the first error of any work, after the rest has been cancelled.
    """
    loop = _Loop(items, open_work, limit)
    try:
        while not isinstance(found := loop.results.get(), _End):
            yield found
        if found.error:
            raise _first(found.error)
    finally:
        loop.cancel()


def _first(error: BaseException) -> BaseException:
    """Return the error that a group of tasks ended with, without the group around it."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
