"""The seven suites and the RL set: what becomes of a row, every trap, every refusal; from the hub, from files, real."""

import csv
import dataclasses
import gzip
import json
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import benchmark_rows as invented
import pytest
from case_rows import cases
from medpsy import evaluate
from medpsy import study as studies
from medpsy.data.questions import Question, sample
from medpsy.data.rows import DataError, hub_message
from medpsy.data.suites import MMLU_SUBJECTS, RL_SET, SUITES, Lettered, build, digest, load, split_options
from medpsy.mini import suites as mini

COMMIT = "0123456789" * 4
QUESTION = Question("q1", "medqa", "", "stem?", ("x", "y"), 0, None, weight_group="medqa")
FILE = {"medmcqa": "validation.jsonl", "afrimedqa": "train.jsonl", "pubmedqa": "train.jsonl", "alphamed": "train.jsonl"}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """A test that reaches for the network by mistake fails at once instead of trying again and again."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def part(key, folder, *rows, name=None, **options):
    """Return the suite whose file in `folder` holds `rows`."""
    file = name or FILE.get(key, "test.jsonl")
    return load(key, data_dir=invented.write_rows(folder, file, rows), partial=True, **options)


def one(key, folder, row, **options):
    """Return the only question of such a suite, after looking for what must never be kept of a row."""
    (question,) = part(key, folder, row, **options).items
    assert "SECRET" not in str(question)
    return question


@pytest.mark.parametrize(("key", "row", "want"), cases("malformed_rows", "key", "row", "want"))
def test_a_malformed_row_stops_the_load(tmp_path, key, row, want):
    with pytest.raises(DataError, match=f"{FILE.get(key, 'test.jsonl')}, row 1, .*{want}"):
        part(key, tmp_path, getattr(invented, row["make"])(row["number"]) | row["changes"])


# --- MMLU (Health)


def write_mmlu(tmp_path, pattern="{}_test.csv", sizes=MMLU_SUBJECTS):
    for subject, size in sizes.items():
        invented.write_csv(tmp_path / pattern.format(subject), [invented.mmlu_csv(n) for n in range(size)])
    return tmp_path


@pytest.mark.parametrize("pattern", ["{}_test.csv", "test/{}_test.csv"])
def test_mmlu_is_six_groups_of_published_size(tmp_path, pattern):
    items = load("mmlu_health", data_dir=write_mmlu(tmp_path, pattern)).items
    assert Counter(question.weight_group for question in items) == MMLU_SUBJECTS and len(items) == 1_089
    first = items[0]
    assert (first.id, first.subject, first.options, first.gold) == ("anatomy/1", "anatomy", invented.ABCD, 0)


@pytest.mark.parametrize(("record", "want"), cases("mmlu_csv", "record", "want"))
def test_mmlu_reads_the_original_csv(tmp_path, record, want):
    write_mmlu(tmp_path, sizes=dict.fromkeys(MMLU_SUBJECTS, 1))
    invented.write_csv(tmp_path / "anatomy_test.csv", [record])
    if want:
        with pytest.raises(DataError, match=f"anatomy_test.csv, {want}"):
            load("mmlu_health", data_dir=tmp_path, partial=True)
    else:
        question = load("mmlu_health", data_dir=tmp_path, partial=True).items[0]
        assert (question.stem, *question.options, "ABCD"[question.gold]) == tuple(record)


@pytest.mark.parametrize(("change", "want"), cases("mmlu_hub_rows", "change", "want"))
def test_mmlu_refuses_a_malformed_hub_row(tmp_path, change, want):
    for subject in MMLU_SUBJECTS:
        invented.write_jsonl(tmp_path / subject / "test.jsonl", [{**invented.mmlu_hub(1, subject), **change}])
    with pytest.raises(DataError, match=want):
        load("mmlu_health", data_dir=tmp_path, partial=True)


# --- MMLU-Pro Health


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        *((list("abcdefghi")[:count], 10 - count) for count in range(3, 10)),  # as mirrors pad every list up to ten
        (["w", "x", "None", "NA"], 0),
        (["w", "x", "y", "N/A"], 0),  # a list that is not padded to ten
        (["w", "N/A", *"cdefghij"], 0),
        ([*"abcdefghi", "None"], 0),
    ],
)
def test_mmlu_pro_drops_padding_and_keeps_options_that_look_like_it(tmp_path, options, padding):
    last = invented.mmlu_pro(len(options) - 1, options=len(options)) | {"options": options + ["N/A"] * padding}
    question = one("mmlu_pro_health", tmp_path, last)
    assert (question.options, question.gold) == (tuple(options), len(options) - 1)
    assert (question.id, question.subject) == (str(last["question_id"]), "virology")


# --- MedMCQA, MedQA, MedXpertQA


@pytest.mark.parametrize(("name", "base"), [("validation.jsonl", 0), ("dev.json", 1), ("data/validation.jsonl.gz", 0)])
def test_medmcqa_tells_the_two_numberings_apart(tmp_path, name, base):
    rows = [invented.medmcqa(n, base=base) for n in range(4_183)]
    suite = load("medmcqa", data_dir=invented.write_rows(tmp_path, name, rows))
    assert [question.gold for question in suite.items[:5]] == [0, 1, 2, 3, 0]
    assert len(suite.items) == 4_183 and "SECRET" not in str(suite.items[0])  # kinds single and multi are asked


@pytest.mark.parametrize(
    ("numbers", "want"), [((1, 2, 3), "neither 0 nor 4 occurs; use the whole file"), ((0, 4), "both 0 and 4 occur")]
)
def test_medmcqa_refuses_rows_whose_numbering_does_not_show(tmp_path, numbers, want):
    with pytest.raises(DataError, match=want):
        part("medmcqa", tmp_path, *[invented.medmcqa(n, cop=n) for n in numbers])


def test_an_option_keeps_its_letter_also_where_another_is_empty(tmp_path):
    assert one("medmcqa", tmp_path, invented.medmcqa(0, opb="")).options == ("w", "", "y", "z")
    question = one("medqa", tmp_path / "medqa", invented.medqa(2), name="phrases_no_exclude_test.jsonl")
    assert (question.id, question.gold, question.subject) == ("1", 2, "step1")
    assert question.options == ("w2", "x2", "y2", "z2")


@pytest.mark.parametrize("make", [invented.medxpertqa, invented.medxpertqa_original])
def test_medxpertqa_cuts_the_options_from_the_stem(tmp_path, make):
    question = one("medxpertqa", tmp_path, make(7), name="Text/test.jsonl")
    assert (question.id, question.subject, question.stem) == ("Text-7", "Nervous", "Invented case 7?")
    assert (len(question.options), question.options[9], question.gold) == (10, "thing J", 7)
    before = part("medxpertqa", tmp_path / "cut", invented.medxpertqa(7, question="Answer Choices: which of them?"))
    assert before.items[0].stem == "Answer Choices: which of them?"


def test_medxpertqa_leaves_rows_with_images_out(tmp_path):
    images = [{"image_path": "MM-1-a.jpeg"}]
    rows = [invented.medxpertqa(1), invented.medxpertqa(2, id="MM-1"), invented.medxpertqa(3, images=images)]
    suite = part("medxpertqa", tmp_path, *rows)
    assert [question.id for question in suite.items] == ["Text-1"]
    with pytest.raises(DataError, match="medxpertqa: no question is left"):
        part("medxpertqa", tmp_path, rows[1])


# --- PubMedQA


@pytest.mark.parametrize("original", [True, False])
def test_pubmedqa_asks_the_official_500_of_1000(tmp_path, original):
    if original:
        rows = {str(invented.pubmedqa_id(n)): invented.pubmedqa_original(n) for n in range(1_000)}
        invented.write_json(tmp_path / "ori_pqal.json", rows)
    else:
        invented.write_parquet(tmp_path / "pqa_labeled/train-0.parquet", [invented.pubmedqa(n) for n in range(1_000)])
    suite = load("pubmedqa", data_dir=tmp_path)
    assert Counter(question.gold for question in suite.items) == {0: 276, 1: 169, 2: 55}
    first = suite.items[0]
    assert (first.id, first.options, first.gold) == (str(invented.pubmedqa_id(0)), ("yes", "no", "maybe"), 0)
    assert first.context == "BACKGROUND: Little is known.\nMETHODS: We looked.\nIt was so."
    assert "SECRET" not in str(suite.items) and "['y', 'e', 's']" not in str(suite.items)


@pytest.mark.parametrize(
    ("numbers", "changes", "want"),
    [
        (range(1, 1_001), {}, "499 rows of the official test list, 500 expected"),
        (range(1_000), {"final_decision": "yes"}, "answers .* expected"),
    ],
)
def test_pubmedqa_refuses_a_whole_copy_that_is_another(tmp_path, numbers, changes, want):
    rows = [invented.pubmedqa(number, **changes) for number in numbers]
    with pytest.raises(DataError, match=want):
        load("pubmedqa", data_dir=invented.write_rows(tmp_path, "train.jsonl", rows))


# --- AfriMed-QA


@pytest.mark.parametrize(
    ("options", "key", "want", "gold"), cases("afrimedqa_options", "options", "key", "want", "gold")
)
def test_afrimedqa_options_are_lettered_without_gaps_and_the_gold_follows(tmp_path, options, key, want, gold):
    given = {"answer_options": json.dumps(options)} if isinstance(options, dict) else {"options": options}
    question = one("afrimedqa", tmp_path, invented.afrimedqa(1, **given, correct_answer=key))
    assert (question.options, question.gold) == (tuple(want), gold)


def test_afrimedqa_keeps_expert_multiple_choice_only(tmp_path):
    rows = [
        invented.afrimedqa(1, options=("w", "n/a", "y")),
        invented.afrimedqa(2, tier="crowdsourced"),
        invented.afrimedqa(3, question_type="saq", answer_options=None, tier=None),
        invented.afrimedqa(4, question_type="consumer_queries", answer_options=None, tier=None),
        invented.afrimedqa(5, options=("N/A",) * 5),
        invented.afrimedqa(6, answer_options=None),
        invented.afrimedqa(7, split="train"),
    ]
    suite = part("afrimedqa", tmp_path, *rows)
    assert [question.id for question in suite.items] == ["s1", "s7"]
    for clean in ("clean\ntext", None, "", "N/A"):  # the clean question is preferred
        question = one("afrimedqa", tmp_path, invented.afrimedqa(1, question="raw", question_clean=clean))
        assert question.stem == (clean if clean and clean != "N/A" else "raw")


def test_afrimedqa_reads_the_authors_csv_and_refuses_version_1(tmp_path):
    rows = [invented.afrimedqa(n, correct_answer="N/A" if n == 0 else "option2") for n in range(3)]
    invented.write_named_csv(tmp_path / "afri_med_qa_15k_v2.4_phase_2_15275.csv", rows)
    suite = load("afrimedqa", data_dir=tmp_path, partial=True)
    assert [question.gold for question in suite.items] == [None, 1, 1]
    row = invented.afrimedqa(1)
    del row["tier"]
    with pytest.raises(DataError, match="field 'tier' is missing: version 2"):
        part("afrimedqa", tmp_path / "old", row)


# --- AlphaMedQA, and options inside running text


@pytest.mark.parametrize(("change", "gold"), cases("alphamed_forms", "change", "gold"))
def test_alphamed_reads_each_form_it_may_have(tmp_path, change, gold):
    question = one("alphamed", tmp_path, invented.alphamed(1, **change))
    assert (question.gold, question.options[:2]) == (gold, ("w", "x"))
    assert question.stem in ("Invented stem 1?", "Stem?")


def test_alphamed_leaves_open_questions_out(tmp_path):
    rows = [invented.alphamed(0), invented.alphamed(1, question="What is it?"), invented.alphamed(2)]
    suite = part("alphamed", tmp_path, *rows)
    assert [question.id for question in suite.items] == ["1", "3"]


@pytest.mark.parametrize(("text", "want"), cases("option_lists", "text", "want"))
def test_split_options(text, want):
    assert split_options(text) == (want and Lettered(want[0], tuple(want[1])))


# --- loading: keys, options, the miniature, the study


def test_a_folder_that_is_none_and_a_set_without_a_commit_are_refused():
    with pytest.raises(DataError, match="data_dir no/such/folder is not a folder"):
        load("medqa", data_dir=Path("no/such/folder"))
    for commit in ("main", "v1.0", "91c6572", "A" * 40, None):
        with pytest.raises(DataError, match="is not a commit"):
            load("alphamed", revision=commit)


def test_the_miniature_passes_the_same_checks(monkeypatch):
    assert mini.suite("medqa").title == "MedQA (USMLE)"
    monkeypatch.setattr("medpsy.mini.suites.load", lambda key: (QUESTION, QUESTION))
    with pytest.raises(DataError, match="medqa: id 'q1' occurs 2 times"):
        mini.suite("medqa")
    with pytest.raises(DataError, match="medmcqa: 'q1' says it belongs to suite 'medqa'"):
        build(SUITES["medmcqa"], [QUESTION])


CHANGES = {"id": "q2", "suite": "medmcqa", "subject": "x", "stem": "other?", "options": ("y", "x"), "context": "c"}


def test_the_digest_covers_every_field_the_order_and_the_number():
    others = [dataclasses.replace(QUESTION, **{name: value}) for name, value in CHANGES.items()]
    others += [dataclasses.replace(QUESTION, gold=gold) for gold in (1, None)]
    others.append(dataclasses.replace(QUESTION, weight_group="g"))
    lists = [[QUESTION], [], *([one] for one in others), [QUESTION, others[0]], [others[0], QUESTION]]
    assert len({digest(items) for items in lists}) == len(lists)
    assert digest([QUESTION]) == digest([dataclasses.replace(QUESTION)])


@pytest.fixture
def reading(monkeypatch):
    """A study of hub suites, and the places from which its suites were read."""
    places = []

    def read(key, *, data_dir, revision):
        places.append((data_dir, revision))
        if revision == "f" * 40:
            raise DataError("no connection")
        return mini.suite(key)

    monkeypatch.setattr(evaluate, "load", read)
    study = dataclasses.replace(studies.load("review"), data_dirs={"medqa": "data/medqa"}, root=Path("/elsewhere"))
    evaluate._suite.cache_clear()
    yield study, places
    evaluate._suite.cache_clear()


def test_a_suite_is_read_again_only_from_another_folder_or_commit(reading):
    study, places = reading
    first, spec = evaluate.suite(study, "medqa"), SUITES["medqa"]
    assert evaluate.suite(dataclasses.replace(study, questions_per_suite=3, seed=9), "medqa") is first
    for revisions in ({}, {spec.hub_id: COMMIT}):
        evaluate.suite(dataclasses.replace(study, data_dirs={}, revisions=revisions), "medqa")
    assert places == [(Path("/elsewhere/data/medqa"), spec.revision), (None, spec.revision), (None, COMMIT)]
    for _ in range(2):  # one that could not be read is tried again
        with pytest.raises(DataError, match="no connection"):
            evaluate.suite(dataclasses.replace(study, revisions={spec.hub_id: "f" * 40}), "medqa")
    assert len(places) == 5


# --- the hub: the real `datasets.load_dataset` on folders in each hub copy's schema, at the published size


def many(make, count, **changes):
    return [make(number, **changes) for number in range(count)]


def whole_mmlu():
    return {name: {"test": many(invented.mmlu_hub, size, subject=name)} for name, size in MMLU_SUBJECTS.items()}


def whole_afrimedqa():
    others = many(invented.afrimedqa, 129, tier="crowdsourced")
    open_questions = many(invented.afrimedqa, 11_236, question_type="saq", answer_options=None, correct_answer=None)
    return {"default": {"train": many(invented.afrimedqa, 3_910) + others + open_questions}}


FULL = {
    "mmlu_health": whole_mmlu,
    "afrimedqa": whole_afrimedqa,
    "mmlu_pro_health": lambda: {
        "default": {"test": many(invented.mmlu_pro, 818) + many(invented.mmlu_pro, 11_214, category="law")}
    },
    "medmcqa": lambda: {"default": {"validation": many(invented.medmcqa, 4_183)}},
    "medqa": lambda: {"default": {"test": many(invented.medqa, 1_273)}},
    "medxpertqa": lambda: {"Text": {"test": many(invented.medxpertqa, 2_450)}, "MM": {"test": [{"id": "MM-1"}]}},
    "pubmedqa": lambda: {"pqa_labeled": {"train": many(invented.pubmedqa, 1_000)}},
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder in which a hub id names a folder, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("key", SUITES)
def test_a_complete_hub_copy_loads_at_its_pinned_revision(key, hub):
    spec = SUITES[key]
    invented.write_hub(hub, spec.hub_id, FULL[key]())
    suite = load(key)
    assert (len(suite.items), suite.title) == (spec.published, spec.title)
    assert "SECRET" not in str(suite.items)


@pytest.mark.parametrize("key", ["afrimedqa", "medqa"])  # with and without a count of all rows
def test_a_copy_that_lacks_one_row_is_refused(key, hub):
    configs = FULL[key]()
    next(iter(next(iter(configs.values())).values())).pop(0)
    invented.write_hub(hub, SUITES[key].hub_id, configs)
    with pytest.raises(DataError, match=r"[\d,]+ .*rows.*, [\d,]+ expected"):
        load(key)


def test_the_rl_set_takes_the_callers_revision_and_another_size_is_refused(hub):
    invented.write_hub(hub, RL_SET.hub_id, {"default": {"train": many(invented.alphamed, 18_000)}})
    assert len(load("alphamed", revision=COMMIT).items) == 18_000
    with pytest.raises(DataError, match="1,000 rows, 17,500 to 20,000 expected"):
        load("alphamed", data_dir=invented.write_rows(hub / "few", "train.jsonl", many(invented.alphamed, 1_000)))


@pytest.mark.parametrize(("row", "gold", "want"), cases("cmexam", "row", "gold", "want"))
def test_a_chinese_question_whose_key_is_no_single_option_has_no_gold_and_is_in_no_average(tmp_path, row, gold, want):
    assert "cmexam" not in SUITES and len(SUITES) == 7
    with pytest.raises(DataError, match=f"test.jsonl, row 1, .*{want}") if want else nullcontext():
        question = one("cmexam", tmp_path, row)
        assert (question.gold, question.stem, len(question.options)) == (gold, row["Question"], len(row["Options"]))


def test_hub_and_local_copy_ask_the_same_and_a_missing_config_or_another_numbering_is_refused(hub):
    invented.write_hub(hub, SUITES["medmcqa"].hub_id, {"default": {"validation": many(invented.medmcqa, 8, base=1)}})
    with pytest.raises(DataError, match=r"row 4, field 'cop' is 4: 0 to 3 is expected"):
        load("medmcqa", partial=True)  # the pinned copy counts from zero
    invented.write_hub(hub, SUITES["medxpertqa"].hub_id, {"MM": {"test": [{"id": "MM-1"}]}})
    with pytest.raises(DataError, match=r"TsinghuaC3I/MedXpertQA: not readable from the hub.*data_dir"):
        load("medxpertqa")
    invented.write_hub(hub, SUITES["medxpertqa"].hub_id, {"Text": {"test": many(invented.medxpertqa, 20)}})
    from_files = part("medxpertqa", hub / "local", *many(invented.medxpertqa_original, 20))
    assert load("medxpertqa", partial=True).digest == from_files.digest


@pytest.mark.parametrize(("said", "want"), cases("hub_errors", "said", "want"))
def test_hub_errors_say_what_to_do(said, want):
    message = hub_message("a/b", ConnectionError(said))
    assert want in message and said in message


# --- real rows: a part of each split, and the counts known for that part

REAL = {
    "mmlu_health": ("mmlu_health", 667),
    "mmlu_pro_health": ("mmlu_pro_health", 517),
    "medmcqa": ("medmcqa_validation", 2_483),
    "medqa": ("medqa_usmle_4opt", 739),
    "medxpertqa": ("medxpertqa_text", 146),
    "pubmedqa": ("pubmedqa_labeled", 299),
}


@pytest.fixture(scope="module")
def real(real_data):
    return {key: load(key, data_dir=real_data / folder, partial=True) for key, (folder, _) in REAL.items()}


def lines(path):
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


@pytest.mark.parametrize("key", REAL)
def test_every_real_row_becomes_a_question_with_a_gold_and_a_part_is_not_the_whole(real, real_data, key):
    suite = real[key]
    assert len(suite.items) == REAL[key][1] and all(question.gold is not None for question in suite.items)
    assert set(sample(suite.items, 20, seed=1)) <= set(suite.items)
    with pytest.raises(DataError, match="expected"):
        load(key, data_dir=real_data / REAL[key][0])


def test_real_mmlu_and_mmlu_pro(real, real_data):
    items = real["mmlu_health"].items
    assert Counter(question.weight_group for question in items) == {
        "anatomy": 87, "clinical_knowledge": 160, "college_biology": 86,
        "college_medicine": 96, "medical_genetics": 60, "professional_medicine": 178,
    }  # fmt: skip
    with (real_data / "mmlu_health/test/anatomy_test.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.reader(file))[-1]
    question = next(question for question in items if question.id == "anatomy/87")
    assert question.options[question.gold] == last[1 + "ABCD".index(last[5])].strip()
    suite = real["mmlu_pro_health"]
    assert Counter(len(question.options) for question in suite.items)[10] == 387
    rows = lines(real_data / "mmlu_pro_health/test_health_part.jsonl.gz")
    texts = {str(row["question_id"]): tuple(text.strip() for text in row["options"]) for row in rows}
    assert all(question.options == texts[question.id] for question in suite.items)


def test_real_medmcqa_and_medqa(real, real_data):
    suite = real["medmcqa"]
    assert Counter(question.gold for question in suite.items) == {0: 770, 1: 661, 2: 536, 3: 516}
    assert sum("None" in question.options for question in suite.items) == 21  # the word, not a gap
    long = [row["exp"] for row in lines(real_data / "medmcqa_validation/validation_part.jsonl.gz") if row["exp"]]
    shown = " ".join(question.stem for question in suite.items)
    assert not any(text in shown for text in long if len(text) > 100)
    rows, items = lines(real_data / "medqa_usmle_4opt/test_part.jsonl.gz"), real["medqa"].items
    assert [question.options[question.gold] for question in items] == [row["answer"].strip() for row in rows]
    assert Counter(question.subject for question in items) == {"step1": 399, "step2&3": 340}


def test_real_medxpertqa_and_pubmedqa(real, real_data, tmp_path):
    for question in real["medxpertqa"].items:
        assert len(question.options) == 10
        assert "Answer Choices" not in question.stem and f"(A) {question.options[0]}" not in question.stem
    for place, name in enumerate(("sampled_text_part", "mm_rows_sample")):
        shutil.copy(real_data / f"medxpertqa_text/{name}.jsonl.gz", tmp_path / f"test-{place}.jsonl.gz")
    assert len(load("medxpertqa", data_dir=tmp_path, partial=True).items) == 146
    suite = real["pubmedqa"]
    assert Counter(question.gold for question in suite.items) == {0: 169, 1: 95, 2: 35}
    rows = json.loads(gzip.decompress((real_data / "pubmedqa_labeled/ori_pqal_part.json.gz").read_bytes()))
    for question in suite.items:
        row = rows[question.id]
        assert row["LONG_ANSWER"] not in question.context
        assert all(passage.strip() in question.context for passage in row["CONTEXTS"])
        assert question.options[question.gold] == row["final_decision"]
