"""Collects rows and writes them as shards, so that a killed run loses no more than the open shard.

The open shard is bounded by rows and by seconds: a timer closes it even while the next row is long in coming. Refuses
to take further rows once a shard could not be written.
"""

import threading
import time
from typing import Self

from medpsy.shards import ShardFolder


class ShardWriter:
    """Use as a context manager; leaving it, by an error or Ctrl-C too, writes what is collected.

    Args:
        rows: size at which the open shard is written.
        seconds: age at which it is written, counted from its first row.
    """

    def __init__(self, folder: ShardFolder, *, rows: int, seconds: float) -> None:
        self._folder, self._rows, self._seconds = folder, rows, seconds
        self._open: list[dict] = []
        self._since = 0.0
        self._error: Exception | None = None
        self._lock = threading.Lock()  # the timer and the caller both write
        self._done = threading.Event()
        self._timer = threading.Thread(target=self._watch, daemon=True)

    def add(self, row: dict) -> None:
        """Take one row.

        Raises:
            OSError: a shard could not be written, now or by the timer before.
        """
        with self._lock:
            if self._error:
                raise self._error
            if not self._open:
                self._since = time.monotonic()
            self._open.append(row)
            if len(self._open) >= self._rows:
                self._flush()

    def _flush(self) -> None:
        rows, self._open = self._open, []
        if rows and not self._error:
            try:
                self._folder.write(rows)
            except Exception as error:
                self._error = error
                raise

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            with self._lock:
                if self._open and time.monotonic() - self._since >= self._seconds:
                    try:
                        self._flush()
                    except Exception:
                        return  # kept in _error; the caller meets it at the next row or on leaving

    def __enter__(self) -> Self:
        self._folder.clean()
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._done.set()
        self._timer.join()
        with self._lock:
            failed = self._error
            self._flush()
        if failed and not kind:
            raise failed
