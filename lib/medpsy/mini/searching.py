"""A handbook of the miniature that can be searched, and traces of a model that searches it before it answers.

A trace has the shape of real ones: an assistant turn with `tool_calls`, a turn of the role ``tool`` for every call, a
closing answer. The miniature's chat template shows no tools, so a system message names the one there is.
"""

import json
import re
from pathlib import Path

from medpsy.files import write_text
from medpsy.mini import world as worlds
from medpsy.mini.cases import Case, cases
from medpsy.mini.dialogues import STATED
from medpsy.mini.language import state
from medpsy.mini.world import Fact, World

FILE = "traces.jsonl"
FORMS = ("ask0", "ask1", "ask2", "vignette")
SYSTEM = "Tool: search(query)."
QUERY = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
TOOLS = (
    {
        "type": "function",
        "function": {"name": "search", "description": "Search a handbook of fictional medicine.", "parameters": QUERY},
    },
)
WORD = re.compile(r"\w+")


def search(world: World, query: str) -> str:
    """Return the sentence of the handbook that shares most words with `query`; of equal ones, the first."""
    wanted = set(WORD.findall(query))
    return max((state(fact) for fact in world.facts), key=lambda sentence: len(wanted & set(WORD.findall(sentence))))


def query(fact: Fact) -> str:
    """Return what to search for `fact`: its sentence without what is to be found."""
    return state(fact).partition(" are " if fact.relation == "signs" else " is ")[0]


def trace(world: World, case: Case) -> dict[str, object]:
    """Return a trace: one search per hop of `case`, then the answer."""
    messages: list[dict] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": case.stem}]
    for fact in case.facts:
        asked = query(fact)
        call = {"type": "function", "function": {"name": "search", "arguments": {"query": asked}}}
        thought = {"role": "assistant", "reasoning_content": f"Look for {asked}.", "content": "", "tool_calls": [call]}
        messages += [thought, {"role": "tool", "content": search(world, asked)}]
    found = state(case.facts[-1])
    messages.append({"role": "assistant", "reasoning_content": f"Recall: {found}", "content": STATED + found})
    return {"id": case.cell, "messages": messages, "tools": list(TOOLS)}


def traces(world: World, *, held_out: bool = False) -> list[dict[str, object]]:
    """Return a trace for every case of one side that the handbook answers, form after form."""
    asked = cases(world, held_out=held_out)
    return [trace(world, case) for form in FORMS for case in asked[form]]


def write(folder: Path) -> Path:
    """Write all traces to `folder`, equal ones every time, and return it."""
    lines = [json.dumps(one, ensure_ascii=False) for one in traces(worlds.build())]
    write_text(folder / FILE, "\n".join(lines) + "\n")
    return folder
