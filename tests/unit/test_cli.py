"""The command line: every command has help, errors are one message, results go to standard output as text or JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from medpsy import cli, doctor, published, replay, run, study
from medpsy.cli import app
from typer.testing import CliRunner

COMMANDS = (
    [],
    ["run"],
    ["audit"],
    ["grade"],
    ["grade", "answers"],
    ["grade", "healthbench"],
    ["store"],
    ["store", "export"],
    ["store", "replay"],
    ["store", "compare"],
    ["store", "stats"],
    ["site"],
    ["doctor"],
    ["export"],
    ["convert"],
    ["chat"],
    ["plan"],
    ["pin"],
)
ROOT = Path(__file__).resolve().parents[2]
QUESTION = {"id": "q1", "question": "Which is a colour?", "options": ["red", "seven"], "gold": "A"}


def call(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def project(tmp_path, root, monkeypatch):
    """The real parameters, and outputs of its own."""
    (tmp_path / "params").symlink_to(root / "params")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(study, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words):
    done = call(*words, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.output and len(done.output.splitlines()) > 4


def test_help_loads_no_heavy_package():
    code = "import sys; from medpsy.cli import app; print(sorted({'torch', 'pandas', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_waits_for_no_framework_of_training():
    heavy = "{'torch', 'transformers', 'trl', 'peft', 'datasets'}"
    code = f"import sys; from medpsy import report, training; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_can_be_called_as_a_module():
    done = subprocess.run([sys.executable, "-m", "medpsy", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: medpsy ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nosuch"], "notebook 'nosuch'"),
        (["store", "stats", "--profile", "minni"], "did you mean 'mini'?"),
        (["store", "export", "x.zip"], "the store is empty"),
        (["store", "replay", "nosuch.zip"], "nosuch.zip: no such bundle"),
        (["doctor", "--profile", "minni"], "did you mean 'mini'?"),
        (["export", "--stage", "rl3"], "stage 'rl3' is unknown; did you mean"),
        (["export", "--size", "larg"], "did you mean 'large'?"),
        (["export", "--variant", "Q4_K"], "variant 'Q4_K' is unknown; did you mean"),
        (["export"], "run section 05_rl first"),
        (["pin", "--profile", "papr", "--check"], "did you mean 'paper'?"),
        (["plan", "--profile", "papr"], "did you mean 'paper'?"),
        (["plan", "--profile", "paper", "--gpu", "H1000"], "gpu 'H1000' is unknown; did you mean 'H100'?"),
        (["plan", "--profile", "paper", "--price", "-1"], "price -1.0 must be 0 or above"),
        (["plan", "--gpu", "H100"], "profile mini runs on the CPU of this machine; leave out --gpu"),
        (["chat", "larg-rl2"], "did you mean 'large-rl2'?"),
        (["chat", "large-sft1"], "run section 04_sft first"),
        (["grade", "answers", "--questions", "nosuch.jsonl", "--responses", "x"], "nosuch.jsonl"),
    ],
)
def test_an_expected_error_is_one_message_and_exit_code_1(project, words, said):
    done = call(*words)
    assert done.exit_code == 1
    assert said in done.stderr and done.stderr.startswith("medpsy: ") and "Traceback" not in done.output


def test_an_unexpected_error_and_debugging_show_where_it_happened(project, monkeypatch):
    monkeypatch.setenv("MEDPSY_DEBUG", "1")
    assert isinstance(call("run", "nosuch").exception, ValueError)
    monkeypatch.delenv("MEDPSY_DEBUG")
    monkeypatch.setattr(run, "run_notebook", lambda *_: 1 / 0)
    assert isinstance(call("run", "01").exception, ZeroDivisionError)


def test_run_passes_on_what_was_said(monkeypatch):
    calls = []
    monkeypatch.setattr(run, "run_notebook", lambda *words: calls.append(words) or "outputs/x/result.json")
    done = call("run", "01", "--profile", "smoke", "-f", "a.yaml", "-f", "b.yaml", "-p", "n=1", "-p", "m=2")
    assert done.output == "outputs/x/result.json\n"
    ((section, profile, files, given),) = calls
    assert (section, profile, given) == ("01", "smoke", ["n=1", "m=2"])
    assert [path.name for path in files] == ["a.yaml", "b.yaml"]


def test_the_audit_as_text_and_as_json():
    assert "772 claims" in call("audit").output
    found = json.loads(call("audit", "--json").output)
    assert [found[key] for key in ("claims", "agree", "disagree", "not_derivable")] == [772, 664, 51, 57]
    assert found.keys() == published.summary().keys()


def test_grading_own_answers(project):
    questions, responses = project / "q.jsonl", project / "r.jsonl"
    questions.write_text("\n".join(json.dumps(QUESTION | {"id": name}) for name in ("q1", "q2", "q3")))
    rows = [{"id": "q1", "text": "The answer is A."}, {"id": "q2", "text": "The answer is B."}]
    responses.write_text("\n".join(map(json.dumps, rows)))
    words = ("grade", "answers", "--questions", str(questions), "--responses", str(responses))
    found = json.loads(call(*words, "--json").stdout)
    assert found["rows"] == 3 and found["accuracy"] == pytest.approx(100 / 3)
    assert found["outcomes"] == {"correct": 1, "wrong": 1, "unreadable": 0, "cut off": 0, "failed": 1}
    graded = [json.loads(line) for line in (project / "outputs/answers/r.lenient.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in graded] == ["correct", "wrong", "failed"]
    done = call(*words, "--reader", "strict", "--out", str(project / "mine.jsonl"))
    assert "correct: 1" in done.stdout and (project / "mine.jsonl").is_file()


def test_a_reader_that_does_not_exist_is_met_with_those_that_do(project):
    (project / "q.jsonl").write_text(json.dumps(QUESTION))
    done = call("grade", "answers", "--questions", str(project / "q.jsonl"), "--responses", "r", "--reader", "stric")
    assert done.exit_code == 1 and "strict" in done.stderr


def test_an_empty_store_is_counted(project):
    assert call("store", "stats").output.startswith("0 responses, 0 failed")
    assert json.loads(call("store", "stats", "--json").output)["rows"] == 0


def test_export_and_replay_move_a_store(monkeypatch):
    class Store:
        def stats(self):
            return {"rows": 12, "models": {"a": {}}}

    asked = []
    monkeypatch.setattr(replay, "export", lambda path, profile: {"rows": 12, "sha256": "ab", "files": {}})
    monkeypatch.setattr(replay, "restore", lambda path, profile, **how: asked.append((profile, how)) or Store())
    monkeypatch.setattr(replay, "compare", lambda path, profile: 7)
    assert json.loads(call("store", "export", "x.zip", "--json").output) == {"rows": 12, "sha256": "ab"}
    assert "12 responses of 1 models" in call("store", "replay", "x.zip", "--sha256", "ab").output
    assert asked == [("mini", {"sha256": "ab", "other_settings": False})]
    assert call("store", "compare", "x.zip").output == "7 tables are byte by byte those of x.zip\n"


def test_the_site_is_built_and_named(monkeypatch):
    monkeypatch.setattr("medpsy.report.site.build", lambda profile: f"outputs/{profile}/report/index.html")
    assert call("site", "--profile", "smoke").output == "outputs/smoke/report/index.html\n"


def test_doctor_prints_text_or_json(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda profiles: {"asked": profiles})
    monkeypatch.setattr(doctor, "printed", lambda found: f"looked at {found['asked']}")
    assert call("doctor").output == "looked at None\n"
    assert json.loads(call("doctor", "--profile", "mini", "--json").output) == {"asked": ["mini"]}


def test_a_plan_is_text_or_json(project):
    (project / "notebooks").rmdir()
    (project / "notebooks").symlink_to(ROOT / "notebooks")
    words = ("plan", "--profile", "review", "--gpu", "A10", "--price", "0.5")
    assert "Hours of one A10 at $0.5" in call(*words).output
    found = json.loads(call(*words, "--json").output)
    assert found["gpu"] == "A10" and found["rows"][-1]["money"] == pytest.approx(found["rows"][-1]["hours"] / 2)


def test_no_command_takes_a_key():
    options = [option for command in cli.app.registered_commands for option in command.callback.__annotations__]
    assert not {name for name in options if "key" in name or "token" in name} - {"max_tokens"}
