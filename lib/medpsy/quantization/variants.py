"""The GGUF files of a model: BF16, an importance matrix, and one folder per number format.

A variant's folder holds tokenizer, configuration and one GGUF file, so it is a model like any other; its fingerprint
covers the file. Everything is kept under the digest of what it was made of.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medpsy import strict
from medpsy import study as studies
from medpsy.engines import tools
from medpsy.engines.identity import chat_template, file_digest, weights_digest
from medpsy.engines.weights import model_folder, papers
from medpsy.folders import whole_folder
from medpsy.generation import replaying
from medpsy.quantization import gguf_file
from medpsy.quantization.calibration import Calibration, texts
from medpsy.quantization.conversion import to_gguf
from medpsy.quantization.faithful import unlike
from medpsy.quantization.family import BASE, FORMATS, NEEDS_MATRIX, PLAIN, WITHOUT_MATRIX, Family, Variant
from medpsy.quantization.importance import digest, importance_matrix
from medpsy.quantization.llama_tool import run
from medpsy.quantization.memory import recalled, remembered
from medpsy.study import ModelSpec, Study

RECORD = "variant.json"
SECTION = "10_quantization"
Wanted = tuple[str, bool, str]  # format, whether with importance matrix, and the end of its name


def build(
    study: Study,
    sources: Mapping[str, str],
    *,
    formats: Sequence[str],
    plain: Sequence[str] = (),
    calibration: Mapping[str, object],
    threads: int = 0,
) -> dict[str, Family]:
    """Return the files of every size class, made where they are not there yet; in a replay, what was noted of them.

    Args:
        sources: size class -> model whose files are made.
        formats: number formats, with importance matrix but for Q8_0.
        plain: formats to be built without one besides.
        calibration: fields of `medpsy.quantization.calibration.Calibration`.
        threads: CPU threads of llama.cpp's programs; 0 leaves it to them.

    Raises:
        ValueError: an unknown format, or one that needs an importance matrix while there is no text to make it of.
        EngineError: a program of llama.cpp failed; shows the end of its log.
        OSError: a model, a corpus or a program is not there; says how to get it.
        NotStored: this is a replay of a study that built none.
    """
    place = strict.Place(f"params/{study.profile}/{SECTION}.yaml")
    settings = strict.build(Calibration, dict(calibration), place.at("calibration"))
    for key, names in (("formats", formats), ("plain", plain)):
        for name in names:
            if name not in FORMATS:
                raise place.at(key).error(f"{name!r} is no format; {strict.nearest(name, FORMATS)}")
    refused = [name for name in plain if name in (*NEEDS_MATRIX, *WITHOUT_MATRIX)]
    if refused:
        raise place.at("plain").error(f"{refused[0]} cannot be built both ways; leave it out")
    wanted = [(form, form not in WITHOUT_MATRIX, "") for form in formats] + [(form, False, PLAIN) for form in plain]
    if replaying():
        return recalled(study)
    families = {size: _family(study, size, name, wanted, settings, threads) for size, name in sources.items()}
    return remembered(study, families)


def with_variants(
    study: Study, families: Mapping[str, Family], *, runs: int = 0, questions: int = 0, conversations: int = 0
) -> Study:
    """Return `study` with every variant as a model of it, called by `Variant.name`.

    Args:
        runs: how often every question is asked; 0 leaves it as it is.
        questions, conversations: asked of every suite; 0 means all.
    """
    found = {}
    for family in families.values():
        for one in family.variants:
            path = one.file.parent.relative_to(studies.ROOT).as_posix()
            about = {"path": path, "revision": None, "label": f"{family.source.label}, {one.label}", "gguf": True}
            found[one.name] = replace(family.source, name=one.name, **about)
    sample = {"questions_per_suite": questions, "conversations_per_suite": conversations}
    return replace(study, models={**study.models, **found}, runs=runs or study.runs, **sample)


def variant_file(study: Study, model: ModelSpec, format: str) -> Path:
    """Return the GGUF file that section 10 made of `model` as it is now.

    Raises:
        FileNotFoundError: there is none, or the model has been trained again since; names the section to run.
    """
    folder = _folder(study, _name(model, format, ""))
    record = json.loads((folder / RECORD).read_text(encoding="utf-8")) if (folder / RECORD).is_file() else {}
    if record.get("source") != _source_digest(model_folder(model)):
        command = f"python -m medpsy run {SECTION} --profile {study.profile}"
        raise FileNotFoundError(f"{model.name}: no {format} file of it as it is now; run {command}")
    return folder / f"{folder.name}.gguf"


def _family(
    study: Study, size: str, name: str, wanted: Sequence[Wanted], settings: Calibration, threads: int
) -> Family:
    source = study.model(name)
    base = to_gguf(source, study.gguf_dir, outtype="bf16")
    made = texts(study, source, settings)
    matrix = importance_matrix(base, made.calibration, settings.context, threads=threads) if made.calibration else None
    files = []
    for form, with_matrix, end in wanted:
        if with_matrix and matrix is None:
            raise ValueError(f"{form} is built with an importance matrix; give calibration.corpora or calibration.text")
        file = _quantized(study, source, base, form, matrix if with_matrix else None, end)
        files.append(_variant(source, size, (form, with_matrix, end), file))
    return Family(size, source, _variant(source, size, (BASE, False, ""), base), tuple(files), made, settings.context)


def _variant(source: ModelSpec, size: str, one: Wanted, file: Path) -> Variant:
    (form, with_matrix, end), contents = one, gguf_file.read(file)
    held = {"bytes": file.stat().st_size, "matrices": dict(contents.matrices), "unlike": unlike(source, contents)}
    return Variant(_name(source, form, end), size, source.name, form, with_matrix, file, **held)


def _quantized(study: Study, source: ModelSpec, base: Path, form: str, matrix: Path | None, end: str) -> Path:
    """Return the file of one variant, whole and readable; its folder is replaced where anything has changed."""
    origin, target = model_folder(source), _folder(study, _name(source, form, end))
    record = {"source": _source_digest(origin), "base": file_digest(base), "format": form, "tool": tools.RELEASE}
    record |= {"imatrix": matrix and file_digest(matrix)}
    file = f"{target.name}.gguf"
    if _is(target, record, file):
        return target / file
    with whole_folder(target) as folder:
        for name, path in papers(origin).items():
            shutil.copyfile(path, folder / name)
        inputs = {"model-bf16.gguf": base} | ({"imatrix.gguf": matrix} if matrix else {})
        for link, path in inputs.items():
            (folder / link).symlink_to(path.resolve())
        options = ["--imatrix", "imatrix.gguf"] if matrix else []
        run("llama-quantize", [*options, "model-bf16.gguf", file, form], folder=folder)
        for link in inputs:
            (folder / link).unlink()
        gguf_file.read(folder / file)
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return target / file


def _is(folder: Path, record: Mapping, file: str) -> bool:
    if not ((folder / RECORD).is_file() and (folder / file).is_file()):
        return False
    if json.loads((folder / RECORD).read_text(encoding="utf-8")) != record:
        return False
    gguf_file.read(folder / file)  # a damaged file is an error, not a reason to work silently
    return True


def _source_digest(folder: Path) -> str:
    return digest({"weights": weights_digest(folder), "chat_template": chat_template(folder)})


def _folder(study: Study, name: str) -> Path:
    return study.outputs / "variants" / name


def _name(source: ModelSpec, form: str, end: str) -> str:
    return "-".join(filter(None, [source.name, form, end]))
