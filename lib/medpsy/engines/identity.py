"""Which model is this: a digest of everything in its files that can change a response, without loading it.

Refuses to put a path into the digest: the same files give the same fingerprint on every machine.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from medpsy.engines.cache_folder import cache_folder
from medpsy.engines.weights import Model, model_folder, read_json, weight_files

SETTINGS = ("config.json", "generation_config.json", "tokenizer.json")  # hashed as they are, beside the weights


def fingerprint(model: Model) -> str:
    """Return 64 hexadecimal digits that change when weights, tokenizer, chat template or its switches change.

    A model of the hub is known by id and commit, one behind an endpoint by address and name: their files are not read.

    Raises:
        OSError, ValueError: the model is not to be had; names model, path and fix.
    """
    if model.base_url:
        address = urlsplit(model.base_url)
        parts = {"endpoint": f"{address.hostname}:{address.port}{address.path.rstrip('/')}", "name": model.path}
    elif model.local_dir is None:
        parts = {"hub": f"{model.path}@{model.revision or _commit(model)}"}
    else:
        folder = model_folder(model)
        parts = {"weights": weights_digest(folder), "chat_template": chat_template(folder)}
    return _digest({**parts, "chat_template_kwargs": model.chat_template_kwargs})


def weights_digest(folder: Path) -> str:
    """Return 64 hexadecimal digits over weights, configuration and tokenizer: what a converted file depends on."""
    files = [*weight_files(folder), *(folder / name for name in SETTINGS if (folder / name).is_file())]
    return _digest({path.name: file_digest(path) for path in files})


def chat_template(folder: Path) -> str:
    """Return the model's chat template, from its own file or from ``tokenizer_config.json``; empty if it has none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template", "")
    return template if isinstance(template, str) else json.dumps(template, sort_keys=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, remembered by path, size and time of change (several GB take many seconds)."""
    stat = path.stat()
    known = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    note = cache_folder() / "digests" / hashlib.sha256(known.encode()).hexdigest()
    with contextlib.suppress(OSError):
        if len(text := note.read_text(encoding="ascii")) == 64:
            return text
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a home folder that cannot be written to only costs time
        _write(note, digest)
    return digest


def _write(note: Path, digest: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=note.parent)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(digest)
    os.replace(temporary, note)


def _commit(model: Model) -> str:
    """Return the commit an unpinned hub id stands for: that of the local copy, else the hub's newest."""
    from huggingface_hub import HfApi, snapshot_download

    with contextlib.suppress(Exception):  # not downloaded yet
        return Path(snapshot_download(model.path, local_files_only=True)).name
    try:
        return HfApi().model_info(model.path).sha
    except Exception as error:  # the hub raises many kinds
        raise FileNotFoundError(
            f"model {model.name!r}: {model.path} is neither in the local hub cache nor to be found on the hub "
            f"({type(error).__name__}); check network and name, or give a local folder as `path`"
        ) from error


def _digest(parts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
