"""Low-rank adapters: given to a trainer, merged into the parent, and written so that they load on it anywhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from transformers import PreTrainedModel

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
    if trained is None:
        model = get_peft_model(whole(parent), config(lora))
        trained = scratch / "untrained"
        model.save_pretrained(trained)
    else:
        model = adapted(parent, trained)
    adapter, merged = scratch / ADAPTER, scratch / "merged"
    copy(trained, adapter, parent.name)
    model.merge_and_unload().save_pretrained(merged)
    return merged, adapter


def whole(folder: Path) -> PreTrainedModel:
    """Load a model in float32, in the architecture that its configuration names, as TRL's trainers do.

    Of one that also sees, ``AutoModelForCausalLM`` takes the part that writes; the adapter of a whole one does not fit.
    """
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder, dtype="float32")


def adapted(parent: Path, adapter: Path) -> PeftModel:
    """Load the model in `parent` with an adapter on it.

    Raises:
        ValueError: a weight of the adapter has no layer, or a layer no weight, of which peft merely warns.
    """
    model = PeftModel.from_pretrained(whole(parent), adapter)
    with safe_open(adapter / WEIGHTS, "pt") as tensors:
        odd = set(tensors.keys()) ^ set(get_peft_model_state_dict(model))
    if odd:
        raise ValueError(f"{adapter.name}: it does not fit {parent.name}, for {min(odd)} is in one of them alone")
    return model


def copy(trained: Path, target: Path, parent: str) -> None:
    """Copy an adapter's two files; it names its parent by `parent` alone, not by a path of this machine."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained / WEIGHTS, target / WEIGHTS)
    settings: dict[str, Any] = json.loads((trained / CONFIG).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = parent
    (target / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
