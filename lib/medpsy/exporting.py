"""A trained model as a folder of its own: weights, tokenizer, template, configuration, card, quickstart.

Refuses to replace a folder that is no export, and to leave a half-written one. Trains and scores nothing.
"""

import shutil
from pathlib import Path

from medpsy import export_card, exported, strict
from medpsy.engines.identity import fingerprint
from medpsy.engines.weights import model_folder, papers
from medpsy.exported import Exported
from medpsy.folders import whole_folder
from medpsy.quantization import to_gguf
from medpsy.quantization.family import BASE, FORMATS
from medpsy.quantization.variants import variant_file
from medpsy.report.stages import require_whole
from medpsy.study import ModelSpec, Study
from medpsy.training.job import SUMMARY

VARIANTS = (BASE, *FORMATS)


def export(study: Study, *, stage: str, size: str, variant: str | None = None, out: Path | None = None) -> Path:
    """Write the model that `stage` leaves of the target of `size` into a folder; return the folder.

    Args:
        variant: number format of a GGUF file, e.g. ``"Q4_K_M"``; None for the safetensors as trained.
        out: the folder; an older export there is replaced.

    Raises:
        ValueError: no such stage, size or variant; the nearest is offered.
        FileNotFoundError: no such checkpoint or variant (names the section that leaves it), or no llama.cpp.
        FileExistsError: `out` is there and is no export.
    """
    model = study.checkpoint(size, stage)
    if variant and variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; {strict.nearest(variant, VARIANTS)}")
    target = (out or study.outputs / "export" / "-".join(filter(None, [model.name, variant]))).expanduser().absolute()
    _require_free(target)
    require_whole(model, stage, study.profile)
    weights = _weights(study, model, variant)
    one = _described(study, model, variant, next(iter(weights)))
    with whole_folder(target) as folder:
        for name, path in (papers(model_folder(model)) | weights).items():
            shutil.copyfile(path, folder / name)
        (folder / SUMMARY).unlink(missing_ok=True)  # how the checkpoint came about; the card says what matters of it
        exported.write(folder, one)
        (folder / "README.md").write_text(export_card.card(study, model, one, folder), encoding="utf-8")
    return target


def _require_free(target: Path) -> None:
    """Refuse a target that holds anything but an older export: it would be lost."""
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not exported.is_export(target)):
        raise FileExistsError(f"{target}: is there and no export of ours; name another folder with --out")


def _weights(study: Study, model: ModelSpec, variant: str | None) -> dict[str, Path]:
    """Return the files of the weights by the name they get.

    A variant is the file that section 10 made and measured; BF16, of which it makes all others, is converted here.
    """
    if not variant:
        return {path.name: path for path in sorted(model_folder(model).glob("*.safetensors*"))}
    base = variant == BASE
    file = to_gguf(model, study.gguf_dir, outtype="bf16") if base else variant_file(study, model, variant)
    return {f"{model.name}-{variant}.gguf": file}


def _described(study: Study, model: ModelSpec, variant: str | None, weights: str) -> Exported:
    return Exported(
        model.name,
        study.profile,
        variant,
        weights=weights,
        fiction=study.source == "mini",
        fingerprint=fingerprint(model),
        sampling=study.open_sampling or study.sampling,
        threads=study.engine_options.get("threads"),
        opens_thinking=model.opens_thinking,
        chat_template_kwargs=dict(model.chat_template_kwargs),
    )
