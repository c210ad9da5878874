"""Where a model's files lie, and whether they may be read.

Refuses pickled weights (safetensors are read, and by llama.cpp a GGUF file) and code that comes with a model; loads no
weights itself.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

# what a model consists of: no code, no pickled weights
FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Model(Protocol):
    """What engines need to know of a model; `medpsy.study.ModelSpec` is one."""

    name: str
    path: str
    revision: str | None
    base_url: str | None
    chat_template_kwargs: dict[str, Any]
    gguf: bool

    @property
    def local_dir(self) -> Path | None: ...


def model_folder(model: Model) -> Path:
    """Return the folder with the model's files; a hub id is downloaded once into the hub's own cache.

    Raises:
        FileNotFoundError: the folder, the download or a file in it is missing; names model, path and fix.
        ValueError: the folder holds pickled weights only.
    """
    folder = model.local_dir or _download(model)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"model {model.name!r}: no folder {model.path!r}; correct `path` in study.yaml, "
            "or run `make minihub` if it is a model of the miniature"
        )
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"model {model.name!r}: {model.path}/{name} is missing; save the model whole")
    _require_weights(model, folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, sorted by name: safetensors, or else the one GGUF file."""
    found = sorted(folder.glob("*.safetensors"))
    gguf = None if found else gguf_file(folder)
    return found if gguf is None else [gguf]


def papers(folder: Path) -> dict[str, Path]:
    """Return a model's files but for its weights, by name: tokenizer, chat template, configuration."""
    found = (path for pattern in FILES for path in folder.glob(pattern))
    return {path.name: path for path in found if ".safetensors" not in path.name}


def gguf_file(folder: Path) -> Path | None:
    """Return the GGUF file of a folder whose weights it holds, None for a folder with safetensors or neither.

    Raises:
        ValueError: there are several; which one is meant, nobody can tell.
    """
    found = [] if any(folder.glob("*.safetensors")) else sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder.name} holds {names}; leave one GGUF file in the folder of a model")
    return found[0] if found else None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the JSON file `path`, or an empty one if there is no such file.

    Raises:
        ValueError: the file is not JSON; names its folder and name.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is not JSON ({error}); save the model again") from None


def text_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json``; of a model with several parts, the part that writes text."""
    config = read_json(folder / "config.json")
    return {**config, **config.get("text_config", {})}


def eos_ids(folder: Path) -> Iterator[int]:
    """Yield every end-of-sequence id that ``generation_config.json`` and ``config.json`` name."""
    for found in (read_json(folder / "generation_config.json"), text_config(folder)):
        ids = found.get("eos_token_id")
        yield from ids if isinstance(ids, list) else [] if ids is None else [ids]


def _require_weights(model: Model, folder: Path) -> None:
    files = weight_files(folder)
    if not files:
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        if pickled:
            raise ValueError(
                f"model {model.name!r}: {model.path} holds {pickled[0]}, which can carry code; only safetensors are "
                "read. Save it again with `save_pretrained`, which writes safetensors"
            )
        raise FileNotFoundError(
            f"model {model.name!r}: {model.path} holds no *.safetensors file (and no *.gguf); save the weights"
        )
    index = read_json(folder / "model.safetensors.index.json")
    missing = sorted(set(index.get("weight_map", {}).values()) - {path.name for path in files})
    if missing:
        raise FileNotFoundError(f"model {model.name!r}: {model.path}/{missing[0]} is missing; fetch the model again")


def _download(model: Model) -> Path:
    from huggingface_hub import snapshot_download

    where = f"{model.path}@{model.revision or 'main'}"
    try:
        return Path(snapshot_download(model.path, revision=model.revision, allow_patterns=list(FILES)))
    except Exception as error:  # the hub raises many kinds: no network, no such model, no access, disk full
        raise FileNotFoundError(
            f"model {model.name!r}: {where} is neither in the local hub cache nor to be downloaded "
            f"({type(error).__name__}); check network, name, revision and access, or give a local folder as `path`"
        ) from error
