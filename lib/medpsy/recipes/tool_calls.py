"""Tools and calls of them as they stand in a trace or in a response, checked; nothing is repaired, nothing is called.

A tool is a JSON schema of a function, as chat templates take it. A call names a tool that the trace offers, with the
arguments that its schema requires and no others. Types of values are not checked.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medpsy.benchmarks.fields import DataError, Row

CALL = "<tool_call>\n{call}\n</tool_call>"  # as the templates of Qwen3 and Hermes write it
OPEN, CLOSE = "<tool_call>", "</tool_call>"
CALLED = re.compile(rf"{OPEN}(.*?)(?:{CLOSE}|\Z)", re.DOTALL)  # a call that is not closed is one, and malformed
WELL_FORMED, MALFORMED, NO_CALL = FORMS = ("well-formed", "malformed", "no call")


@dataclass(frozen=True)
class Place:
    """One turn of one row, for messages."""

    row: Row
    turn: int

    def error(self, what: str) -> DataError:
        return DataError(f"{self.row.source}, row {self.row.number}, turn {self.turn}: {what}")


@dataclass(frozen=True)
class Tool:
    """Names of the arguments that a tool knows, and of those that it requires."""

    known: frozenset[str]
    required: frozenset[str]


def tools(row: Row) -> dict[str, Tool]:
    """Return the tools that `row` offers by name; none where it has no column ``tools``.

    Raises:
        DataError: a tool without a name, or whose parameters are no JSON schema of an object.
    """
    given = row.structure("tools") if row.values.get("tools") else []
    if not isinstance(given, list):
        raise row.error("tools", "a list of functions is expected")
    found = {}
    for one in given:
        function = one.get("function", one) if isinstance(one, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise row.error("tools", "each must be an object with function.name and function.parameters")
        schema = function.get("parameters") or {}
        known = schema.get("properties") or {} if isinstance(schema, Mapping) else None
        required = schema.get("required") or [] if isinstance(schema, Mapping) else None
        if not isinstance(known, Mapping) or not isinstance(required, list):
            raise row.error("tools", f"parameters of {function['name']!r} must be a JSON schema of an object")
        found[function["name"]] = Tool(frozenset(known), frozenset(required))
    return found


def rendered(calls: object, offered: Mapping[str, Tool], place: Place) -> list[str]:
    """Return each of the `calls` of a turn as text: name and arguments in JSON between its tags.

    Raises:
        DataError: names file, row, turn and what is wrong with the call.
    """
    if not isinstance(calls, list) or not calls:
        raise place.error(f"tool_calls is {calls!r:.80}; a list of at least one call is expected, or no such key")
    return [CALL.format(call=json.dumps(_checked(one, offered, place), ensure_ascii=False)) for one in calls]


def _checked(call: object, offered: Mapping[str, Tool], place: Place) -> dict[str, object]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise place.error(f"call {call!r:.80} has no function.name; write {{'type': 'function', 'function': ...}}")
    name, arguments = function["name"], _arguments(function, place)
    if name not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise place.error(
            f"function {name!r} is called, and the row's tools are {known}; add it to tools, or drop the row"
        )
    missing, strange = offered[name].required - set(arguments), set(arguments) - offered[name].known
    if missing:
        raise place.error(f"call of {name!r} lacks argument {min(missing)!r}, which its schema requires; drop the row")
    if strange:
        raise place.error(
            f"call of {name!r} has argument {min(strange)!r}, which its schema does not know; drop the row"
        )
    return {"name": name, "arguments": arguments}


def _arguments(function: Mapping, place: Place) -> dict[str, object]:
    """Return the arguments, given as an object or as the JSON text of one."""
    given = function.get("arguments", {})
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            shown = f"arguments of {function['name']!r} are no JSON ({error.msg}: {given!r:.80})"
            raise place.error(f"{shown}; drop the row") from error
    if not isinstance(given, Mapping):
        raise place.error(f"arguments of {function['name']!r} are {given!r:.80}; an object is expected; drop the row")
    return dict(given)


def called(text: str) -> list[str]:
    """Return what stands between the tags of every call in `text`."""
    return CALLED.findall(text)


def form(answer: str, offered: Mapping[str, Tool]) -> str:
    """Return which of `FORMS` the calls in a response's `answer` have; all must be well-formed to count as such."""
    found, place = called(answer), Place(Row({}, "response", 1), 1)
    if not found:
        return NO_CALL
    if answer.count(CLOSE) != len(found):
        return MALFORMED
    try:
        for text in found:
            _checked({"function": json.loads(text)}, offered, place)
    except (DataError, json.JSONDecodeError):
        return MALFORMED
    return WELL_FORMED
