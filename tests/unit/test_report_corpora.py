"""The corpora in tables and figures, and the verdicts on them."""

import dataclasses
from pathlib import Path

import pytest
from corpus_example import mine, recipe, teacher  # noqa: F401
from medpsy import corpus, report
from medpsy.corpus import Built, Card
from medpsy.report.corpus_figures import row_lengths, topic_coverage


def card(name, kinds, **changes) -> Card:
    """Return a card: `kinds` maps kind to (rows kept, right, wrong)."""
    steps = dict.fromkeys(("failed", "cut off", "unreadable", "too long"), 1)
    steps |= dict.fromkeys(("exact duplicate", "near duplicate", "contaminated"), 0)
    known = {
        "corpus": name,
        "profile": "mini",
        "teacher": "anna",
        "settings": {"filters": {"packed_length": 100, "near": 0.8, "ngram": 0}},
        "funnel": {kind: {"seeds": kept + 4, **steps, "kept": kept} for kind, (kept, _, _) in kinds.items()},
        "lengths": {40: 3, 90: 1},
        "kind_tokens": {kind: 50 * kept for kind, (kept, _, _) in kinds.items()},
        "coverage": {"test": {"facts": 40, "covered": 30}},
        "checked": {"medqa": 60, "healthbench": 70},
        "leaks": {suite: {"same stem": 1, "n-gram": 0, "near stem": 0} for suite in ("medqa", "healthbench")},
        "errors": {kind: {"right": right, "wrong": wrong, "not told": 1} for kind, (_, right, wrong) in kinds.items()},
        "sources": ["cells"],
        "licence": "Apache-2.0",
        "inputs": {f"seeds/{name}": "s", "suite/medqa": "m"},
        "shards": {"part-00000.parquet": "p"},
    }
    return Card(**known | changes)


def made(name, kinds, **changes) -> Built:
    return Built(card(name, kinds, **changes), Path(name), 2.0, 5, 321.0)


BROAD = made("corpus1", {"facts": (50, 60, 3), "questions": (200, 195, 5)})
HARD = made("corpus2", {"vignette": (120, 100, 20)}, coverage={"test": {"facts": 40, "covered": 10}})


def verdicts(broad=BROAD, hard=HARD):
    return [one["verdict"] for one in report.corpus_verdicts(broad, hard)]


def test_the_verdicts_follow_the_counts():
    assert verdicts() == ["pattern holds"] * 3
    assert verdicts(HARD, made("corpus2", {"trial": (300, 290, 10)})) == ["pattern fails"] * 3
    alike = made("corpus2", {"vignette": (120, 117, 3)}, coverage=HARD.card.coverage)
    assert verdicts(hard=alike)[2] == "too few to tell"
    texts = [one["text"] for one in report.corpus_verdicts(BROAD, HARD)]
    assert "120 rows against 250" in texts[0] and "30 of 40 facts, Corpus 2 on 10" in texts[1]
    assert "(16.7 % against 2.5 %)" in texts[2]


def test_without_a_world_nothing_is_said_about_truth_and_coverage():
    unknown = {"coverage": {}, "errors": {}}
    real = [dataclasses.replace(one, card=dataclasses.replace(one.card, **unknown)) for one in (BROAD, HARD)]
    assert verdicts(*real) == ["pattern holds", "not testable", "not testable"]
    assert report.teacher_error_table(real).rows == [] and report.coverage_table(real).rows == []
    assert "no list of facts" in topic_coverage(real).alt


def test_the_tables_show_every_kind_filter_and_suite():
    built = [BROAD, HARD]
    contents = report.corpora_table(built).frame
    assert contents.iloc[1].tolist() == ["Corpus 1", "questions", 204, 200, 10_000, 50.0]
    assert list(report.funnel_table(built).frame["Kept"]) == [50, 200, 120]
    leaks = report.contamination_table(built).frame
    assert list(leaks["Suite"]) == ["MedQA (USMLE)", "HealthBench"] and leaks["Corpus 2: same stem"].sum() == 2
    assert not [name for name in leaks if "n-gram" in name], "no n-grams were compared"
    errors = report.teacher_error_table(built).frame
    assert errors["Error (%)"].round(1).tolist() == [4.8, 2.5, 16.7] and (errors["Error (%) ±"] > 0).all()
    assert report.corpus_effort_table(built).frame["Seeds per second"].tolist() == [129.0, 62.0]


def test_the_figures_say_what_they_show():
    assert "Corpus 1: median 40 tokens, 90 % up to 75, longest 90" in row_lengths([BROAD, HARD]).alt
    assert "Corpus 2, test: 25 %" in topic_coverage([BROAD, HARD]).alt


def test_the_inputs_name_what_went_in_and_every_shard():
    found = report.corpus_inputs([BROAD, HARD])
    assert set(found) >= {"seeds/corpus1", "seeds/corpus2", "suite/medqa", "corpus2/part-00000.parquet"}


def test_the_teacher_is_the_one_that_was_chosen_unless_another_is_named(mine, teacher, monkeypatch):  # noqa: F811
    monkeypatch.setattr(report.result, "section_dir", lambda section, profile: mine.outputs / section)
    with pytest.raises(report.ResultError, match="run the section first"):
        report.teacher(mine)
    settings = {"profile": "mini", "title": "Teacher selection", "settings": {}, "chosen": {"teacher": "anna"}}
    report.write_result("02_teacher_selection", **settings)
    assert report.teacher(mine) == "anna" and report.teacher(mine, "large") == "large"
    with pytest.raises(ValueError, match="did you mean 'anna'"):
        report.teacher(mine, "ana")


def test_one_row_of_each_kind_is_shown_escaped_and_cut(mine, teacher):  # noqa: F811
    teacher.reply = lambda prompt, sampling: f"<think>{prompt.id} {'long ' * 200}</think><b>A</b>"
    built = corpus.build(mine, "anna", "corpus1", kinds={"facts": 3, "questions": 3}, recipe=recipe(mine))
    shown = report.example_table([built])
    assert [row[1] for row in shown.rows] == ["facts", "questions"]
    assert shown.rows[0][3].endswith("…") and "<b>A" not in shown.html() and "&lt;b&gt;A" in shown.html()
