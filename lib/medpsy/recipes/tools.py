"""Tool calls: what one is, traces of models that call tools as rows of a corpus, and how trained models call.

A trace is a line of JSON: ``messages`` in the format of chat templates (assistant turns with ``tool_calls``, one turn
of the role ``tool`` after them for every call) and ``tools``, JSON schemas of functions. Every assistant turn becomes a
row, in which calls stand in the text between ``<tool_call>`` tags, as the templates of Qwen3 and Hermes write them; how
turns of the role ``tool`` and the tools themselves are shown is left to the target's template, which gets the tools as
its argument ``tools``. A template that ignores it shows none: then the traces must tell of them in a system message, as
those of the miniature do. A call names a tool that was offered, with the arguments that its schema requires and no
others (types of values are not checked). Of the public set that stands in for a user without traces, malformed rows are
left out and counted. Held-out traces are in no corpus; what a model calls is tested on them.
"""

import ast
import hashlib
import json
import re
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from medpsy import licences, strict
from medpsy.corpus.building import Written, folder, load, write_corpus
from medpsy.corpus.rows import TrainingRow, without_opening
from medpsy.corpus.seeds import Copy, Given, PublicSet, copy, drawn, is_held_out
from medpsy.data.rows import DataError, Row
from medpsy.engines.base import Prompt, Sampling
from medpsy.files import parsed
from medpsy.grading.readers import split
from medpsy.mini import suites
from medpsy.mini import world as worlds
from medpsy.recipes.medical_o1 import TITLE, o1_copy, origins, training_rows
from medpsy.store import Progress, ResponseStore, Session
from medpsy.study import Study

CORPUS = "openmed-sft"
NAME, KIND, FILE = "tool-traces", "traces", suites.TRACES_FILE
PUBLIC = {"NousResearch/hermes-function-calling-v1": "Apache-2.0"}  # hub id -> licence of sets `hermes_trace` reads
PUBLIC_FILE = "func-calling.json"  # its conversations of several turns
OPENS, CLOSES = "<tool_call>", "</tool_call>"
CALLED = re.compile(rf"{OPENS}(.*?)(?:{CLOSES}|\Z)", re.DOTALL)  # a call that is not closed is one, and malformed
RESULT = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
WELL_FORMED, MALFORMED, NO_CALL = "well-formed", "malformed", "no call"  # forms of a response's calls
Tools = dict[str, tuple[set[str], set[str]]]  # name -> the arguments that it knows, and those that it requires


class Schema(BaseModel):  # what is read of the JSON schema of a function's arguments
    properties: dict[str, Any] | None = None
    required: list[str] | None = None


class Function(BaseModel):
    name: str
    parameters: Schema | None = None


def _arguments(given: object) -> object:
    """Return the arguments of a call, which may be the JSON text of an object, and null or blank where it has none."""
    if isinstance(given, str):
        given = parsed(given) if given.strip() else None
    return {} if given is None else given


class Called(BaseModel):
    name: str
    arguments: Annotated[dict[str, Any], BeforeValidator(_arguments)] = {}

    def refusal(self, offered: Tools) -> str:
        """Return why none of the tools that are `offered` would take this call, or an empty text."""
        if self.name not in offered:
            return f"function {self.name!r} is called, and the row's tools are {', '.join(sorted(offered)) or 'none'}"
        known, required = offered[self.name]
        if missing := required - self.arguments.keys():
            return f"call of {self.name!r} lacks argument {min(missing)!r}, which its schema requires"
        if strange := self.arguments.keys() - known:
            return f"call of {self.name!r} has argument {min(strange)!r}, which its schema does not know"
        return ""


class Call(BaseModel):
    function: Called
    id: Any = None


class Turn(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    reasoning_content: Any = None
    tool_calls: Annotated[list[Call], Field(min_length=1)] | None = None
    tool_call_id: Any = None

    @model_validator(mode="before")
    @classmethod
    def _calls_are_an_assistants(cls, turn: Any) -> Any:
        other = isinstance(turn, Mapping) and turn.get("role") != "assistant"
        return {**turn, "tool_calls": None} if other else turn


def tools(row: Row) -> Tools:
    """Return the tools that `row` offers by name; none where it has no column ``tools``; DataError for a bad schema."""
    offered = {}
    for tool in row.structure("tools") if row.values.get("tools") else []:
        try:
            function = Function.model_validate(tool.get("function", tool))
        except (AttributeError, ValueError):
            fix = "each must be an object with function.name and function.parameters, a JSON schema of an object"
            raise row.error("tools", fix) from None
        schema = function.parameters or Schema()
        offered[function.name] = (set(schema.properties or {}), set(schema.required or ()))
    return offered


def call_form(answer: str, offered: Tools) -> str:
    """Return which form the calls in a response's `answer` have; all must be well-formed to count as such."""
    texts = CALLED.findall(answer)
    if not texts:
        return NO_CALL
    try:
        calls = [Called.model_validate(parsed(text)) for text in texts]
    except ValueError:
        return MALFORMED
    taken = answer.count(CLOSES) == len(calls) and not any(call.refusal(offered) for call in calls)
    return WELL_FORMED if taken else MALFORMED


def turns(row: Row, corpus: str, author: str) -> Iterator[TrainingRow]:
    """Yield a row of `corpus` for every assistant turn of a trace; a malformed one is a DataError with its turn."""
    offered, messages = tools(row), row.structure("messages")
    shown = json.dumps(row.structure("tools"), ensure_ascii=False) if offered else ""
    before: list[dict[str, str]] = []
    waiting: list[str] = []  # the calls without a result so far, by id
    for number, raw in enumerate(messages, 1):
        place = Row(raw, f"{row.source}, row {row.number}, messages", number)
        turn = place.checked(Turn)
        _expect_in_place(turn, place, waiting)
        calls, text = turn.tool_calls or [], turn.content or ""
        if turn.role == "assistant":
            for call in calls:
                refusal = call.function.refusal(offered)
                place.expect(not refusal, "tool_calls", refusal)
            waiting = [str(call.id or "") for call in calls]
            parts = split(text, opens_thinking=False, finish_reason="stop")
            place.expect(parts.answer or calls, "content", "an answer or a call is expected")
            reasoning = without_opening(parts.reasoning) or str(turn.reasoning_content or "").strip()
            written = [json.dumps(call.function.model_dump(), ensure_ascii=False) for call in calls]
            answer = "\n".join(filter(None, [parts.answer, *(f"{OPENS}\n{call}\n{CLOSES}" for call in written)]))
            ident = f"{NAME}/{row.number}/{number}"
            yield TrainingRow(ident, corpus, KIND, tuple(before), reasoning, answer, (), author, "", prompt_tools=shown)
            text = (f"<think>\n{reasoning}\n</think>\n\n" if reasoning else "") + answer
        before.append({"role": turn.role, "content": text})
    row.expect(not waiting, "messages", f"the trace ends and {len(waiting)} calls have no result; drop it, or mend it")
    closed = before and turn.role == "assistant"
    row.expect(closed, "messages", "no assistant turn closes the trace; drop it, or mend it")


def _expect_in_place(turn: Turn, place: Row, waiting: list[str]) -> None:
    """Stop unless a turn may stand where it does; a result takes its call, which it may name, from `waiting`."""
    first = {"system": place.number == 1, "assistant": place.number > 1}.get(turn.role, True)
    place.expect(first, "role", "a system turn stands first, an assistant turn does not")
    calling = turn.role == "assistant" and turn.tool_calls
    place.expect(calling or turn.content is not None, "content", "text is expected")
    if turn.role == "tool":
        place.expect(waiting, "role", "a result without a call before it")
        name = turn.tool_call_id or waiting[0]
        place.expect(name in waiting, "tool_call_id", f"the calls that wait for a result are {', '.join(waiting)}")
        waiting.remove(name)
    else:
        place.expect(not waiting, "role", f"{len(waiting)} calls have no result before this turn")


def traces_copy(study: Study, given: Given) -> Copy:
    """Return the copy that the study reads: a real study names its own folder, a set in the form of `PUBLIC`, or both;
    then the folder is read where it holds traces."""
    chosen = dict(given or {})
    if chosen.get("data_dir") and chosen.get("hub_id"):
        there = (study.root / Path(chosen["data_dir"]).expanduser() / FILE).is_file()
        chosen.pop("hub_id" if there else "data_dir")
    licence = PUBLIC.get(chosen.get("hub_id", ""), "as its owner says")
    return copy(study, NAME, PublicSet("", None, licence, write=suites.write_traces), chosen)


def hermes_trace(row: Row) -> Row:
    """Return a row of `PUBLIC` as a trace: turns have ``from`` and ``value``, calls and results stand between tags. The
    system turn is left out: it lists the tools, which a template shows itself. An unknown turn, or a call that is
    neither JSON nor a Python literal, is a DataError."""
    messages: list[dict[str, object]] = []
    for turn in row.structure("conversations"):
        speaker, value = (str(turn.get(key)) for key in ("from", "value"))
        if speaker == "tool":
            results = RESULT.findall(value) or [value]
            messages += [{"role": "tool", "content": result.strip()} for result in results]
        elif speaker == "gpt":
            calls = [{"function": _literal(text, row)} for text in CALLED.findall(value)]
            content = {"role": "assistant", "content": CALLED.sub("", value).strip()}
            messages.append(content | ({"tool_calls": calls} if calls else {}))
        elif speaker == "human":
            messages.append({"role": "user", "content": value})
        elif speaker != "system":
            raise row.error("conversations", f"a turn is from {speaker!r}; human, gpt, tool and system are expected")
    return Row({"messages": messages, "tools": row.values.get("tools")}, row.source, row.number)


def _literal(text: str, row: Row) -> object:
    for read in (parsed, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError) as problem:
            error = problem
    raise row.error("conversations", f"call {text!r:.80} is no JSON") from error


def traces_of(source: Copy, *, held_out: bool) -> list[list[TrainingRow]]:
    """Return the traces to train on, or the held-out ones: the rows of each."""

    def read(rows: Sequence[Row]) -> list[list[TrainingRow]]:
        return [list(turns(row, CORPUS, source.author)) for row in rows]

    if source.fiction and held_out:
        return read([Row(trace, NAME, at) for at, trace in enumerate(suites.traces(worlds.build(), held_out=True), 1)])
    if source.origin.data_dir is not None:
        every = read(source.read(FILE))
    else:
        every, rows = [], source.read(PUBLIC_FILE)
        for row in rows:
            try:
                every += read([hermes_trace(row)])
            except DataError as error:
                last = error
        if len(every) < len(rows):
            left = f"{len(rows) - len(every):,} of {len(rows):,} rows are left out as malformed, the last: {last}"
            warnings.warn(f"{source.described}: {left}", stacklevel=2)
    return [trace for trace in every if source.fiction or is_held_out(trace_question(trace[0])) == held_out]


def read_traces(source: Copy, count: int, seed: int) -> list[TrainingRow]:
    """Return the rows of `count` traces drawn by seed, none of them held out; 0 means all."""
    return [row for trace in drawn(traces_of(source, held_out=False), count, f"{NAME}/{seed}") for row in trace]


def held_out_traces(source: Copy, count: int, seed: int) -> list[TrainingRow]:
    """Return the first turn of `count` held-out traces that begin with a call, drawn by seed; 0 means all."""
    calling = [trace[0] for trace in traces_of(source, held_out=True) if OPENS in trace[0].answer]
    return drawn(calling, count, f"{NAME}/held out/{seed}")


def trace_question(row: TrainingRow) -> str:
    return next((turn["content"] for turn in row.messages if turn["role"] == "user"), "")


def tool_corpus(
    study: Study,
    *,
    configs: Mapping[str, int],
    synthetic: Mapping[str, int],
    traces: int,
    filters: Mapping[str, object],
    origin: Given = None,
    trace_origin: Given = None,
) -> Written:
    """Write corpus ``"openmed-sft"``: domain QA, from medical-o1-reasoning-SFT and a teacher, and traces of tool calls.
    `configs`, `filters` and `origin` are as of `medpsy.recipes.medical_o1.o1_corpus`; the recipe's own domain data are
    not public. `synthetic`: corpus of the study -> rows of it, likewise: without questions that have options, answering
    them is forgotten, and nothing is left to prefer; one that is not complete is a FileNotFoundError. `traces` are
    drawn by the study's seed; 0 means all, and each gives a row per assistant turn. `trace_origin` is the `origin` of
    the traces: the ``data_dir`` with the user's ``traces.jsonl``, and the ``hub_id`` of a public set that is read where
    there is none."""
    domain, traced = o1_copy(study, origin), traces_copy(study, trace_origin)
    rows = training_rows(domain, configs, study.seed)
    for name, count in synthetic.items():
        data = load(study, name)
        chosen = data.select(drawn(range(len(data)), count, f"{CORPUS}/{name}/{study.seed}"))
        rows += [TrainingRow(**row | {"messages": tuple(row["messages"]), "facts": ()}) for row in chosen]
    rows = [replace(row, corpus=CORPUS) for row in rows] + read_traces(traced, traces, study.seed)
    purpose = "Questions with reasoning and a conclusion, and traces of tool calls, a row per assistant turn."
    taught = ChainMap({}, *(licences.of_folder(folder(study, name)) for name in synthetic))
    made_of = origins(purpose, {TITLE: domain, "traces": traced}, taught)
    return write_corpus(study, CORPUS, rows, filters=filters, origins=made_of)


def call_forms(
    study: Study,
    models: Sequence[str],
    *,
    prompts: int,
    sampling: Mapping[str, Any],
    trace_origin: Given = None,
    progress: Progress = None,
) -> pd.DataFrame:
    """Let `models` go on where held-out traces call a tool for the first time. `prompts` are traces, drawn by the
    study's seed (0: all), `sampling` is fields of `Sampling` but for the seed, and `trace_origin` as of `tool_corpus`.
    Returns columns model, prompt, form (`WELL_FORMED`, `MALFORMED` or `NO_CALL`; missing where the request failed)."""
    how = strict.build(Sampling, dict(sampling), strict.Place("sampling"), seed=study.seed)
    groups: dict[str, list[TrainingRow]] = {}  # tools that are offered -> traces
    for row in held_out_traces(traces_copy(study, trace_origin), prompts, study.seed):
        groups.setdefault(row.prompt_tools, []).append(row)
    frames = []
    for shown, name in [(shown, name) for shown in sorted(groups) for name in models]:
        given, model = json.loads(shown) if shown else [], study.model(name)
        if given:  # a model of its own to the store, which knows models by name
            switches = {**model.chat_template_kwargs, "tools": given}
            digest = hashlib.sha256(shown.encode()).hexdigest()[:8]
            model = replace(model, name=f"{name}-tools-{digest}", chat_template_kwargs=switches)
        there = replace(study, models={**study.models, model.name: model})
        session = Session(there, ResponseStore(study.store_dir), progress)
        asked = [Prompt(f"calls/{row.id}", row.messages) for row in groups[shown]]
        (answers,) = session.ask(model.name, asked, (0,), how)
        offered, forms = tools(Row({"tools": given}, NAME, 1)), []
        for text, reason in zip(answers["text"], answers["finish_reason"], strict=True):
            answer = split(text, opens_thinking=model.opens_thinking, finish_reason=reason).answer
            forms.append(None if reason == "failed" else call_form(answer or "", offered))
        frames.append(pd.DataFrame({"model": name, "prompt": [row.id for row in groups[shown]], "form": forms}))
    return pd.concat(frames, ignore_index=True)
