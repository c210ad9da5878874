"""The suites of a study, each read and checked once per process: a notebook comes back to them a dozen times, and the
hub is asked over the network every time one is read.

Draws no sample. Files that change under a running kernel are seen by the next one.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from medpsy import study as studies
from medpsy.benchmarks import OpenSuite, Suite
from medpsy.study import Study

Load = Callable[..., Suite | OpenSuite]


def suite(study: Study, key: str, load: Load) -> Suite | OpenSuite:
    """Return suite `key` from wherever `study` has it.

    Args:
        load: `medpsy.benchmarks.load_suite` or `medpsy.benchmarks.load_conversations`.

    Raises:
        medpsy.benchmarks.DataError: the data are not as published; names file, row and field.
    """
    folder = study.data_dirs.get(key)
    return _read(load, key, study.source, studies.ROOT / Path(folder).expanduser() if folder else None)


@cache
def _read(load: Load, key: str, source: str, data_dir: Path | None) -> Suite | OpenSuite:
    return load(key, source=source, data_dir=data_dir)
