"""What judging a whole rubric at once is worth beside one prompt at a time on the same engine."""

import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from medpsy import prompts, study
from medpsy.data.questions import Conversation
from medpsy.engines.base import Engine, Prompt, Sampling
from medpsy.judge import judged
from medpsy.mini import suites, world
from medpsy.mini.voices import Voice, Writer
from medpsy.store import ResponseStore, Session
from medpsy.study import ModelSpec

EACH = 3  # responses per conversation


def items() -> list[tuple[Conversation, str]]:
    """Return the miniature's conversations, each with several responses of a program."""
    universe, rng = world.build(), random.Random("bench")
    writer, talks = Writer(universe, frozenset(universe.by_id), Voice(care=0.7), rng), suites.truth()
    return [(one, writer.reply(talks[one.id])[1]) for one in suites.suite("healthbench").items for _ in range(EACH)]


@dataclass(frozen=True)
class Running(Session):
    """A session whose one engine runs already, so that no start is measured."""

    running: Engine | None = None

    def engine(self, model: ModelSpec) -> tuple[str, Callable[[], AbstractContextManager[Engine]]]:
        return self.running.kind, lambda: nullcontext(self.running)


def criteria_per_second() -> tuple[float, float]:
    """Return criteria judged per second by the study, its store included, and by a plain loop over prompts."""
    settings = study.load("mini")
    judge, sampling, asked = settings.judges[0], settings.judge_sampling, items()
    plain = {
        prompts.judge(one, answer, criterion)[0]["content"]: None for one, answer in asked for criterion in one.rubric
    }
    with tempfile.TemporaryDirectory() as scratch:
        store = ResponseStore(Path(scratch))
        _, open_engine = Session(settings, store).engine(settings.model(judge))
        with open_engine() as engine:
            naive = one_by_one(engine, list(plain), sampling)
            begun = time.perf_counter()
            judged(Running(settings, store, running=engine), judge, asked, sampling=sampling)
            return len(plain) / (time.perf_counter() - begun), naive


def one_by_one(engine: Engine, texts: list[str], sampling: Sampling) -> float:
    asked = [Prompt(str(number), ({"role": "user", "content": text},)) for number, text in enumerate(texts)]
    list(engine.generate(asked[:1], sampling))  # starts what starts with the first prompt
    begun = time.perf_counter()
    for prompt in asked:
        list(engine.generate([prompt], sampling))
    return len(asked) / (time.perf_counter() - begun)
