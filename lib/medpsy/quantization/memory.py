"""What a study knows of its GGUF files, noted beside its responses: a replay has the notes and not the files.

The calibration text is not noted, only how many rows it had.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace

from medpsy import study as studies
from medpsy.noted import noted
from medpsy.quantization.calibration import Texts
from medpsy.quantization.family import Family, Variant
from medpsy.study import Study

NOTE = "gguf-files"


def remembered(study: Study, families: Mapping[str, Family]) -> Mapping[str, Family]:
    """Note what is known of `families`, and return them."""
    noted(study.store_dir, NOTE, lambda: {size: _plain(family) for size, family in families.items()})
    return families


def recalled(study: Study) -> dict[str, Family]:
    """Return the families that were noted, their texts empty.

    Raises:
        medpsy.generation.NotStored: none were.
    """
    found = noted(study.store_dir, NOTE, dict)
    return {size: _family(study, size, one) for size, one in found.items()}


def _plain(family: Family) -> dict[str, object]:
    files = [asdict(one) | {"file": one.file.relative_to(studies.ROOT).as_posix()} for one in family.files]
    texts = asdict(replace(family.texts, calibration="", held_out=""))
    return {"source": family.source.name, "files": files, "texts": texts, "context": family.context}


def _family(study: Study, size: str, raw: Mapping) -> Family:
    base, *variants = (
        Variant(**{**one, "file": studies.ROOT / one["file"], "unlike": tuple(one["unlike"])}) for one in raw["files"]
    )
    return Family(size, study.model(raw["source"]), base, tuple(variants), Texts(**raw["texts"]), raw["context"])
