"""MedMCQA on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


@pytest.mark.parametrize(("name", "base"), [("validation.jsonl", 0), ("dev.json", 1), ("data/validation.jsonl.gz", 0)])
def test_medmcqa_tells_the_two_numberings_apart(tmp_path, name, base):
    rows = [invented.medmcqa(n, base=base) for n in range(4_183)]
    suite = load_suite("medmcqa", data_dir=invented.write_rows(tmp_path, name, rows))
    assert [question.gold for question in suite.questions[:5]] == [0, 1, 2, 3, 0]
    assert suite.notes["first option in cop"] == base
    assert suite.notes["choice type single"] + suite.notes["choice type multi"] == 4_183  # both kinds are asked


def test_medmcqa_never_keeps_the_explanation(tmp_path):
    question = invented.load_one("medmcqa", tmp_path, invented.medmcqa(0), "validation.jsonl")
    assert "SECRET" not in str(question)


@pytest.mark.parametrize("base", [0, 1])
def test_medmcqa_asks_where_the_numbering_does_not_show(tmp_path, base):
    folder = invented.write_rows(tmp_path, "validation.jsonl", [invented.medmcqa(n, cop=n) for n in (1, 2, 3)])
    with pytest.raises(DataError, match=r"neither 0 nor 4 occurs; pass cop_base=0 .* cop_base=1"):
        load_suite("medmcqa", data_dir=folder, partial=True)
    suite = load_suite("medmcqa", data_dir=folder, partial=True, cop_base=base)
    assert [question.gold for question in suite.questions] == [1 - base, 2 - base, 3 - base]


def test_medmcqa_refuses_two_numberings_in_one_copy(tmp_path):
    folder = invented.write_rows(tmp_path, "validation.jsonl", [invented.medmcqa(n, cop=n) for n in (0, 4)])
    with pytest.raises(DataError, match="both 0 and 4 occur"):
        load_suite("medmcqa", data_dir=folder, partial=True)


def test_medmcqa_refuses_the_test_split(tmp_path):
    rows = [invented.medmcqa(n, cop=-1) for n in range(6_150)]
    with pytest.raises(DataError, match="answers are withheld; use the validation split"):
        load_suite("medmcqa", data_dir=invented.write_rows(tmp_path, "validation.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"opc": None}, "'opc' is None: text is expected"),
        ({"question": " "}, "'question'"),
        ({"cop": None}, "'cop'"),
        ({"cop": 7}, r"0 to 3 is expected"),
        ({"id": ""}, "'id'"),
    ],
)
def test_medmcqa_refuses_a_malformed_row(tmp_path, change, want):
    rows = [invented.medmcqa(0), {**invented.medmcqa(1), **change}]
    with pytest.raises(DataError, match=f"validation.jsonl, row 2, field {want}|row 2, .*{want}"):
        load_suite("medmcqa", data_dir=invented.write_rows(tmp_path, "validation.jsonl", rows), partial=True)


def test_an_empty_option_keeps_its_letter_and_is_counted(tmp_path):
    folder = invented.write_rows(tmp_path, "validation.jsonl", [invented.medmcqa(0, opb="")])
    suite = load_suite("medmcqa", data_dir=folder, partial=True)
    assert suite.questions[0].options == ("w", "", "y", "z")
    assert suite.notes["empty options"] == 1


def test_rows_read_twice_are_noticed(tmp_path):
    for shard in ("validation-1.jsonl", "validation-2.jsonl"):
        invented.write_rows(tmp_path, shard, [invented.medmcqa(0)])
    with pytest.raises(DataError, match="medmcqa: id '0000-0000' occurs 2 times"):
        load_suite("medmcqa", data_dir=tmp_path, partial=True)
