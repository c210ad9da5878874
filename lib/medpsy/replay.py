"""A study carried to a machine without models: its responses and settings in one bundle, its tables compared there.

Refuses a bundle of another profile or of other settings, and names the file that differs; what a bundle holds besides
is verified by `medpsy.bundle`. Generates nothing and runs no notebook.
"""

from pathlib import Path

from medpsy import bundle, provenance, study
from medpsy.bundle import SETTINGS, BundleError
from medpsy.responses import ResponseStore


def export(path: Path, profile: str) -> dict:
    """Write responses, settings and digests of all tables of `profile` to the bundle `path`; return its manifest."""
    store = ResponseStore(study.load(profile).store_dir)
    about = {"profile": profile, "tables": tables(profile)}
    return store.export(path, settings=_settings(profile), about=about)


def restore(path: Path, profile: str, *, sha256: str | None = None, other_settings: bool = False) -> ResponseStore:
    """Return the store of `profile` with the responses of the bundle `path` added, once all of it was verified.

    Args:
        sha256: digest that the whole bundle must have.
        other_settings: take the responses although the bundle's profile or settings are others.

    Raises:
        BundleError: naming the bundle, and the file in it or the one of the project that differs.
    """
    root = study.load(profile).store_dir
    if not other_settings:
        _same_settings(bundle.contents(path), path.name, profile)
    return ResponseStore.replay(path, root, sha256=sha256)


def compare(path: Path, profile: str) -> int:
    """Return how many tables of `profile` are the bundle's, byte by byte: all that were there when it was exported.

    Raises:
        BundleError: naming the first table that differs or is missing, and the packages whose version differs.
    """
    manifest = bundle.contents(path)
    wanted, here = manifest["about"].get("tables", {}), tables(profile)
    apart = [name for name, digest in wanted.items() if here.get(name) != digest]
    if apart:
        first = f"outputs/{profile}/{apart[0]} {'differs' if apart[0] in here else 'is missing'}"
        raise BundleError(f"{path.name}: {len(apart)} of {len(wanted)} tables are not its own: {first}{_why(manifest)}")
    return len(wanted)


def tables(profile: str) -> dict[str, str]:
    """Return the digest of every table of the sections that are done: ``"<section>/tables/<name>.csv"`` -> SHA-256."""
    folder = study.ROOT / "outputs" / profile
    done = [record.parent for record in sorted(folder.glob("[0-9]*/result.json"))]
    files = [file for section in done for file in sorted(section.glob("tables/*.csv"))]
    return {file.relative_to(folder).as_posix(): bundle.digest_of(file) for file in files}


def _settings(profile: str) -> list[Path]:
    return sorted((study.ROOT / "params" / profile).glob("*.yaml"))


def _same_settings(manifest: dict, shown: str, profile: str) -> None:
    there = manifest["about"].get("profile")
    if there != profile:
        raise BundleError(
            f"{shown}: it holds profile {there!r}, not {profile!r}; name the profile it was exported from"
        )
    given = {name: entry["sha256"] for name, entry in manifest["files"].items() if name.startswith(SETTINGS)}
    here = {f"{SETTINGS}{file.name}": bundle.digest_of(file) for file in _settings(profile)}
    for name in sorted(given.keys() | here.keys()):
        if given.get(name) != here.get(name):
            what = "is not here" if name not in here else "is not in the bundle" if name not in given else "differs"
            file = f"params/{profile}/{name.removeprefix(SETTINGS)}"
            raise BundleError(
                f"{shown}: {file} {what}; take the commit the bundle was made with ({_commit(manifest)}), or add its "
                "responses alone with --other-settings"
            )


def _commit(manifest: dict) -> str:
    return str(manifest.get("provenance", {}).get("commit"))[:12]


def _why(manifest: dict) -> str:
    """Return what may explain other numbers: packages of other versions."""
    there, here = manifest.get("provenance", {}).get("versions", {}), provenance.versions()
    apart = [name for name, version in there.items() if here.get(name) != version]
    said = ", ".join(f"{name} {there[name]} there, {here.get(name)} here" for name in apart)
    return f"; versions: {said}" if apart else ""
