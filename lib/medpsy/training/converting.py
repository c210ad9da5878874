"""From a resume point to a folder that transformers loads: safetensors in the parent's number format, and tokenizer.

For a training that is on its way, or will not go on: one that ended has left such a folder by itself. A resume point of
FSDP is sharded, and accelerate merges it; others hold safetensors already. Refuses whatever does not hold exactly the
parent's tensors. Convert what you trained yourself: the list of shards is a pickle, as PyTorch writes it.
"""

import shutil
import tempfile
from pathlib import Path

from accelerate.utils import merge_fsdp_weights
from safetensors import SafetensorError, safe_open
from torch.distributed.checkpoint.api import CheckpointException
from transformers import AutoTokenizer

from medpsy.files import whole_folder
from medpsy.training.jobs import require
from medpsy.training.save import WHOLE, cast, is_whole, keep_tokenizer, tied

SHARDS = "pytorch_model_fsdp_0"  # folder that accelerate writes a sharded model to
LISTED = ".metadata"  # what torch.distributed.checkpoint writes last
CARD = """# {name}, on the way

Weights of a training that started from `{parent}` and was at resume point `{name}`. **Not medical advice**: nothing
that this model writes may guide the care of a person.
"""


def convert(point: Path, out: Path, *, parent: Path) -> Path:
    """Write the model of the resume point `point` to the new folder `out`, whole or not at all; return `out`.

    Args:
        parent: folder of the model that the training started from; its architecture, tokenizer, template and number
            format are taken over.

    Raises:
        ValueError: `out` is there already, or `point` is no whole resume point of a model with the parent's tensors.
        FileNotFoundError: `parent` holds no model.
    """
    require(parent, "convert")
    if out.exists():
        raise ValueError(f"{out} is there already; name a folder that is not")
    place = out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{out.name}-") as scratch:
        source = weights(point, parent, Path(scratch))
        check(source, parent, point)
        with whole_folder(out) as folder:
            keep_tokenizer(parent, folder, AutoTokenizer.from_pretrained(parent, trust_remote_code=False))
            cast(source, folder, parent)
            (folder / "README.md").write_text(CARD.format(name=point.name, parent=parent.name), encoding="utf-8")
    return out


def weights(point: Path, parent: Path, scratch: Path) -> Path:
    """Return the folder that holds the weights of `point` as safetensors: itself, or `scratch` after merging shards."""
    shards = point if (point / LISTED).is_file() else point / SHARDS
    if shards != point and not is_whole(point):
        raise ValueError(
            f"{point} is no whole resume point: it has neither the file {WHOLE}, which a training sets last, nor the "
            f"{LISTED} of torch.distributed.checkpoint; take a folder checkpoint-N of outputs/PROFILE/training/NAME"
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
    raise ValueError(f"{point} holds no weights of a whole model; an adapter is loaded onto its parent, not converted")


def check(source: Path, parent: Path, point: Path) -> None:
    """Raise ValueError for the first tensor of the weights in `source` that is not as in `parent`."""
    twice = tied(parent)
    own, theirs = ({key: one for key, one in shapes(folder).items() if key not in twice} for folder in (source, parent))
    for name, shape in theirs.items():
        if own.get(name) != shape:
            found = f"has shape {own[name]}" if name in own else "is missing"
            raise ValueError(f"{point}: tensor {name} {found}; {parent.name} has it with {shape}: is it the parent?")
    if more := sorted(own.keys() - theirs.keys()):
        raise ValueError(f"{point}: {parent.name} has no tensor {more[0]}: is it the parent?")


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors in the safetensors of `folder`, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                found |= {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged: {error}") from None
    return found
