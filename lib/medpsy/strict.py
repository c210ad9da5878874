"""Read a YAML file of settings strictly, so that a slip of the pen stops a run before it starts.

Refuses to guess: an unknown key, text where a number belongs and a key written twice are errors, never warnings. Every
error names the file, the key, the value and the fix. It knows nothing of what the settings mean.
"""

import contextlib
import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import pydantic
import yaml

T = TypeVar("T")
WANTED = {"int_type": "a whole number", "float_type": "a number", "string_type": "text", "bool_type": "true or false"}
WANTED |= dict.fromkeys(("list_type", "tuple_type"), "a list; write [a, b] or one `- item` per line")


class SettingsError(ValueError):
    """A settings file that cannot be used as it stands."""


@dataclass(frozen=True)
class Place:
    """Where in which file a value stands; reads as ``params/mini/study.yaml: sampling.top_p``."""

    file: str
    keys: tuple[str, ...] = ()

    def at(self, key: object) -> "Place":
        return Place(self.file, (*self.keys, str(key)))

    def error(self, text: str) -> SettingsError:
        return SettingsError(f"{self}: {text}")

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.keys)}" if self.keys else self.file


AGREED = re.compile(  # what YAML 1.1 (PyYAML, papermill) and the core schema of YAML 1.2 read alike, and not as text
    r"(~|null|Null|NULL|true|True|TRUE|false|False|FALSE)?|[-+]?(0|[1-9]\d*)(\.\d*([eE][-+]\d+)?)?"
    r"|\.\d+([eE][-+]\d+)?"
)
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|0x[0-9a-fA-F]+")  # of the core schema


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses what would be read silently as something else than what was meant. That is a
    key written twice, a key that is no text, an alias, infinity, and a word that versions 1.1 and 1.2 of YAML read
    differently: 010 is 8 or 10, 1:30 is 90 or text, no is false or text, 1e-5 is text or a number."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        event, problem = self.peek_event(), None
        if isinstance(event, yaml.AliasEvent):
            problem = f"*{event.anchor} repeats another value; write it out"
        elif isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            problem = self._disputed(event.value)
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def _disputed(self, word: str) -> str | None:
        text = self.resolve(yaml.ScalarNode, word, (True, False)) == self.DEFAULT_SCALAR_TAG
        if AGREED.fullmatch(word) or (text and not NUMBER.fullmatch(word)):
            return None
        if word.lower().endswith(("inf", "nan")):
            return f"{word} is no finite number"
        return f"{word} is read in two ways, by versions of YAML; {_spelled(word)}put it in quotes if it is text"

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            text = key.tag == self.DEFAULT_SCALAR_TAG
            if not text or key.value in seen:
                problem = "is written twice; keep one" if text else "is not text; put it in quotes"
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r:.80} {problem}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _spelled(word: str) -> str:
    """Return how to write the number or truth value that `word` may be."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return f"write {yaml.safe_dump(kind(word)).split()[0]}, or "
    return "write true or false, or " if word.lower() in ("yes", "no", "on", "off") else ""


def read(path: Path, shown: str | None = None) -> dict[str, Any]:
    """Return the mapping in the YAML file `path`, named `shown` in errors; anything else there is a SettingsError."""
    place = Place(shown or path.name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise place.error("the file does not exist") from None
    except UnicodeDecodeError:
        raise place.error("the file is not UTF-8 text; save it as UTF-8") from None
    try:
        raw = yaml.load(text, Loader=_Loader)  # a SafeLoader: builds plain values only
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise place.error(f"line {line}: {error.reason} ({error.character!r})") from None
    except RecursionError:
        raise place.error("too many lists and mappings within each other") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: a number of thousands of digits
        mark = getattr(error, "problem_mark", None)
        raise place.error(f"line {mark.line + 1}: {error.problem}" if mark else str(error)) from None
    return _mapping({} if raw is None else raw, place)


def patterns(path: Path, **texts: str) -> SimpleNamespace:
    """Return the regular expressions in the YAML file `path` by name; a long one stands there in parts that are joined,
    and ``%name%`` for the text of one before it, or of one of `texts`, without its flags."""
    for name, parts in read(path).items():
        texts[name] = re.sub(r"%(\w+)%", lambda part: texts[part[1]].removeprefix("(?i)"), "".join(parts))
    return SimpleNamespace(**{name: re.compile(text) for name, text in texts.items()})


def nearest(name: object, known: Iterable[str]) -> str:
    """Return what to do about the unknown `name`: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


def _mapping(raw: object, place: Place) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise place.error(f"{raw!r} must be a mapping of keys to values; write one `key: value` per line")
    return raw


def build(cls: type[T], raw: object, place: Place, **given: object) -> T:
    """Return dataclass `cls` made from the mapping `raw`; fields `given` come from elsewhere and are no keys of it. A
    SettingsError names an unknown or missing key, a wrong type, or a value that the dataclass itself refuses."""
    for key in given.keys() & _mapping(raw, place).keys():
        known = [field.name for field in dataclasses.fields(cls) if field.name not in given]
        raise place.at(key).error(f"unknown key; {nearest(key, known)}")
    return value({**raw, **given}, cls, place)


def value(raw: object, kind: Any, place: Place) -> Any:
    """Return `raw` as `kind`, a type or dataclass; a whole number passes for a float and a list for a tuple. A
    SettingsError has a sentence for each value that does not fit."""
    try:  # as JSON, where a list stands for a tuple and a mapping for a dataclass, and no other type for another
        text = json.dumps(raw, default=_plain, allow_nan=False)
        return _adapter(kind).validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        raise SettingsError("\n".join(_sentence(each, kind, place) for each in error.errors())) from None
    except (TypeError, ValueError) as error:  # no JSON: a date, a number that is not finite
        raise place.error(f"{raw!r} is no value here: {error}") from None


def _sentence(error: Mapping[str, Any], kind: Any, place: Place) -> str:
    """Return an error of pydantic as ``file: key: value must be ...; fix``."""
    given, what, cause, fix = error["input"], error["type"], error.get("ctx", {}).get("error"), ""
    if isinstance(cause, SettingsError):  # it says itself where
        return str(cause)
    place = Place(place.file, (*place.keys, *map(str, error["loc"])))
    if cause:
        return f"{place}: {cause}"
    if what == "missing":
        return f"{place}: this key is missing; add it"
    if what == "unexpected_keyword_argument":
        return f"{place}: unknown key; {nearest(error['loc'][-1], _names(kind, error['loc'][:-1]))}"
    if what == "literal_error":
        fix = "; " + nearest(given, re.findall("'(.*?)'", error["ctx"]["expected"]))
    elif what == "string_type" and isinstance(given, bool | int | float):
        fix = "; put it in quotes"
    elif what in ("int_type", "float_type") and isinstance(given, str) and NUMBER.fullmatch(given):
        fix = "; it is in quotes: take them away"
    wanted = WANTED.get(what) or error["msg"].removeprefix("Input should be ").replace("an object", "a mapping")
    return f"{place}: {given!r} must be {wanted}{fix}"


def _names(kind: Any, keys: Sequence[str | int]) -> list[str]:
    """Return the fields of the dataclass that stands under `keys` of a value of type `kind`."""
    for key in keys:
        kind = get_type_hints(kind)[key] if dataclasses.is_dataclass(kind) else get_args(kind)[get_origin(kind) is dict]
        if NoneType in get_args(kind):  # X | None
            kind = next(part for part in get_args(kind) if part is not NoneType)
    return [field.name for field in dataclasses.fields(kind)]


def _plain(raw: object) -> Any:
    if isinstance(raw, Path):
        return str(raw)
    if dataclasses.is_dataclass(raw):
        return dataclasses.asdict(raw)
    raise TypeError(f"{raw!r} is no plain value; put the value in quotes")


_adapter = cache(pydantic.TypeAdapter)
MOST = read(Path(__file__).with_name("limits.yaml"))
ANY = 10**8  # of a number with another name; the report's corpora have 3 * 10**7 rows


def bounded(value: object, place: Place) -> None:
    """Refuse a number in `value`, a plain value or lists and mappings of such, that is larger than its name allows. A
    slip such as ``runs: 1000000000`` would otherwise fill memory for minutes before anyone is told."""
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            bounded(item, place.at(key))
    elif isinstance(value, int | float):
        name = next((key for key in reversed(place.keys) if not key.isdigit()), "")
        least, most = (0, MOST[name]) if name in MOST else (-ANY, ANY)
        if not least <= value <= most:
            raise place.error(f"{value} is out of range; it must be {least} to {most}")
