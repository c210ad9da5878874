"""What is dropped: unreadable responses, duplicates, rows that repeat a suite."""

from types import SimpleNamespace

import numpy as np
import pytest
from case_rows import cases
from corpus_example import small_study
from medpsy import corpus, prompts
from medpsy.corpus import filters, rows
from medpsy.corpus.filters import Contamination
from medpsy.corpus.seeds import draw_seeds
from medpsy.mini.suites import suite
from medpsy.study import ModelSpec

SEED = corpus.Seed("corpus1/facts/x#0", "corpus1", "facts", ({"role": "user", "content": "What is x?"},), "What is x?")


@pytest.mark.parametrize("case", cases("teacher_responses"))
def test_a_response_becomes_a_row_or_says_why_not(case):
    response = SimpleNamespace(text=case["text"], finish_reason=case["finish_reason"], key="k")
    row = rows.row_of_response(SEED, response, ModelSpec("anna", "anna", opens_thinking=case["opens_thinking"]))
    assert (row if isinstance(row, str) else [row.reasoning, row.answer]) == case["row"]


LONG = " ".join(f"word{number}" for number in range(200))


@pytest.mark.parametrize(
    ("other", "near", "found"),
    [
        (LONG, 0.8, rows.EXACT),
        (LONG.upper() + ".", 0.8, rows.EXACT),
        (LONG + " and more", 0.8, rows.NEAR),
        (LONG + " and more", 1.0, None),
        (LONG.replace("word1", "other1"), 0.8, None),
        ("short", 0.8, None),
        ("", 0.8, None),
    ],
)
def test_duplicates_are_told_from_other_texts(tmp_path, other, near, found):
    seen = filters.Duplicates(tmp_path / "seen", near)
    seen.add(seen.mark(LONG))
    assert seen.like(seen.mark(other)) == found


def test_pairs_at_the_threshold_are_found_and_pairs_well_below_are_not(tmp_path):
    rng, seen = np.random.default_rng(3), filters.Duplicates(tmp_path / "seen", 0.8)
    words = [f"w{number}" for number in range(5000)]
    found = {4: 0, 24: 0}  # words changed of 400 -> how often that is near; similarity 0.90 and 0.53
    for number in range(30):
        own = rng.choice(words, 400)
        seen.add(seen.mark(" ".join(own)))
        for changed in found:
            other = own.copy()
            other[np.arange(changed) * (400 // changed)] = f"new{number}"
            found[changed] += seen.like(seen.mark(" ".join(other))) == rows.NEAR
    assert found == {4: 30, 24: 0}


STEM = "Which of the many invented tests is done first in a patient with a weak organ who has been ill for weeks?"
SUITES = {"medqa": [STEM], "medmcqa": [STEM, "Short stem?"]}


@pytest.mark.parametrize(
    ("stem", "text", "ngram", "found"),
    [
        (STEM.upper(), "", 0, ("same stem", {"medqa", "medmcqa"})),
        ("Short stem", "", 0, ("same stem", {"medmcqa"})),
        ("Which short stem?", "", 13, None),
        ("Another?", f"I recall a question: {STEM[:80]} and so on", 13, ("n-gram", {"medqa", "medmcqa"})),
        ("Another?", f"I recall a question: {STEM[:80]} and so on", 0, None),
        (STEM.replace("weeks", "days"), "", 0, ("near stem", {"medqa", "medmcqa"})),
        (STEM.replace("tests", "drugs").replace("organ", "heart"), "", 0, None),
    ],
)
def test_a_row_that_repeats_a_suite_is_found_by_the_rule_that_fits(stem, text, ngram, found):
    hit = Contamination(SUITES, near=0.8, ngram=ngram).hit(stem, text)
    assert (hit and (hit.rule, set(hit.suites))) == found


def test_a_turn_of_phrase_that_many_questions_share_contaminates_nothing():
    phrase = "a patient comes to the doctor because of pain that has been there for some days now"
    stems = {"medqa": [f"{phrase} number {number}" for number in range(5)]}
    assert Contamination(stems, near=1.0, ngram=13).hit("x", phrase) is None
    assert Contamination({"medqa": stems["medqa"][:2]}, near=1.0, ngram=13).hit("x", phrase)


def test_every_question_of_a_suite_counts_whether_it_is_asked_or_not():
    sizes = {suite: len(stems) for suite, stems in filters.stems(small_study()).items()}
    assert sizes == {"mmlu_health": len(suite("mmlu_health").items), "pubmedqa": 60}
    talks = filters.stems(small_study(open_suites=("healthbench",), conversations_per_suite=1))
    assert len(talks["healthbench"]) == 70


def test_no_training_cell_of_the_miniature_repeats_a_suite_and_every_held_out_one_does():
    settings = small_study(suites=("mmlu_health", "medxpertqa", "pubmedqa", "medqa"), open_suites=("healthbench",))
    suites = Contamination(filters.stems(settings), near=0.8, ngram=0)
    kinds = {"corpus1": {"explanations": 100, "questions": 500}, "corpus2": {"contraindication": 70, "trial": 500}}
    for name, counts in kinds.items():
        seeds = draw_seeds(settings, name, counts)
        assert [seed.id for seed in seeds if suites.hit(seed.stem, seed.stem)] == []
    for question in suite("pubmedqa").items:
        assert suites.hit(filters.stem(question), prompts.closed_ended(question)[0]["content"])
