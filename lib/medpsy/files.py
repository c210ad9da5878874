"""Files that are either whole or absent.

Writes under a temporary name beside the target, then renames; never leaves a partial file under the final name.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then rename it to `path`; return `path`.

    Raises:
        OSError: nothing was written under `path`; a full disk is named with the space that is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        _to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def _to_disk(path: Path) -> None:
    mask = os.umask(0)  # mkstemp makes files private; results are as readable as the user's other files
    os.umask(mask)
    path.chmod(0o666 & ~mask)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _explained(error: OSError, path: Path) -> OSError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(path.parent).free // 2**20
    fix = "make room and run the section again; it is not written"
    return OSError(error.errno, f"disk full ({free} MiB left): {fix}", str(path))
