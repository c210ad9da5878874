"""A small study with a teacher that writes what a test tells it to; targets are measured by word."""

from collections import deque

import fake_engine
import pytest
from fake_engine import FakeEngine
from medpsy import engines
from medpsy.corpus import building
from medpsy.study import Study

SAMPLING = {"max_tokens": 64}
FILTERS = {"packed_length": 512, "near": 0.8, "ngram": 0}


def thinks(prompt, sampling) -> str:
    """Return a response of its own for every prompt, the prompt's own words among them."""
    said = f"{prompt.messages[-1]['content']} {prompt.id} seed {sampling.prompt_seed(prompt.id)}"
    return f"<think>\nAbout this: {said}\n</think>\n\nThe answer is A."


class Teacher:
    """Opens fake engines that reply with `reply`; `asked` lists the ids of prompts, unless it `forgets` them."""

    def __init__(self, reply=thinks, *, forgets: bool = False) -> None:
        self.reply, self.forgets, self.engines = reply, forgets, []

    def open(self, kind, model, *, gguf_dir=None, **options):
        engine = FakeEngine(f"fp {model.name}", kind, self.reply)
        engine.asked = deque(maxlen=0) if self.forgets else []
        self.engines.append(engine)
        return engine

    @property
    def asked(self) -> list[str]:
        return [one.id for engine in self.engines for one in engine.asked]


class ByWord:
    """Stands in for the lengths that tokenizers give."""

    def __init__(self, store, targets) -> None:
        self.targets = targets

    def longest(self, rows):
        return [len(row.text.split()) for row in rows]


def small_study(**changes) -> Study:
    settings = {"suites": ("mmlu_health", "pubmedqa"), "questions_per_suite": 2, "runs": 1}
    settings["targets"] = {"large": "large", "small": "small"}
    return fake_engine.small_study("anna", "large", "small", **settings | changes)


def making(batch: int = 10, **filters) -> dict:
    """Return the settings of `medpsy.corpus.build`."""
    return {"sampling": SAMPLING, "filters": FILTERS | filters, "batch": batch}


@pytest.fixture
def teacher(monkeypatch) -> Teacher:
    teacher = Teacher()
    monkeypatch.setattr(engines, "open_engine", teacher.open)
    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    monkeypatch.setattr(building, "Lengths", ByWord)
    return teacher


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Study:
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return small_study()
