"""MMLU-Pro Health on invented rows: what becomes of a row, every trap, every refusal."""

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import DataError, load_suite


@pytest.mark.parametrize("count", range(3, 11))
def test_mmlu_pro_takes_three_to_ten_options(tmp_path, count):
    question = invented.load_one("mmlu_pro_health", tmp_path, invented.mmlu_pro(count - 1, options=count))
    assert (len(question.options), question.gold) == (count, count - 1)
    assert (question.id, question.subject) == (str(count - 1), "virology")


@pytest.mark.parametrize("real", range(3, 10))
def test_mmlu_pro_padding_of_mirrors_is_dropped(tmp_path, real):
    options = [f"option {n}" for n in range(real)] + ["N/A"] * (10 - real)
    question = invented.load_one("mmlu_pro_health", tmp_path, {**invented.mmlu_pro(0), "options": options})
    assert question.options == tuple(options[:real])


@pytest.mark.parametrize(
    "options",
    [
        ["w", "x", "None", "NA"],
        ["w", "x", "y", "N/A"],  # a list that is not padded to ten
        ["w", "N/A", *"cdefghij"],
        [*"abcdefghi", "None"],
    ],
)
def test_mmlu_pro_options_that_look_like_padding_stay(tmp_path, options):
    question = invented.load_one("mmlu_pro_health", tmp_path, {**invented.mmlu_pro(0), "options": options})
    assert question.options == tuple(options)


def test_mmlu_pro_leaves_other_categories_out_and_counts_them(tmp_path):
    rows = [invented.mmlu_pro(n) for n in range(818)] + [invented.mmlu_pro(n, category="biology") for n in range(5)]
    suite = load_suite("mmlu_pro_health", data_dir=invented.write_rows(tmp_path, "test.jsonl", rows))
    assert (len(suite.questions), suite.notes["other categories left out"]) == (818, 5)


@pytest.mark.parametrize("count", [553, 817, 819])
def test_mmlu_pro_refuses_another_selection(tmp_path, count):
    rows = [invented.mmlu_pro(n) for n in range(count)]
    with pytest.raises(DataError, match=f"test.jsonl: {count} test rows .* 818 expected"):
        load_suite("mmlu_pro_health", data_dir=invented.write_rows(tmp_path, "test.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"category": "Health"}, "lower case is expected"),
        ({"category": None}, "text is expected"),
        ({"options": ["w", "x"]}, "three to ten options"),
        ({"options": list("abcdefghijk")}, "three to ten options"),
        ({"answer": "B"}, "field 'answer_index' is 0: 1 is expected"),
        ({"answer": "K"}, "a letter from A to J"),
        ({"options": list("abc") + ["N/A"] * 7, "answer": "D", "answer_index": 3}, "a letter from A to C"),
    ],
)
def test_mmlu_pro_refuses_a_malformed_row(tmp_path, change, want):
    with pytest.raises(DataError, match=f"test.jsonl, row 1, .*{want}"):
        invented.load_one("mmlu_pro_health", tmp_path, {**invented.mmlu_pro(0), **change})
