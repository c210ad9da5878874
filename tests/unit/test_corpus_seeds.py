"""Question seeds: where they come from, and that no answer comes with them."""

import json
import re
from collections import Counter

import benchmark_rows as invented
import pytest
from corpus_example import making, small_study
from medpsy import corpus
from medpsy.corpus.seeds import behind, draw_seeds
from medpsy.data.questions import Question
from medpsy.data.rows import DataError
from medpsy.training import data

KINDS = {"facts": 150, "explanations": 170, "questions": 800}
HARD = {"vignette": 150, "contraindication": 90, "trial": 20}


def drawn(name, kinds, settings=None):
    return list(draw_seeds(settings or small_study(), name, kinds))


def test_there_are_as_many_as_asked_for_and_each_is_another_and_more_contain_the_fewer():
    seeds = drawn("corpus1", KINDS)
    assert Counter(seed.kind for seed in seeds) == KINDS
    assert len({seed.id for seed in seeds}) == len(seeds)
    assert len({(json.dumps(seed.messages), seed.run) for seed in seeds}) == len(seeds)
    few, many = drawn("corpus1", {"questions": 20}), drawn("corpus1", {"questions": 40})
    assert many[:20] == few != drawn("corpus1", {"questions": 20}, small_study(seed=8))
    dialogues = [behind(seed.id) for seed in seeds if seed.kind != "questions"]
    assert not any(one.held_out for one in dialogues)


def test_a_question_is_of_a_training_cell_and_offers_its_answer_among_others_and_does_not_say_which():
    for seed in drawn("corpus1", {"questions": 800}) + drawn("corpus2", HARD):
        case, options = behind(seed.id)
        assert not case.held_out
        assert case.answer in options and len(seed.messages) == 1
        assert seed.messages[0]["content"].count(f". {case.answer}\n") == 1
        assert seed.facts == tuple(fact.id for fact in case.facts)


def test_a_dialogue_rests_on_the_facts_that_a_good_response_says():
    seeds = {seed.id.split("/")[2]: seed for seed in drawn("corpus1", {"facts": 100, "explanations": 150})}
    about = seeds["everything"].id.split("/")[3].split("#")[0]
    relations = ("first_drug", "test", "organ", "agent", "gene")
    assert set(seeds["everything"].facts) == {f"{name}/{about}" for name in relations}
    assert any(fact.startswith("signs/") for fact in seeds["emergency"].facts)
    assert any(fact.startswith("harms/") for fact in seeds["given_context"].facts)


@pytest.mark.parametrize(
    ("name", "kinds", "says"),
    [
        ("corpus1", {}, "known are facts, explanations, questions"),
        ("corpus1", {"facts": 0}, "0 seeds"),
        ("corpus2", {"facts": 1}, "kind 'facts' is unknown"),
    ],
)
def test_a_corpus_that_cannot_be_asked_for_is_refused_at_once(name, kinds, says):
    with pytest.raises(ValueError, match=says):
        draw_seeds(small_study(), name, kinds)


def test_a_filter_that_makes_no_sense_and_a_study_without_targets_are_named():
    for changed, says in (
        ({"near": 0.1}, "filters.near: 0.1 must be greater than or equal to 0.5"),
        ({}, "name the m"),
    ):
        with pytest.raises(ValueError, match=says):
            corpus.build(small_study(targets={}), "anna", "corpus1", KINDS, **making(**changed))


# Public sets, from local copies of their schema


def hub(tmp_path, kind, count, **copy):
    settings = small_study(source="hub")
    return list(draw_seeds(settings, "corpus1", {kind: count}, {kind: {"data_dir": str(tmp_path)} | copy}))


def medmcqa(number):
    options = {name: f"{name} of {number}" for name in ("opa", "opb", "opc", "opd")}
    return {"id": str(number), "question": f"Invented stem {number}?", **options, "cop": 2, "exp": "the answer is opc"}


def test_questions_of_a_public_set_are_read_without_their_answers(tmp_path):
    invented.write_jsonl(tmp_path / "train.jsonl", [medmcqa(number) for number in range(30)])
    with pytest.raises(ValueError, match="03_training_data.yaml: origins.medmcqa.data_dri: unknown key; did you mean"):
        hub(tmp_path, "medmcqa", 1, data_dri="x")
    seeds = hub(tmp_path, "medmcqa", 12)
    assert len({seed.stem for seed in seeds}) == 12
    assert seeds == hub(tmp_path, "medmcqa", 12)
    for seed in seeds:
        number = seed.stem.split()[-1].strip("?")
        text = seed.messages[0]["content"]
        assert f"C. opc of {number}\n" in text and "the answer is" not in text


def test_of_a_genesis_text_only_the_question_is_taken(tmp_path):
    text = "# Title\n**Question:** Which one?\n**Options:**\nA. w\nB. x\n**Correct Answer:** B\n## Why\nBecause."
    rows = [{"text": "An article about something."}, {"text": text}]
    invented.write_jsonl(tmp_path / "college_medicine_rows.jsonl", rows)
    (seed,) = hub(tmp_path, "genesis_medicine", 1)
    assert seed.stem == "Which one?" and "A. w\nB. x\nThink" in seed.messages[0]["content"]
    assert "Because" not in str(seed) and "Correct" not in str(seed)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("consultations", {"instruction": "If you are a doctor, answer.", "input": "I cough.", "output": "SECRET"}),
        ("health_questions", {"document_source": "NIH", "question": "I cough.", "answer": "SECRET"}),
    ],
)
def test_of_an_open_question_what_was_asked_is_the_whole_prompt(tmp_path, kind, row):
    empty = {name: "" for name in row} if kind == "consultations" else row
    invented.write_jsonl(tmp_path / "train.jsonl", [empty, row])
    seed = hub(tmp_path, kind, 1)[0]
    assert seed.messages == ({"role": "user", "content": "I cough."},) and seed.stem == "I cough."
    invented.write_jsonl(tmp_path / "train.jsonl", [{"text": "another schema"}])
    with pytest.raises(DataError, match="is missing"):
        hub(tmp_path, kind, 1)


def test_what_reinforcement_learning_holds_out_is_in_no_corpus_although_both_ask_the_same_set(tmp_path, monkeypatch):
    invented.write_jsonl(tmp_path / "train.jsonl", [medmcqa(number) for number in range(400)])
    with pytest.raises(DataError, match=r"(\d+) questions are there besides \d+ held-out ones, 400 .*; lower") as told:
        hub(tmp_path, "medmcqa", 400)
    made, apart = map(int, re.findall(r"medmcqa: (\d+) questions .* (\d+) held-out", str(told.value))[0])
    assert made + apart == 400 and 5 <= apart <= 40  # a twentieth
    seeded = {seed.stem for seed in hub(tmp_path, "medmcqa", made)}
    stems, name = [f"Invented stem {number}?" for number in range(400)], "alphamed"
    every = [Question(str(at), name, "", stem, ("a", "b"), 0, None, name) for at, stem in enumerate(stems)]
    monkeypatch.setattr(data.filters, "stems", lambda study: {})
    found = data.rl_set(small_study(source="hub"), size=0, held_out=apart, seed=1, questions=every)
    assert len(found.held_out) == apart and not {one.stem for one in found.held_out} & seeded
    more = data.rl_set(small_study(source="hub"), size=0, held_out=apart + 5, seed=1, questions=every).held_out
    assert len(more) == apart + 5 and {*found.held_out} < {*more}  # a small set gives others too
