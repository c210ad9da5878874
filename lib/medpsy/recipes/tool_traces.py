"""Traces of models that call tools: every assistant turn of a trace becomes a row of a corpus.

A trace is a line of JSON: ``messages`` in the format of chat templates (assistant turns with ``tool_calls``, one turn
of the role ``tool`` after them for every call) and ``tools``. In rows, calls stand in the text between
``<tool_call>`` tags, as the templates of Qwen3 and Hermes write them; how turns of the role ``tool`` and the tools
themselves are shown is left to the target's template. A template that ignores its argument ``tools`` shows none: then
the traces must tell of them in a system message, as those of the miniature do. Reasoning of an earlier turn goes along
as a think block, which templates keep or drop as they do for the model's own. Refuses a trace with a malformed call.
Held-out traces are in no corpus; what a model calls is tested on them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from medpsy.benchmarks.fields import Row
from medpsy.corpus.rows import SCHEMA, TrainingRow, without_opening
from medpsy.grading.reasoning import split
from medpsy.mini import searching
from medpsy.mini import world as worlds
from medpsy.recipes.sources import Copy, copy, drawn, is_held_out
from medpsy.recipes.tool_calls import Place, Tool, called, rendered, tools
from medpsy.study import Study

NAME, KIND, FILE = "tool-traces", "traces", searching.FILE
TOOL_SCHEMA = SCHEMA.append(pa.field("prompt_tools", pa.string()))
THOUGHT = "<think>\n{reasoning}\n</think>\n\n{text}"
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class TracedRow(TrainingRow):
    """A row whose prompt offers tools: `prompt_tools` is their list as JSON text, empty where there are none."""

    prompt_tools: str = ""

    @property
    def written(self) -> list[object]:
        return [*super().written, *([self.prompt_tools] if self.prompt_tools else [])]


def origin(study: Study, given: Mapping[str, str]) -> Copy:
    """Return the copy that the study reads; no public set is known, so a real study names its own."""
    return copy(study, NAME, "", "as its owner says", given, searching.write)


def read(source: Copy, corpus: str, count: int, seed: int) -> list[TracedRow]:
    """Return the rows of `count` traces drawn by seed, none of them held out; 0 means all.

    Raises:
        DataError: the file is not there, or a trace is malformed, drawn or not; names file, row, turn and fix.
    """
    found = [list(turns(row, corpus, source.author)) for row in source.read(FILE)]
    free = [trace for trace in found if source.fiction or not is_held_out(question(trace))]
    return [row for trace in drawn(free, count, f"{NAME}/{seed}") for row in trace]


def held_out(source: Copy, count: int, seed: int) -> list[TracedRow]:
    """Return the first turn of `count` held-out traces that begin with a call, drawn by seed; 0 means all.

    Raises:
        DataError: as `read`.
        ValueError: there are not so many.
    """
    if source.fiction:
        found = [Row(one, NAME, at) for at, one in enumerate(searching.traces(worlds.build(), held_out=True), 1)]
    else:
        found = source.read(FILE)
    traces = [list(turns(row, "", source.author)) for row in found]
    apart = [trace[0] for trace in traces if source.fiction or is_held_out(question(trace))]
    return drawn([row for row in apart if called(row.answer)], count, f"{NAME}/held out/{seed}")


def question(trace: Sequence[TracedRow]) -> str:
    """Return what the user asks first in a trace."""
    return next((turn["content"] for turn in trace[0].messages if turn["role"] == "user"), "")


def turns(row: Row, corpus: str, author: str) -> Iterator[TracedRow]:
    """Yield a row of `corpus` for every assistant turn of one trace.

    Raises:
        DataError: a malformed call, a call without a result or a result without a call, or no closing answer.
    """
    offered, messages = tools(row), row.structure("messages")
    shown = json.dumps(row.structure("tools"), ensure_ascii=False) if offered else ""
    before: list[dict[str, str]] = []
    waiting: list[str] = []  # the calls without a result so far, by id
    for number, turn in enumerate(messages, 1):
        place = Place(row, number)
        role = _role(turn, number, waiting, place)
        if role != "assistant":
            if role == "tool":
                waiting = _answered(turn, waiting, place)
            before.append({"role": role, "content": _content(turn, place)})
            continue
        reasoning, text = _said(turn, offered, place)
        waiting = [str(call.get("id") or "") for call in turn.get("tool_calls") or ()]
        name = f"{NAME}/{row.number}/{number}"
        yield TracedRow(name, corpus, KIND, tuple(before), reasoning, text, (), author, "", prompt_tools=shown)
        before.append({"role": role, "content": THOUGHT.format(reasoning=reasoning, text=text) if reasoning else text})
    if waiting or not before or before[-1]["role"] != "assistant":
        what = f"{len(waiting)} calls have no result" if waiting else "no assistant turn closes it"
        raise Place(row, len(messages)).error(f"the trace ends and {what}; complete it, or drop the row")


def _role(turn: object, number: int, waiting: list[str], place: Place) -> str:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if role not in ROLES or (role == "system" and number > 1) or (role == "assistant" and number == 1):
        raise place.error(f"role {role!r} may not stand here; known are {', '.join(ROLES)}, system first; drop the row")
    if role == "tool" and not waiting:
        raise place.error("a result without a call before it; drop the row")
    if role != "tool" and waiting:
        raise place.error(f"{len(waiting)} calls have no result before this turn; drop the row")
    return role


def _answered(turn: Mapping, waiting: list[str], place: Place) -> list[str]:
    """Return the calls that still wait after the result `turn`, which may name its call."""
    name = turn.get("tool_call_id") or waiting[0]
    if name not in waiting:
        raise place.error(f"a result of call {name!r}, and those that wait are {', '.join(waiting)}; drop the row")
    return [*waiting[: waiting.index(name)], *waiting[waiting.index(name) + 1 :]]


def _content(turn: Mapping, place: Place) -> str:
    content = turn.get("content")
    if not isinstance(content, str):
        raise place.error(f"content is {content!r:.80}; text is expected; drop the row")
    return content


def _said(turn: Mapping, offered: Mapping[str, Tool], place: Place) -> tuple[str, str]:
    """Return reasoning and text of an assistant turn, its calls at the end of the text."""
    calls = rendered(turn["tool_calls"], offered, place) if turn.get("tool_calls") is not None else []
    whole = "" if calls and turn.get("content") is None else _content(turn, place)
    parts = split(whole, opens_thinking=False, finish_reason="stop")
    reasoning = without_opening(parts.reasoning) or str(turn.get("reasoning_content") or "").strip()
    if not parts.answer and not calls:
        raise place.error("the turn holds neither an answer nor a call; drop the row")
    return reasoning, "\n".join([*([parts.answer] if parts.answer else []), *calls])
