"""Where the sister recipes read from: a hub copy at its commit, a local folder, or files written by the miniature."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medpsy import strict
from medpsy import study as studies
from medpsy.benchmarks import rows
from medpsy.benchmarks.fields import DataError, Row
from medpsy.corpus.recipe import HubCopy
from medpsy.corpus.words import digest
from medpsy.study import Study

T = TypeVar("T")
HELD_OUT = 0.05  # ours: share of a real set's questions that no corpus of a sister recipe holds
FICTION, AUTHOR = "fictional medicine", "a program"


@dataclass(frozen=True)
class Copy:
    """The copy of a set that is read; `fiction` where the miniature writes it."""

    origin: rows.Origin
    licence: str
    fiction: bool

    @property
    def described(self) -> str:
        """The place for a record; of a folder its name alone."""
        if self.fiction:
            return FICTION
        if self.origin.data_dir:
            return f"folder {self.origin.data_dir.name}"
        return f"{self.origin.hub_id}@{self.origin.revision}"

    @property
    def author(self) -> str:
        """Who wrote its rows, as far as we know."""
        return AUTHOR if self.fiction else f"the authors of {self.described}"

    def read(self, file: str) -> list[Row]:
        """Return the rows of one file of the copy; a local folder may hold it without the hub's folders above it.

        Raises:
            DataError: the file is not there, or the hub does not hand it over.
        """
        if self.origin.data_dir is None:
            return rows.from_hub(self.origin, None, file)
        return rows.from_files(rows.find(self.origin.data_dir, (file, Path(file).name)))


def copy(
    study: Study,
    name: str,
    hub_id: str,
    licence: str,
    given: Mapping[str, str],
    write: Callable[[Path], Path] | None = None,
) -> Copy:
    """Return the copy of set `name` that the study reads.

    Args:
        given: fields of `medpsy.corpus.recipe.HubCopy`; a ``revision`` or a ``data_dir`` is needed for real data.
        write: writes the miniature's own copy to a folder.

    Raises:
        ValueError: an unknown field, or any for the miniature, which makes its own files.
    """
    if study.source == "mini" and write is not None:
        if given:
            raise ValueError(
                f"{name}: origin {dict(given)} belongs to a real study; the miniature writes its own files"
            )
        folder = write(study.outputs / "data" / name)
        return Copy(rows.Origin(hub_id, None, "train", None, folder, partial=True), "Apache-2.0", True)
    chosen = strict.build(HubCopy, dict(given), strict.Place(f"origin of {name}"))
    if chosen.data_file:
        raise ValueError(f"{name}: data_file {chosen.data_file!r} has no use here, its files are known; remove it")
    folder = studies.ROOT / Path(chosen.data_dir).expanduser() if chosen.data_dir else None
    if not folder and not (chosen.hub_id or hub_id):
        raise DataError(f"{name}: it is on no hub that we know; give data_dir, a folder with its files")
    revision = chosen.revision or None
    return Copy(rows.Origin(chosen.hub_id or hub_id, None, "train", revision, folder, partial=True), licence, False)


def drawn(found: Sequence[T], count: int, seed: str) -> list[T]:
    """Return `count` of `found` in their own order, drawn by `seed`; 0 means all; more contain the fewer.

    Raises:
        ValueError: there are not so many.
    """
    if not 0 <= count <= len(found):
        raise ValueError(f"{seed}: {count:,} rows are asked for, {len(found):,} are there; 0 means all")
    places = list(range(len(found)))
    random.Random(seed).shuffle(places)
    return [found[place] for place in sorted(places[: count or len(found)])]


def is_held_out(question: str) -> bool:
    """Return whether a real question is kept out of every corpus; the same words always are, or never."""
    return int.from_bytes(digest(" ".join(question.casefold().split()))[:4], "big") / 2**32 < HELD_OUT
