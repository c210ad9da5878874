"""A study's models, asked through its store: the engine of a model starts only when a response of it is missing.

Refuses a model the study does not declare. Grades nothing.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from medpsy import engines
from medpsy.engines.base import Engine, Prompt, Sampling
from medpsy.generation import Progress
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec, Study


class FailedResponsesWarning(UserWarning):
    """Some requests got no response; they are counted as failed and asked again by the next run."""


@dataclass(frozen=True)
class Session:
    """One study, its store, and where lines of progress go."""

    study: Study
    store: ResponseStore
    progress: Callable[[str], None] | None = None

    def engine(self, model: ModelSpec) -> tuple[str, Callable[[], Engine]]:
        """Return the kind of engine that answers for `model`, as the store names it, and how to open it; an endpoint is
        always asked there."""
        study = self.study
        kind = engines.engine_kind(study.engine, model)
        options = study.engine_options | model.engine_options if kind == study.engine else {}
        opening = partial(engines.open_engine, kind, model, gguf_dir=study.gguf_dir, **options)
        return engines.engine_kind(kind, model, options), opening

    def fill(self, name: str, prompts: Sequence[Prompt], runs: Sequence[int], sampling: Sampling) -> None:
        """Generate what is missing of all `runs` in one go: the engine opens once and its slots stay full."""
        model = self.study.model(name)
        kind, open_engine = self.engine(model)
        settings = {"sampling": capped(sampling, model), "runs": runs, "engine_kind": kind, "progress": self._line}
        self.store.fill(model, open_engine, prompts, **settings)

    def answer(self, name: str, prompts: Sequence[Prompt], run: int, sampling: Sampling) -> pd.DataFrame:
        """Return the responses to `prompts` in one run, in their order; failed ones are warned of."""
        model = self.study.model(name)
        kind, open_engine = self.engine(model)
        settings = {"sampling": capped(sampling, model), "run": run, "engine_kind": kind}
        frame = self.store.answer(model, open_engine, prompts, **settings)
        failed = frame[frame["finish_reason"] == "failed"]
        if len(failed):
            text = f"{len(failed)} of {len(frame)} requests to {name} failed, first {failed['prompt_id'].iloc[0]}"
            why = f"{text}: {failed['error'].iloc[0]}; they are counted as failed, run again to ask only these"
            warnings.warn(why, FailedResponsesWarning, stacklevel=2)
        return frame

    def _line(self, state: Progress) -> None:
        if self.progress:
            self.progress(str(state))


def capped(sampling: Sampling, model: ModelSpec) -> Sampling:
    """Return `sampling` with no more tokens than `model` may write."""
    return replace(sampling, max_tokens=min(sampling.max_tokens, model.max_tokens or sampling.max_tokens))
