"""Parameters of a notebook: everything papermill lets through is refused before a kernel starts."""

import nbformat
import pytest
from case_rows import cases
from medpsy import run
from medpsy.strict import SettingsError
from nbformat.v4 import new_code_cell, new_notebook

CELL = """\
profile: str = "mini"  # which study
n: int = 3  # how many
lr: float = 1.0e-3  # rate
think: bool = True  # whether
label: str = "a"  # name
suites: list[str] = ["medqa"]  # which
weights: dict[str, float] = {"a": 1.0}  # how much
limit: int | None = None  # cap
rate: float | None = None  # cap
rates: list[float] = [0.1]  # several"""


@pytest.fixture
def notebook(tmp_path):
    return written(tmp_path, CELL)


def written(folder, *sources, tags=("parameters",)):
    cells = [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    path = folder / "01_demo.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def resolved(notebook, text="", given=(), profile="mini"):
    path = notebook.with_name("some.yaml")
    path.write_text(text, encoding="utf-8")
    return run.resolve(notebook, profile, files=[(path, "params/mini/some.yaml")], given=given)


LONG = [
    {"yaml": "suites: " + "[" * 100_000, "says": ["params/mini/some.yaml", "within each other"]},
    {"yaml": "n: " + "1" * 5000, "says": ["params/mini/some.yaml", "digits"]},
]


@pytest.mark.parametrize("case", [*cases("parameter_values"), *LONG])
def test_a_value_takes_the_declared_type_or_is_refused(notebook, case):
    given = [case["given"]] if "given" in case else []
    if "says" in case:
        with pytest.raises(SettingsError) as error:
            resolved(notebook, case.get("yaml", ""), given)
        assert all(part in str(error.value) for part in case["says"]), str(error.value)
    else:
        found = resolved(notebook, case.get("yaml", ""), given)[case["name"]]
        assert found == case["value"] and type(found) is type(case["value"])


def test_later_files_win_and_the_command_line_wins_over_all_and_a_missing_file_is_named(notebook, tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("n: 1\nlabel: first\nlr: 0.5")
    second.write_text("n: 2\nlabel: second")
    files = [(first, "1.yaml"), (second, "2.yaml")]
    got = run.resolve(notebook, "smoke", files=files, given=["n=3"])
    assert got == {"profile": "smoke", "n": 3, "lr": 0.5, "label": "second"}
    assert resolved(notebook, "# nothing\n") == {"profile": "mini"}
    with pytest.raises(SettingsError, match=r"params/mini/01_demo\.yaml: the file does not exist"):
        run.resolve(notebook, "mini", files=[(tmp_path / "no.yaml", "params/mini/01_demo.yaml")])


@pytest.mark.parametrize(("source", "said"), cases("parameters_cells", "source", "said"))
def test_a_parameters_cell_that_cannot_be_checked_is_refused(tmp_path, source, said):
    with pytest.raises(SettingsError, match=r"01_demo\.ipynb") as error:
        run.declared(written(tmp_path, source))
    assert said in str(error.value)


def test_exactly_one_cell_must_be_tagged(tmp_path):
    with pytest.raises(SettingsError, match="0 cells are tagged"):
        run.declared(written(tmp_path, "n: int = 1", tags=()))
    with pytest.raises(SettingsError, match="2 cells are tagged"):
        run.declared(written(tmp_path, "n: int = 1", "m: int = 1"))
