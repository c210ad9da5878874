"""What a model is to an engine: its files, whether they may be read, which model they are, and what it takes in memory.

Refuses what can run code (Python files, `auto_map`, pickles) and weights that are damaged or not all there, before
anything loads, converts or trains. A fingerprint holds no path: the same files give the same one on every machine.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from medpsy.engines.programs import cache_folder
from medpsy.files import whole_folder, write_text

# what a model consists of: no code, no pickled weights
FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")
WEIGHTS = "*.safetensors*"  # of these, what is left out where a GGUF file has the weights
CODE = (".py", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # Python, and pickles, which call what they name
REMOTE = "auto_map"  # key of a JSON file that names the Python class, here or on the hub, that a loader is to import
INDEX = "model.safetensors.index.json"
GGUF_MAGIC = b"GGUF"
# the same weights once more, in another layout: gpt-oss's original/ and metal/, Mistral's; a draft model of Baichuan-M3
DUPLICATES = ("*/*", "consolidated*")
SETTINGS = ("config.json", "generation_config.json", "tokenizer.json")  # in the digest of the weights as they are
SHARE = 0.5  # ours: of the free memory, for keys and values; the rest is for activations, logits and everybody else
Model = Any  # a `medpsy.study.ModelSpec`, whose module imports this one


def model_folder(model: Model) -> Path:
    """Return the folder with the model's files; a hub id is downloaded once into the hub's own cache.

    FileNotFoundError where folder, download or a file is missing, ValueError where one can run code or is damaged.
    """
    if not (folder := model.local_dir):
        from huggingface_hub import snapshot_download

        wanted = {"allow_patterns": list(FILES), "ignore_patterns": [*DUPLICATES, *([WEIGHTS] if model.file else [])]}
        try:
            folder = Path(snapshot_download(model.path, revision=model.revision, **wanted))
        except Exception as error:  # the hub raises many kinds: no network, no such model, no access, disk full
            raise _absent(model, "downloaded", error) from error
    if not folder.is_dir():
        fix = "correct `path` in study.yaml, or run `make minihub` if it is a model of the miniature"
        raise FileNotFoundError(f"model {model.name!r}: no folder {model.path!r}; {fix}")
    if model.file:
        folder = _with_file(folder, _served_file(model))
    check_folder(folder, f"model {model.name!r}: {model.path}")
    return folder


def _served_file(model: Model) -> Path:
    """Return the GGUF file of `model`, downloaded once; FileNotFoundError names those that are in its place."""
    if model.local_file:
        if not model.local_file.is_file():
            raise FileNotFoundError(f"model {model.name!r}: no file {model.file!r}; correct `file` in study.yaml")
        return model.local_file
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    repository, name = model.hub_file
    try:
        return Path(hf_hub_download(repository, name, revision=model.file_revision))
    except RemoteEntryNotFoundError as error:
        raise FileNotFoundError(f"model {model.name!r}: {no_such_file(model)}") from error
    except Exception as error:
        raise _absent(model, "downloaded", error) from error


def no_such_file(model: Model) -> str:
    """Return, where the hub's repository has no file of this name, a sentence with those that it has, else nothing."""
    from huggingface_hub import HfApi

    repository, name = model.hub_file
    names = HfApi().list_repo_files(repository, revision=model.file_revision)
    there = ", ".join(each for each in names if each.endswith(".gguf")) or "none"
    return "" if name in names else f"{repository} has no {name}; its GGUF files are: {there}"


def _with_file(folder: Path, weights: Path) -> Path:
    """Return a folder, in the cache, with links to a model's `papers` in `folder` and to its GGUF file."""
    links = {name: path.resolve() for name, path in (papers(folder) | {weights.name: weights}).items()}
    target = cache_folder() / "models" / digest({name: str(path) for name, path in links.items()})[:16]
    if not target.is_dir():
        with whole_folder(target) as made:
            for name, path in links.items():
                (made / name).symlink_to(path)
    return target


def check_folder(folder: Path, shown: str) -> None:
    """Raise as `model_folder` does unless the model in `folder`, called `shown` in messages, is whole and data only."""
    if code := sorted(path.name for path in folder.iterdir() if path.suffix.lower() in CODE):
        fix = "delete it, or save the model again with `save_pretrained`"
        raise ValueError(f"{shown} holds {code[0]}, which can carry code; only safetensors and JSON are read: {fix}")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{shown}/{name} is missing; save the model whole")
    for path in sorted(folder.glob("*config*.json")):
        if _names_code(read_json(path)):
            fix = "where transformers knows the architecture itself, delete the key"
            raise ValueError(f"{shown}/{path.name} has `{REMOTE}`, which makes a loader run the model's code; {fix}")
    files = weight_files(folder)
    if not files:
        raise FileNotFoundError(f"{shown} holds no *.safetensors file (and no *.gguf); save the weights")
    shards = read_json(folder / INDEX).get("weight_map", {})
    if not isinstance(shards, dict):
        raise ValueError(f"{shown}/{INDEX}: weight_map is no mapping of tensors to files; fetch the model again")
    if missing := sorted({*map(str, shards.values())} - {path.name for path in files}):
        raise FileNotFoundError(f"{shown}/{missing[0]} is missing; fetch the model again")
    for path in files:
        if damage := _damage(path):
            raise ValueError(f"{shown}/{path.name} is damaged ({damage}); fetch or save the model again")


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, sorted by name: safetensors, or else the one GGUF file."""
    gguf = gguf_file(folder)
    return [gguf] if gguf else sorted(folder.glob("*.safetensors"))


def papers(folder: Path) -> dict[str, Path]:
    """Return a model's files but for its weights, by name: tokenizer, chat template, configuration."""
    files = (path for pattern in FILES for path in folder.glob(pattern))
    return {path.name: path for path in files if ".safetensors" not in path.name}


def gguf_file(folder: Path) -> Path | None:
    """Return the GGUF file of a folder whose weights it holds, None where it holds safetensors or neither; a ValueError
    names several: which one is meant, nobody can tell."""
    files = [] if any(folder.glob("*.safetensors")) else sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ValueError(f"{folder.name} holds {names}; leave one GGUF file in the folder of a model")
    return next(iter(files), None)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the JSON file `path`, an empty one if there is no such file; ValueError if it holds none."""
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        shown = f"{path.parent.name}/{path.name}"
        raise ValueError(f"{shown} is no JSON object ({error!s:.80}); save the model again") from None


def text_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json``; of a model with several parts, the part that writes text."""
    config = read_json(folder / "config.json")
    return {**config, **config.get("text_config", {})}


def eos_ids(folder: Path) -> Iterator[int]:
    """Yield every end-of-sequence id that ``generation_config.json`` and ``config.json`` name."""
    for settings in (read_json(folder / "generation_config.json"), text_config(folder)):
        ids = settings.get("eos_token_id")
        yield from ids if isinstance(ids, list) else [] if ids is None else [ids]


def _names_code(content: Any) -> bool:
    """Return whether `REMOTE` is a key anywhere in the content of a JSON file."""
    if isinstance(content, dict):
        return bool(content.get(REMOTE)) or any(map(_names_code, content.values()))
    return isinstance(content, list) and any(map(_names_code, content))


def _damage(path: Path) -> str:
    """Return what is wrong with the head or the size of a file of weights, or nothing."""
    from safetensors import SafetensorError, safe_open

    if path.suffix == ".gguf":
        with path.open("rb") as file:
            return "" if file.read(len(GGUF_MAGIC)) == GGUF_MAGIC else "it does not begin as a GGUF file"
    try:
        with safe_open(path, framework="np"):  # maps the file, and compares its size with what its head lists
            return ""
    except (SafetensorError, OSError) as error:
        return str(error)


def _commit(model: Model, repository: str) -> str:
    """Return the commit that an unpinned hub id stands for: that of the local copy, else the hub's newest."""
    from huggingface_hub import HfApi, snapshot_download

    with contextlib.suppress(Exception):  # not downloaded yet
        return Path(snapshot_download(repository, local_files_only=True)).name
    try:
        return HfApi().model_info(repository).sha
    except Exception as error:
        raise _absent(model, "found on the hub", error) from error


def _absent(model: Model, what: str, error: Exception) -> FileNotFoundError:
    file = f" with {model.file}@{model.file_revision or 'main'}" if model.file else ""
    return FileNotFoundError(
        f"model {model.name!r}: {model.path}@{model.revision or 'main'}{file} is neither in the local hub cache "
        f"nor to be {what} ({type(error).__name__}); check network, name, revision and access, or give a local folder "
        "as `path`"
    )


def fingerprint(model: Model) -> str:
    """Return 64 hexadecimal digits that change when weights, tokenizer, chat template or its switches change.

    A model of the hub is known by id and commit, as is its GGUF file, one behind an endpoint by address and name.
    OSError or ValueError where the model is not to be had.
    """
    if model.base_url:
        address = urlsplit(model.base_url)
        parts = {"endpoint": f"{address.hostname}:{address.port}{address.path.rstrip('/')}", "name": model.path}
    elif model.local_dir is None and model.local_file is None:
        parts = {"hub": f"{model.path}@{model.revision or _commit(model, model.path)}"}
        if model.file:
            parts["file"] = f"{model.file}@{model.file_revision or _commit(model, model.hub_file[0])}"
    else:
        folder = model_folder(model)
        parts = {"weights": weights_digest(folder), "chat_template": chat_template(folder)}
    return digest({**parts, "chat_template_kwargs": model.chat_template_kwargs})


def weights_digest(folder: Path) -> str:
    """Return 64 hexadecimal digits over weights, configuration and tokenizer: what a converted file depends on."""
    files = [*weight_files(folder), *(folder / name for name in SETTINGS if (folder / name).is_file())]
    return digest({path.name: file_digest(path) for path in files})


def chat_template(folder: Path) -> str:
    """Return the model's chat template, from its own file or from ``tokenizer_config.json``; empty if it has none."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template", "")
    return template if isinstance(template, str) else json.dumps(template, sort_keys=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, remembered by path, inode, size and times: several GB take many seconds, and what
    takes a file's place has another inode or time of change (`ctime`, which nobody can set)."""
    stat = path.stat()
    state = (path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    note = cache_folder() / "digests" / hashlib.sha256("\0".join(map(str, state)).encode()).hexdigest()
    with contextlib.suppress(OSError):
        if len(text := note.read_text(encoding="ascii")) == 64:
            return text
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a home folder that cannot be written to only costs time
        write_text(note, content)
    return content


def digest(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def free_bytes(device: str = "cpu") -> int:
    """Return the bytes that are free on `device` (``"cpu"`` or a torch device name such as ``"cuda:0"``)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def token_budget(config: dict[str, Any], itemsize: int, free: int) -> int:
    """Return how many tokens' keys and values fit into `SHARE` of `free` bytes of the device that holds the model: 2 x
    layers x key-value heads x head size x `itemsize` bytes each (4 in float32). `config` is that of the part that
    writes text; a ValueError says which option to set where it has other names."""
    try:
        layers, heads, width = (config[name] for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    except KeyError as error:
        fix = "set the engine's batch size (`batch_tokens` or `slots`)"
        raise ValueError(f"config.json has no {error}; {fix}") from None
    numbers = (config.get("num_key_value_heads") or heads) * (config.get("head_dim") or width // heads)
    return max(1, int(free * SHARE) // (2 * layers * numbers * itemsize))
