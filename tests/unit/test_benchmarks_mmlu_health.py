"""MMLU (Health) on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite
from medpsy.benchmarks.mmlu_health import SUBJECTS


def write_mmlu(tmp_path, pattern="{}_test.csv", sizes=SUBJECTS):
    for subject, size in sizes.items():
        invented.write_csv(tmp_path / pattern.format(subject), [invented.mmlu_csv(n) for n in range(size)])
    return tmp_path


@pytest.mark.parametrize("pattern", ["{}_test.csv", "test/{}_test.csv"])
def test_mmlu_is_six_groups_of_published_size(tmp_path, pattern):
    suite = load_suite("mmlu_health", data_dir=write_mmlu(tmp_path, pattern))
    groups = [question.weight_group for question in suite.questions]
    assert {group: groups.count(group) for group in groups} == SUBJECTS
    assert len(groups) == 1_089
    first = suite.questions[0]
    assert (first.id, first.subject, first.options, first.gold) == ("anatomy/1", "anatomy", invented.ABCD, 0)


@pytest.mark.parametrize("size", [271, 273])
def test_mmlu_names_the_subject_whose_count_is_wrong(tmp_path, size):
    write_mmlu(tmp_path, sizes={**SUBJECTS, "professional_medicine": size})
    with pytest.raises(DataError, match=rf"professional_medicine_test.csv: {size} test rows .* 272 expected"):
        load_suite("mmlu_health", data_dir=tmp_path)


def test_mmlu_in_one_file_equals_one_file_per_subject(tmp_path):
    rows = [invented.mmlu_hub(n, subject) for subject in [*SUBJECTS, "astronomy"] for n in range(5)]
    whole = invented.write_rows(tmp_path / "whole", "test.jsonl", rows)
    apart = write_mmlu(tmp_path / "apart", sizes=dict.fromkeys(SUBJECTS, 5))
    suites = [load_suite("mmlu_health", data_dir=folder, partial=True) for folder in (whole, apart)]
    assert suites[0].digest == suites[1].digest
    assert len(suites[0].questions) == 30


def test_mmlu_without_one_subject_is_refused(tmp_path):
    rows = [invented.mmlu_hub(1, subject) for subject in list(SUBJECTS)[1:]]
    with pytest.raises(DataError, match="no rows of anatomy"):
        load_suite("mmlu_health", data_dir=invented.write_rows(tmp_path, "test.jsonl", rows), partial=True)


def test_mmlu_options_that_look_like_gaps_are_options(tmp_path):
    write_mmlu(tmp_path, sizes=dict.fromkeys(SUBJECTS, 1))
    invented.write_csv(
        tmp_path / "anatomy_test.csv", [["stem, quoted\nand broken", "None", "NA", "1,000", "null", "B"]]
    )
    question = load_suite("mmlu_health", data_dir=tmp_path, partial=True).questions[0]
    assert question.options == ("None", "NA", "1,000", "null")
    assert (question.stem, question.gold) == ("stem, quoted\nand broken", 1)


@pytest.mark.parametrize(
    ("record", "want"),
    [
        (["q", "w", "x", "y", "z", "E"], "row 1, field 'answer' is 'E': a letter from A to D"),
        (["question", "A", "B", "C", "D", "answer"], "row 1, field 'answer' is 'answer'"),  # a header row
        (["q", "w", "x", "y", "z", "2"], "row 1, field 'answer' is '2'"),
        (["", "w", "x", "y", "z", "A"], "row 1, field 'question'"),
        (["q", "w", "x", "y", "A"], "row 1: 5 columns, 6 expected"),
    ],
)
def test_mmlu_refuses_a_malformed_csv_row(tmp_path, record, want):
    write_mmlu(tmp_path, sizes=dict.fromkeys(SUBJECTS, 1))
    invented.write_csv(tmp_path / "anatomy_test.csv", [record])
    with pytest.raises(DataError, match=f"anatomy_test.csv, {want}"):
        load_suite("mmlu_health", data_dir=tmp_path, partial=True)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"answer": 4}, "0 to 3 is expected"),
        ({"answer": "B"}, "a whole number is expected"),
        ({"choices": ["w", "x", "y"]}, "four options are expected"),
        ({"choices": ["w", "x", "y", None]}, "a list of texts is expected"),
    ],
)
def test_mmlu_refuses_a_malformed_hub_row(tmp_path, change, want):
    rows = [{**invented.mmlu_hub(1, subject), **change} for subject in SUBJECTS]
    with pytest.raises(DataError, match=want):
        load_suite("mmlu_health", data_dir=invented.write_rows(tmp_path, "test.jsonl", rows), partial=True)


def test_mmlu_files_of_another_subject_are_noticed(tmp_path):
    for subject in SUBJECTS:
        invented.write_jsonl(tmp_path / subject / "test.jsonl", [invented.mmlu_hub(1, "anatomy")])
    with pytest.raises(DataError, match="field 'subject' is 'anatomy': clinical_knowledge is expected"):
        load_suite("mmlu_health", data_dir=tmp_path, partial=True)
