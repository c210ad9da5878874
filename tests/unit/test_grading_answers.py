"""A user's own questions and responses, from files to outcomes."""

import gzip
import json
import os

import pytest
from medpsy.grading import answers
from medpsy.grading.rows import BadRow, load_questions

OPTIONS = ["Zorvamab", "Quintolex", "Pelidrine", "Mirocaine"]


def question(identifier, gold, options=None):
    return {"id": identifier, "question": "Which?", "options": options or OPTIONS, "gold": gold}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    questions = [
        question("right", "B"),
        question("wrong", 0),
        question("lower", "c", dict(zip("ABCD", OPTIONS, strict=True))),
        question("several", "A"),
        question("cut", "A"),
        question("thinking", "A"),
        question("gone", "A"),
        question("absent", "A"),
        question(9, None),
    ]
    responses = [
        {"id": "right", "text": "<think>A?</think>The answer is (B)."},
        {"id": "wrong", "text": "D"},
        {"id": "lower", "text": "Answer: C", "finish_reason": "stop"},
        {"id": "several", "text": "The answer is A or B."},
        {"id": "cut", "text": "The answer is A. But", "finish_reason": "length"},
        {"id": "thinking", "text": "<think>The answer is A."},
        {"id": "gone", "text": None},
        {"id": 9, "text": "A"},
        {"id": "stranger", "text": "A"},
        {"id": "right", "text": "A"},
        {"id": "stranger", "text": "A"},
    ]
    return write(tmp_path / "Q.jsonl", questions), write(tmp_path / "R.jsonl", responses)


def test_rows_keep_the_order_of_the_questions(files):
    rows = answers.grade(*files).rows
    assert [(row.id, row.chosen, row.gold, row.outcome) for row in rows] == [
        ("right", "B", "B", "correct"),
        ("wrong", "D", "A", "wrong"),
        ("lower", "C", "C", "correct"),
        ("several", None, "A", "unreadable"),
        ("cut", None, "A", "cut off"),
        ("thinking", None, "A", "unreadable"),
        ("gone", None, "A", "failed"),
        ("absent", None, "A", "failed"),
        ("9", "A", None, "no gold"),
    ]


def test_summary_counts_every_outcome_and_names_what_did_not_match(files):
    rows, summary = answers.grade(*files)
    assert summary["accuracy"] == pytest.approx(100 * 2 / 8)
    assert summary["margin"] > 25  # two of eight
    assert summary["outcomes"] == {"correct": 2, "wrong": 1, "unreadable": 2, "cut off": 1, "failed": 2}
    assert (summary["rows"], summary["without_gold"]) == (9, 1)
    assert summary["missing"] == {"count": 1, "first": ["absent"]}
    assert summary["unknown_ids"] == {"count": 2, "first": ["stranger"]}
    assert summary["repeated_ids"] == {"count": 1, "first": ["right"]}
    assert json.loads(json.dumps(summary)) == summary
    printed = answers.printed_summary(answers.Grades(rows, summary))
    for words in ("25.00", "unreadable: 2", "absent", "stranger", "not graded: 1"):
        assert words in printed


def test_a_truncated_response_of_a_thinking_template_is_no_answer(files):
    plain = {row.id: row.outcome for row in answers.grade(*files).rows}
    thinking = {row.id: row.outcome for row in answers.grade(*files, opens_thinking=True).rows}
    assert plain["wrong"] == "wrong"
    assert thinking["wrong"] == "unreadable"  # no end of reasoning
    assert thinking["right"] == "correct"


def test_readers_table_marks_the_biased_reader(files):
    table = {row["reader"]: row for row in answers.readers_table(*files)}
    assert set(table) == {"strict", "lenient", "first_letter", "last_letter", "first_or_last"}
    assert [name for name, row in table.items() if row["biased"]] == ["first_or_last"]
    assert table["first_or_last"]["accuracy"] >= max(
        table[name]["accuracy"] for name in ("first_letter", "last_letter")
    )
    assert table["first_letter"]["unreadable"] < table["lenient"]["unreadable"]
    assert "biased upwards" in answers.printed_summary(answers.grade(*files, reader="first_or_last"))


def test_unreadable_cases_say_why_and_how_they_end(files):
    cases = answers.unreadable_cases(answers.grade(*files).rows)
    assert [(row.id, row.how, row.ending) for row in cases] == [
        ("thinking", "reasoning without an end", None),
        ("several", "several options", "The answer is A or B."),
    ]


def test_gzip_is_recognized_by_content_and_a_bom_is_no_letter(files, tmp_path):
    zipped = tmp_path / "anything.txt"
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + files[1].read_bytes() + b"\n\n"))
    assert answers.grade(files[0], zipped).summary == answers.grade(*files).summary


def test_rows_are_written_whole_or_not_at_all(files, tmp_path, monkeypatch):
    grades, target = answers.grade(*files), tmp_path / "new" / "rows.jsonl"
    answers.write_rows(grades, target)
    written = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["outcome"] for row in written] == [row.outcome for row in grades.rows]

    def refuse(*_):
        raise OSError("disk full")

    before = target.read_text(encoding="utf-8")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        answers.write_rows(grades, target)
    assert target.read_text(encoding="utf-8") == before
    assert [path.name for path in target.parent.iterdir()] == ["rows.jsonl"]


def test_without_any_gold_there_is_no_accuracy(tmp_path):
    files = write(tmp_path / "Q.jsonl", [question("a", None)]), write(tmp_path / "R.jsonl", [{"id": "a", "text": "B"}])
    grades = answers.grade(*files)
    assert grades.summary["accuracy"] is None
    assert "no question has a gold" in answers.printed_summary(grades)


def test_an_unknown_reader_names_the_nearest(files):
    with pytest.raises(ValueError, match="lenient"):
        answers.grade(*files, reader="lenent")


GOOD = question("a", "A")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", ["line 2", "not JSON", "one JSON object a line"]),
        ("[1, 2]", ["line 2", "list", "object"]),
        ("7", ["line 2", "int"]),
        ({**GOOD, "id": ""}, ["line 2", "'id'", "non-empty"]),
        ({**GOOD, "id": True}, ["'id'", "True"]),
        ({**GOOD, "id": "first"}, ["'id'", "line 1", "give each question its own"]),
        ({"question": "Which?", "options": OPTIONS, "gold": "A"}, ["'id'", "missing", "add 'id'"]),
        ({"id": "a", "question": "Which?", "optoins": OPTIONS, "gold": "A"}, ["'options'", "rename 'optoins'"]),
        ({"id": "a", "question": "Which?", "options": OPTIONS}, ["'gold'", "missing"]),
        ({**GOOD, "question": 5}, ["'question'", "string"]),
        ({**GOOD, "options": "A B C"}, ["'options'", "neither a list"]),
        ({**GOOD, "options": ["one"]}, ["'options'", "1 options", "2 to 10"]),
        ({**GOOD, "options": [str(n) for n in range(11)]}, ["11 options"]),
        ({**GOOD, "options": ["one", None]}, ["'options'", "None"]),
        ({**GOOD, "options": {"A": "one", "C": "two"}}, ["'options'", "gap"]),
        ({**GOOD, "options": {"1": "one", "2": "two"}}, ["'options'", "begin at A"]),
        ({**GOOD, "gold": "E"}, ["'gold'", "'E'", "A to D"]),
        ({**GOOD, "gold": 4}, ["'gold'", "index 4", "0 to 3"]),
        ({**GOOD, "gold": -1}, ["'gold'", "index -1"]),
        ({**GOOD, "gold": "2"}, ["'gold'", "as a number"]),
        ({**GOOD, "gold": True}, ["'gold'", "True"]),
        ({**GOOD, "gold": ""}, ["'gold'", "null"]),
        ({**GOOD, "gold": ["A", "B"]}, ["'gold'"]),
    ],
)
def test_a_malformed_question_names_file_line_field_and_fix(tmp_path, row, says):
    text = row if isinstance(row, str) else json.dumps(row)
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(question("first", "A")) + "\n" + text + "\n", encoding="utf-8")
    with pytest.raises(BadRow) as error:
        load_questions(path)
    for words in ("mine.jsonl", "line 2", "Fix:", *says):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "a"}, ["'text'", "add 'text'"]),
        ({"id": "a", "txt": "B"}, ["'text'", "rename 'txt'"]),
        ({"id": "a", "text": 5}, ["'text'", "5"]),
        ({"id": ["a"], "text": "B"}, ["'id'"]),
        ({"id": "a", "text": "B", "finish_reason": "done"}, ["'finish_reason'", "'done'", "stop, length"]),
        ({"id": "a", "text": "B", "finish_reason": 1}, ["'finish_reason'", "1"]),
    ],
)
def test_a_malformed_response_names_file_line_field_and_fix(tmp_path, row, says):
    files = write(tmp_path / "Q.jsonl", [GOOD]), write(tmp_path / "R.jsonl", [row])
    with pytest.raises(BadRow) as error:
        answers.grade(*files)
    for words in ("R.jsonl line 1", "Fix:", *says):
        assert words in str(error.value)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "LENGTH"])
def test_services_name_the_limit_differently(tmp_path, reason):
    row = {"id": "a", "text": "The answer is A", "finish_reason": reason}
    files = write(tmp_path / "Q.jsonl", [GOOD]), write(tmp_path / "R.jsonl", [row])
    assert answers.grade(*files).rows[0].outcome == "cut off"


def test_an_answer_that_ran_into_the_limit_counts_only_if_it_can_be_read(tmp_path):
    texts = {"a": "<think>x</think>The answer is A. It", "b": "<think>x</think>Well, it is"}
    rows = [{"id": name, "text": text, "finish_reason": "length"} for name, text in texts.items()]
    files = write(tmp_path / "Q.jsonl", [question(name, "A") for name in texts]), write(tmp_path / "R.jsonl", rows)
    assert [row.outcome for row in answers.grade(*files).rows] == ["correct", "cut off"]


def test_damaged_files_are_named(tmp_path):
    whole = gzip.compress(json.dumps(GOOD).encode() * 1000)
    for name, content, says in (
        ("cut.gz", whole[: len(whole) // 2], "damaged"),
        ("latin.jsonl", b'{"id": "\xe9"}\n', "UTF-8"),
        ("array.json", b'[\n{"id": "a"}\n]\n', "not one value over many lines"),
        ("empty.jsonl", b"\n", "no questions"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadRow, match=says) as error:
            load_questions(path)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_questions(tmp_path / "nowhere.jsonl")
