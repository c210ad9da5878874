"""What a profile wants of the hub before it can start: downloads, terms to accept, a token, commits.

Looks at the hub's cache on this machine and asks no network. Whether a token is set is told, never the token.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medpsy import families, pins
from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.harness.card import benchmarks
from medpsy.planning.work import has_section
from medpsy.study import ModelSpec, Study

HARNESS = "13_openmed"  # the section that runs lm-evaluation-harness
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # variables of the environment that the hub's client knows


def is_here(model: ModelSpec) -> bool:
    """Return whether nothing has to be downloaded to load `model`."""
    if model.base_url:
        return True
    if model.local_dir:
        return (model.local_dir / "config.json").is_file()
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model.path, "config.json", revision=model.revision)
    return isinstance(config, str) and any(Path(config).parent.glob("*.safetensors"))


def cache() -> Path:
    """Return the folder of the hub's client; it may not exist yet."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def stops(one: Study) -> Iterator[str]:
    """Yield what keeps `one` from reading what it needs: terms without a token, no network, data without a commit."""
    from huggingface_hub import constants

    gated = list(_gated(one))
    if gated and not _has_token():
        yield from (f"{words}, and set HF_TOKEN to a token of that account" for words in gated)
    if constants.HF_HUB_OFFLINE and (absent := [*_absent(one), *_absent_suites(one), *_absent_tasks(one)]):
        yield f"HF_HUB_OFFLINE is set, and the hub's cache lacks {', '.join(absent)}"
    if data := [pin for pin in pins.unpinned(one.profile) if pin.kind == "dataset"]:
        yield f"not read without a commit: {'; '.join(map(str, data))}. {_pin(one)}"


def ahead(one: Study, download: float, unsized: Sequence[str]) -> Iterator[str]:
    """Yield what is to be known before `one` starts.

    Args:
        download: GB of the models that are not here.
        unsized: names of those whose size is not known.
    """
    if absent := _absent(one):
        but = f", without {', '.join(unsized)}, whose size is not known" if unsized else ""
        yield f"models to be downloaded on first use, {download:,.0f} GB{but}: {', '.join(absent)}"
    if suites := _absent_suites(one):
        yield f"suites to be downloaded on first use: {', '.join(suites)}"
    if tasks := _absent_tasks(one):
        yield (
            f"data of lm-evaluation-harness to be downloaded on first use: {', '.join(tasks)}; and NLTK's punkt_tab "
            "(`python -m nltk.downloader punkt_tab`)"
        )
    if _has_token():
        yield from (f"{words}, with the account of the token that is set" for words in _gated(one))
    if models := [pin.keys[1] for pin in pins.unpinned(one.profile) if pin.kind == "model"]:
        yield f"whatever the hub has by then, for want of a commit: {', '.join(models)}. {_pin(one)}"


def _pin(one: Study) -> str:
    return f"`medpsy pin --profile {one.profile}` writes the newest"


def _absent(one: Study) -> list[str]:
    return [name for name, model in one.models.items() if not model.local_dir and not is_here(model)]


def _absent_suites(one: Study) -> list[str]:
    """Return the suites whose rows are neither in a folder of the user's nor in the hub's cache."""
    if one.source == "mini":
        return []
    known = SUITES | OPEN_SUITES
    wanted = {key: known[key] for key in (*one.suites, *one.open_suites) if key not in one.data_dirs}
    held = {key: _place(spec.hub_id) / "snapshots" / str(spec.revision) for key, spec in wanted.items()}
    return [f"{key} ({spec.hub_id})" for key, spec in wanted.items() if not held[key].is_dir()]


def _absent_tasks(one: Study) -> list[str]:
    """Return the data sets of the harness's tasks that the hub's cache lacks, if the profile runs the harness."""
    wanted = [task.hub_id for task in benchmarks(one) if task.hub_id] if has_section(HARNESS, one.profile) else []
    return [hub_id for hub_id in wanted if not _place(hub_id).is_dir()]


def _place(hub_id: str) -> Path:
    """Return the folder of a data set in the hub's cache."""
    from huggingface_hub.file_download import repo_folder_name

    return cache() / repo_folder_name(repo_id=hub_id, repo_type="dataset")


def _gated(one: Study) -> Iterator[str]:
    """Yield what has to be accepted for models that are not here, a line for each kind of terms."""
    named: dict[str, list[str]] = {}
    for name in _absent(one):
        family = families.of(one.models[name].path, one.models[name].family)
        if family and family.terms:
            named.setdefault(family.terms, []).append(one.models[name].path)
    yield from (f"gated: accept {terms} on the page of {_joined(paths)}" for terms, paths in named.items())


def _joined(paths: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(paths))


def _has_token() -> bool:
    """Return whether a token is set: in the environment, or by the login of the hub's client."""
    from huggingface_hub import constants

    written = Path(constants.HF_TOKEN_PATH)
    return any(os.environ.get(name) for name in TOKENS) or (written.is_file() and written.stat().st_size > 0)
