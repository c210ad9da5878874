"""`medpsy grade healthbench`: a user's verdicts on examples in the published schema, and a panel of the profile."""

import gzip
import json
import re

import pytest
from fake_engine import FakeEngine
from healthbench_rows import changed, criterion, example
from medpsy import engines, panel, study
from medpsy.benchmarks.rows import Origin
from medpsy.cli import app
from medpsy.grading import healthbench_summary, rows
from medpsy.study import ModelSpec, Sampling, Study
from typer.testing import CliRunner

ONE = example(1, rubrics=[criterion("says yes", 7), criterion("says no", -8), criterion("is kind", 3, "completeness")])
TWO = example(2, rubrics=[criterion("says yes", 5), criterion("is rude", -5)], theme="global_health")


def write(path, given):
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def verdict(number: int, text: str, met: bool | None, **more) -> dict:
    return {"prompt_id": f"p{number}", "criterion": text, "criteria_met": met, **more}


ALL = [
    verdict(1, "says yes", True),
    verdict(1, "says no", True),
    verdict(1, "is kind", True),
    verdict(2, "says yes", True),
    verdict(2, "is rude", False),
]


@pytest.fixture
def grade(tmp_path):
    def run(verdicts, examples=(ONE, TWO), ending=""):
        examples = write(tmp_path / f"E.jsonl{ending}", examples)
        return healthbench_summary.grade(examples, write(tmp_path / f"V.jsonl{ending}", verdicts))

    return run


def test_scores_are_unrounded_shares_by_hand(grade):
    found = grade(ALL)
    assert found["score"] == pytest.approx((2 / 10 + 1) / 2)
    assert found["themes"] == {"global_health": 1.0, "hedging": pytest.approx(0.2)}
    assert found["axes"] == {"completeness": 1.0, "accuracy": pytest.approx((-1 / 7 + 1) / 2)}
    assert found["example_tags"] == {
        "physician_agreed_category:enough": pytest.approx(0.6),
        "theme:global_health": 1.0,
        "theme:hedging": pytest.approx(0.2),
    }
    assert (found["unjudged"], found["examples"], found["criteria"], found["verdicts"]) == (0, 2, 5, 5)
    assert found["low"] == found["high"] == pytest.approx(found["score"])
    assert found["as_published"] == 60 and 0 < found["bootstrap_std"] < 0.4
    assert found["details"]["themes"]["hedging"]["n"] == 1 and "judges" not in found
    assert not any(found[name]["count"] for name in healthbench_summary.PROBLEMS)


def test_packed_files_give_the_same(grade):
    assert grade(ALL) == grade(ALL, ending=".gz")


def test_a_missing_and_a_null_verdict_are_unjudged_and_named(grade):
    found = grade([verdict(1, "says yes", True), verdict(1, "says no", None), *ALL[3:]])
    assert found["score"] == pytest.approx((1 + 1) / 2)
    assert (found["low"], found["high"]) == (pytest.approx((-1 / 10 + 1) / 2), 1.0)
    assert found["unjudged"] == 2
    assert found["missing"] == {"count": 1, "first": ["p1, criterion 3"]}
    assert found["null"] == {"count": 1, "first": ["p1, criterion 2"]}
    assert found["other_implementations"]["MARC, openbench"] == pytest.approx((0.7 + 1) / 2)


def test_verdicts_on_what_is_not_there_are_counted_named_and_left_out(grade):
    strange = [verdict(9, "says yes", False), verdict(9, "says no", False), verdict(1, "is tall", False)]
    found = grade([*strange, *ALL])
    assert found["score"] == grade(ALL)["score"]
    assert found["unknown_prompts"] == {"count": 2, "first": ["p9"]}
    assert found["unknown_criteria"] == {"count": 1, "first": ["p1 (line 3): is tall"]}


def test_a_duplicate_is_counted_once_and_a_conflict_is_unjudged(grade):
    found = grade([*ALL, verdict(2, "is rude", False), verdict(1, "says yes", False)])
    assert found["duplicates"] == {"count": 2, "first": ["p1: says yes", "p2: is rude"]}
    assert found["conflicting"] == {"count": 1, "first": ["p1, criterion 1"]}
    assert found["unjudged"] == 1
    null = grade([*ALL, verdict(1, "says yes", None)])
    assert null["conflicting"]["count"] == 1  # true and "no verdict" are two answers


TWICE = example(3, rubrics=[criterion("says yes", 6), criterion("says yes", 4, "completeness"), criterion("no", -1)])


@pytest.mark.parametrize(
    ("said", "score", "unjudged", "duplicates"),
    [
        ([True], 1.0, 0, 0),  # one verdict on the text decides both places
        ([True, False], 0.6, 0, 0),  # as many as places: in order
        ([False, True], 0.4, 0, 0),
        ([True, True, True], 1.0, 0, 1),
        ([True, False, True], None, 2, 1),
        ([], None, 2, 0),
    ],
)
def test_a_text_that_a_rubric_holds_twice(grade, said, score, unjudged, duplicates):
    found = grade([*[verdict(3, "says yes", met) for met in said], verdict(3, "no", False)], examples=[TWICE])
    assert (found["score"], found["unjudged"], found["duplicates"]["count"]) == (score, unjudged, duplicates)


def test_judges_are_scored_apart_and_their_mean_stands_above(grade):
    first = [row | {"judge": "kind"} for row in ALL]
    second = [row | {"judge": "strict", "criteria_met": False} for row in ALL[:4]]
    found = grade([*first, *second])
    assert found["judges"]["kind"]["score"] == pytest.approx(0.6)
    assert found["judges"]["strict"]["score"] == 0.0
    assert found["score"] == pytest.approx(0.3)
    assert found["judges"]["strict"]["missing"]["count"] == found["missing"]["count"] == 1
    assert found["judges"]["kind"]["unjudged"] == 0 and found["as_published"] == 30


def test_a_single_named_judge_needs_no_table_of_judges(grade):
    assert "judges" not in grade([row | {"judge": "kind"} for row in ALL])


def test_nothing_usable_is_no_score(grade):
    found = grade([verdict(9, "x", True)])
    assert found["score"] is None and (found["low"], found["high"]) == (0.0, 1.0) and found["skipped"] == 2
    assert "no example could be scored" in healthbench_summary.printed_summary(found)


@pytest.mark.parametrize(
    ("row", "want"),
    [
        ("{", "V.jsonl line 2: not JSON"),
        ("[]", "V.jsonl line 2: a JSON list"),
        (verdict(1, "says yes", "true"), "V.jsonl line 2, field 'criteria_met': 'true' is no verdict"),
        (verdict(1, "says yes", 1), "V.jsonl line 2, field 'criteria_met': 1 is no verdict"),
        ({"prompt_id": "p1", "criterion": "x", "criterion_met": True}, "rename 'criterion_met' to 'criteria_met'"),
        ({"criterion": "x", "criteria_met": True}, "line 2, field 'prompt_id': missing"),
        (verdict(1, "", True), "line 2, field 'criterion': '' is not text"),
        (verdict(1, "x", True, judge=5), "line 2, field 'judge': 5 is no name"),
    ],
)
def test_a_malformed_verdict_is_named_with_file_and_line(grade, row, want):
    with pytest.raises(rows.BadRow, match=re.escape(want)):
        grade([ALL[0], row])


def test_an_empty_file_is_refused(grade):
    with pytest.raises(rows.BadRow, match="V.jsonl: no verdicts in this file"):
        grade([])
    with pytest.raises(rows.BadRow, match="E.jsonl: no examples in this file"):
        grade(ALL, examples=[])


def test_a_malformed_example_is_named_with_file_and_row(grade):
    with pytest.raises(ValueError, match=r"E.jsonl, row 2, field 'rubrics\[0\].points' is 0"):
        grade(ALL, examples=[ONE, changed("rubrics.0.points", 0)])
    with pytest.raises(rows.BadRow, match="E.jsonl line 2, field 'prompt_id': 'p1' is there already"):
        grade(ALL, examples=[ONE, ONE])


def test_an_own_example_needs_no_level_no_canary_and_no_ideal_answer(grade):
    lean = {name: ONE[name] for name in ("prompt", "prompt_id", "example_tags")}
    lean["rubrics"] = [{"criterion": "says yes", "points": 2, "tags": ["axis:accuracy"]}]
    assert grade(ALL[:1], examples=[lean])["score"] == 1.0


def test_the_printed_summary_shows_points_tables_and_problems(grade):
    text = healthbench_summary.printed_summary(grade([*ALL[:-1], verdict(9, "x", True)]))
    assert text.startswith("HealthBench: 60.00 ± ") and "1 criteria unjudged, between 10.00 and 60.00" in text
    assert re.search(r"Responding Under Uncertainty +20\.00", text) and re.search(r"Accuracy +42\.86", text)
    assert "criteria without a verdict (unjudged): 1, e.g. p2, criterion 2" in text
    assert "verdicts on examples that are not in the file (left out): 1, e.g. p9" in text
    assert "as published (a run is rounded to a whole point): 60.00" in text


def test_real_examples_are_scored(real_data, tmp_path):
    from medpsy.benchmarks.healthbench import read_rows

    found = read_rows(Origin("", None, "", None, real_data / "healthbench"), "main", ())
    verdicts = [
        {"prompt_id": row.values["prompt_id"], "criterion": one["criterion"], "criteria_met": one["points"] > 0}
        for row in found
        for one in row.values["rubrics"]
    ]
    path = write(tmp_path / "V.jsonl.gz", verdicts)
    summary = healthbench_summary.grade(real_data / "healthbench" / "main_sample.jsonl.gz", path)
    assert (summary["score"], summary["unjudged"], summary["verdicts"]) == (1.0, 0, 1_395)
    assert set(summary["themes"].values()) == set(summary["axes"].values()) == {1.0}
    assert not any(summary[name]["count"] for name in healthbench_summary.PROBLEMS)


# --- the command and the panel


def call(*words):
    return CliRunner().invoke(app, ["grade", "healthbench", *map(str, words)])


def test_the_command_prints_a_table_or_json(tmp_path):
    files = ["--examples", write(tmp_path / "E.jsonl", [ONE, TWO]), "--verdicts", write(tmp_path / "V.jsonl", ALL)]
    assert call(*files).stdout.startswith("HealthBench: 60.00")
    assert json.loads(call(*files, "--json").stdout)["score"] == pytest.approx(0.6)
    assert "--judge and --responses go together" in call(*files, "--judge", "x").stderr


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A profile with one judge, which finds a criterion met where the response repeats its text."""

    def reply(prompt, sampling):
        text = prompt.messages[0]["content"]
        met = text.split("] ")[-1].split("\n")[0] in text.split("<response>")[1].split("</response>")[0]
        return json.dumps({"explanation": "é", "criteria_met": met}) if "is kind" not in text else "no idea"

    engine = FakeEngine("fp", reply=reply)
    monkeypatch.setattr(engines, "open_engine", lambda *_, **__: engine)
    monkeypatch.setattr(engines, "fingerprint", lambda model: "fp")
    monkeypatch.setattr(study, "ROOT", tmp_path)
    greedy = Sampling(max_tokens=8, temperature=0.0)
    own = Study(
        profile="mini", source="mini", models={"parser": ModelSpec("parser", "p"), "judge": ModelSpec("judge", "j")},
        parser="parser", suites=("medqa",), questions_per_suite=0, sampling=greedy, parser_sampling=greedy, runs=1,
        engine="transformers",
    )  # fmt: skip
    monkeypatch.setattr(study, "load", lambda profile: own)
    return engine


RESPONSES = [
    {"prompt_id": "p1", "text": "<think>says no</think>says yes", "finish_reason": "stop"},
    {"prompt_id": "p1", "text": "again"},
    {"prompt_id": "p9", "text": "stranger"},
]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_panel_judges_writes_the_verdicts_and_scores_them(judge, tmp_path, ending):
    out = tmp_path / f"V.jsonl{ending}"
    examples, responses = write(tmp_path / "E.jsonl", [ONE, TWO]), write(tmp_path / "R.jsonl", RESPONSES)
    words = ["--examples", examples, "--verdicts", out, "--judge", "judge", "--responses", responses, "--json"]
    done = call(*words)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["score"], found["unjudged"], found["missing"]["count"], found["null"]["count"]) == (1.0, 3, 2, 1)
    raw = gzip.decompress(out.read_bytes()) if ending else out.read_bytes()
    written = [json.loads(line) for line in raw.decode().splitlines()]
    assert [(row["criterion"], row["criteria_met"], row["attempts"]) for row in written] == [
        ("says yes", True, 1),
        ("says no", False, 1),
        ("is kind", None, 3),
    ]
    assert {row["judge"] for row in written} == {"judge"} and written[0]["explanation"] == "é"
    for words_said in (
        "examples without a response (their criteria stay unjudged): 1, e.g. p2",
        "further responses to the same example",
        "responses to examples that are not in the file",
    ):
        assert words_said in done.stderr  # fmt: skip
    again = call(*words)
    assert again.exit_code == 1 and "is there already; name a new file" in again.stderr
    assert out.read_bytes() == (gzip.compress(raw, mtime=0) if ending else raw)


def test_an_unknown_judge_is_met_with_the_nearest(judge, tmp_path):
    files = {"examples": tmp_path / "E", "responses": tmp_path / "R", "verdicts": tmp_path / "V"}
    with pytest.raises(ValueError, match="model 'jugde'.*'judge'"):
        panel.judge_files(study.load("mini"), "jugde", files)


def test_a_failed_response_is_not_judged_and_without_any_nothing_is_written(judge, tmp_path):
    given = [{"prompt_id": "p1", "text": None}, {"prompt_id": "p2", "text": "x", "finish_reason": "error"}]
    files = {"examples": write(tmp_path / "E.jsonl", [ONE, TWO]), "verdicts": tmp_path / "V.jsonl"}
    with pytest.raises(ValueError, match="R.jsonl: no response to any of the 2 examples"):
        panel.judge_files(study.load("mini"), "judge", files | {"responses": write(tmp_path / "R.jsonl", given)})
    assert judge.asked == [] and not files["verdicts"].exists()
    given[1] = {"prompt_id": "p2", "text": "says yes"}
    notes = panel.judge_files(study.load("mini"), "judge", files | {"responses": write(tmp_path / "R.jsonl", given)})
    assert notes["failed"] == {"count": 1, "first": ["p1"]} and len(judge.asked) == 2
