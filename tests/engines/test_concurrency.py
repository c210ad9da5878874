"""Many requests at once: how many, in which order, and what is left after an error or an early goodbye."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from medpsy.engines.concurrency import bounded


class Service:
    """Answers after `item` milliseconds; counts what is under way."""

    def __init__(self) -> None:
        self.now = self.most = self.cancelled = self.closed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator:
        yield self.work
        self.closed += 1

    async def work(self, item: float) -> float:
        if item < 0:
            raise ValueError(f"{item} is negative")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(item / 1000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1
        return item


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_all_are_answered_and_never_more_than_the_limit_at_once(limit: int) -> None:
    service = Service()
    assert sorted(bounded(range(20), service.open, limit)) == list(range(20))
    assert service.most == min(limit, 20)
    assert (service.now, service.closed) == (0, 1)


def test_results_come_as_they_finish() -> None:
    assert list(bounded([300, 10, 100], Service().open, 3)) == [10, 100, 300]


def test_items_are_taken_only_when_there_is_room() -> None:
    taken = []
    results = bounded((taken.append(at) or 20 for at in range(100)), Service().open, 2)
    next(results)
    assert len(taken) <= 6
    results.close()


def test_the_first_error_is_raised_and_the_rest_cancelled() -> None:
    service = Service()
    with pytest.raises(ValueError, match="-1 is negative") as caught:
        list(bounded([60_000, 60_000, -1], service.open, 3))
    assert not isinstance(caught.value, BaseExceptionGroup)
    assert service.cancelled == 2 and service.now == 0


def test_an_error_while_opening_is_raised() -> None:
    @asynccontextmanager
    async def closed() -> AsyncIterator:
        raise ConnectionError("nobody there")
        yield

    with pytest.raises(ConnectionError, match="nobody there"):
        list(bounded([1], closed, 2))


def test_leaving_early_cancels_and_leaves_no_thread() -> None:
    service, before = Service(), threading.active_count()
    start = time.monotonic()
    results = bounded([5, *[60_000] * 9], service.open, 4)
    assert next(results) == 5
    results.close()
    assert time.monotonic() - start < 10
    assert service.now == 0 and service.cancelled >= 3
    assert threading.active_count() == before


def test_nothing_to_do_is_done() -> None:
    assert list(bounded([], Service().open, 4)) == []


def test_it_works_where_an_event_loop_runs_already() -> None:
    async def notebook() -> list:
        return list(bounded([1, 2], Service().open, 2))

    with ThreadPoolExecutor(1) as pool:  # the browser tests leave a loop in this thread, where a second cannot run
        assert pool.submit(asyncio.run, notebook()).result() == [1, 2]
