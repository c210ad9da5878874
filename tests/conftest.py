"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"
# the files that take longest, the longest first: one of them begun last would keep one process busy, and the other idle
LONGEST = (
    "test_smoke.py", "test_review.py", "test_faults.py", "test_kept.py", "test_real_model.py",
    "test_training_launch.py", "test_rl_shared.py", "test_vllm_engine.py", "test_contract.py", "test_harness.py",
    "test_convert.py", "test_dapo.py", "test_slurm_report.py", "test_run.py", "test_llama_cpp.py",
    "test_quantization.py", "test_run_workflow.py", "test_mini_texts.py",
)  # fmt: skip


def pytest_configure() -> None:
    """Give each of the processes that test beside each other its own cores, for what it starts too: none waits."""
    place, processes = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if place and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(place.removeprefix("gw")) % len(cores) :: processes]
        os.sched_setaffinity(0, own)
        os.environ["LLAMA_ARG_THREADS"] = str(len(own))  # llama.cpp counts the machine's, and its threads wait busily


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of `LONGEST`, in their order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture
def own_root(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the real parameters and notebooks, and outputs of its own."""
    for name in ("params", "notebooks"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with rows of the real benchmarks, which are not part of the project."""
    if not REAL_DATA.is_dir():
        pytest.skip("the rows of the real benchmarks are not on this machine (../shared/data beside the project)")
    return REAL_DATA
