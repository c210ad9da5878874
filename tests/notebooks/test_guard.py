"""What a notebook may hold, and that every params file fits its notebook: all notebooks, all profiles, all files."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from medpsy import published, run, strict, study
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PAGES, BIBLIOGRAPHY = sorted((ROOT / "notebooks").glob("*.md")), ROOT / "notebooks" / "references.bib"
PARAMS = sorted((ROOT / "params").rglob("*.y*ml"))
PROFILES = sorted(path.parent.name for path in PARAMS if path.name == "study.yaml")
TRAINING = ("03_training_data", "04_sft", "05_rl", "12_gspo_judge", "13_openmed")
CELLS, LINES = 35, 30  # code cells, and lines of one
FORBIDDEN = {
    "a class": r"^class ",
    "a shell or magic line": r"^[!%]",
    "files, processes or the environment": r"\b(?:os|sys|subprocess|socket|shutil)\.|\bopen\(|\bPath\(",
    "an early exit": r"\b(?:exit|quit)\(",
    "an absolute path": r"[\"'](?:/(?:home|root|tmp|work|Users)/|~/|[A-Z]:\\)",
    "a key": r"(?i)(?:api_key|token)\s*=\s*[\"']",
}
# their values
MODELS = ("large", "small", "teachers", "models", "classes", "retrained", "stages", "sources", "backbones", "judges")
ASKING = ("01", "02", "06", "07", "08", "09", "10")  # sections whose parameters name models so
CITED = re.compile(r"\b([A-Z][\w'-]+(?: and [A-Z][\w'-]+| et al\.)?), ((?:1[89]|20)\d\d)\b")  # Yu et al., 2025
SOURCED = re.compile(r"#.*\b(report|card|ours)\b")  # report 3.5; MedPsy-4B card; ours: not stated

LESSON = re.compile(
    r"\*\*You learn to\*\*\n\n(?:- .+\n){2,3}\n\*\*Read before\.\*\* .+"
    r"\*\*Minutes\.\*\* (\d+) to read, (\d+) to compute",
    re.DOTALL,
)
KINDS = ("Predict before running", "Compute by hand", "Change the code")  # of exercises

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_params = pytest.mark.parametrize("path", PARAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")


def code_cells(path, *, solutions=False):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [cell for cell in code if ("solution" in cell.metadata.get("tags", [])) == solutions]


@every_notebook
def test_a_notebook_opens_with_its_title_and_parameters_and_ends_with_its_record_and_exercises(path):
    cells, code = nbformat.read(path, as_version=4).cells, code_cells(path)
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert "**Claim.**" in cells[0].source and "**Cost.**" in cells[0].source
    assert run.TAG in code[0].metadata.get("tags", [])
    assert cells[-7] == code[-1] and "record.close(" in code[-1].source


@every_notebook
def test_a_notebook_is_a_lesson_with_goals_and_an_exercise_of_each_kind_with_its_solution_folded_away(path):
    cells, solutions = nbformat.read(path, as_version=4).cells, code_cells(path, solutions=True)
    assert LESSON.match(cells[1].source)
    assert [re.findall(r"^### (.+)$", cell.source, re.MULTILINE) for cell in cells[-6::2]] == [[kind] for kind in KINDS]
    assert cells[-5::2] == solutions and all("hide-cell" in cell.metadata["tags"] for cell in solutions)


def test_the_course_holds_every_notebook_with_its_minutes_and_a_class_of_ninety():
    text = (ROOT / "notebooks" / "course.md").read_text(encoding="utf-8")
    lessons = {path.stem: LESSON.match(nbformat.read(path, as_version=4).cells[1].source) for path in NOTEBOOKS}
    listed = re.findall(r"^\| \[.+?\]\((\w+)\.ipynb\) \|.*\| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert sorted(listed) == [(name, *lesson.groups()) for name, lesson in lessons.items()]
    planned = re.findall(r"^\| (\d+) to (\d+) \|", text, re.MULTILINE)
    assert [start for start, _ in planned] == ["0", *(end for _, end in planned[:-1])] and planned[-1][1] == "90"


def cited_on(page):
    keys = re.findall(r"\{cite\}`(.+?)`", page.read_text(encoding="utf-8"))
    return {key for each in keys for key in each.split(",")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_cites_is_in_the_bibliography(page):
    assert cited_on(page) <= set(parse_file(BIBLIOGRAPHY).entries)


@every_notebook
def test_a_notebook_shows_science_and_no_plumbing(path):
    code = code_cells(path)
    assert len(code) <= CELLS
    for cell in code + code_cells(path, solutions=True):
        assert len(cell.source.splitlines()) <= LINES, cell.source
        found = [what for what, pattern in FORBIDDEN.items() if re.search(pattern, cell.source, re.MULTILINE)]
        assert found == [], f"{found} in:\n{cell.source}"


@every_notebook
def test_a_notebook_names_no_kernel_but_the_common_one(path):
    assert nbformat.read(path, as_version=4).metadata.get("kernelspec", {}).get("name", "python3") == "python3"


@every_notebook
def test_every_parameter_says_what_it_is_and_defaults_to_mini(path):
    known = run.declared(path)
    source = code_cells(path)[0].source
    ends = [source.splitlines()[line.end_lineno - 1][line.end_col_offset :] for line in ast.parse(source).body]
    assert [end for end in ends if "#" not in end] == []
    mini = strict.read(ROOT / "params" / "mini" / f"{path.stem}.yaml")
    assert {name: known[name].default for name in mini} == mini


def citation(entry):
    """Return how the text names an entry of the bibliography: one family name, two, or the first "et al."."""
    first, *others = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    name = first if not others else f"{first} and {others[0]}" if len(others) == 1 else f"{first} et al."
    return name, entry.fields["year"]


def test_what_is_cited_is_in_the_bibliography_and_what_is_in_it_is_cited():
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    texts = [" ".join(cell.source.split()) for cell in cells if cell.cell_type == "markdown"]
    cited, entries = {match for text in texts for match in CITED.findall(text)}, parse_file(BIBLIOGRAPHY).entries
    cited |= {citation(entries[key]) for page in PAGES for key in cited_on(page)}
    assert cited == {citation(entry) for entry in entries.values()}


@every_notebook
@pytest.mark.parametrize("profile", PROFILES)
def test_a_notebook_has_its_params_in_every_profile_but_training_where_nothing_is_trained(path, profile):
    trained = bool(study.load(profile).targets) or path.stem not in TRAINING
    trained |= profile == "review" and path.stem in TRAINING[-2:]  # which take released checkpoints instead
    released = profile != "laptop" or path.stem not in ("02_teacher_selection", "08_stage_ablations")  # as GGUF files
    assert (ROOT / "params" / profile / f"{path.stem}.yaml").is_file() == (trained and released)


@every_params
def test_a_params_file_fits_its_notebook_or_is_a_study(path):
    if path.name == "study.yaml":
        assert study.load(path.parent.name).profile == path.parent.name
        return
    notebook = ROOT / "notebooks" / f"{path.stem}.ipynb"
    assert notebook.is_file(), f"{path}: no notebook of that name"
    shown = str(path.relative_to(ROOT))
    given = run.resolve(notebook, path.parent.name, files=[(path, shown)])
    assert given.get("profile", path.parent.name) == path.parent.name


def words(value):
    """Return the texts that a parameter holds; "" stands for a model that is not run."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] * bool(value) if inner is None else [word for one in inner for word in words(one)]


@every_params
def test_a_params_file_names_models_and_tables_that_there_are(path):
    if path.stem[:2] not in ASKING:
        return
    settings, given = study.load(path.parent.name), strict.read(path)
    names = [name for key in MODELS for name in words(given.get(key, []))]
    names += [*given.get("judge_columns", {}), *given.get("teacher", {})]
    assert names and [settings.model(name).name for name in names] == names
    printed = published.tables()
    known = {*printed["table"], *printed["row"]}
    assert [part for part in given.get("stands_for", {}).values() if part not in known] == []


@every_params
def test_every_value_says_where_it_comes_from(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# "), "the first line says what this is and what it costs"
    settings = [line for line in lines if line.strip() and not re.match(r"\s*#|.*:\s*$", line)]
    assert [line for line in settings if not SOURCED.search(line)] == []
