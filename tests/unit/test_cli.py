"""The command line: every command has help, errors are one message, results go to standard output as text or JSON."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from case_rows import cases
from medpsy import bundle, doctor, published, run
from medpsy.cli import app
from typer.testing import CliRunner

COMMANDS = "|run|audit|grade|grade answers|grade healthbench|store|store export|store replay|store compare|store stats"
COMMANDS += "|site|doctor|export|convert|chat|plan|pin|fault|settle"
QUESTION = {"id": "q1", "question": "Which is a colour?", "options": ["red", "seven"], "gold": "A"}


def call(words):
    return CliRunner().invoke(app, words.split())


@pytest.mark.parametrize("words", COMMANDS.split("|"))
def test_every_command_has_help_and_none_takes_a_key(words):
    done = call(f"{words} --help")
    assert done.exit_code == 0 and "Usage:" in done.output and len(done.output.splitlines()) > 4
    assert not re.search(r"--\S*(key|token)", done.output)  # none takes a key


@pytest.mark.parametrize(("imported", "heavy"), cases("light_imports", "imported", "heavy"))
def test_help_and_notebooks_load_no_heavy_package(imported, heavy):
    code = f"import sys, {imported}; print({{*{heavy}}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(("words", "message"), cases("command_errors", "words", "message"))
def test_an_expected_error_is_one_message_and_exit_code_1(own_root, monkeypatch, words, message):
    monkeypatch.chdir(own_root)
    (own_root / "q.jsonl").write_text(json.dumps(QUESTION))
    done = call(words)
    assert done.exit_code == 1
    assert message in done.stderr and done.stderr.startswith("medpsy: ") and "Traceback" not in done.output


def test_an_unexpected_error_and_debugging_show_where_it_happened(own_root, monkeypatch):
    monkeypatch.setenv("MEDPSY_DEBUG", "1")
    assert isinstance(call("run nosuch").exception, ValueError)
    monkeypatch.delenv("MEDPSY_DEBUG")
    monkeypatch.setattr(run, "run_notebook", lambda *_, **__: 1 / 0)
    assert isinstance(call("run 01").exception, ZeroDivisionError)


def test_the_audit_as_text_and_as_json():
    counts = json.loads(call("audit --json").output)
    assert counts == json.loads(json.dumps(published.summary(), allow_nan=False))
    assert [counts[key] for key in ("claims", "agree", "disagree", "not_derivable")] == [772, 664, 51, 57]
    assert counts["by_document"]["report"]["disagree"] == 46
    assert len(counts["groups"]) == 15 and sum(len(group["claims"]) for group in counts["groups"]) == 51
    assert f"{counts['claims']} claims" in call("audit").output


def test_grading_own_answers(own_root):
    questions, responses = own_root / "q.jsonl", own_root / "r.jsonl"
    questions.write_text("\n".join(json.dumps(QUESTION | {"id": name}) for name in ("q1", "q2", "q3")))
    rows = [{"id": "q1", "text": "The answer is A."}, {"id": "q2", "text": "The answer is B."}]
    responses.write_text("\n".join(map(json.dumps, rows)))
    words = f"grade answers --questions {questions} --responses {responses}"
    summary = json.loads(call(f"{words} --json").stdout)
    assert summary["rows"] == 3 and summary["accuracy"] == pytest.approx(100 / 3)
    graded = [json.loads(line) for line in (own_root / "outputs/answers/r.lenient.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in graded] == ["correct", "wrong", "failed"]
    done = call(f"{words} --reader strict --out {own_root}/mine.jsonl")
    assert "correct: 1" in done.stdout and (own_root / "mine.jsonl").is_file()


def test_a_plan_is_text_or_json(own_root):
    words = "plan --profile review --gpu a10 --price 0.5"
    plan = json.loads(call(f"{words} --json").output)
    *_, total = plan["rows"]
    assert plan["gpu"] == "A10" and total["section"] == "total"
    assert total["money"] == pytest.approx(total["hours"] / 2)
    shown = call(words).output
    assert "one A10 at $0.5" in shown and re.search(rf"total .* {total['money']:,.2f}\n", shown)


def test_words_are_passed_on(monkeypatch):
    calls = []
    stored = pd.DataFrame({"model": ["a"], "suite": ["medqa"], "rows": [12]}).set_index(["model", "suite"])

    def noting(answer):
        return lambda *words, **more: calls.append((*words, more)) or answer

    monkeypatch.setattr(run, "run_notebook", noting("outputs/x/result.json"))
    monkeypatch.setattr(bundle, "restore", noting(SimpleNamespace(stats=lambda: stored)))
    monkeypatch.setattr(bundle, "differences", noting([bundle.Difference("01_a/tables/b.csv", "ab", None)]))
    monkeypatch.setattr(doctor, "examine", noting({}))
    assert call("run 01 --profile smoke --so-far -f a.yaml -f b.yaml -p n=1 -p m=2").output == "outputs/x/result.json\n"
    assert calls[0] == ("01", "smoke", [Path("a.yaml"), Path("b.yaml")], ["n=1", "m=2"], {"so_far": True})
    assert "12 responses of 1 models" in call("store replay x.zip --sha256 ab").output
    assert calls[-1][1:] == ("mini", {"sha256": "ab", "other_settings": False})
    compared = call("store compare x.zip")
    assert "01_a/tables/b.csv: 'ab' there, None here\n1 values differ" in compared.output and compared.exit_code == 1
    assert json.loads(call("doctor --profile mini --json").output) == {} and calls[-1][0] == ("mini",)
