"""Rows from files, checked access to their fields, and samples of questions by seed."""

import gzip
import json
from collections import Counter

import benchmark_rows as invented
import pytest
from case_rows import cases
from medpsy.data.questions import Question, sample
from medpsy.data.rows import DataError, Origin, Row, find, from_files, sources

ROWS = [{"id": "a", "n": 1, "list": ["x", "None"]}, {"id": 'b, "c"\nd', "n": 0, "list": []}]


def row(**values):
    return Row(values, "rows.jsonl", 7)


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json", "r.parquet"])
def test_each_kind_of_file_gives_the_same_values(tmp_path, name):
    write_kind = {"r.json": invented.write_json, "r.parquet": invented.write_parquet}.get(name, invented.write_jsonl)
    read = from_files([write_kind(tmp_path / name, ROWS)])
    assert [dict(each.values) for each in read] == ROWS
    assert [(each.source, each.number) for each in read] == [(name, 1), (name, 2)]


def test_a_csv_gives_texts_nested_values_as_json_and_line_breaks_inside_a_field(tmp_path):
    read = from_files([invented.write_named_csv(tmp_path / "r.csv", ROWS)])
    assert [(each.text("id"), each.integer("n")) for each in read] == [("a", 1), ('b, "c"\nd', 0)]
    assert [each.texts("list") for each in read] == [("x", "None"), ()]
    path = invented.write_csv(tmp_path / "r.csv", [["one\ntwo\r\nthree", "A"], ["q", "B"]])
    read = from_files([path], ("question", "answer"))
    assert [(each.number, each.text("answer")) for each in read] == [(1, "A"), (2, "B")]
    assert read[0].text("question") == "one\ntwo\r\nthree"
    path.write_bytes(b"\xef\xbb\xbfid,n\na,1\n")  # a byte order mark is not part of the first field
    assert from_files([path])[0].text("id") == "a"


def test_a_json_file_may_hold_one_value_per_line_or_an_object_of_objects(tmp_path):
    (tmp_path / "dev.json.gz").write_bytes(gzip.compress(b'{"id": "a"}\n\n{"id": "b"}\n'))
    assert [each.text("id") for each in from_files([tmp_path / "dev.json.gz"])] == ["a", "b"]
    read = from_files([invented.write_json(tmp_path / "r.json", {"123": {"id": "a"}, "456": {"id": "b"}})])
    assert [(each.key, each.number, each.text("id")) for each in read] == [("123", 1, "a"), ("456", 2, "b")]


@pytest.mark.parametrize(
    ("name", "content", "want"),
    [
        ("r.jsonl", b'{"id": 1}\n{"id": \n', r"r.jsonl, row 2: no JSON"),
        ("r.jsonl", b"[1, 2]", r"r.jsonl, row 1: '1' is no object"),
        ("r.json", b'"text"', r"r.json, row 1: 'text' is no object"),
        ("r.csv", b"id,n\na,1\nb\n", r"r.csv, row 2: 1 columns, 2 expected"),
        ("r.csv", b'id,n\n"' + b"x" * 200_000 + b'",1\n', r"r.csv: no csv \(field larger"),
        ("r.jsonl", b'{"id": "caf\xe9"}', r"r.jsonl: not readable as UTF-8"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, want):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=want):
        from_files([tmp_path / name])


def test_shards_are_read_in_order_of_name(tmp_path):
    for shard, rows in (("test-00001-of-00002", ROWS[1:]), ("test-00000-of-00002", ROWS[:1])):
        invented.write_parquet(tmp_path / f"{shard}.parquet", rows)
    read = from_files(find(tmp_path, ("nothing*", "test*")))
    assert [each.values["n"] for each in read] == [1, 0]
    assert sources(read) == "test-00000-of-00002.parquet, test-00001-of-00002.parquet"


def test_a_file_is_found_beside_others_and_a_missing_one_or_two_kinds_are_refused(tmp_path):
    (tmp_path / "test_notes.md").write_text("x")
    (tmp_path / "test.csv").mkdir()
    with pytest.raises(DataError, match=r"no file named like dev\* or test\* \(ending in one of .jsonl"):
        find(tmp_path, ("dev*", "test*"))
    path = invented.write_jsonl(tmp_path / "test.jsonl", ROWS)
    assert find(tmp_path, ("test*",)) == (path,)
    invented.write_parquet(tmp_path / "test.parquet", ROWS)
    with pytest.raises(DataError, match="test.jsonl, test.parquet are of several kinds"):
        find(tmp_path, ("test*",))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_count_names_file_found_and_expected(tmp_path, count):
    with pytest.raises(DataError, match=rf"{count} test rows, 2 expected.*partial=True"):
        Origin("a/b", None, "test", None, tmp_path).expect([row()] * count, 2, "test rows")
    Origin("a/b", None, "test", None, tmp_path, partial=True).expect([row()] * count, 2, "test rows")


@pytest.mark.parametrize(("method", "value", "want"), cases("fields", "method", "value", "want"))
def test_fields_are_read_and_one_of_another_type_is_named(method, value, want):
    read = getattr(row(field=value), method)
    if want is None:
        with pytest.raises(DataError, match=r"rows.jsonl, row 7, field 'field' is .*: .*expected"):
            read("field")
    else:
        assert read("field") == (tuple(want) if method == "texts" else want)


def test_a_gap_that_is_no_number_is_no_text():
    assert row(field=float("nan")).optional("field") == ""
    with pytest.raises(DataError, match="text is expected"):
        row(field=float("nan")).option("field")


def test_a_letter_is_an_index_and_another_one_is_refused():
    for value, options, want in (("A", 4, 0), (" D ", 4, 3), ("J", 10, 9)):
        assert row(answer=value).letter("answer", options) == want
    for value, options in (("E", 4), ("a", 4), ("AB", 4), ("", 4), ("1", 4), ("J", 9), (1, 4)):
        with pytest.raises(DataError, match="'answer'"):
            row(answer=value).letter("answer", options)


def test_a_value_of_a_csv_that_is_no_json_says_where(tmp_path):
    path = invented.write_csv(tmp_path / "r.csv", [["options"], [json.dumps(["x"])], ["{'a': 1}"]])
    with pytest.raises(DataError, match=r"r.csv, row 2, field 'options' .*JSON is expected .* column 2"):
        [each.structure("options") for each in from_files([path])]


# --- samples


def questions(**sizes):
    return [
        Question(f"{group}/{number}", "suite", group, "stem?", ("x", "y"), 0, None, weight_group=group)
        for number in range(max(sizes.values()))
        for group, size in sizes.items()
        if number < size
    ]


MMLU = questions(anatomy=135, knowledge=265, biology=144, college=173, genetics=100, professional=272)


def counts(chosen):
    return Counter(question.weight_group for question in chosen)


def test_the_number_asked_for_comes_back_in_order_and_groups_share_equally():
    assert all(sample(MMLU, n, seed=1) == tuple(MMLU) for n in (0, 1_089, 5_000))
    for n in (6, 7, 40, 60, 700, 1_088):
        chosen = sample(MMLU, n, seed=1)
        assert len(chosen) == len(set(chosen)) == n and sorted(chosen, key=MMLU.index) == list(chosen)
        assert len(counts(chosen)) == 6  # groups count equally in the score
        assert n > 100 or max(counts(chosen).values()) - min(counts(chosen).values()) <= 1
    assert counts(sample(questions(big=50, small=3), 20, seed=1)) == {"big": 17, "small": 3}  # taken whole
    assert all(counts(sample(MMLU, n, seed=1)) == dict.fromkeys(counts(MMLU), 1) for n in (1, 2, 5))  # none is lost


def test_a_seed_chooses_by_ids_alone_and_a_larger_sample_contains_the_smaller():
    assert sample(MMLU, 50, seed=3) == sample(MMLU, 50, seed=3) != sample(MMLU, 50, seed=4)
    assert set(sample(MMLU[::-1], 50, seed=3)) == set(sample(MMLU, 50, seed=3))  # row order does not matter
    assert set(sample(MMLU, 20, seed=3)) < set(sample(MMLU, 41, seed=3)) < set(sample(MMLU, 600, seed=3))
    chosen = sample(questions(one=100), 5, seed=7)  # pinned across releases, and not the first rows
    assert [question.id for question in chosen] == ["one/4", "one/23", "one/34", "one/67", "one/82"]
    with pytest.raises(ValueError, match="-1 questions; give a number of at least 0"):
        sample(MMLU, -1, seed=1)
