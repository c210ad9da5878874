"""From a trainer to a checkpoint on disk: weights in the parent's number format, tokenizer, template, record, card.

A checkpoint's folder appears in one step. Writes safetensors only.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase, Trainer

from medpsy.engines.weights import papers, text_config
from medpsy.folders import whole_folder
from medpsy.training import lora as adapters
from medpsy.training.card import model_card
from medpsy.training.job import SUMMARY, Job
from medpsy.training.lora_settings import ADAPTER, Lora

HEAD = "lm_head.weight"  # is the embedding once more, where a model has these tied
OF_WEIGHTS = ("config.json", SUMMARY)  # a checkpoint's own, not its parent's


def save(
    trainer: Trainer, job: Job, record: Mapping[str, Any], *, weights: Path | None = None, lora: Lora | None = None
) -> None:
    """Write the checkpoint of `job`; every process calls it, the first one writes.

    Args:
        weights: the parent's folder where that is to stay; by default the trainer's model as it is.
        lora: what was trained is an adapter; it is written to a folder of its own, and merged into the parent.
    """
    raw = Path(job.work) / "final"
    if trainer.is_fsdp_enabled:  # resume points are sharded, a checkpoint is whole
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if weights is None:
        trainer.save_model(str(raw))  # gathers what is spread over processes
    if not trainer.is_world_process_zero():
        return
    with whole_folder(Path(job.folder)) as folder:
        source = weights or raw
        if lora:
            trained = None if weights else raw
            source, adapter = adapters.merge(lora, Path(job.parent), trained, Path(job.work) / "merging")
            shutil.copytree(adapter, folder / ADAPTER)
        cast(source, folder, Path(job.parent))
        keep_tokenizer(Path(job.parent), folder, trainer.processing_class)
        (folder / "README.md").write_text(model_card(job, record), encoding="utf-8")
        (folder / SUMMARY).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def cast(source: Path, target: Path, parent: Path) -> None:
    """Copy the weights in `source` to `target` in the number format that the parent's configuration names."""
    name = json.loads((parent / "config.json").read_text(encoding="utf-8")).get("dtype") or "bfloat16"
    dtype, twice = getattr(torch, name), tied(parent)
    for file in sorted(source.glob("*.safetensors")):
        tensors = {key: value.to(dtype).contiguous() for key, value in load_file(file).items() if key not in twice}
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    for file in source.glob("*.safetensors.index.json"):
        listed = json.loads(file.read_text(encoding="utf-8"))
        listed["weight_map"] = {key: one for key, one in listed["weight_map"].items() if key not in twice}
        (target / file.name).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    config = json.loads((source / "config.json").read_text(encoding="utf-8")) | {"dtype": name}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def tied(parent: Path) -> set[str]:
    """Return which tensors need no place in a file, being others once more; FSDP gathers them twice."""
    return {HEAD} if text_config(parent).get("tie_word_embeddings") else set()


def keep_tokenizer(parent: Path, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Copy tokenizer and template of `parent`, byte by byte; nothing of them is trained."""
    for name, path in papers(parent).items():
        if name not in OF_WEIGHTS:
            shutil.copy(path, folder / name)
    if not (folder / "tokenizer.json").is_file():
        tokenizer.save_pretrained(folder)
