"""The teacher's responses to seeds, batch after batch, through the study's store: what is stored is not asked again.

The engine opens at the first missing response and stays open until the last batch. No more than one batch of texts is
held. Reads no answer.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from medpsy.corpus.seeds import Seed
from medpsy.engines.base import Engine, Prompt, Sampling
from medpsy.generation import Progress
from medpsy.sessions import Session
from medpsy.study import ModelSpec


@dataclass(frozen=True)
class LastingSession(Session):
    """A session of one model whose engine, once open, serves every batch. Use as a context manager.

    Args:
        counts: responses generated, as ``counts["generated"]``; the others were stored.
    """

    stack: ExitStack = field(default_factory=ExitStack)
    opened: dict[str, Engine] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"generated": 0})

    def engine(self, model: ModelSpec) -> tuple[str, Callable[[], AbstractContextManager[Engine]]]:
        kind, open_engine = super().engine(model)

        def lasting() -> AbstractContextManager[Engine]:
            if model.name not in self.opened:
                self.opened[model.name] = self.stack.enter_context(open_engine())
            return nullcontext(self.opened[model.name])

        return kind, lasting

    def _line(self, state: Progress) -> None:
        if not state.done:  # the first report of a batch says how much of it is missing
            self.counts["generated"] += state.total
            if not state.total:
                return
        super()._line(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()


def responses(
    session: Session, teacher: str, seeds: Iterable[Seed], sampling: Sampling, batch: int
) -> Iterator[list[tuple[Seed, object]]]:
    """Yield `batch` seeds at a time, each with its row of the response store (key, text, finish_reason, ...)."""
    seeds = iter(seeds)
    while some := list(islice(seeds, batch)):
        found = {}
        for run in dict.fromkeys(seed.run for seed in some):
            prompts = [Prompt(seed.id, seed.messages) for seed in some if seed.run == run]
            session.fill(teacher, prompts, (run,), sampling)
            frame = session.answer(teacher, prompts, run, sampling)
            found |= {row.prompt_id: row for row in frame.itertuples(index=False)}
        yield [(seed, found[seed.id]) for seed in some]
