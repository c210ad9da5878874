"""Odd inputs that people met elsewhere: parameter files, tables, traces, files of responses, places to write to."""

import gzip
import json
import os
import stat
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from case_rows import CASES, cases
from medpsy import export, run, study
from medpsy.cli import app
from medpsy.data.rows import DataError, Row
from medpsy.files import whole_folder, write_text
from medpsy.recipes import tools
from medpsy.show import Table
from medpsy.strict import SettingsError
from typer.testing import CliRunner

RESPONSES = CASES / "responses_finish_reasons.jsonl"
SKIPPED = ("script", "style", "textarea", "pre", "code")  # MathJax passes over these tags, and over IGNORED
IGNORED = "mathjax_ignore"


@pytest.mark.parametrize("case", cases("parameters"))
def test_parameters(case, root, tmp_path):
    file, notebook = tmp_path / "mine.yaml", root / "notebooks" / f"{case['notebook']}.ipynb"
    expected = case["expected"]
    file.write_text(case["yaml"], encoding="utf-8")
    try:
        values = run.resolve(notebook, "mini", files=[(file, "mine.yaml")])
    except SettingsError as error:
        assert "values" not in expected and "mine.yaml" in str(error)
    else:
        assert values == {"profile": "mini"} | (expected.get("values") or expected["refused_or"])


class Typeset(HTMLParser):
    """Collects the texts of a page in which MathJax looks for mathematics."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag in SKIPPED or IGNORED in (dict(attributes).get("class") or "").split())

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        self.texts += [] if any(self.open) else [data]


@pytest.mark.parametrize("case", cases("tables"))
def test_tables(case):
    cells = case["cells"]
    page = Table(["Answer", *cells], [[text, *cells] for text in cells], title=cells[0], note=cells[0])._repr_html_()
    assert Typeset(page).texts == []
    assert not [word for word in case["expected"].get("html_has_not", ()) if word in page]


@pytest.mark.parametrize("case", cases("tool_traces"))
def test_tool_traces(case):
    def rows():
        return list(tools.turns(Row(case["trace"], "traces.jsonl", 1), "corpus", "author"))

    if refused := case["expected"].get("refused"):
        with pytest.raises(DataError, match=rf"(?s)traces\.jsonl, row 1, .*{refused}"):  # its turn, and the fix
            rows()
    else:
        assert len(rows()) == case["expected"]["rows"]
        assert case["expected"]["call"] in rows()[0].answer


def grading(responses, out):
    return ["grade", "answers", "--questions", CASES / "questions.jsonl", "--responses", responses, "--out", out]


def graded(responses, out):
    done = CliRunner().invoke(app, list(map(str, grading(responses, out))))
    assert done.exit_code == 0, done.stderr


def written(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", cases("response_files"))
def test_response_files(case, tmp_path):
    graded(CASES / case["responses"], tmp_path / "rows.jsonl")
    rows, expected = written(tmp_path / "rows.jsonl"), case["expected"]
    outcomes = {row["id"]: row["outcome"] for row in rows}
    assert len(rows) == expected["rows_written"]
    assert outcomes == outcomes | expected["outcomes"]
    assert outcomes["2"] in expected.get("outcome_of_2_one_of", [outcomes["2"]])


def from_a_pipe(tmp_path):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(gzip.compress(RESPONSES.read_bytes()))
    graded(f"/dev/fd/{reading}", tmp_path / "rows.jsonl")
    os.close(reading)
    assert len(written(tmp_path / "rows.jsonl")) == 6


def from_standard_input(tmp_path):
    words = [sys.executable, "-m", "medpsy", *grading("/dev/stdin", tmp_path / "rows.jsonl")]
    subprocess.run(words, input=RESPONSES.read_bytes(), check=True)
    assert len(written(tmp_path / "rows.jsonl")) == 6


def to_a_device(tmp_path):
    node = tmp_path / "node"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        node.write_bytes(b"")
    except OSError:
        pytest.skip("only root may make a device, and not everywhere")
    graded(RESPONSES, node)
    with pytest.raises(FileExistsError):
        export.export(study.load("mini"), stage="rl2", size="large", out=node)
    assert node.is_char_device()


def to_a_link(tmp_path):
    link, target = tmp_path / "link", tmp_path / "there" / "rows.jsonl"
    link.symlink_to(target)
    graded(RESPONSES, link)
    assert link.is_symlink() and len(written(target)) == 6


COMMANDS = {
    "out-is-a-device": to_a_device,
    "out-is-a-link": to_a_link,
    "responses-from-a-pipe": from_a_pipe,
    "responses-from-standard-input": from_standard_input,
}
ENDPOINTS = {"doctor-behind-socks", "doctor-behind-socks-without-number", "chat-behind-socks"}  # not of files


@pytest.mark.parametrize("name", [case.id for case in cases("command_line") if case.id not in ENDPOINTS])
def test_command_lines(name, tmp_path):
    COMMANDS[name](tmp_path)


def test_a_pipe_takes_what_is_written_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        write_text(tmp_path / "pipe", "rows\n")
        assert reader.communicate()[0] == b"rows\n"
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with whole_folder(tmp_path / "link") as folder:
        (folder / "file").touch()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").exists()
