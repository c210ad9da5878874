"""MedQA on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError


def test_medqa_keeps_letters_and_leaves_phrases_out(tmp_path):
    question = invented.load_one("medqa", tmp_path, invented.medqa(2), "phrases_no_exclude_test.jsonl")
    assert (question.id, question.gold, question.subject) == ("1", 2, "step1")
    assert question.options == ("w2", "x2", "y2", "z2")
    assert "SECRET" not in str(question)


def test_medqa_refuses_the_five_option_edition(tmp_path):
    row = invented.medqa(0)
    with pytest.raises(DataError, match="letters differ in the five-option edition, use GBaker/MedQA-USMLE-4-options"):
        invented.load_one("medqa", tmp_path, {**row, "options": {**row["options"], "E": "v"}})


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"answer": "another text"}, "the text of option A is expected"),
        ({"answer_idx": "B"}, "the text of option B is expected"),
        ({"answer_idx": "E"}, "a letter from A to D"),
        ({"options": {"A": "w", "B": "x", "C": "y"}}, "A, B, C and D is expected"),
        ({"options": [{"key": "A", "value": "w"}]}, "A, B, C and D is expected"),
    ],
)
def test_medqa_refuses_a_malformed_row(tmp_path, change, want):
    with pytest.raises(DataError, match=f"test.jsonl, row 1, .*{want}"):
        invented.load_one("medqa", tmp_path, {**invented.medqa(0), **change})
