"""A whole store of responses in one file, with the settings they were asked under, to be read where there is no model.

A bundle is an uncompressed ZIP archive (its shards are compressed already) with a manifest of sizes and digests.
Refuses a bundle that is incomplete or changed, or that names a file where a store has none; nothing of it is kept then.
The digests guard against accidents; against intent, compare the digest of the whole bundle with one got elsewhere.
"""

import hashlib
import json
import os
import re
import tempfile
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from medpsy import fingerprints, noted
from medpsy.shards import ShardFolder
from medpsy.study import provenance

FORMAT = "medpsy responses 2"
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**28  # bytes; some two million shards
SETTINGS = "params/"  # members that are no part of a store
MEMBER = re.compile(
    r"models\.json|shards/[0-9a-f]{16}/[0-9a-f-]+\.parquet|counts/[a-z_]+/[0-9a-f-]+\.parquet|params/[\w-]+\.yaml"
    rf"|{noted.FOLDER}/{noted.NAME.pattern}\.json"
)
BLOCK = 2**20


class BundleError(ValueError):
    """A bundle that cannot be trusted; the message names the file within it."""


def export(
    folders: Sequence[ShardFolder],
    root: Path,
    path: Path,
    *,
    settings: Sequence[Path] = (),
    about: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Write the readable shards of `folders` and the record of models of the store `root` to the file `path`.

    Args:
        settings: YAML files that go along; they are compared, never put into a store.
        about: what the manifest says besides, under ``"about"``.

    Returns:
        The manifest, with the digest of the whole bundle under ``"sha256"``.
    """
    for folder in folders:
        folder.set_aside()
    members = [shard for folder in folders for shard in folder.paths()]
    if not members:
        raise BundleError(f"{root.name}: the store is empty; run a notebook first")
    members += [root / fingerprints.FILE] if (root / fingerprints.FILE).exists() else []
    members += sorted((root / noted.FOLDER).glob("*.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with zipfile.ZipFile(temporary, "x", strict_timestamps=False) as archive:
            names = {member: member.relative_to(root).as_posix() for member in members}
            files = {name: _added(archive, member, name) for member, name in names.items()}
            manifest = {"format": FORMAT, "created": datetime.now(UTC).isoformat(), "provenance": provenance()}
            files |= {f"{SETTINGS}{file.name}": _added(archive, file, f"{SETTINGS}{file.name}") for file in settings}
            manifest |= {"rows": sum(entry["rows"] for entry in files.values()), "about": dict(about or {})}
            archive.writestr(MANIFEST, json.dumps({**manifest, "files": files}, indent=1))
        digest = digest_of(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return {**manifest, "files": files, "sha256": digest}


def _added(archive: zipfile.ZipFile, member: Path, name: str) -> dict[str, object]:
    archive.write(member, name)
    rows = pq.read_metadata(member).num_rows if name.startswith("shards/") else 0
    return {"sha256": digest_of(member), "bytes": member.stat().st_size, "rows": rows}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of the file `path`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(path: Path) -> dict:
    """Return the manifest of the bundle `path`, once it was seen to fit the names of what the bundle holds.

    Raises:
        BundleError: naming the bundle and the file in it.
    """
    if not path.is_file():
        raise BundleError(f"{path.name}: no such bundle")
    try:
        with zipfile.ZipFile(path) as archive:
            _files(archive, path.name)
            return json.loads(archive.read(MANIFEST))
    except (zipfile.BadZipFile, EOFError) as error:
        raise BundleError(f"{path.name}: incomplete or changed ({error}); get it again") from None


def replay(path: Path, root: Path, *, sha256: str | None = None) -> None:
    """Add the responses in the bundle `path` to the store `root`, once all of it has been verified.

    Raises:
        BundleError: naming the bundle and the file in it.
    """
    if not path.is_file():
        raise BundleError(f"{path.name}: no such bundle")
    if sha256 and digest_of(path) != sha256.lower():
        raise BundleError(f"{path.name}: its SHA-256 is not {sha256}; it is another bundle or was changed")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".replay-", dir=root) as folder:
        staging = Path(folder)
        try:
            with zipfile.ZipFile(path) as archive:
                files = _files(archive, path.name)
                for name, entry in files.items():
                    _unpack(archive, name, entry, staging, path.name)
        except (zipfile.BadZipFile, EOFError) as error:
            raise BundleError(f"{path.name}: incomplete or changed ({error}); get it again") from None
        models = _models(staging, path.name)
        for name in files:
            if name != fingerprints.FILE and not name.startswith(SETTINGS):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, root / name)
    if models:
        fingerprints.record(root, models)


def _files(archive: zipfile.ZipFile, shown: str) -> dict[str, dict]:
    """Return the manifest's files after checking that the archive holds exactly these, under names a store may have."""
    infos = archive.infolist()
    held = [info.filename for info in infos]
    if MANIFEST not in held or archive.getinfo(MANIFEST).file_size > LARGEST_MANIFEST:
        raise BundleError(f"{shown}: {MANIFEST} is missing or too large; this is no bundle of ours")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        files = {name: {"sha256": str(e["sha256"]), "bytes": int(e["bytes"])} for name, e in manifest["files"].items()}
        known = manifest["format"] == FORMAT and isinstance(manifest["about"], dict)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(f"{shown}: {MANIFEST} cannot be read; get the bundle again") from None
    if not known:
        raise BundleError(f"{shown}: format {manifest['format']!r} is not {FORMAT!r}; use the version that wrote it")
    for name in {*held, *files} - {MANIFEST}:
        if not MEMBER.fullmatch(name):
            raise BundleError(f"{shown}: {name!r} is not a file of a store; refused")
    for name in sorted({*held, MANIFEST} ^ {*files, MANIFEST}):
        raise BundleError(
            f"{shown}: {name} is {'not in the manifest' if name in held else 'missing'}; get the bundle again"
        )
    if len(held) != len(set(held)):
        raise BundleError(f"{shown}: it holds a file twice; refused")
    return files


def _unpack(archive: zipfile.ZipFile, name: str, entry: dict, staging: Path, shown: str) -> None:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != entry["bytes"]:
        raise BundleError(f"{shown}: {name} has another size than the manifest says; get the bundle again")
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(info) as source, target.open("xb") as sink:
            while block := source.read(BLOCK):
                sink.write(block)
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise BundleError(f"{shown}: {name} cannot be unpacked ({error}); get the bundle again") from None
    if digest_of(target) != entry["sha256"]:
        raise BundleError(f"{shown}: {name} was changed after it was written; get the bundle again")


def _models(staging: Path, shown: str) -> dict[str, str]:
    try:
        return fingerprints.recorded(staging)
    except ValueError as error:
        raise BundleError(f"{shown}: {error}") from None
