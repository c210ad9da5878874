"""The one folder outside the project: what may be made again at any time (built tools, file digests)."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/medpsy``, by default ``~/.cache/medpsy``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medpsy"
