"""What families of real models do that their files do not say, read from ``families.yaml``: thinking switches, markers
of reasoning, ends of responses, the day a template takes for today, terms to accept."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from medpsy import strict

FILE = Path(__file__).with_name("families.yaml")


@dataclass(frozen=True)
class Markers:
    """How reasoning is written: `closes` ends it, `opens` starts it where it is written."""

    opens: tuple[str, ...]
    closes: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """What models of one kind have in common; ``families.yaml`` says what each key means."""

    models: tuple[str, ...]
    system: Literal["turn", "merged", "developer"]
    licence: str
    switches: dict[str, Any] = field(default_factory=dict)
    opens_thinking: bool = False
    reasoning: str | None = None
    terms: str = ""


@dataclass(frozen=True)
class Known:
    """All of ``families.yaml``; `ends` end a response, `trailing` may stand behind the text of one."""

    markers: dict[str, Markers]
    ends: tuple[str, ...]
    trailing: tuple[str, ...]
    families: dict[str, Family]

    def __post_init__(self) -> None:
        places: dict[str, str] = {}
        for name, family in self.families.items():
            if family.reasoning is not None and family.reasoning not in self.markers:
                fix = strict.nearest(family.reasoning, self.markers)
                raise ValueError(f"families.{name}.reasoning: {family.reasoning!r} is not under markers; {fix}")
            for hub_id in family.models:
                if places.setdefault(hub_id, name) != name:
                    raise ValueError(f"families: {hub_id!r} stands under {places[hub_id]} and {name}; keep one")

    @property
    def opens(self) -> tuple[str, ...]:
        """Every opening marker; that of most models comes first."""
        return tuple(marker for kind in self.markers.values() for marker in kind.opens)

    @property
    def closes(self) -> tuple[str, ...]:
        """Every closing marker; that of most models comes first."""
        return tuple(marker for kind in self.markers.values() for marker in kind.closes)

    @property
    def marks(self) -> tuple[str, ...]:
        """Every marker there is: of reasoning, and of the end of a response."""
        return (*self.opens, *self.closes, *self.ends, *self.trailing)


def starts(markers: Iterable[str]) -> str:
    """Return a pattern of the first character of each of `markers`, where its rest follows: a space behind it takes a
    marker apart, also where two of them overlap."""
    longer = [marker for marker in markers if marker[1:]]
    return "|".join(f"{re.escape(marker[0])}(?={re.escape(marker[1:])})" for marker in longer) or "(?!)"


@cache
def known() -> Known:
    """Return what is known of all families; a SettingsError names the key of ``families.yaml`` and the fix."""
    return strict.build(Known, strict.read(FILE), strict.Place(FILE.name))


def of(path: object, name: str | None = None) -> Family | None:
    """Return the family called `name` (a ValueError offers the nearest), or else that of the hub id `path`, if any."""
    families = known().families
    if name is None:
        return next((family for family in families.values() if path in family.models), None)
    if name not in families:
        raise ValueError(f"family: {name!r} is not in {FILE.name}; {strict.nearest(name, families)}")
    return families[name]


def completed(entry: object) -> object:
    """Return a model's `entry` in study.yaml with what its family adds; what the entry says itself wins. An entry that
    cannot be understood comes back as it is: whoever reads it says what is wrong."""
    if not isinstance(entry, dict):
        return entry
    name, switches = entry.get("family"), entry.get("chat_template_kwargs", {})
    family = of(entry.get("path")) if name is None else known().families.get(name)
    if family is None or not isinstance(switches, dict):
        return entry
    return {"opens_thinking": family.opens_thinking, **entry, "chat_template_kwargs": {**family.switches, **switches}}
