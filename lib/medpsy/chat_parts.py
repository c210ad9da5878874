"""A response while it is written: its reasoning told from its answer, and both put on a screen.

Refuses control characters of a model's text: it is data and must not steer a terminal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from medpsy.grading.reasoning import CLOSES, OPENS, pattern

UNSEEN = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t")})
DIM, PLAIN = "\033[2m", "\033[0m\n"  # of terminals: reasoning is faint, the answer is not
MARKERS = (*OPENS, *CLOSES)
MARKER, CLOSING = pattern(MARKERS), pattern(CLOSES)
LONGEST = max(map(len, CLOSES)) - 1
UNANSWERED = "(The response ended before its answer; a larger --max-tokens lets it finish.)"


@dataclass(frozen=True)
class Part:
    """Some text of a response, all of it reasoning or none of it."""

    thinking: bool
    text: str


def parts(pieces: Iterable[str], opens_thinking: bool) -> Iterator[Part]:
    """Yield `pieces` as reasoning and answer, without the markers between them, as early as that can be told.

    Args:
        opens_thinking: True where the chat template wrote the opening marker.
    """
    thinking, fresh, held = opens_thinking, True, ""  # fresh: nothing of this part came yet
    for piece in pieces:
        held += piece
        while True:
            held = held.lstrip("\n") if fresh else held
            if fresh and not _longer(held) and (marker := MARKER.match(held)):
                thinking, held = marker[0] in OPENS, held[marker.end() :]
            elif thinking and (closing := CLOSING.search(held)):
                if closing.start():
                    yield Part(True, held[: closing.start()])
                thinking, fresh, held = False, True, held[closing.end() :]
            else:
                break
        safe = len(held) - _waiting(held, thinking, fresh)
        if safe:
            yield Part(thinking, held[:safe])
            fresh, held = False, held[safe:]
    if held:
        yield Part(thinking, held)


def _longer(text: str) -> bool:
    """Return whether `text` may turn out to begin a longer marker: of gpt-oss, several begin alike."""
    return any(marker.startswith(text) and marker != text for marker in MARKERS)


def _waiting(text: str, thinking: bool, fresh: bool) -> int:
    """Return how many characters at the end of `text` may turn out to begin a marker."""
    if fresh and any(marker.startswith(text) for marker in MARKERS):
        return len(text)
    sizes = range(min(LONGEST, len(text)), 0, -1) if thinking else ()
    return next((size for size in sizes if any(marker.startswith(text[-size:]) for marker in CLOSES)), 0)


def show(response: Iterable[Part], out: TextIO, *, hide_thinking: bool = False) -> None:
    """Write `response` to `out` as it comes: reasoning faint on a terminal, between marks elsewhere, or not at all.

    A response without an answer is said to have none.
    """
    opens, closes = (DIM, PLAIN) if out.isatty() else (f"{OPENS[0]}\n", f"\n{CLOSES[0]}\n")
    thinking = answered = False
    try:
        for part in response:
            if part.thinking and hide_thinking:
                continue
            if part.thinking != thinking:
                out.write(opens if part.thinking else closes)
            thinking = part.thinking
            answered |= not thinking
            out.write(part.text.translate(UNSEEN))
            out.flush()
    finally:  # Ctrl-C, too: what follows must not be faint
        out.write(closes if thinking else "\n")
        out.flush()
    if not answered:
        out.write(f"{UNANSWERED}\n")
