"""What a person sees while a notebook runs: a line per cell, its seconds, and what the running cell prints.

Writes to one stream; keeps nothing but the seconds of each cell.
"""

import time
from dataclasses import dataclass, field
from typing import TextIO

SLOW = 1.0  # seconds from which a cell is worth naming at the end
NAMED = 3  # how many of the slow cells are named
EVERY = 30.0  # seconds between two echoed lines where the stream is a file
EVERY_TERMINAL = 0.2
WIDTH = 100


@dataclass
class Progress:
    """Tells `stream` where a notebook is; a terminal sees the running cell and the last line that it printed."""

    stream: TextIO
    prefix: str = ""  # tells sections apart that run side by side
    names: list[str] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    running: int = 0
    echoed: float = 0.0

    def begin(self, cells: list[str]) -> None:
        """Take the names of all cells; an empty name is prose."""
        self.names = cells

    def start(self, index: int) -> None:
        self.running, self.echoed = index, time.monotonic()
        self._passing(self._label(index))

    def finish(self, index: int, seconds: float) -> None:
        self.seconds[index] = seconds
        self._wipe()
        print(f"{self._label(index)}  {seconds:.1f} s", file=self.stream, flush=True)

    def write(self, text: str) -> None:
        """Show the last line of what a cell printed, not too often."""
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        now = time.monotonic()
        if not lines or now - self.echoed < (EVERY_TERMINAL if self.stream.isatty() else EVERY):
            return
        self.echoed = now
        self._passing(f"{self._label(self.running)}: {lines[-1]}")
        if not self.stream.isatty():
            print(f"{self._label(self.running)}: {lines[-1]}"[:WIDTH], file=self.stream, flush=True)

    def flush(self) -> None:
        self.stream.flush()

    def slowest(self) -> str:
        """Return the slow cells with their seconds, the slowest first; empty if none was slow."""
        slow = sorted(((taken, index) for index, taken in self.seconds.items() if taken >= SLOW), reverse=True)
        return ", ".join(f"{self.names[index]} {taken:.0f} s" for taken, index in slow[:NAMED])

    def where(self) -> str:
        """Return the running cell, e.g. ``3 of 9 (Ours beside Table 1)``."""
        name = self.names[self.running] if self.names else ""
        return f"{self._count(self.running)} ({name})" if name else "none"

    def _count(self, index: int) -> str:
        code = [number for number, name in enumerate(self.names) if name]
        return f"{code.index(index) + 1} of {len(code)}" if index in code else "none"

    def _label(self, index: int) -> str:
        """Return e.g. ``  01    3 of 9  Ours beside Table 1``, counting code cells only."""
        return f"  {self.prefix}  {self._count(index):>8}  {self.names[index]}"

    def _passing(self, text: str) -> None:
        if self.stream.isatty():
            self._wipe()
            self.stream.write(text[:WIDTH])
            self.stream.flush()

    def _wipe(self) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[2K")
