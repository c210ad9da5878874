"""Commits of the hub written into a profile's files, so that a study can be repeated.

Asks the hub for the newest commit of a repository's main branch, for all of them before the first file is changed. A
file keeps its comments and its order: one line of it changes, and all else that it says is compared. A token comes from
where the hub's own client takes it, and is never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml

from medpsy import study
from medpsy.files import write_text
from medpsy.pins import Pin, unpinned
from medpsy.study import COMMIT

SECONDS = 30.0  # that one answer of the hub may take
KEY = "revision"


@dataclass(frozen=True)
class Pinned:
    """What was written, with its commit, and what was not, with the reason."""

    written: dict[Pin, str]
    refused: dict[Pin, str]


def pin(profile: str) -> Pinned:
    """Write the commit of today into every place of `unpinned` that lies in the parameters of `profile`.

    Raises:
        strict.SettingsError: the profile cannot be read.
        ConnectionError: the hub cannot be reached; nothing was changed.
    """
    commits, refused = _asked(unpinned(profile))
    texts: dict[str, str] = {}
    for one, commit in list(commits.items()):
        path = study.ROOT / one.file
        try:
            texts[one.file] = with_commit(texts.get(one.file) or path.read_text(encoding="utf-8"), one.keys, commit)
        except ValueError as error:
            refused[one] = f"{error}; write {KEY}: {commit} there"
            del commits[one]
    for file, text in texts.items():
        write_text(study.ROOT / file, text)
    return Pinned(commits, refused)


def _asked(pins: Sequence[Pin]) -> tuple[dict[Pin, str], dict[Pin, str]]:
    """Return the commits of `pins`, and why there is none for the others."""
    commits, refused = {}, {}
    for one in pins:
        if one.file.startswith("params/"):
            found = _newest(one)
            (commits if COMMIT.fullmatch(found) else refused)[one] = found
        else:
            refused[one] = "no parameter holds it; pin it in the library"
    return commits, refused


def _newest(one: Pin) -> str:
    """Return the commit of the main branch, or what the hub says where it names none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().repo_info(one.hub_id, repo_type=one.kind, revision="main", timeout=SECONDS).sha)
    except HfHubHTTPError as error:  # the hub answers: no such repository, or not for this account
        return f"the hub refuses it ({type(error).__name__}); check its id, accept its terms, set HF_TOKEN"
    except Exception as error:  # no network: the client raises many kinds
        why = f"{type(error).__name__} at {one.hub_id}"
        raise ConnectionError(f"the hub cannot be reached ({why}); nothing was changed, try again online") from error


def with_commit(text: str, keys: Sequence[str], commit: str) -> str:
    """Return the YAML `text` with `commit` where `keys` lead; the last key may be missing, its mapping may not.

    Raises:
        ValueError: there is no such mapping, or another value would change too.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys[:-1]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{'.'.join(keys[:-1])} is no mapping")
    changed = (_in_flow if node.flow_style else _in_block)(text, node, commit)
    if not _says_only(changed, text, keys, commit):
        raise ValueError(f"{'.'.join(keys)} cannot be changed alone")
    return changed


def _in_block(text: str, node: yaml.MappingNode, commit: str) -> str:
    """Replace the line of the key, or put one behind that of the mapping's first key."""
    lines = text.splitlines()
    own = [name for name, _ in node.value if name.value == KEY]
    first = (own or [name for name, _ in node.value])[0].start_mark
    day = datetime.now(UTC).date()
    made = f"{' ' * first.column}{KEY}: {commit}  # ours: not stated; the newest on {day}, by `medpsy pin`"
    lines[first.line if own else first.line + 1 : first.line + 1] = [made]
    return "\n".join(lines) + "\n"


def _in_flow(text: str, node: yaml.MappingNode, commit: str) -> str:
    for name, value in node.value:
        if name.value == KEY:
            return f"{text[: value.start_mark.index]}{commit}{text[value.end_mark.index :]}"
    end = node.end_mark.index - 1  # before the closing brace
    return f"{text[:end]}{', ' if node.value else ''}{KEY}: {commit}{text[end:]}"


def _says_only(changed: str, text: str, keys: Sequence[str], commit: str) -> bool:
    """Return whether `changed` says what `text` says, and `commit` where `keys` lead."""
    wanted = at = yaml.safe_load(text)
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = commit
    try:
        return yaml.safe_load(changed) == wanted
    except yaml.YAMLError:
        return False
