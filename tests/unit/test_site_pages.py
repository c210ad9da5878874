"""Pages of a section and its responses: cut into script files, and never anything but text."""

import base64
import html
import json
import re
import zlib

import nbformat
import pyarrow as pa
import pytest
import report_example
from case_rows import cases
from markdown_it import MarkdownIt
from medpsy import evidence
from medpsy.record import read
from medpsy.site import build
from medpsy.site import evidence as scripts
from nbformat import v4
from records import write_record


def rows() -> list[dict]:
    """Return responses as they come out of the Parquet file, four to each of 16 questions."""
    together = evidence.one_row_per_response(report_example.responses(8, 2, ("parser",)))
    return pa.Table.from_pandas(together, evidence.RESPONSES.schema, preserve_index=False).to_pylist()


def calls(folder) -> dict[str, list]:
    """Return the arguments of the one call in every script file, unpacked."""
    found = {}
    for path in sorted(folder.glob("*.js")):
        text = path.read_text(encoding="ascii")  # nothing else may be in it
        call = r'medpsyEvidence\.(index|chunk)\((?:(\d+),)?"([A-Za-z0-9+/=]*)"\);\n'
        name, number, content = re.fullmatch(call, text).groups()
        found[path.name] = [name, number, json.loads(zlib.decompress(base64.b64decode(content)))]
    return found


def test_chunks_hold_every_response_once_and_their_questions(tmp_path, monkeypatch):
    monkeypatch.setattr(scripts, "CHUNK", 3000)
    given = rows()
    assert scripts.write(given, tmp_path, evidence.RESPONSES) == 64
    files = calls(tmp_path)
    index = files.pop("index.js")[2]
    assert len(files) > 3
    seen = []
    for number, (kind, place, (texts, questions)) in enumerate(files.values()):
        assert (kind, int(place), index["starts"][number]) == ("chunk", number, len(seen))
        here = index["task"][len(seen) : len(seen) + len(texts)]
        assert set(questions) == {str(question) for question in here}
        assert here.count(here[0]) == 4  # answers to one question are not torn apart
        seen += texts
    assert [text[:2] for text in seen] == [[row["reasoning"], row["answer"]] for row in given]
    assert index["suites"] == [[*suite] for suite in report_example.SUITES.items()]
    assert {outcome for (outcome,) in index["outcomes"]} == {*report_example.OUTCOMES}
    assert index["keys"] == [row["key"][:16] for row in given]
    monkeypatch.setattr(scripts, "CHUNK", 300)
    alike = {"suite": "medqa", "question_id": "q", "stem": "Which?", "gold": 0}
    scripts.write([row | alike for row in given], tmp_path / "one", evidence.RESPONSES)
    assert len(calls(tmp_path / "one")) > 3  # one question with endless responses is cut all the same


def section_page(tmp_path, *outputs, prose="# Title"):
    """Return the page of a section whose executed notebook has `outputs`."""
    result = read(write_record(tmp_path / "mini", "01_a", title="A section"))
    cells = [v4.new_markdown_cell(prose), v4.new_code_cell("x", outputs=list(outputs))]
    executed = v4.new_notebook(cells=cells, metadata={"papermill": {"output_path": "x"}})
    nbformat.write(executed, result.folder / build.NOTEBOOK)
    build.section_page(tmp_path / "page", result)
    return nbformat.read(tmp_path / "page/index.ipynb", as_version=4)


def shown(page):
    return next(cell for cell in page.cells if cell.cell_type == "code").outputs[0]


@pytest.mark.parametrize("text", ["# a *b* _c_ `d` [e](f) <g> {h}`i` $j$ |k| ~l~ \\ \n\n```{raw} html", "1. x"])
def test_a_title_shows_exactly_its_characters(text):
    shown = MarkdownIt("commonmark").render(f"# {build.escaped(text)}")
    assert html.unescape(re.fullmatch(r"<h1>(.*)</h1>\n", shown, re.S).group(1)) == " ".join(text.split())


@pytest.mark.parametrize(("kind", "given", "kept"), cases("notebook_outputs", "kind", "given", "kept"))
def test_an_output_keeps_its_text_and_loses_what_could_act(tmp_path, kind, given, kept):
    found = shown(section_page(tmp_path, v4.new_output("display_data", {kind: given}))).data[kind]
    assert kept in found if "data-value" in kept else found == kept


def test_scripts_and_widgets_are_dropped_and_pictures_stay(tmp_path):
    data = {"application/javascript": "x()", "text/latex": "$x$", "image/png": "aGk=", "text/plain": "x"}
    data["application/vnd.jupyter.widget-view+json"] = {"model_id": "1"}
    safe = section_page(tmp_path, v4.new_output("display_data", data))
    assert set(shown(safe).data) == {"image/png", "text/plain"}
    assert set(safe.metadata) == {"language_info"}


def test_a_page_written_by_hand_leads_to_the_pages_of_sections_that_have_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    for folder in ("notebooks", "params", "source"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notebooks/course.md").write_text("# Course\n\n[01 A](01_a.ipynb), [02 B](02_b.ipynb)\n")
    build.lesson_pages(tmp_path / "source", {"01_a"})
    shown = (tmp_path / "source/course.md").read_text(encoding="utf-8")
    assert shown == "# Course\n\n[01 A](sections/01_a/index.ipynb), 02 B\n"
