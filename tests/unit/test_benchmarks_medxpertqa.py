"""MedXpertQA on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


@pytest.mark.parametrize("make", [invented.medxpertqa, invented.medxpertqa_original])
def test_medxpertqa_cuts_the_options_from_the_stem(tmp_path, make):
    question = invented.load_one("medxpertqa", tmp_path, make(7), "Text/test.jsonl")
    assert question.stem == "Invented case 7?"
    assert (len(question.options), question.options[9], question.gold) == (10, "thing J", 7)
    assert (question.id, question.subject) == ("Text-7", "Nervous")


def test_medxpertqa_takes_a_stem_that_was_cut_before(tmp_path):
    row = invented.medxpertqa(7, question="Answer Choices: which of them?")
    suite = load_suite("medxpertqa", data_dir=invented.write_rows(tmp_path, "test.jsonl", [row]), partial=True)
    assert suite.questions[0].stem == "Answer Choices: which of them?"
    assert suite.notes["option lists cut from stems"] == 0


def test_medxpertqa_leaves_rows_with_images_out(tmp_path):
    images = [{"image_path": "MM-1-a.jpeg"}]
    rows = [invented.medxpertqa(1), invented.medxpertqa(2, id="MM-1"), invented.medxpertqa(3, images=images)]
    suite = load_suite("medxpertqa", data_dir=invented.write_rows(tmp_path, "test.jsonl", rows), partial=True)
    assert [question.id for question in suite.questions] == ["Text-1"]
    assert suite.notes["rows with images left out"] == 2


def test_medxpertqa_refuses_a_file_with_nothing_but_images(tmp_path):
    with pytest.raises(DataError, match="medxpertqa: no question is left; notes so far: .*left out': 1"):
        invented.load_one("medxpertqa", tmp_path, invented.medxpertqa(1, id="MM-1"))


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"label": ["B", "C"]}, "exactly one letter"),
        ({"label": "K"}, "A to J"),
        ({"label": "AB"}, "A to J"),
        ({"label": ""}, "A to J"),
        ({"label": None}, "A to J"),
        ({"options": dict.fromkeys("ABCDE", "x")}, "ten texts"),
        ({"options": {**dict.fromkeys("ABCDEFGHI", "x"), "J": None}}, "ten texts"),
        ({"options": ["w", "x"]}, "`letter` and `content`"),
        ({"question": "Answer Choices: (A) w (B) x"}, "a question is expected before"),
    ],
)
def test_medxpertqa_refuses_a_malformed_row(tmp_path, change, want):
    with pytest.raises(DataError, match=f"test.jsonl, row 1, .*{want}"):
        invented.load_one("medxpertqa", tmp_path, invented.medxpertqa(1, **change))
