"""Parameters of a notebook: everything papermill lets through is refused before a kernel starts."""

import nbformat
import pytest
from medpsy import parameters
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
    return parameters.resolve(notebook, profile, files=[(path, "params/mini/some.yaml")], given=given)


def test_the_cell_is_read_without_running_it(notebook):
    found = parameters.declared(notebook)
    assert list(found)[:3] == ["profile", "n", "lr"]
    assert found["suites"].kind == list[str] and found["suites"].default == ["medqa"]
    assert found["limit"].default is None and found["limit"].comment == "cap"


@pytest.mark.parametrize(
    ("text", "name", "want"),
    [
        ("n: 5", "n", 5),
        ("lr: 2", "lr", 2.0),
        ("lr: 1.0e-5", "lr", 1e-5),
        ("think: false", "think", False),
        ("suites: [a, b]", "suites", ["a", "b"]),
        ("weights: {a: 2}", "weights", {"a": 2.0}),
        ("limit: 4", "limit", 4),
        ("limit: null", "limit", None),
        ("rates: [1, 0.5]", "rates", [1.0, 0.5]),
    ],
)
def test_values_of_a_file_that_fit(notebook, text, name, want):
    got = resolved(notebook, text)[name]
    assert got == want and type(got) is type(want)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nn: 5", ["params/mini/some.yaml", "nn", "did you mean 'n'"]),
        ("labl: x", ["labl", "did you mean 'label'"]),
        ("lr: 1e-5", ["lr", "'1e-5'", "write 1.0e-5"]),
        ("rate: 1e-5", ["rate", "'1e-5'", "write 1.0e-5"]),
        ("rates: [0.1, 1e-5]", ["rates.1", "'1e-5'"]),
        ("weights: {a: 1e-5}", ["weights.a", "'1e-5'"]),
        ('n: "16"', ["n", "'16'", "whole number", "quotes"]),
        ("n: 1.5", ["n", "1.5", "whole number"]),
        ("n: true", ["n", "True", "whole number"]),
        ("n: null", ["n", "None", "whole number"]),
        ("think: 1", ["think", "1", "true or false"]),
        ('think: "true"', ["think", "true or false"]),
        ("label: no", ["label", "False", "quotes"]),
        ("label: 1.0", ["label", "1.0", "text"]),
        ("suites: medqa", ["suites", "'medqa'", "list"]),
        ("suites: [1]", ["suites.0", "1", "text"]),
        ("weights: [a]", ["weights", "mapping"]),
        ("lr: .inf", ["lr", "finite"]),
        ("n: 1\nn: 2", ["line 2", "'n' is written twice"]),
        ("- n", ["mapping"]),
        ("n: [", ["params/mini/some.yaml", "line"]),
        ("profile: smoke", ["profile", "'smoke'", "--profile"]),
    ],
)
def test_values_of_a_file_that_do_not_fit(notebook, text, said):
    with pytest.raises(SettingsError) as error:
        resolved(notebook, text)
    assert all(part in str(error.value) for part in said), str(error.value)


@pytest.mark.parametrize(
    ("given", "name", "want"),
    [
        ("n=16", "n", 16),
        ("lr=1e-5", "lr", 1e-5),
        ("lr=2", "lr", 2.0),
        ("think=true", "think", True),
        ("think=False", "think", False),
        ("label=a=b", "label", "a=b"),
        ("label=", "label", ""),
        ("label=5", "label", "5"),
        ("limit=7", "limit", 7),
        ("limit=none", "limit", None),
        ("rate=1e-5", "rate", 1e-5),
    ],
)
def test_values_of_the_command_line_take_the_declared_type(notebook, given, name, want):
    got = resolved(notebook, given=[given])[name]
    assert got == want and type(got) is type(want)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("n", ["name=value"]),
        ("nn=1", ["nn", "did you mean 'n'"]),
        ("n=1.5", ["-p: n", "'1.5'", "whole number"]),
        ("n=true", ["'true'", "whole number"]),
        ("lr=fast", ["'fast'", "a number"]),
        ("lr=nan", ["finite"]),
        ("think=yes", ["think", "'yes'", "true or false"]),
        ("suites=[medqa]", ["suites", "-f"]),
        ("weights={}", ["weights", "-f"]),
        ("profile=paper", ["profile", "--profile"]),
    ],
)
def test_values_of_the_command_line_that_do_not_fit(notebook, given, said):
    with pytest.raises(SettingsError) as error:
        resolved(notebook, given=[given])
    assert all(part in str(error.value) for part in said), str(error.value)


def test_later_files_win_and_the_command_line_wins_over_all(notebook, tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("n: 1\nlabel: first\nlr: 0.5")
    second.write_text("n: 2\nlabel: second")
    files = [(first, "1.yaml"), (second, "2.yaml")]
    got = parameters.resolve(notebook, "smoke", files=files, given=["n=3"])
    assert got == {"profile": "smoke", "n": 3, "lr": 0.5, "label": "second"}


def test_an_empty_file_and_a_missing_one(notebook, tmp_path):
    assert resolved(notebook, "# nothing\n") == {"profile": "mini"}
    with pytest.raises(SettingsError, match=r"params/mini/01_demo\.yaml: the file does not exist"):
        parameters.resolve(notebook, "mini", files=[(tmp_path / "no.yaml", "params/mini/01_demo.yaml")])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("n = 3", "name: type = value"),
        ("n: int", "name: type = value"),
        ("import os", "name: type = value"),
        ('model: str = "a"\nfolder: str = f"out/{model}"', "must be a literal"),
        ("n: int = 2 ** 3", "must be a literal"),
        ("n: int = 'a'", "whole number"),
        ("n: complex = 1", "'complex' is not allowed"),
        ("n: int | str = 1", "'int | str' is not allowed"),
        ("n: set[int] = 1", "is not allowed"),
        ("n: int = (", "not Python"),
    ],
)
def test_a_parameters_cell_that_cannot_be_checked_is_refused(tmp_path, source, said):
    with pytest.raises(SettingsError, match=r"01_demo\.ipynb") as error:
        parameters.declared(written(tmp_path, source))
    assert said in str(error.value)


def test_exactly_one_cell_must_be_tagged(tmp_path):
    with pytest.raises(SettingsError, match="0 cells are tagged"):
        parameters.declared(written(tmp_path, "n: int = 1", tags=()))
    with pytest.raises(SettingsError, match="2 cells are tagged"):
        parameters.declared(written(tmp_path, "n: int = 1", "m: int = 1"))
