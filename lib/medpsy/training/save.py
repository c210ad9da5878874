"""What training leaves on the disk: resume points, what each step said, adapters, and the checkpoint in one step.

Only whole resume points count: a trainer's processes write their parts of one beside each other, and the last file of
the first process says nothing of the others'. So a mark is set when all of them are through, and older points go only
then. A checkpoint holds weights in the parent's number format, tokenizer, template, record and card.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import transformers
from accelerate import PartialState
from accelerate.utils import merge_fsdp_weights
from huggingface_hub import ModelCard, ModelCardData
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch.distributed.checkpoint.api import CheckpointException
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from medpsy import licences
from medpsy.engines.models import papers, read_json, text_config
from medpsy.files import whole_folder
from medpsy.training.jobs import PROGRESS, SUMMARY, Job, require

WHOLE = "whole"  # the mark: an empty file
KEPT = 2  # points at a time, the best one among them where the best counts
POINTS = f"{PREFIX_CHECKPOINT_DIR}-*"
SHOWN = {"loss": "loss {:.3f}", "reward": "reward {:.2f}", "rewards/margins": "margin {:.2f}"}
SHOWN |= {"completions/mean_length": "{:.0f} tokens"}


def last_checkpoint(work: Path) -> str | None:
    """Return the newest whole resume point in `work`, or None; a half-written one is passed over."""
    points = [point for point in work.glob(POINTS) if (point / WHOLE).is_file()]
    return str(max(points, key=lambda point: int(point.name.rpartition("-")[2]))) if points else None


def drop_half_written(work: Path) -> None:
    """Remove what a killed training left of a resume point: another number of processes would not write over it all."""
    for point in work.glob(POINTS):
        if not (point / WHOLE).is_file():
            shutil.rmtree(point)


class ResumePoints(TrainerCallback):
    """Marks a resume point as whole and removes those that it replaces; the trainer itself must remove none.
    Transformers calls it in every process, when that has written its part."""

    def on_save(self, args, state, control, **_):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / WHOLE).touch()
            rotate_checkpoints(args.output_dir, KEPT, state.best_model_checkpoint)


class Journal(TrainerCallback):
    """Puts ``seconds`` since the start, time before a kill included, into every row of a trainer's log, and tells the
    newest row to who watches."""

    def __init__(self, name: str, work: Path) -> None:
        self._name, self._work = name, work
        self._before, self._begun = 0.0, time.monotonic()

    def on_train_begin(self, args, state, control, **_):
        self._before = max((row.get("seconds", 0.0) for row in state.log_history), default=0.0)
        self._begun = time.monotonic()

    def on_log(self, args, state, control, **_):
        row = state.log_history[-1]
        row["seconds"] = self._before + time.monotonic() - self._begun
        if state.is_world_process_zero:
            numbers = [form.format(row[key]) for key, form in SHOWN.items() if isinstance(row.get(key), int | float)]
            place = f"{self._name}: step {state.global_step} of {state.max_steps}"
            (self._work / PROGRESS).write_text(", ".join([place, *numbers, f"{row['seconds']:.0f} s"]))


ADAPTER = "adapter"  # folder within a checkpoint
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def with_adapter(lora: Mapping[str, Any], parent: Path) -> dict[str, LoraConfig]:
    """Return what a trainer of TRL is given to train an adapter of the model in `parent`; nothing without `lora`. A
    target that no layer has the name of is a ValueError; peft would take the others and say nothing."""
    if not lora:
        return {}
    tensors = shapes(parent.glob("model*.safetensors"))
    layers = {name.split(".")[-2] for name, shape in tensors.items() if len(shape) == 2}
    if unknown := sorted(set(lora["target_modules"]) - layers):
        known = ", ".join(sorted(layers))
        raise ValueError(f"target_modules: no layer of {parent.name} is called {unknown[0]!r}; its layers are {known}")
    return {"peft_config": lora_config(lora)}


def lora_config(lora: Mapping[str, Any]) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", **{**lora, "target_modules": list(lora["target_modules"])})


def merge_adapter(lora: Mapping[str, Any], parent: Path, trained: Path | None, scratch: Path) -> tuple[Path, Path]:
    """Write parent and adapter as one model, computed in float32; return the folders of both, made in `scratch`.
    `trained`: folder with the adapter that a trainer saved; None for one that changes nothing."""
    if trained is None:
        model, trained = get_peft_model(load_whole(parent), lora_config(lora)), scratch / "untrained"
        model.save_pretrained(trained)
    else:
        model = adapted(parent, trained)
    adapter, merged = scratch / ADAPTER, scratch / "merged"
    adapter.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained / WEIGHTS, adapter / WEIGHTS)
    settings = read_json(trained / CONFIG) | {"base_model_name_or_path": parent.name}  # no path of this machine
    (adapter / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    model.merge_and_unload().save_pretrained(merged)
    return merged, adapter


def load_whole(folder: Path, dtype: str = "float32") -> PreTrainedModel:
    """Load a model in the architecture that its configuration names, as TRL's trainers do. Of one that also sees,
    ``AutoModelForCausalLM`` takes the part that writes; the adapter of a whole one does not fit. A ValueError names a
    tensor that the files lack: transformers draws it at random."""
    name = read_json(folder / "config.json")["architectures"][0]
    model, about = getattr(transformers, name).from_pretrained(folder, dtype=dtype, output_loading_info=True)
    if missing := about["missing_keys"]:
        raise ValueError(f"{folder}: no tensor {min(missing)} in its files, which are not whole; make them again")
    return model


def adapted(parent: Path, adapter: Path) -> PeftModel:
    """Load the model in `parent` with an adapter on it; one that does not fit is an error, where peft merely warns."""
    given = shapes([adapter / WEIGHTS])  # before anything is loaded: it is safetensors, and not damaged
    model = PeftModel.from_pretrained(load_whole(parent), adapter)
    fitting = get_peft_model_state_dict(model, save_embedding_layers=False).keys()
    if odd := fitting ^ given.keys():
        raise ValueError(f"{adapter.name}: it does not fit {parent.name}, for {min(odd)} is in one of them alone")
    return model


CARD = Path(__file__).with_name("card.md")  # template of the card
METHODS = {"sft": "Supervised fine-tuning", "dpo": "Preference training (DPO)", "rl": "Reinforcement learning"}


def model_card(job: Job, record: Mapping[str, Any]) -> str:
    """Return the card of a checkpoint: what it is, what made it, what it is not for."""
    made_of, method = job.licences(), METHODS[job.method]
    if job.method == "rl":  # one method with other settings
        sequence = job.config.get("importance_sampling_level") == "sequence"
        name = "GSPO" if sequence else job.config.get("loss_type", "dapo").upper()
        method += f" ({name}{', rewarded by a judge' if job.judge else ''})"
    card = ModelCard.from_template(
        ModelCardData(**licences.stated(made_of), library_name="transformers"),
        template_path=str(CARD),
        job=job,
        record=record,
        method=method,
        fiction="mini" in job.folder or "smoke" in job.folder,
        data=sorted({Path(file).parent.name for file in job.data}),
        licences=licences.table(made_of),
    )
    return f"{card}\n"


def save(trainer: Trainer, job: Job, record: Mapping[str, Any], *, weights: Path | None = None) -> None:
    """Write the checkpoint of `job`; every process calls it, the first one writes. An adapter that was trained is
    written to a folder of its own, and merged into the parent. `weights`: the parent's folder where that is to stay; by
    default the trainer's model as it is."""
    raw, parent = Path(job.work) / "final", Path(job.parent)
    if trainer.is_fsdp_enabled:  # resume points are sharded, a checkpoint is whole
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if weights is None:
        trainer.save_model(str(raw))  # gathers what is spread over processes
    if not trainer.is_world_process_zero():
        return
    with whole_folder(Path(job.folder)) as folder:
        source = weights or raw
        if job.lora:
            source, adapter = merge_adapter(job.lora, parent, None if weights else raw, Path(job.work) / "merging")
            shutil.copytree(adapter, folder / ADAPTER)
        cast(source, folder, parent)
        keep_tokenizer(parent, folder, trainer.processing_class)
        licences.write(folder, job.licences())
        (folder / "README.md").write_text(model_card(job, record), encoding="utf-8")
        (folder / SUMMARY).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def cast(source: Path, target: Path, parent: Path) -> None:
    """Write the model in `source` to `target` in the number format that the parent's configuration names."""
    load_whole(source, read_json(parent / "config.json").get("dtype") or "bfloat16").save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)  # a parent that has one gives it


def keep_tokenizer(parent: Path, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Copy tokenizer and template of `parent`, byte by byte; nothing of them is trained."""
    for name, path in papers(parent).items():
        if name not in ("config.json", SUMMARY):
            shutil.copy(path, folder / name)
    if not (folder / "tokenizer.json").is_file():
        tokenizer.save_pretrained(folder)


SHARDS, LISTED = "pytorch_model_fsdp_0", ".metadata"  # accelerate's folder of a sharded model, and its last file
ON_THE_WAY = Path(__file__).with_name("on_the_way.md").read_text(encoding="utf-8")


def convert(point: Path, out: Path, *, parent: Path) -> Path:
    """Write the model of the resume point `point` to the new folder `out`, whole or not at all; return `out`.

    For a training that is on its way, or will not go on: one that ended has left such a folder by itself; and for an
    adapter that others released. Shards convert of your own trainings: their list is a pickle. Architecture, tokenizer,
    template and number format are those of `parent`, where it began; without exactly its tensors a ValueError.
    """
    require(parent, "convert")
    if out.exists():
        raise ValueError(f"{out} is there already; name a folder that is not")
    place = out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{out.name}-") as scratch:
        source = unsharded(point, parent, Path(scratch))
        given, wanted = (shapes(folder.glob("model*.safetensors")) for folder in (source, parent))
        twice = {"lm_head.weight"} if text_config(parent).get("tie_word_embeddings") else set()  # FSDP gathers it too
        for name in sorted((given.keys() | wanted.keys()) - twice):
            if given.get(name) != wanted.get(name):
                states = f"has shape {given.get(name)}, in {parent.name} {wanted.get(name)} (None: no such tensor)"
                raise ValueError(f"{point}: tensor {name} {states}; is that its parent?")
        with whole_folder(out) as folder:
            cast(source, folder, parent)
            keep_tokenizer(parent, folder, AutoTokenizer.from_pretrained(parent, trust_remote_code=False))
            card = ON_THE_WAY.format(name=point.name, parent=parent.name)
            (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def unsharded(point: Path, parent: Path, scratch: Path) -> Path:
    """Return the folder of all weights as safetensors: `point`, or `scratch` after merging its shards or adapter."""
    if (point / WEIGHTS).is_file() and (point / CONFIG).is_file():
        adapted(parent, point).merge_and_unload().save_pretrained(scratch)
        return scratch
    shards = point if (point / LISTED).is_file() else point / SHARDS
    if shards != point and not (point / WHOLE).is_file():
        raise ValueError(
            f"{point} is no whole resume point, for it has no file {WHOLE}, which a training sets last; take a folder "
            "checkpoint-N of outputs/PROFILE/training/NAME"
        )
    if (shards / LISTED).is_file():
        try:
            merge_fsdp_weights(str(shards), str(scratch))
        except CheckpointException as error:  # no Exception, but a BaseException
            raise ValueError(f"{shards} is damaged: {error}") from None
        shutil.copy(parent / "config.json", scratch)
        return scratch
    if (point / "config.json").is_file() and list(point.glob("model*.safetensors")):
        return point
    raise ValueError(f"{point} holds no weights of a whole model, and no adapter with {WEIGHTS} and {CONFIG}")


def shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors in safetensors `files`, by name."""
    every: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, "np") as tensors:  # reads the heads alone
                every |= {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged: {error}") from None
    return every
