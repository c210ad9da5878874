"""Read a YAML file of settings strictly, so that a slip of the pen stops a run before it starts.

Refuses to guess: an unknown key, text where a number belongs and a key written twice are errors, never warnings. Every
error names the file, the key, the value and the fix. It knows nothing of what the settings mean.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

T = TypeVar("T")
NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


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


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key written twice is an error instead of silently winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is written twice; keep one", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read(path: Path, shown: str | None = None) -> dict[str, Any]:
    """Return the mapping in the YAML file `path`, named `shown` in errors.

    Raises:
        SettingsError: the file is missing, is not YAML, repeats a key or holds anything but a mapping.
    """
    place = Place(shown or path.name)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader: builds plain values only
    except FileNotFoundError:
        raise place.error("the file does not exist") from None
    except UnicodeDecodeError:
        raise place.error("the file is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise place.error(_yaml_problem(error)) from None
    return mapping({} if raw is None else raw, place)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark else problem


def nearest(name: object, known: Iterable[str]) -> str:
    """Return what to do about the unknown `name`: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


def mapping(raw: object, place: Place) -> dict[str, Any]:
    """Return `raw` if it is a mapping whose keys are text."""
    if not isinstance(raw, dict):
        raise place.error(f"{raw!r} must be a mapping of keys to values; write one `key: value` per line")
    for key in raw:
        if not isinstance(key, str):
            raise place.error(f"key {key!r} is not text (YAML reads yes, no, on, off and digits so); put it in quotes")
    return raw


def take(raw: dict[str, Any], key: str, place: Place) -> Any:
    """Remove `key` from `raw` and return its value; a missing key is an error."""
    if key not in raw:
        raise place.at(key).error("this key is missing; add it")
    return raw.pop(key)


def build(cls: type[T], raw: object, place: Place, **given: object) -> T:
    """Return dataclass `cls` made from the mapping `raw`, whose types are those of the dataclass.

    Args:
        given: fields that come from elsewhere; the file must not hold them.

    Raises:
        SettingsError: unknown or missing key, wrong type, or a value that the dataclass itself refuses.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in given}
    raw, kinds = mapping(raw, place), get_type_hints(cls)
    for key in raw:
        if key not in fields:
            raise place.at(key).error(f"unknown key; {nearest(key, fields)}")
    for name, field in fields.items():
        if name not in raw and field.default is field.default_factory is dataclasses.MISSING:
            raise place.at(name).error("this key is missing; add it")
    values = {key: value(raw[key], kinds[key], place.at(key)) for key in raw}
    try:
        return cls(**values, **given)
    except SettingsError:
        raise
    except ValueError as error:
        raise place.error(str(error)) from None


def value(raw: object, kind: Any, place: Place) -> Any:
    """Return `raw` as `kind`: a plain type, dataclass, Literal, ``X | None``, ``tuple[X, ...]`` or ``dict[str, X]``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if raw is None else value(raw, next(one for one in inner if one is not NoneType), place)
    if origin is Literal:
        if raw not in inner:
            raise place.error(f"{raw!r} is not a choice; {nearest(raw, inner)}")
        return raw
    if origin is tuple:
        if not isinstance(raw, list):
            raise place.error(f"{raw!r} must be a list; write [a, b] or one `- item` per line")
        return tuple(value(item, inner[0], place.at(index)) for index, item in enumerate(raw))
    if (origin or kind) is dict:
        kind = inner[1] if inner else Any
        return {key: value(item, kind, place.at(key)) for key, item in mapping(raw, place).items()}
    if dataclasses.is_dataclass(kind):
        return build(kind, raw, place)
    return raw if kind is Any else _plain(raw, kind, place)


def _plain(raw: object, kind: type, place: Place) -> Any:
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise place.error(f"{raw!r} must be {NAMES[kind]}{_hint(raw, kind)}")
    if kind is float and not math.isfinite(raw):
        raise place.error(f"{raw!r} must be a finite number")
    return raw


def _hint(raw: object, kind: type) -> str:
    """Return the fix for the two slips that YAML itself invites: 1e-5 is text, and no is false."""
    if kind is str and isinstance(raw, bool):
        return "; YAML reads yes, no, on and off as true or false: put it in quotes"
    if kind in (int, float) and isinstance(raw, str):
        try:
            number, (start, _, power) = float(raw), raw.lower().partition("e")
        except ValueError:
            return ""
        if math.isfinite(number) and power:
            return f"; YAML reads it as text: write {float(start)}e{int(power):+d}"
        return "; it is in quotes: take them away"
    return ""
