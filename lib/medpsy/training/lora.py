"""Low-rank adapters: given to a trainer, merged into the parent, and written so that they load on it anywhere."""

import json
import shutil
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from medpsy.training.lora_settings import ADAPTER, Lora

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def given(lora: Lora | None, parent: Path) -> dict[str, LoraConfig]:
    """Return what a trainer of TRL is given to train an adapter of the model in `parent`; nothing without `lora`.

    Raises:
        ValueError: no layer of the parent has the name of a target.
    """
    if lora is None:
        return {}
    check_targets(lora, parent)
    return {"peft_config": config(lora)}


def config(lora: Lora) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )


def check_targets(lora: Lora, parent: Path) -> None:
    """Raise ValueError for a target that no layer is called: peft takes the others and says nothing."""
    known: set[str] = set()
    for file in parent.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            matrices = [key for key in tensors.keys() if len(tensors.get_slice(key).get_shape()) == 2]  # noqa: SIM118
            known |= {key.split(".")[-2] for key in matrices}
    if unknown := sorted(set(lora.targets) - known):
        layers = ", ".join(sorted(known))
        raise ValueError(f"lora.targets: no layer of {parent.name} is called {unknown[0]!r}; its layers are {layers}")


def merge(lora: Lora, parent: Path, trained: Path | None, scratch: Path) -> tuple[Path, Path]:
    """Write parent and adapter as one model, computed in float32; return the folders of the model and of the adapter.

    Args:
        trained: folder with the adapter that a trainer saved; None for one that changes nothing.
        scratch: where both folders are made.
    """
    base = AutoModelForCausalLM.from_pretrained(parent, dtype="float32", trust_remote_code=False)
    if trained is None:
        model = get_peft_model(base, config(lora))
        trained = scratch / "untrained"
        model.save_pretrained(trained)
    else:
        model = PeftModel.from_pretrained(base, trained)
    adapter, merged = scratch / ADAPTER, scratch / "merged"
    copy(trained, adapter, parent.name)
    model.merge_and_unload().save_pretrained(merged)
    return merged, adapter


def copy(trained: Path, target: Path, parent: str) -> None:
    """Copy an adapter's two files; it names its parent by `parent` alone, not by a path of this machine."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained / WEIGHTS, target / WEIGHTS)
    settings: dict[str, Any] = json.loads((trained / CONFIG).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = parent
    (target / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
