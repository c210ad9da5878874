"""Folders that are either whole or absent, and one for sockets, which want short names."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKETS = 35  # characters of a folder that leave room for the names of sockets in it, 107 in all


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; it takes the place of `target` when the block ends without error.

    What an error or a kill leaves behind never bears the name `target`, and the old folder stands until the new does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        yield folder
        replace_folder(folder, target)


def replace_folder(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`; the old folder is kept until the new one stands."""
    aside = old.with_name(f".{old.name}-old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def socket_folder(prefix: str) -> Iterator[str]:
    """Give a temporary folder, this user's alone, whose name is short enough for sockets in it; gone afterwards."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= SOCKETS else "/tmp"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=short, ignore_cleanup_errors=True) as folder:
        yield folder
