"""A study's responses and settings in one file, read where there is no model; its records compared there.

A bundle is an uncompressed ZIP archive (its shards are compressed already) with a manifest of sizes and digests.
A bundle that is incomplete, changed, of other settings, or names a file where a store has none is refused whole. The
digests guard against accidents; against intent, compare the digest of the whole bundle with one got elsewhere.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medpsy import provenance, study
from medpsy.files import write_whole
from medpsy.store import MODELS, NOTE, NOTES, SCHEMAS, ResponseStore, record_models, recorded_models

FORMAT = "medpsy responses 2"
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**28  # bytes; some two million shards
FRACTION = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?|-?\d+e[-+]\d+")
SETTINGS = "params/"  # members that are compared, never put into a store
MEMBER = re.compile(
    r"models\.json|shards/[0-9a-f]{16}/[0-9a-f-]+\.parquet|counts/[a-z_]+/[0-9a-f-]+\.parquet|params/[\w-]+\.yaml"
    rf"|{NOTES}/{NOTE.pattern}\.json"
)
COMPARED = ("tables", "verdicts", "chosen", "claims")  # of a record: no times, versions and names of files
RELATIVE = 1e-9  # how far apart two numbers may lie and be the same
Manifest = dict[str, Any]  # as `write` makes it


class BundleError(ValueError):
    """A bundle that cannot be trusted; the message names the file within it."""


class Difference(NamedTuple):
    """One value that is another one here; None where it is missing."""

    place: str  # e.g. "01_backbone_selection/claims/P111/margin", or a table "01_backbone_selection/tables/large.csv"
    there: Any
    here: Any


def export(path: Path, profile: str) -> dict[str, Any]:
    """Write responses, settings and digests of all tables of `profile` to the bundle `path`; return its manifest."""
    store = ResponseStore(study.load(profile).store_dir)
    return write(store, path, settings=_settings(profile), about={"profile": profile, "tables": tables(profile)})


def restore(path: Path, profile: str, *, sha256: str | None = None, other_settings: bool = False) -> ResponseStore:
    """Return the store of `profile` with the responses of the bundle `path` added, once all of it was verified.
    `sha256` is the digest that the whole bundle must have; with `other_settings` the bundle's profile and settings may
    be others. A BundleError names the bundle, and the file in it or the one of the project that differs."""
    return add(path, study.load(profile).store_dir, sha256=sha256, profile=None if other_settings else profile)


def differences(origin: Path, profile: str) -> list[Difference]:
    """Return what the sections of `profile` say otherwise here than in `origin`; what is here alone does not count.
    `origin` is a bundle, whose tables are compared by their digests (and the versions of packages where any differs),
    or a folder of records ``<section>.json``, compared value by value; else a BundleError or FileNotFoundError."""
    if not origin.is_dir():
        with _opened(origin) as (_, manifest):
            there, here = manifest["about"].get("tables", {}), tables(profile)
        for name in here.keys() & there.keys():
            if there[name] == digest_of(study.find_root() / "outputs" / profile / name):  # as older bundles have it
                here[name] = there[name]
        if apart := _apart(there, {name: here.get(name) for name in there}):
            there, here = manifest.get("provenance", {}).get("versions", {}), provenance.versions()
            apart += _apart(there, {name: here.get(name) for name in there}, "versions/")
        return apart
    paths, outputs = sorted(origin.glob("[0-9]*.json")), study.find_root() / "outputs" / profile
    if not paths:
        raise FileNotFoundError(f"{origin}: no records there; name a folder of files like 01_backbone_selection.json")
    pairs = {path.stem: (_values(path), _values(outputs / path.stem / "result.json")) for path in paths}
    return [value for section, pair in pairs.items() for value in _apart(*pair, f"{section}/")]


def _apart(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    pairs = {name: (there.get(name), here.get(name)) for name in sorted(there.keys() | here.keys())}
    return [Difference(prefix + name, *pair) for name, pair in pairs.items() if not _same(*pair)]


def _same(there: Any, here: Any) -> bool:
    numbers = isinstance(there, int | float) and isinstance(here, int | float)
    return math.isclose(there, here, rel_tol=RELATIVE, abs_tol=1e-12) if numbers else there == here


def _values(record: Path) -> dict[str, Any]:
    """Return what is compared of a record; nothing where it is missing."""
    if not record.is_file():
        return {}
    content = json.loads(record.read_text(encoding="utf-8"))
    claims = {claim["id"]: claim for claim in content["claims"]}
    return dict(_leaves({name: content[name] for name in COMPARED} | {"claims": claims}, ""))


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{place}/{key}".lstrip("/"))
    else:
        yield place, value


def tables(profile: str) -> dict[str, str]:
    """Return the digest of every table of the sections that are done: ``"<section>/tables/<name>.csv"`` -> SHA-256, of
    numbers to six digits and nine decimals, since the last digits depend on how a machine adds."""
    folder = study.find_root() / "outputs" / profile
    done = [record.parent for record in sorted(folder.glob("[0-9]*/result.json"))]
    files = [file for section in done for file in sorted(section.glob("tables/*.csv"))]
    return {file.relative_to(folder).as_posix(): _digest_of_table(file) for file in files}


def _digest_of_table(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    text = FRACTION.sub(lambda number: f"{round(float(number[0]), 9) + 0.0:.6g}", text)  # never -0
    return hashlib.sha256(text.encode()).hexdigest()


def _settings(profile: str) -> list[Path]:
    return sorted((study.find_root() / "params" / profile).glob("*.yaml"))


def _require_settings(bundle: str, manifest: Manifest, profile: str) -> None:
    if (there := manifest["about"].get("profile")) != profile:
        fix = "name the profile it was exported from"
        raise BundleError(f"{bundle}: it holds profile {there!r}, not {profile!r}; {fix}")
    given = {name: entry["sha256"] for name, entry in manifest["files"].items() if name.startswith(SETTINGS)}
    for name, there, here in _apart(given, {f"{SETTINGS}{file.name}": digest_of(file) for file in _settings(profile)}):
        what = "is not here" if here is None else "is not in the bundle" if there is None else "differs"
        commit = str(manifest.get("provenance", {}).get("commit"))[:12]
        fix = f"take the commit the bundle was made with ({commit}), or add its responses alone with --other-settings"
        raise BundleError(f"{bundle}: {name.replace(SETTINGS, f'{SETTINGS}{profile}/')} {what}; {fix}")


def write(store: ResponseStore, path: Path, settings: Sequence[Path] = (), about: Mapping[str, Any] = {}) -> Manifest:
    """Write the readable shards of `store`, its record of models, its notes and YAML files `settings` to the file
    `path`; return the manifest, with `about` in it and the digest of the whole bundle under ``"sha256"``."""
    folders = [folder for kind in SCHEMAS for folder in store.shards(kind)]
    kept = [file for shards in folders for file in shards.paths() if shards.load(file, shards.schema.names) is not None]
    if not kept:
        raise BundleError(f"{store.root.name}: the store is empty; run a notebook first")
    kept += [*store.root.glob(MODELS), *sorted(store.root.glob(f"{NOTES}/*.json"))]
    members = {file.relative_to(store.root).as_posix(): file for file in kept}
    members |= {f"{SETTINGS}{file.name}": file for file in settings}
    files = {name: {"sha256": digest_of(file), "bytes": file.stat().st_size} for name, file in members.items()}
    manifest = {"format": FORMAT, "created": datetime.now(UTC).isoformat()}
    manifest |= {"provenance": provenance.collect(study.find_root()), "about": about, "files": files}
    shards = [file for name, file in members.items() if name.startswith("shards/")]
    manifest["rows"] = sum(pq.read_metadata(file).num_rows for file in shards)

    def archived(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", strict_timestamps=False) as archive:
            for name, file in members.items():
                archive.write(file, name)
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        manifest["sha256"] = digest_of(temporary)  # `path` may be a pipe

    write_whole(path, archived)
    return manifest


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add(path: Path, root: Path, *, sha256: str | None = None, profile: str | None = None) -> ResponseStore:
    """Return the store at `root` with the responses in the bundle `path`, once all of it has been verified."""
    with _opened(path) as (archive, manifest):
        if profile:
            _require_settings(path.name, manifest, profile)
        if sha256 and digest_of(path) != sha256.lower():
            raise BundleError(f"{path.name}: its SHA-256 is not {sha256}; it is another bundle or was changed")
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".replay-", dir=root) as staging:
            for name, entry in manifest["files"].items():
                if problem := _unpack(archive, name, entry, Path(staging) / name):
                    raise BundleError(f"{path.name}: {name} {problem}; get the bundle again")
            try:
                models = recorded_models(Path(staging))
            except ValueError:
                raise BundleError(f"{path.name}: {MODELS} cannot be read; get the bundle again") from None
            for name in manifest["files"]:
                if name != MODELS and not name.startswith(SETTINGS):
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(staging) / name, root / name)
    if models:
        record_models(root, models)
    return ResponseStore(root)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """Give the archive `path` and its manifest, once it was seen to fit the names of what the archive holds."""
    if not path.is_file():
        raise BundleError(f"{path.name}: no such bundle")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _manifest(archive, path.name)
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:  # the last: it is encrypted
        raise BundleError(f"{path.name}: incomplete or changed ({error}); get it again") from None


def _manifest(archive: zipfile.ZipFile, bundle: str) -> Manifest:
    """Return the manifest after checking that the archive holds exactly its files, under names a store may have."""
    held = archive.namelist()
    if MANIFEST not in held or archive.getinfo(MANIFEST).file_size > LARGEST_MANIFEST:
        raise BundleError(f"{bundle}: {MANIFEST} is missing or too large; this is no bundle of ours")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        files = {name: {"sha256": str(e["sha256"]), "bytes": int(e["bytes"])} for name, e in manifest["files"].items()}
        ours = manifest["format"] == FORMAT and isinstance(manifest["about"], dict)
    except (ValueError, KeyError, TypeError, AttributeError):  # no JSON of ours
        raise BundleError(f"{bundle}: {MANIFEST} cannot be read; get the bundle again") from None
    if not ours:
        raise BundleError(f"{bundle}: format {manifest['format']!r} is not {FORMAT!r}; use the version that wrote it")
    if strange := [name for name in {*held, *files} - {MANIFEST} if not MEMBER.fullmatch(name)]:
        raise BundleError(f"{bundle}: {strange[0]!r} is not a file of a store; refused")
    if sorted(held) != sorted([*files, MANIFEST]):
        apart = min({*held} ^ {*files, MANIFEST}, default="a file twice")
        raise BundleError(f"{bundle}: archive and manifest differ by {apart}; get the bundle again")
    return manifest | {"files": files}


def _unpack(archive: zipfile.ZipFile, name: str, entry: dict[str, Any], target: Path) -> str:
    """Unpack one file to `target`; return what is wrong with it, or nothing."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != entry["bytes"]:
        return "has another size than the manifest says"
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, target.open("xb") as sink:
        shutil.copyfileobj(source, sink)
    if digest_of(target) != entry["sha256"]:
        return "was changed after it was written"
    schema = SCHEMAS.get(name.partition("/")[0])
    try:
        strange = schema and not pq.read_schema(target).equals(schema)
    except (pa.ArrowException, OSError) as error:
        return f"is damaged ({error})"
    return "has columns that are not those of a store" if strange else ""
