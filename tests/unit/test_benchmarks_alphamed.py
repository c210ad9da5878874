"""AlphaMedQA on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


@pytest.mark.parametrize(
    ("change", "gold"),
    [
        ({}, 1),
        ({"answer": "(C)"}, 2),
        ({"answer": "C."}, 2),
        ({"answer": "D. z"}, 3),
        ({"answer": "Y."}, 2),
        ({"answer": " y "}, 2),
        ({"question": "Stem?", "options": {"A": "w", "B": "x", "C": "y"}}, 1),
        ({"question": "Stem?", "options": {"A": "w", "B": "x", "C": None}}, 1),
        ({"question": "Stem?", "options": ["w", "x"]}, 1),
        ({"question": "Stem?", "options": '["w", "x"]'}, 1),
        ({"question": "Stem?", "options": "Options:\nA. w\nB. x"}, 1),
        ({"question": "Stem?\nA. w\nB. x", "options": ["w", "x"]}, 1),
    ],
)
def test_alphamed_reads_each_form_it_may_have(tmp_path, change, gold):
    question = invented.load_one("alphamed", tmp_path, invented.alphamed(1, **change), "train.jsonl")
    assert question.gold == gold
    assert question.stem in ("Invented stem 1?", "Stem?")
    assert question.options[:2] == ("w", "x")


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"answer": "E"}, "it fits no option"),
        ({"answer": "v"}, "it fits no option"),
        ({"answer": "D. y"}, "it fits no option"),
        ({"answer": 1}, "text is expected"),
        ({"answer": None}, "text is expected"),
        ({"question": "Stem?\nA. B\nB. x", "answer": "B"}, "it fits several options"),
        ({"question": "Stem?\nA. x\nB. x", "answer": "x"}, "it fits several options"),
        ({"question": "A. w\nB. x", "answer": "B"}, "a question is expected before"),
        ({"options": ["w"]}, "2 to 10 texts"),
        ({"options": ["w"] * 11}, "2 to 10 texts"),
        ({"options": {"A": "w", "C": "x"}}, "letters from A without gaps"),
        ({"options": "w or x"}, "JSON is expected"),
    ],
)
def test_alphamed_stops_at_a_form_it_does_not_know(tmp_path, change, want):
    with pytest.raises(DataError, match=f"train.jsonl, row 1, .*{want}"):
        invented.load_one("alphamed", tmp_path, invented.alphamed(1, **change), "train.jsonl")


def test_alphamed_leaves_open_questions_out_and_counts_them(tmp_path):
    rows = [invented.alphamed(0), invented.alphamed(1, question="What is it?"), invented.alphamed(2)]
    suite = load_suite("alphamed", data_dir=invented.write_rows(tmp_path, "train.jsonl", rows), partial=True)
    assert [question.id for question in suite.questions] == ["1", "3"]
    assert suite.notes["without options, left out"] == 1


@pytest.mark.parametrize("count", [1_000, 20_001])
def test_alphamed_refuses_a_file_of_another_size(tmp_path, count):
    invented.write_parquet(tmp_path / "train.parquet", [invented.alphamed(n) for n in range(count)])
    with pytest.raises(DataError, match=rf"train.parquet: {count:,} rows, 17,500 to 20,000 expected"):
        load_suite("alphamed", data_dir=tmp_path)
