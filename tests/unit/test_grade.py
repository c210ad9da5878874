"""What a user has saved, from files to outcomes and scores: answers to questions, verdicts on HealthBench criteria."""

import gzip
import json
import re

import pytest
from benchmark_rows import write_jsonl as write
from case_rows import CASES, cases
from fake_engine import World, fenced, small_study
from healthbench_rows import changed, criterion, example
from medpsy import grade, study
from medpsy.cli import app
from medpsy.data.questions import Question
from medpsy.data.rows import DataError
from medpsy.study import Sampling
from typer.testing import CliRunner

OPTIONS = ["Zorvamab", "Quintolex", "Pelidrine", "Mirocaine"]


def question(identifier, gold, options=None):
    return {"id": identifier, "question": "Which?", "options": options or OPTIONS, "gold": gold}


FILES = (CASES / "own_questions.jsonl", CASES / "own_responses.jsonl")


def test_rows_keep_the_order_of_the_questions_and_every_outcome_is_counted(tmp_path):
    rows, summary = grade.answers(*FILES)
    assert [tuple(row.values()) for row in rows] == [
        ("right", "B", "B", "correct", "stated"),
        ("wrong", "D", "A", "wrong", "letter only"),
        ("lower", "C", "C", "correct", "letter only"),
        ("several", None, "A", "unreadable", "several options"),
        ("cut", None, "A", "cut off", "cut off"),
        ("thinking", None, "A", "unreadable", "reasoning without an end"),
        ("gone", None, "A", "failed", "failed"),
        ("absent", None, "A", "failed", "failed"),
        ("9", "A", None, "no gold", "letter only"),
    ]
    assert summary["accuracy"] == pytest.approx(100 * 2 / 8)
    assert summary["margin"] > 25  # two of eight
    assert summary["outcomes"] == {"correct": 2, "wrong": 1, "unreadable": 2, "cut off": 1, "failed": 2}
    assert (summary["rows"], summary["without_gold"]) == (9, 1)
    assert summary["missing"] == {"count": 1, "first": ["absent"]}
    assert summary["unknown_ids"] == {"count": 2, "first": ["stranger"]}
    assert summary["repeated_ids"] == {"count": 1, "first": ["right"]}
    assert json.loads(json.dumps(summary)) == summary
    for words in ("25.00", "unreadable: 2", "absent", "stranger", "not graded: 1"):
        assert words in grade.printed_answers(summary)
    zipped = tmp_path / "anything.txt"  # gzip is recognized by content, and a byte order mark is no letter
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + FILES[1].read_bytes() + b"\n\n"))
    assert grade.answers(FILES[0], zipped) == (rows, summary)
    thinking = {row["id"]: row["outcome"] for row in grade.answers(*FILES, opens_thinking=True)[0]}
    assert (thinking["wrong"], thinking["right"]) == ("unreadable", "correct")  # the former's reasoning has no end


def test_the_biased_reader_is_named_and_an_unknown_one_offered_the_nearest(tmp_path):
    assert "biased upwards" in grade.printed_answers(grade.answers(*FILES, reader="first_or_last")[1])
    with pytest.raises(ValueError, match="lenient"):
        grade.answers(*FILES, reader="lenent")
    assert grade.answers(write(tmp_path / "Q.jsonl", [question(9, None)]), FILES[1])[1]["accuracy"] is None  # no key


GOOD = question("a", "A")


@pytest.mark.parametrize(
    ("row", "says"),
    [*cases("malformed_questions", "row", "says"), ("[" * 100_000, ["brackets"]), ("1" * 5000, ["digits"])],
)
def test_a_malformed_question_names_file_line_field_and_fix(tmp_path, row, says):
    with pytest.raises(DataError) as error:
        grade.load_questions(write(tmp_path / "mine.jsonl", [question("first", "A"), row]))
    assert [words for words in ("mine.jsonl", "row 2", *says) if words not in str(error.value)] == []


def test_a_malformed_response_names_file_line_field_and_fix(tmp_path):
    row = {"id": "a", "txt": "B"}
    with pytest.raises(DataError, match="R.jsonl, row 1, field 'text' is missing: rename 'txt'"):
        grade.answers(write(tmp_path / "Q.jsonl", [GOOD]), write(tmp_path / "R.jsonl", [row]))


def test_services_name_reasons_differently_and_one_that_is_not_known_is_counted(tmp_path):
    outcomes = {"done": "correct", "length": "cut off", "MAX_TOKENS": "cut off"}
    given = [{"id": name, "text": "The answer is A", "finish_reason": name} for name in outcomes]
    asked = write(tmp_path / "Q.jsonl", [question(name, "A") for name in outcomes])
    rows, summary = grade.answers(asked, write(tmp_path / "R.jsonl", given))
    assert {row["id"]: row["outcome"] for row in rows} == outcomes
    assert summary["unknown_reasons"] == {"count": 1, "first": ["done"]}


def test_damaged_files_are_named(tmp_path):
    whole = gzip.compress(json.dumps(GOOD).encode() * 1000)
    for name, content, says in (
        ("cut.gz", whole[: len(whole) // 2], "damaged"),
        ("changed.gz", whole[:20] + b"\xff" * 20 + whole[40:], "damaged"),
        ("latin.jsonl", b'{"id": "\xe9"}\n', "UTF-8"),
        ("array.json", b'[\n{"id": "a"}\n]\n', "not one value over many lines"),
        ("empty.jsonl", b"\n", "no questions"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=says) as error:
            grade.load_questions(path)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        grade.load_questions(tmp_path / "nowhere.jsonl")


DRUGS = Question("q", "own", "", "Which?", tuple(OPTIONS), 1, None, "own")


@pytest.mark.parametrize("case", cases("outcomes"))
def test_outcomes_are_never_folded_together(case):
    row = grade.graded(DRUGS, case["text"], case["finish_reason"], "lenient", case["opens_thinking"])
    assert (row["outcome"], row["how"]) == (case["outcome"], case["how"])


# --- verdicts on HealthBench criteria

ONE = example(1, rubrics=[criterion("says yes", 7), criterion("says no", -8), criterion("is kind", 3, "completeness")])
TWO = example(2, rubrics=[criterion("says yes", 5), criterion("is rude", -5)], theme="global_health")


def verdict(number: int, text: str, met: bool | None, **more) -> dict:
    return {"prompt_id": f"p{number}", "criterion": text, "criteria_met": met, **more}


ALL = [verdict(1, "says yes", True), verdict(1, "says no", True), verdict(1, "is kind", True)]
ALL += [verdict(2, "says yes", True), verdict(2, "is rude", False)]


@pytest.fixture
def scored(tmp_path):
    def run(verdicts, examples=(ONE, TWO), ending=""):
        examples = write(tmp_path / f"E.jsonl{ending}", examples)
        return grade.healthbench(examples, write(tmp_path / f"V.jsonl{ending}", verdicts))

    return run


def scores(parts):
    return {name: numbers["score"] for name, numbers in parts.items()}


def test_scores_are_unrounded_shares_by_hand(scored):
    found = scored(ALL)
    assert found["score"] == pytest.approx((2 / 10 + 1) / 2)
    assert scores(found["themes"]) == {"global_health": 1.0, "hedging": pytest.approx(0.2)}
    assert scores(found["axes"]) == {"completeness": 1.0, "accuracy": pytest.approx((-1 / 7 + 1) / 2)}
    assert (found["unjudged"], found["examples"], found["criteria"], found["verdicts"]) == (0, 2, 5, 5)
    assert found["low"] == found["high"] == pytest.approx(found["score"])
    assert 0 < found["bootstrap_std"] < 0.4
    assert found["themes"]["hedging"]["n"] == 1 and "judges" not in found
    assert grade.printed_problems(found) == []

    assert found == scored(ALL, ending=".gz") == scored([row | {"judge": "kind"} for row in ALL])  # one, though named


def test_a_missing_and_a_null_verdict_are_unjudged_and_what_is_not_there_is_named_and_left_out(scored):
    strange = [verdict(9, "says yes", False), verdict(9, "says no", False), verdict(1, "is tall", False)]
    found = scored([verdict(1, "says yes", True), verdict(1, "says no", None), *strange, *ALL[3:]])
    assert found["score"] == pytest.approx((1 + 1) / 2)
    assert (found["low"], found["high"]) == (pytest.approx((-1 / 10 + 1) / 2), 1.0)
    assert found["unjudged"] == 2
    assert found["missing"] == {"count": 1, "first": ["p1, criterion 3"]}
    assert found["null"] == {"count": 1, "first": ["p1, criterion 2"]}
    assert found["unknown_ids"] == {"count": 2, "first": ["p9"]}
    assert found["unknown_criteria"] == {"count": 1, "first": ["p1: is tall"]}


def test_a_duplicate_is_counted_once_and_a_conflict_is_unjudged(scored):
    found = scored([*ALL, verdict(2, "is rude", False), verdict(1, "says yes", False)])
    assert found["conflicting"] == {"count": 1, "first": ["p1, criterion 1"]}
    assert found["unjudged"] == 1
    null = scored([*ALL, verdict(1, "says yes", None)])
    assert null["conflicting"]["count"] == 1  # true and "no verdict" are two answers


TWICE = example(3, rubrics=[criterion("says yes", 6), criterion("says yes", 4, "completeness"), criterion("no", -1)])


@pytest.mark.parametrize(
    ("said", "score", "unjudged"),
    [
        ([True], 1.0, 0),  # one verdict on the text decides both places
        ([True, False], 0.6, 0),  # as many as places: in order
        ([False, True], 0.4, 0), ([True, True, True], 1.0, 0), ([True, False, True], None, 2), ([], None, 2),
    ],
)  # fmt: skip
def test_a_text_that_a_rubric_holds_twice(scored, said, score, unjudged):
    found = scored([*[verdict(3, "says yes", met) for met in said], verdict(3, "no", False)], examples=[TWICE])
    assert (found["score"], found["unjudged"]) == (score, unjudged)


def test_judges_are_scored_apart_and_their_mean_stands_above(scored):
    first = [row | {"judge": "kind"} for row in ALL]
    second = [row | {"judge": "strict", "criteria_met": False} for row in ALL[:4]]
    found = scored([*first, *second])
    assert found["judges"]["kind"]["score"] == pytest.approx(0.6)
    assert found["judges"]["strict"]["score"] == 0.0
    assert found["score"] == pytest.approx(0.3)
    assert found["judges"]["strict"]["unjudged"] == found["missing"]["count"] == 1
    assert found["judges"]["kind"]["unjudged"] == 0


def test_nothing_usable_is_no_score(scored):
    found = scored([verdict(9, "x", True)])
    assert found["score"] is None and (found["low"], found["high"]) == (0.0, 1.0) and found["skipped"] == 2


@pytest.mark.parametrize(
    ("verdicts", "examples", "want"),
    [
        ([ALL[0], "{"], [ONE], "V.jsonl, row 2: no JSON"),
        ([ALL[0], verdict(1, "says yes", "true")], [ONE], "V.jsonl, row 2, field 'criteria_met' is 'true'"),
        ([{"prompt_id": "p1", "criterion": "x", "criterion_met": True}], [ONE], "rename 'criterion_met' to 'criteria"),
        ([ALL[0], verdict(1, "", True)], [ONE], "row 2, field 'criterion' is '': String"),
        ([], [ONE], "V.jsonl: no verdicts in this file"),
        (ALL, [], "E.jsonl: no examples in this file"),
        (ALL, [ONE, changed("rubrics.0.points", 0)], r"E.jsonl, row 2, field 'rubrics\[0\]' is .*: points 0"),
    ],
)  # fmt: skip
def test_a_malformed_verdict_or_example_is_named_with_file_and_row_and_an_empty_file_is_refused(
    scored, verdicts, examples, want
):
    with pytest.raises(DataError, match=want):
        scored(verdicts, examples)


def test_an_own_example_needs_no_level_no_canary_and_no_ideal_answer(scored):
    lean = {name: ONE[name] for name in ("prompt", "prompt_id", "example_tags")}
    lean["rubrics"] = [{"criterion": "says yes", "points": 2, "tags": ["axis:accuracy"]}]
    assert scored(ALL[:1], examples=[lean])["score"] == 1.0


def test_real_examples_are_scored(real_data, tmp_path):
    examples = real_data / "healthbench" / "main_sample.jsonl.gz"
    verdicts = [
        {"prompt_id": example.id, "criterion": criterion.text, "criteria_met": criterion.points > 0}
        for example in grade.load_examples(examples).values()
        for criterion in example.rubric
    ]
    summary = grade.healthbench(examples, write(tmp_path / "V.jsonl.gz", verdicts))
    assert (summary["score"], summary["unjudged"], summary["verdicts"]) == (1.0, 0, 1_395)
    assert set(scores(summary["themes"] | summary["axes"]).values()) == {1.0}
    assert grade.printed_problems(summary) == []


# --- the command, and a model as judge


def call(*words):
    return CliRunner().invoke(app, ["grade", "healthbench", *map(str, words)])


def test_the_command_prints_a_table_or_json(tmp_path):
    files = ["--examples", write(tmp_path / "E.jsonl", [ONE, TWO]), "--verdicts", write(tmp_path / "V.jsonl", ALL)]
    assert re.search(r"HealthBench +60\.00", call(*files).stdout)
    assert json.loads(call(*files, "--json").stdout)["score"] == pytest.approx(0.6)
    assert "--judge and --responses go together" in call(*files, "--judge", "x").stderr


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """A profile with one judge, which finds a criterion met where the response repeats its text."""

    def reply(prompt, sampling):
        text = prompt.messages[0]["content"]
        met = text.split("] ")[-1].split("\n")[0] in fenced(text)
        return json.dumps({"explanation": "é", "criteria_met": met}) if "is kind" not in text else "no idea"

    world = World(monkeypatch, {"judge": reply})
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    greedy = Sampling(max_tokens=8, temperature=0.0)
    own = small_study("judge", sampling=greedy, runs=1)
    monkeypatch.setattr(study, "load", lambda profile: own)
    return world


RESPONSES = [
    {"prompt_id": "p1", "text": "<think>says no</think>says yes", "finish_reason": "stop"},
    {"prompt_id": "p1", "text": "again"},
    {"prompt_id": "p9", "text": "stranger"},
]


def test_a_judge_writes_its_verdicts_which_are_scored(judge, tmp_path):
    out = tmp_path / "V.jsonl"
    examples, responses = write(tmp_path / "E.jsonl", [ONE, TWO]), write(tmp_path / "R.jsonl", RESPONSES)
    words = ["--examples", examples, "--verdicts", out, "--judge", "judge", "--responses", responses, "--json"]
    done = call(*words)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["score"], found["unjudged"], found["missing"]["count"], found["null"]["count"]) == (1.0, 3, 2, 1)
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["criterion"], row["criteria_met"], row["attempts"]) for row in written] == [
        ("says yes", True, 1),
        ("says no", False, 1),
        ("is kind", None, 3),
    ]
    assert {row["judge"] for row in written} == {"judge"} and written[0]["explanation"] == "é"
    for problem in ("missing: 1, e.g. p2", "repeated_ids: 1, e.g. p1", "unknown_ids: 1, e.g. p9"):
        name, _, rest = problem.partition(":")
        assert f"{grade.PROBLEMS[name]}:{rest}" in done.stderr
    before, again = out.read_bytes(), call(*words)
    assert again.exit_code == 1 and "is there already; name a new file" in again.stderr and out.read_bytes() == before


def test_a_failed_response_is_not_judged_and_without_any_nothing_is_written(judge, tmp_path):
    given = [{"prompt_id": "p1", "text": None}, {"prompt_id": "p2", "text": "x", "finish_reason": "error"}]
    examples, out = write(tmp_path / "E.jsonl", [ONE, TWO]), tmp_path / "V.jsonl"
    with pytest.raises(ValueError, match="R.jsonl: no response to any of the 2 examples"):
        grade.judge_files(study.load("mini"), "judge", examples, write(tmp_path / "R.jsonl", given), out)
    assert judge.asked("judge") == [] and not out.exists()
    given[1] = {"prompt_id": "p2", "text": "says yes"}
    notes = grade.judge_files(study.load("mini"), "judge", examples, write(tmp_path / "R.jsonl", given), out)
    assert notes["failed"] == {"count": 1, "first": ["p1"]} and len(judge.asked("judge")) == 2
