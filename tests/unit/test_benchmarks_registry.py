"""The registry: keys, titles, sources, digests, and loading the miniature's suites."""

import dataclasses
import sys
import types

import benchmark_rows as invented
import pytest
from medpsy.benchmarks import RL_SET, SUITES, DataError, Question, load_suite, spec
from medpsy.benchmarks.suite import build, digest

QUESTION = Question("q1", "medqa", "", "stem?", ("x", "y"), 0, None, weight_group="medqa")


def test_suites_are_the_columns_of_table_1_in_order():
    assert [(key, suite.title) for key, suite in SUITES.items()] == [
        ("mmlu_health", "MMLU (Health)"),
        ("afrimedqa", "AfriMedQA"),
        ("mmlu_pro_health", "MMLU-Pro Health"),
        ("medmcqa", "MedMCQA"),
        ("medqa", "MedQA (USMLE)"),
        ("medxpertqa", "MedXpertQA"),
        ("pubmedqa", "PubMedQA"),
    ]


def test_the_rl_set_is_no_suite():
    assert RL_SET.key not in SUITES and spec("alphamed") is RL_SET
    assert {suite.use for suite in SUITES.values()} == {"evaluation"}


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ({"key": "medqq"}, "no suite is called 'medqq'; did you mean medqa"),
        ({"key": "???"}, "known are mmlu_health, .*, alphamed"),
        ({"key": "medqa", "source": "web"}, "source='web' is unknown; use one of hub, mini"),
        ({"key": "medqa", "mutli": "first"}, "medqa: unknown option 'mutli'; known are hub_id, revision"),
        ({"key": "afrimedqa", "mutli": "first"}, "known are hub_id, revision, multi"),
        ({"key": "medqa", "data_dir": "no/such/folder"}, "data_dir no/such/folder is not a folder"),
        ({"key": "medqa", "source": "mini", "data_dir": "."}, "belong to source='hub'"),
        ({"key": "medqa", "source": "mini", "revision": "x"}, "belong to source='hub'"),
    ],
)
def test_wrong_arguments_are_named(arguments, want):
    with pytest.raises(ValueError, match=want):
        load_suite(**arguments)


def test_the_source_is_recorded_without_an_absolute_path(tmp_path):
    invented.write_jsonl(tmp_path / "test.jsonl", [invented.medqa(0)])
    notes = load_suite("medqa", data_dir=tmp_path, partial=True).notes
    assert notes["source"] == f"folder {tmp_path.name}, partial"
    assert str(tmp_path) not in str(notes)


@pytest.fixture
def mini(monkeypatch):
    """A stand-in for the generated suites; returns what they hold, to be filled by the test."""
    made = []
    module = types.ModuleType("medpsy.mini.suites")
    module.load = lambda key: tuple(dataclasses.replace(question, suite=key) for question in made)
    monkeypatch.setitem(sys.modules, "medpsy.mini.suites", module)
    return made


@pytest.mark.parametrize("key", [*SUITES, "alphamed"])
def test_the_miniature_is_asked_for_its_suite(mini, key):
    mini += [QUESTION, dataclasses.replace(QUESTION, id="q2")]
    suite = load_suite(key, source="mini")
    assert [question.id for question in suite.questions] == ["q1", "q2"]
    assert (suite.title, suite.notes["source"]) == (spec(key).title, "mini")


def test_the_miniature_passes_the_same_checks(mini):
    mini += [QUESTION, QUESTION]
    with pytest.raises(DataError, match="medqa: id 'q1' occurs 2 times"):
        load_suite("medqa", source="mini")


def test_a_suite_holds_its_own_questions_only():
    with pytest.raises(DataError, match="medmcqa: question 'q1' says it belongs to suite 'medqa'"):
        build(SUITES["medmcqa"], [QUESTION], {})


@pytest.mark.parametrize(
    "change",
    [
        {"id": "q2"},
        {"suite": "medmcqa"},
        {"subject": "x"},
        {"stem": "other?"},
        {"options": ("y", "x")},
        {"gold": 1},
        {"gold": None},
        {"context": "c"},
        {"weight_group": "g"},
    ],
)
def test_the_digest_covers_every_field(change):
    assert digest([QUESTION]) != digest([dataclasses.replace(QUESTION, **change)])


def test_the_digest_depends_on_order_and_number_and_is_stable():
    other = dataclasses.replace(QUESTION, id="q2")
    assert len({digest([QUESTION, other]), digest([other, QUESTION]), digest([QUESTION]), digest([])}) == 4
    assert digest([QUESTION]) == digest([dataclasses.replace(QUESTION)])
