"""Licences: of a model, of what a folder was made of, and which one the card of a folder may state.

A folder that is made of others (a corpus, questions, a checkpoint) holds `FILE`: all that went in, each with its
licence. What no source says is `UNKNOWN`, never guessed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from medpsy import families
from medpsy.study import ModelSpec

FILE, UNKNOWN = "licences.json", "not stated"
# Each asks for at least as much as those before it; the hub writes them in lower case.
HUB = ("MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")


def of_model(model: ModelSpec) -> dict[str, str]:
    """Return the licence of `model`, or those of all that it was made of, by source."""
    from huggingface_hub import metadata_load

    folder = model.local_dir
    if folder and (made_of := of_folder(folder)):
        return made_of
    if family := families.of(model.path, model.family):
        return {model.path: family.licence}
    card = folder / "README.md" if folder else None
    metadata = (metadata_load(card) if card and card.is_file() else None) or {}
    name = metadata.get("license_name") or metadata.get("license")
    known = {licence.lower(): licence for licence in HUB}
    return {model.name if folder else model.path: known.get(name, name or UNKNOWN)}


def of_folder(folder: Path) -> dict[str, str]:
    """Return what `write` wrote to `folder`: source -> licence; empty where it wrote nothing."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write(folder: Path, licences: Mapping[str, str]) -> None:
    (folder / FILE).write_text(json.dumps(dict(licences), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def stated(licences: Mapping[str, str]) -> dict[str, str]:
    """Return what a card states: the most restrictive of `licences`; ``other`` and a name where one is not in `HUB`."""
    given = list(dict.fromkeys(licences.values())) or [UNKNOWN]
    strictest = [licence for licence in HUB if licence in given][-1:]
    others = [licence for licence in given if licence not in HUB]
    if not others:
        return {"license": strictest[0].lower()}
    name = re.sub(r"[^a-z0-9.]+", "-", " and ".join(strictest + others).lower())
    return {"license": "other", "license_name": name}


def table(licences: Mapping[str, str]) -> str:
    rows = [f"| {name} | {licence} |" for name, licence in licences.items()]
    return "\n".join(["| Made of | Licence |", "| --- | --- |", *rows])


def write_card(folder: Path, licences: Mapping[str, str], text: str, **stated_too: str) -> None:
    """Write `FILE`, and `text` as the card of `folder` between what it states and a table of `licences`.

    Args:
        stated_too: further lines of its head, for the hub.
    """
    write(folder, licences)
    head = "\n".join(f"{key}: {value}" for key, value in (stated(licences) | stated_too).items())
    (folder / "README.md").write_text(f"---\n{head}\n---\n\n{text}\n\n{table(licences)}\n", encoding="utf-8")
