"""The library stays thin and the notebooks show the science: figures that may only go down, kept in budgets.yaml.

A change that lowers a figure lowers its budget too; a budget far above its figure fails as well.
"""

import ast
import graphlib
import re

import nbformat
import pytest
import yaml

LIBRARY_NAMES = re.compile(r"^from medpsy[\w.]* import (.+)$|^import (medpsy[\w.]*)$", re.MULTILINE)
SLACK = 1.02  # how far a budget may stand above its figure


def python_files(folder):
    return [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]


def lines(files):
    return sum(path.read_text(encoding="utf-8").count("\n") for path in files)


def library_share(path):
    """Return the share, in percent, of code lines that call the library, but for parameters and solutions."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    source = "\n".join(one.source for one in code if not {"parameters", "solution"} & {*one.metadata.get("tags", [])})
    names = [name.strip() for hit in LIBRARY_NAMES.findall(source) for name in ",".join(filter(None, hit)).split(",")]
    written = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    calls = re.compile(rf"\b(?:{'|'.join(map(re.escape, names)) or '(?!)'})[.(]")
    return 100 * sum(bool(calls.search(line)) for line in written) / len(written)


def figures(root):
    library = python_files(root / "lib")
    shares = {path.stem: library_share(path) for path in sorted((root / "notebooks").glob("*.ipynb"))}
    sizes = {"library lines": lines(library), "library modules": len(library)}
    return sizes | {"test lines": lines(python_files(root / "tests"))} | shares


def test_every_figure_keeps_its_budget_and_every_budget_follows_its_figure(root):
    budgets = yaml.safe_load((root / "tests" / "budgets.yaml").read_text(encoding="utf-8"))
    measured = figures(root)
    assert budgets.keys() == measured.keys()
    over = {name: (figure, budgets[name]) for name, figure in measured.items() if figure > budgets[name]}
    assert not over, f"(figure, budget): {over}; delete or move code, budgets never go up"
    loose = {name: figure for name, figure in measured.items() if budgets[name] > SLACK * figure + 1}
    assert not loose, f"lower these budgets in tests/budgets.yaml to what is reached now: {loose}"


def imported(path, modules):
    """Yield the modules of the library that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in named)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("depth", [None, 2], ids=["modules", "packages"])
def test_data_flow_one_way_without_import_circles(root, depth):
    files = {".".join(one.relative_to(root / "lib").with_suffix("").parts): one for one in python_files(root / "lib")}
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {}
    for name, path in modules.items():
        place = ".".join(name.split(".")[:depth])
        targets = {".".join(target.split(".")[:depth]) for target in imported(path, modules) if target in modules}
        graph.setdefault(place, set()).update(targets - {place, "medpsy"})
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
