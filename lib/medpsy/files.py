"""Files and folders that are either whole or absent, short names for sockets, and the text and JSON of others as files
can hold it. Writes under a temporary name beside the target, then renames; never leaves a partial file under the final
name, and never puts a file in the place of a device, a pipe or a link."""

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

STALE = 24 * 3600.0  # seconds after which whoever wrote a temporary file or folder must have been killed
HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a half or a whole surrogate pair
SOCKETS = 35  # characters of a folder that leave room for the names of sockets in it, 107 in all


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then rename it to `path`, or to the file that the link `path` leads to; a
    device or a pipe takes the content. Returns `path`. An OSError says that nothing was written there, of a full disk
    with the space that is left."""
    special = path.exists() and not path.is_file()
    target, folder = (path, None) if special else (path.resolve(), path.resolve().parent)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        if special:
            with temporary.open("rb") as content, target.open("wb") as sink:
                shutil.copyfileobj(content, sink)
        else:
            mask = os.umask(0)  # mkstemp makes files private; results are as readable as the user's other files
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free // 2**20
        raise OSError(error.errno, f"disk full ({free} MiB left): make room, run it again", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def swept(folder: Path, prefix: str) -> Path:
    """Return `folder` without what killed runs left in it, days ago, under temporary names that begin with `prefix`."""
    for left in folder.glob(f"{prefix}*"):
        with suppress(OSError):  # somebody else sweeps too
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return folder


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; it takes the place of `target`, or of the folder that this link
    leads to, when the block ends without error. Until then the old folder stands."""
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        yield folder
        aside = target.with_name(f".{target.name}-old")
        shutil.rmtree(aside, ignore_errors=True)
        if target.exists():
            os.replace(target, aside)
        os.replace(folder, target)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def socket_folder(prefix: str) -> Iterator[str]:
    """Give a temporary folder, this user's alone, whose name is short enough for sockets in it; gone afterwards."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= SOCKETS else "/tmp"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=short, ignore_cleanup_errors=True) as folder:
        yield folder


def storable(text: str) -> str:
    """Return `text` with U+FFFD for every half of a surrogate pair, which JSON may hold and UTF-8 may not."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parsed(text: str) -> Any:
    """Return the value of a JSON text; its texts are `storable`. A ValueError says what is wrong, and where."""
    try:
        value = json.loads(text)
        if HALF_PAIR.search(text):
            value = json.loads(storable(json.dumps(value, ensure_ascii=False)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("brackets within brackets, too many to be read") from None
    return value
