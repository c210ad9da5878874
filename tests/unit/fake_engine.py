"""An engine without a model: it keeps the contract of `medpsy.engines.base.Engine` and answers what it is told to."""

import re
from collections.abc import Callable, Iterable, Iterator

from medpsy import engines
from medpsy.engines.base import Prompt, Response, Sampling
from medpsy.store import Asked
from medpsy.study import ModelSpec, Study

Reply = Callable[[Prompt, Sampling], Response | str]


def echo(prompt: Prompt, sampling: Sampling) -> str:
    return f"{prompt.messages[-1]['content']} seed {sampling.prompt_seed(prompt.id)}"


def fenced(text: str) -> str:
    """Return the response that `text`, a prompt of a parser or judge, shows in its fence; "" in any other."""
    shown = re.search(r"<response (\d{6})>\n(.*)\n</response \1>", text, re.DOTALL)
    return shown[2] if shown else ""


class FakeEngine:
    """Answers with `reply` (a plain text becomes a finished response); remembers how often it was opened, for what."""

    def __init__(self, fingerprint: str = "fp", kind: str = "transformers", reply: Reply = echo) -> None:
        self.fingerprint, self.kind, self.reply = fingerprint, kind, reply
        self.opened = self.closed = 0
        self.asked: list[Prompt] = []

    def __call__(self) -> "FakeEngine":
        """Stand in for the function that opens an engine."""
        return self

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Response]:
        for prompt in reversed(list(prompts)):  # any order is allowed, so not the one asked in
            self.asked.append(prompt)
            reply = self.reply(prompt, sampling)
            yield finished(prompt, reply) if isinstance(reply, str) else reply

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> "FakeEngine":
        self.opened += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def answer(store, engine, asked, *, model, run=0, sampling, engine_kind=None):
    """Return the responses of `model` in one run, as `ResponseStore.answers` gives them."""
    how = Asked(model, store.fingerprint(model), engine_kind or engine.kind, sampling)
    (frame,) = store.answers(how, engine, asked, [run])
    return frame


class World:
    """Fake models in place of all engines: what each writes, by name, and the engines that were opened for it."""

    def __init__(self, monkeypatch, writes: dict[str, Reply]) -> None:
        self.writes = writes
        self.engines: dict[str, list[FakeEngine]] = {}
        self.options: dict[str, dict] = {}
        monkeypatch.setattr(engines, "open_engine", self.open)
        monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")

    def open(self, kind, model, *, gguf_dir=None, **options):
        self.options[model.name] = options | {"kind": kind}
        engine = FakeEngine(f"fp {model.name}", kind, reply=self.writes[model.name])
        self.engines.setdefault(model.name, []).append(engine)
        return engine

    def asked(self, name: str) -> list[Prompt]:
        return [prompt for engine in self.engines.get(name, []) for prompt in engine.asked]


def answered_by(monkeypatch, engine: FakeEngine) -> FakeEngine:
    """Let `engine` answer for every model; return it."""
    monkeypatch.setattr(engines, "open_engine", lambda kind, model, **options: engine)
    monkeypatch.setattr(engines, "fingerprint", lambda model: engine.fingerprint)
    return engine


def small_study(*models: str, **changes) -> Study:
    """Return a study of fake models beside its parser."""
    settings = {"profile": "mini", "source": "mini", "engine": "transformers", "parser": "parser", "suites": ("medqa",)}
    settings |= {"models": {name: ModelSpec(name, f"models/{name}") for name in (*models, "parser")}}
    settings |= {"questions_per_suite": 0, "runs": 2, "seed": 7, "sampling": Sampling(max_tokens=64, seed=7)}
    settings |= {"parser_sampling": Sampling(max_tokens=8, temperature=0.0)}
    return Study(**settings | changes)


def finished(prompt: Prompt, text: str) -> Response:
    words = len(text.split())
    return Response(prompt.id, text, "stop", len(prompt.messages[-1]["content"].split()), words, 0.01)


def prompt(name: str, content: str | None = None) -> Prompt:
    return Prompt(name, ({"role": "user", "content": content or f"What is {name}?"},))


def prompts(count: int, start: int = 0, suite: str = "medqa") -> list[Prompt]:
    return [prompt(f"{suite}/{number}") for number in range(start, start + count)]
