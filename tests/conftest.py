"""What all tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with rows of the real benchmarks, which are not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip("the rows of the real benchmarks are not on this machine (../shared/data beside the project)")
    return REAL_DATA
