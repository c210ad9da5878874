"""PubMedQA on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


def pubmedqa_folder(tmp_path, rows, listed, name="train.jsonl"):
    invented.write_json(tmp_path / "test_ground_truth.json", listed)
    return invented.write_rows(tmp_path, name, rows)


@pytest.mark.parametrize("original", [True, False])
def test_pubmedqa_asks_the_official_500_of_1000(tmp_path, original):
    invented.write_json(tmp_path / "test_ground_truth.json", invented.pubmedqa_list(range(500)))
    if original:
        rows = {str(10_000_000 + n): invented.pubmedqa_original(n) for n in range(1_000)}
        invented.write_json(tmp_path / "ori_pqal.json", rows)
    else:
        invented.write_parquet(tmp_path / "pqa_labeled/train-0.parquet", [invented.pubmedqa(n) for n in range(1_000)])
    suite = load_suite("pubmedqa", data_dir=tmp_path)
    assert len(suite.questions) == 500
    assert [suite.notes[f"gold {choice}"] for choice in ("yes", "no", "maybe")] == [276, 169, 55]
    assert suite.notes["not in the test list"] == 500
    question = suite.questions[0]
    assert (question.id, question.options, question.gold) == ("10000000", ("yes", "no", "maybe"), 0)
    assert question.context == "BACKGROUND: Little is known.\nMETHODS: We looked.\nIt was so."
    assert "SECRET" not in str(suite.questions)
    assert "['y', 'e', 's']" not in str(suite.questions)


def test_pubmedqa_needs_the_official_list(tmp_path):
    invented.write_rows(tmp_path, "train.jsonl", [invented.pubmedqa(0)])
    with pytest.raises(DataError, match="put test_ground_truth.json .* into a folder and give it as data_dir"):
        load_suite("pubmedqa", data_dir=tmp_path, partial=True)
    with pytest.raises(DataError, match="put test_ground_truth.json"):
        load_suite("pubmedqa")


@pytest.mark.parametrize("size", [499, 501])
def test_pubmedqa_refuses_another_list(tmp_path, size):
    folder = pubmedqa_folder(tmp_path, [invented.pubmedqa(0)], invented.pubmedqa_list(range(size)))
    with pytest.raises(DataError, match=r"test_ground_truth.json: .* found, .* expected"):
        load_suite("pubmedqa", data_dir=folder)


def test_pubmedqa_refuses_rows_that_lack_listed_questions(tmp_path):
    rows = [invented.pubmedqa(n) for n in range(1, 1_001)]
    folder = pubmedqa_folder(tmp_path, rows, invented.pubmedqa_list(range(500)))
    with pytest.raises(DataError, match="499 rows of the official test list, 500 expected"):
        load_suite("pubmedqa", data_dir=folder)


def test_pubmedqa_counts_what_a_part_lacks(tmp_path):
    rows = [invented.pubmedqa(n) for n in (0, 1, 700)]
    folder = pubmedqa_folder(tmp_path, rows, invented.pubmedqa_list(range(500)))
    notes = load_suite("pubmedqa", data_dir=folder, partial=True).notes
    assert (notes["questions"], notes["not in the test list"], notes["listed without a row"]) == (2, 1, 498)


@pytest.mark.parametrize("listed", [{"10000000": "Yes"}, {"10000000": []}, ["10000000"]])
def test_pubmedqa_refuses_a_list_of_another_form(tmp_path, listed):
    folder = pubmedqa_folder(tmp_path, [invented.pubmedqa(0)], listed)
    with pytest.raises(DataError, match="yes, no or maybe is expected"):
        load_suite("pubmedqa", data_dir=folder, partial=True)


def test_pubmedqa_refuses_two_lists(tmp_path):
    invented.write_json(tmp_path / "test_ground_truth_old.json", {})
    folder = pubmedqa_folder(tmp_path, [invented.pubmedqa(0)], {})
    with pytest.raises(DataError, match="both test lists; keep one"):
        load_suite("pubmedqa", data_dir=folder, partial=True)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"final_decision": "no"}, "the official list says yes for PMID 10000000"),
        ({"final_decision": "A"}, "yes, no or maybe is expected"),
        ({"question": None}, "'question' is None"),
        ({"context": {"contexts": ["a", "b"], "labels": ["X"]}}, "one label per passage is expected; 1 for 2"),
        ({"context": {"contexts": [], "labels": []}}, "one label per passage"),
        ({"context": {"contexts": "a", "labels": ["X"]}}, "'contexts' is 'a'"),
        ({"context": "flat text"}, "'context' is 'flat text'"),
        ({"context": [{"contexts": "a", "labels": "X"}]}, "an object with `contexts` and `labels`"),
    ],
)
def test_pubmedqa_refuses_a_malformed_row(tmp_path, change, want):
    folder = pubmedqa_folder(tmp_path, [invented.pubmedqa(0, **change)], invented.pubmedqa_list([0]))
    with pytest.raises(DataError, match=f"train.jsonl, row 1, .*{want}"):
        load_suite("pubmedqa", data_dir=folder, partial=True)
