"""GGUF files of a model for llama.cpp: importance matrix and one file per number format.

llama.cpp's programs run in a folder of their own, with files named relative to it, so that nothing they write holds a
path of this machine. The calibration text is rows of the training corpora (the report names no text), and rows kept for
measuring are never among them. A variant's folder holds tokenizer, configuration and one GGUF file, so it is a model
like any other.

Files of a model that somebody released, which are models of the study too, take the place of those that would be made.
Where the source is one of them itself, none is made, and it is the one that the others are compared with.
"""

import json
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import httpx
import numpy as np
import pandas as pd
from pydantic import Field

from medpsy import corpus, strict
from medpsy.corpus.rows import chat_form
from medpsy.engines import models, programs
from medpsy.engines.base import EngineError
from medpsy.engines.convert import to_gguf
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.engines.models import file_digest, model_folder, read_json
from medpsy.files import swept, whole_folder, write_text, write_whole
from medpsy.store import noted
from medpsy.study import ModelSpec, Study

FORMATS = {"Q8_0": 8, "Q5_K_M": 5, "Q4_K_M": 4, "IQ4_NL": 4, "IQ4_XS": 4, "IQ3_M": 3, "IQ3_XXS": 3}  # report 4.7: bits
WITHOUT_MATRIX = ("Q8_0",)  # report 4.7: built without importance matrix
NEEDS_MATRIX = ("IQ3_XXS",)  # llama-quantize refuses it without
BASE = "BF16"
PLAIN = "plain"  # ends the name of a variant that has no importance matrix although its format is built with one
CONTROL = 3  # token type of GGUF
MATRIX_KEYS = {"file": "{}", "dataset": "of {}", "entries_count": "{} tensors", "chunks_count": "{} chunks"}
RECORD = "variant.json"
RECIPE_VERSION = 1  # raised by hand when the same inputs begin to give another file
SECTION = "10_quantization"
TRIED = Path(__file__).parents[1] / "mini" / "hub" / "qwen3-small"  # rows of 256 weights, as K-quants and AMX want
TRIAL_SECONDS = 120.0
SCRATCH = ".imatrix-"  # begins the name of the folder that llama-imatrix works in
DRY_RUN_LINE = re.compile(
    r"^\[.*?\]\s+(\S+)\s+- \[\s*(\d+),\s*(\d+),.*?type =\s+(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE
)


def run_tool(program: str, arguments: Sequence[object], folder: Path) -> tuple[str, str]:
    """Run llama.cpp's `program` in `folder`; return its standard output and its log, the standard error.

    FileNotFoundError where it is not built, EngineError with the end of its log where it failed.
    """
    child = programs.Child([str(programs.find(program)), *map(str, arguments)], cwd=folder, talk=True)
    try:
        output = child.stdout.read().decode("utf-8", "replace")
        if child.wait():
            raise EngineError(child.failure(f"{program} failed"))
        return output, child.log()
    finally:
        child.stop()


@dataclass(frozen=True)
class Calibration:
    corpora: tuple[str, ...]  # training corpora whose rows are drawn, by seed
    rows: Annotated[int, Field(ge=1)]  # for the importance matrix; fewer where there are not so many
    held_out: Annotated[int, Field(ge=0)]  # rows for perplexity and divergence, at most half of all
    context: Annotated[int, Field(ge=8)]  # tokens that llama.cpp reads at a time
    text: str = ""  # file (relative to the root) whose paragraphs take the place of rows where there are no corpora

    def __post_init__(self) -> None:
        if self.corpora and self.text:
            raise ValueError(f"text: {self.text!r} and corpora {list(self.corpora)} are given; give one of them")


def texts(study: Study, model: ModelSpec, calibration: Calibration) -> tuple[str, str]:
    """Return the text that calibrates and the one that is measured with, without a row in common, both empty where
    nothing was given to make them of; rows of corpora stand in the chat template of `model`.

    FileNotFoundError where a corpus or the text is not there, ValueError where there are too few rows to part them.
    """
    rows = [row for name in calibration.corpora for row in corpus.load(study, name)]
    if calibration.text:
        path = study.root / Path(calibration.text).expanduser()
        if not path.is_file():
            fix = "give one relative to the project, or corpora"
            raise FileNotFoundError(f"calibration.text: no file {calibration.text!r}; {fix}")
        text = path.read_text(encoding="utf-8")
        rows = [part.strip() for part in text.split("\n\n") if part.strip()]
    if not rows:
        return "", ""
    if len(rows) < 2:
        raise ValueError("calibration: one row cannot be parted into calibration and measuring; give more")
    random.Random(study.seed).shuffle(rows)
    apart = min(calibration.held_out, len(rows) // 2)
    rows = rows[: apart + calibration.rows]
    if not calibration.text:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model_folder(model), trust_remote_code=False)
        form = chat_form(tokenizer, opens_thinking=model.opens_thinking, switches=model.chat_template_kwargs)
        rows = ["".join(example.values()) for example in form.examples(tokenizer, rows)]
    return tuple("\n".join(part) + "\n" for part in (rows[apart:], rows[:apart]))


def held_out_file(study: Study, source: str) -> Path:
    """Return where `build` leaves the text to measure the files of model `source` with."""
    return study.outputs / "variants" / f"{source}-held-out.txt"


def importance_matrix(base: Path, text: str, context: int, *, threads: int = 0) -> Path:
    """Return the importance matrix of the file `base` on `text`, made the first time; it lies beside the file.
    EngineError where llama-imatrix failed, e.g. because the text is shorter than `context` tokens."""
    parts = {"base": file_digest(base), "text": text, "context": context, "tool": programs.RELEASE}
    target = base.with_name(f"{base.stem}-{models.digest(parts)[:16]}-imatrix.gguf")
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=swept(base.parent, SCRATCH), prefix=SCRATCH) as scratch:
        folder = Path(scratch)
        (folder / "calibration.txt").write_text(text, encoding="utf-8")
        (folder / "model.gguf").symlink_to(base.resolve())
        line = f"-m model.gguf -f calibration.txt -o imatrix.gguf -c {context} --parse-special --no-escape --no-ppl"
        run_tool("llama-imatrix", [*line.split(), *(["-t", threads] if threads else [])], folder)
        return write_whole(target, lambda made: shutil.copyfile(folder / "imatrix.gguf", made))


def build(
    study: Study,
    sources: Mapping[str, str],
    *,
    formats: Sequence[str],
    plain: Sequence[str] = (),
    calibration: Mapping[str, object],
    threads: int = 0,
) -> pd.DataFrame:
    """Return one row per file, made where it is not there yet, or released; in a replay, what was noted of them.

    Args:
        sources: size class -> model whose files are made.
        formats, plain: number formats, with importance matrix but for Q8_0; those to be built without one besides.
        calibration: fields of `Calibration`.
        threads: CPU threads of llama.cpp's programs; 0 leaves it to them.

    Columns ``size``, ``source``, ``name`` (of the model it is in the study), ``format`` (``"BF16"`` for the file that
    the others of a size are made of, which comes first, or a released file that is the source), ``imatrix``, ``plain``
    (without a matrix although its format is built with one), ``label``, ``file``, ``bytes``, what `read_back` finds,
    and of ``released`` files ``calibration``, what their headers say of the matrix, and ``unmixed``, as of `unmixed`.
    ValueError for an unknown format, or one that needs an importance matrix while there is no text and it was not
    released; EngineError where a program of llama.cpp failed.
    """
    place = strict.Place(f"params/{study.profile}/{SECTION}.yaml")
    settings = strict.build(Calibration, dict(calibration), place.at("calibration"))
    for key, names in (("formats", formats), ("plain", plain)):
        strict.value(list(names), list[Literal[*FORMATS]], place.at(key))
    if refused := [name for name in plain if name in (*NEEDS_MATRIX, *WITHOUT_MATRIX)]:
        raise place.at("plain").error(f"{refused[0]} cannot be built both ways; leave it out")
    kinds = [(form, form not in WITHOUT_MATRIX, False) for form in formats] + [(form, False, True) for form in plain]

    def family(source: ModelSpec) -> list[dict[str, object]]:
        if not source.file:
            return _family(study, source, kinds, settings, threads)
        write_text(held_out_file(study, source.name), "")  # no file in BF16 to compare predictions with
        every = study.files(source.name)
        return [_released(study, source, file) for file in every if file == source or file.format in formats]

    def made() -> dict[str, object]:
        families = {size: family(study.model(name)) for size, name in sources.items()}
        return {size: {"files": [row | {"size": size} for row in rows]} for size, rows in families.items()}

    families = noted(study.store_dir, "gguf-files", made).values()
    files = pd.DataFrame([row for family in families for row in family["files"]])
    files["released"] = files["calibration"].notna() if "calibration" in files else False
    files["plain"] = files["name"].str.endswith(f"-{PLAIN}")
    files["label"] = files["format"] + files["plain"].map({True: " without imatrix", False: ""})
    files["file"] = [study.root / file for file in files["file"]]
    return files


def _family(
    study: Study, source: ModelSpec, kinds: Sequence[tuple[str, bool, bool]], settings: Calibration, threads: int
) -> list[dict[str, object]]:
    base = to_gguf(source, study.gguf_dir, outtype="bf16")
    text, held_out = texts(study, source, settings)
    rows, released = [], {file.format: file for file in study.files(source.name)}
    weighed = any(with_matrix and form not in released for form, with_matrix, _ in kinds)
    matrix = importance_matrix(base, text, settings.context, threads=threads) if text and weighed else None
    for form, with_matrix, plain in [(BASE, False, False), *kinds]:
        if form in released and not plain:
            rows.append(_released(study, source, released[form]))
            continue
        if with_matrix and matrix is None:
            raise ValueError(f"{form} is built with an importance matrix; give calibration.corpora or calibration.text")
        folder, file = _folder(study, source, form, plain), base
        if form != BASE:
            file = _quantized(folder, source, base, form, matrix if with_matrix else None)
        about = {"name": folder.name, "source": source.name, "format": form, "imatrix": with_matrix}
        about |= {"file": file.relative_to(study.root).as_posix(), "bytes": file.stat().st_size}
        rows.append(about | read_back(file, model_folder(source)))
    write_text(held_out_file(study, source.name), held_out)
    return rows


def _released(study: Study, source: ModelSpec, model: ModelSpec) -> dict[str, object]:
    """Return the row of `model`, a released file of the model `source`, or that itself."""
    folder, link = model_folder(model), study.outputs / "variants" / f"{model.name}.gguf"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(models.gguf_file(folder).resolve())
    said = calibration_of(link)
    about = {"name": model.name, "source": source.name, "format": model.format, "imatrix": bool(said)}
    about |= {"file": link.relative_to(study.root).as_posix(), "bytes": link.stat().st_size, "calibration": said}
    return about | {"unmixed": unmixed(link, model.format, bool(said))} | read_back(link, folder)


def calibration_of(path: Path) -> str:
    """Return what the header of the GGUF file `path` says of its importance matrix, nothing where it had none."""
    opened = reader(path)
    fields = {words: opened.get_field(f"quantize.imatrix.{key}") for key, words in MATRIX_KEYS.items()}
    said = {words: str(field.contents()).rpartition("/")[2] for words, field in fields.items() if field}  # of a path
    return ", ".join(words.format(value) for words, value in said.items())


def unmixed(path: Path, form: str, imatrix: bool) -> dict[str, list[str]]:
    """Return ``"Q5_K for Q6_K"`` -> names of the tensors of the GGUF file `path` that have the first type where
    llama.cpp's own mixture for the format `form`, with or without `imatrix`, has the second."""
    held, apart = {tensor.name: tensor for tensor in reader(path).tensors}, {}
    shapes = {name: (*map(int, reversed(tensor.shape)),) for name, tensor in held.items()}
    for name, _, kind in dry_run(path, form, shapes, imatrix):
        if (ours := held[name].tensor_type.name) != kind:
            apart.setdefault(f"{ours} for {kind}", []).append(name)
    return apart


def dry_run(path: Path, form: str, shapes: Mapping[str, tuple[int, ...]], imatrix: bool) -> list[tuple[str, int, str]]:
    """Return name, number of weights and type of each tensor of the GGUF file `path`, whose tensors have `shapes`, as
    llama.cpp would write it in `form`, with or without an importance matrix."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.gguf").symlink_to(path.resolve())
        _even_matrix(Path(scratch) / "imatrix.gguf", shapes)
        words = ["--dry-run", *(["--imatrix", "imatrix.gguf"] if imatrix else []), "model.gguf", form]
        lines = DRY_RUN_LINE.findall("".join(run_tool("llama-quantize", words, Path(scratch))))
    return [(name, int(first) * int(second), (new or old).upper()) for name, first, second, old, new in lines]


def _even_matrix(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write an importance matrix that calls every input equal: its being there already changes llama.cpp's choice."""
    import gguf

    writer = gguf.GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 1)
    for name, shape in shapes.items():
        if name.startswith("blk.") and len(shape) > 1:
            writer.add_tensor(f"{name}.in_sum2", np.ones((1, shape[1]), dtype=np.float32))
            writer.add_tensor(f"{name}.counts", np.ones((1, 1), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _folder(study: Study, source: ModelSpec, form: str, plain: bool = False) -> Path:
    return study.outputs / "variants" / "-".join([source.name, form, *([PLAIN] if plain else [])])


def _quantized(target: Path, source: ModelSpec, base: Path, form: str, matrix: Path | None) -> Path:
    """Return the file of one variant, whole and readable; its folder is replaced where anything has changed."""
    origin, file = model_folder(source), f"{target.name}.gguf"
    record = {"source": _source_digest(origin), "base": file_digest(base), "format": form, "tool": programs.RELEASE}
    record |= {"recipe": RECIPE_VERSION, "imatrix": matrix and file_digest(matrix)}
    if read_json(target / RECORD) == record and (target / file).is_file():
        return target / file
    with whole_folder(target) as folder:
        for name, path in models.papers(origin).items():
            shutil.copyfile(path, folder / name)
        inputs = {"model-bf16.gguf": base} | ({"imatrix.gguf": matrix} if matrix else {})
        for link, path in inputs.items():
            (folder / link).symlink_to(path.resolve())
        options = ["--imatrix", "imatrix.gguf"] if matrix else []
        run_tool("llama-quantize", [*options, "model-bf16.gguf", file, form], folder)
        for link in inputs:
            (folder / link).unlink()
        reader(folder / file)
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return target / file


def _source_digest(folder: Path) -> str:
    return models.digest({"weights": models.weights_digest(folder), "chat_template": models.chat_template(folder)})


def reader(path: Path, mode: str = "r"):
    """Return a reader of the GGUF file `path`; ValueError where it is none or was cut short."""
    import gguf  # late: only those who read files need it

    try:
        return gguf.GGUFReader(path, mode)
    except OSError:
        raise
    except Exception as error:  # the reader fails in many ways on bytes that are no GGUF
        raise ValueError(f"{path} is no whole GGUF file ({error}); delete it and make it again") from error


def read_back(path: Path, source: Path) -> dict[str, object]:
    """Return ``matrices``, number format -> numbers held in it, vectors left out, and ``unlike``: of chat template, end
    of turn and special tokens what is not as in the folder `source`; empty for a faithful copy."""
    opened = reader(path)

    def field(key: str) -> object:
        given = opened.get_field(f"tokenizer.{key}")
        return None if given is None else given.contents()

    matrices = Counter()
    for tensor in opened.tensors:
        matrices[tensor.tensor_type.name] += int(tensor.n_elements)
    del matrices["F32"]  # vectors
    tokens, end = field("ggml.tokens") or [], field("ggml.eos_token_id")
    control = {token for token, kind in zip(tokens, field("ggml.token_type") or [], strict=True) if kind == CONTROL}
    added = read_json(source / "tokenizer.json").get("added_tokens", [])
    names = {token["id"]: token["content"] for token in added}
    ends = {names.get(number) for number in models.eos_ids(source)}
    checks = {
        "chat template": (field("chat_template") or "") == models.chat_template(source),
        "end of turn": not ends or (end is not None and tokens[end] in ends),
        "special tokens": control == {token["content"] for token in added if token["special"]},
    }
    return {"matrices": dict(matrices), "unlike": [name for name, same in checks.items() if not same]}


def with_variants(
    study: Study, files: pd.DataFrame, *, runs: int = 0, questions: int = 0, conversations: int = 0
) -> Study:
    """Return `study` with every variant of `files` as a model of it, called by its ``name``: every question asked
    `runs` times (0: as in the study), of every suite so many `questions` and `conversations` (0: all)."""
    variants = {}
    for row in files[(files["format"] != BASE) & (files["name"] != files["source"])].itertuples():
        source, path = study.model(row.source), row.file.parent.relative_to(study.root).as_posix()
        made = replace(source, name=row.name, path=path, revision=None, gguf=True)
        variants[row.name] = replace(study.models.get(row.name, made), label=f"{source.label}, {row.label}")
    sample = {"questions_per_suite": questions, "conversations_per_suite": conversations}
    return replace(study, models={**study.models, **variants}, runs=runs or study.runs, **sample)


def variant_file(study: Study, model: ModelSpec, format: str) -> Path:
    """Return the GGUF file that section 10 made of `model` as it is now, or raise FileNotFoundError."""
    folder = _folder(study, model, format)
    if read_json(folder / RECORD).get("source") != _source_digest(model_folder(model)):
        command = f"python -m medpsy run {SECTION} --profile {study.profile}"
        raise FileNotFoundError(f"{model.name}: no {format} file of it as it is now; run {command}")
    return folder / f"{folder.name}.gguf"


def trial() -> str:
    """Return why llama.cpp fails with a quantized file on this machine, or nothing: its code for some processors fails
    at the first product of every quantized file, and of no other (ggml-org/llama.cpp#20824, with AMX)."""
    prompt = list(range(3, 67))  # token ids: enough for products of two matrices; the response is matrix by vector
    try:
        with tempfile.TemporaryDirectory(prefix="llama-trial-") as scratch:
            base = to_gguf(ModelSpec(TRIED.name, str(TRIED)), Path(scratch), outtype="bf16")
            file = base.with_name("trial.gguf")
            run_tool("llama-quantize", [base.name, file.name, "Q4_K_M"], base.parent)
            options = ServerOptions(slots=1, context=256, cache_type="f16", timeout=TRIAL_SECONDS)
            with LlamaServer(file, options) as server, server.client(timeout=TRIAL_SECONDS) as client:
                try:
                    answer = client.post("/completion", json={"prompt": prompt, "n_predict": 8})
                except httpx.TransportError:
                    raise server.error("did not answer its first prompt") from None
                if answer.status_code != httpx.codes.OK:
                    raise server.error(f"answered its first prompt with {answer.status_code}: {answer.text[:300]}")
    except (EngineError, OSError) as error:
        return str(error)
    return ""
