"""Whether models call tools in the form they were taught: held-out traces up to their first call, asked and checked.

The tools go to the chat template as its argument ``tools``, as in training. Nothing is called.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import pandas as pd

from medpsy import strict
from medpsy.benchmarks.fields import Row
from medpsy.engines.base import Prompt, Sampling
from medpsy.grading.reasoning import split
from medpsy.recipes import tool_traces
from medpsy.recipes.tool_calls import form, tools
from medpsy.recipes.tool_traces import TracedRow
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import Study

SHOWN = attrgetter("prompt_tools")


def call_forms(
    study: Study,
    models: Sequence[str],
    *,
    prompts: int,
    sampling: Mapping[str, Any],
    trace_origin: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Let `models` go on where held-out traces call a tool for the first time.

    Responses come from the study's store; only missing ones are generated.

    Args:
        prompts: traces, drawn by the study's seed; 0 means all.
        sampling: fields of `medpsy.engines.base.Sampling` but for the seed, which is the study's.
        trace_origin: as of `medpsy.recipes.tool_corpus`.

    Returns:
        Columns model, prompt, form (one of `medpsy.recipes.tool_calls.FORMS`; missing where the request failed).

    Raises:
        DataError: a malformed trace.
        ValueError: fewer held-out traces than asked for.
    """
    rows = tool_traces.held_out(tool_traces.origin(study, trace_origin or {}), prompts, study.seed)
    how = strict.build(Sampling, dict(sampling), strict.Place("sampling"), seed=study.seed)
    offers = [(shown, list(same)) for shown, same in groupby(sorted(rows, key=SHOWN), SHOWN)]
    frames = [_asked(study, name, shown, same, how, progress) for shown, same in offers for name in models]
    return pd.concat(frames, ignore_index=True)


def _asked(
    study: Study, name: str, shown: str, rows: Sequence[TracedRow], how: Sampling, progress: Callable | None
) -> pd.DataFrame:
    """Return the calls of one model to prompts that offer the same tools."""
    given, model = json.loads(shown) if shown else [], study.model(name)
    if given:  # a model of its own to the store, which knows models by name
        switches = {**model.chat_template_kwargs, "tools": given}
        digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
        model = replace(model, name=f"{name}-tools-{digest}", chat_template_kwargs=switches)
    there = replace(study, models={**study.models, model.name: model})
    session = Session(there, ResponseStore(study.store_dir), progress)
    wanted = [Prompt(f"calls/{row.id}", row.messages) for row in rows]
    session.fill(model.name, wanted, (0,), how)
    answers = session.answer(model.name, wanted, 0, how)
    offered = tools(Row({"tools": given}, tool_traces.NAME, 1))
    forms = []
    for text, reason in zip(answers["text"], answers["finish_reason"], strict=True):
        parts = split(text, opens_thinking=model.opens_thinking, finish_reason=reason)
        forms.append(None if reason == "failed" else form(parts.answer or "", offered))
    return pd.DataFrame({"model": name, "prompt": [row.id for row in rows], "form": forms})
