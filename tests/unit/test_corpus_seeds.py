"""Question seeds: where they come from, and that no answer comes with them."""

import gzip
import json
from collections import Counter

import pytest
from corpus_example import FILTERS, SAMPLING, recipe, small_study
from medpsy import corpus
from medpsy.benchmarks import DataError
from medpsy.corpus import hub_seeds, mini_seeds
from medpsy.mini import cases

KINDS = {"facts": 150, "explanations": 170, "questions": 800}
HARD = {"vignette": 150, "contraindication": 90, "trial": 20}
COMMIT = "0" * 40


def drawn(name, kinds, settings=None):
    settings = settings or small_study()
    return list(corpus.seeds(settings, name, kinds, recipe(settings)))


def test_seeds_come_from_training_cells_only():
    for seed in drawn("corpus1", KINDS) + drawn("corpus2", HARD):
        one = mini_seeds.behind(seed)
        cell = one[0].cell if isinstance(one, tuple) else one.cell
        assert not cases.is_held_out(cell)


def test_there_are_as_many_as_asked_for_and_each_is_another():
    seeds = drawn("corpus1", KINDS)
    assert Counter(seed.kind for seed in seeds) == KINDS
    assert len({seed.id for seed in seeds}) == len(seeds)
    assert len({(seed.messages, seed.run) for seed in map(frozen, seeds)}) == len(seeds)


def frozen(seed):
    return corpus.Seed(seed.id, seed.corpus, seed.kind, json.dumps(seed.messages), seed.stem, seed.facts, seed.run)


def test_more_seeds_contain_the_fewer_and_another_seed_of_the_study_draws_others():
    few, many = drawn("corpus1", {"questions": 20}), drawn("corpus1", {"questions": 40})
    other = drawn("corpus1", {"questions": 20}, small_study(seed=8))
    assert many[:20] == few and other != few


def test_a_question_offers_its_answer_among_others_and_does_not_say_which():
    for seed in drawn("corpus2", HARD):
        case, options = mini_seeds.behind(seed)
        assert case.answer in options and len(seed.messages) == 1
        assert seed.messages[0]["content"].count(f". {case.answer}\n") == 1
        assert seed.facts == tuple(fact.id for fact in case.facts)


def test_a_dialogue_rests_on_the_facts_that_a_good_response_says():
    seeds = {seed.id.split("/")[2]: seed for seed in drawn("corpus1", {"facts": 100, "explanations": 150})}
    about = seeds["everything"].id.split("/")[3].split("#")[0]
    assert set(seeds["everything"].facts) == {
        f"{name}/{about}" for name in ("first_drug", "test", "organ", "agent", "gene")
    }
    assert any(fact.startswith("signs/") for fact in seeds["emergency"].facts)
    assert any(fact.startswith("harms/") for fact in seeds["given_context"].facts)


@pytest.mark.parametrize(
    ("name", "kinds", "says"),
    [
        ("corpus3", {"facts": 1}, "did you mean 'corpus"),
        ("corpus1", {}, "known are facts, explanations, questions"),
        ("corpus1", {"fact": 1}, "did you mean 'facts'"),
        ("corpus1", {"facts": 0}, "0 seeds"),
        ("corpus2", {"facts": 1}, "kind 'facts' is unknown"),
    ],
)
def test_a_corpus_that_cannot_be_asked_for_is_refused_at_once(name, kinds, says):
    with pytest.raises(ValueError, match=says):
        corpus.seeds(small_study(), name, kinds, recipe(small_study()))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"near": 0.1}, "filters: near is 0.1"),
        ({"packed_length": 0}, "packed_length is 0"),
        ({"ngrams": 3}, "did you mean"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named(changed, says):
    with pytest.raises(ValueError, match=says):
        recipe(small_study(), **changed)


def test_rows_must_be_measured_by_some_model():
    with pytest.raises(ValueError, match="name the models to measure rows by"):
        recipe(small_study(targets={}))


# Public sets, from local copies of their schema


def hub(tmp_path, kind, count, **copy):
    settings = small_study(source="hub")
    origins = {kind: {"data_dir": str(tmp_path)} | copy}
    made = corpus.recipe(settings, sampling=SAMPLING, filters=FILTERS, batch=10, origins=origins)
    return list(corpus.seeds(settings, "corpus1", {kind: count}, made))


def medmcqa(number):
    options = {name: f"{name} of {number}" for name in ("opa", "opb", "opc", "opd")}
    return {"id": str(number), "question": f"Invented stem {number}?", **options, "cop": 2, "exp": "the answer is opc"}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_questions_of_a_public_set_are_read_without_their_answers(tmp_path):
    write_lines(tmp_path / "train.jsonl", [medmcqa(number) for number in range(30)])
    seeds = hub(tmp_path, "medmcqa", 12)
    assert len({seed.stem for seed in seeds}) == 12
    assert seeds == hub(tmp_path, "medmcqa", 12)
    for seed in seeds:
        number = seed.stem.split()[-1].strip("?")
        text = seed.messages[0]["content"]
        assert f"C. opc of {number}\n" in text and "the answer is" not in text


def test_the_options_of_medqa_and_of_alphamed_are_found(tmp_path):
    options = dict(zip("ABCD", ("w", "x", "y", "z"), strict=True))
    asked = {"question": "Invented vignette?", "options": options, "answer": "y", "answer_idx": "C"}
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(json.dumps(asked).encode()))
    assert "Question: Invented vignette?\nA. w\nB. x" in hub(tmp_path, "medqa", 1)[0].messages[0]["content"]
    (tmp_path / "train.jsonl.gz").unlink()
    write_lines(tmp_path / "train.jsonl", [{"question": "Invented stem?\nA. w\nB. x", "answer": "B"}])
    seed = hub(tmp_path, "alphamed", 1)[0]
    assert seed.stem == "Invented stem?" and "A. w\nB. x\nThink" in seed.messages[0]["content"]


def test_of_a_genesis_text_only_the_question_is_taken(tmp_path):
    text = "# Title\n**Question:** Which one?\n**Options:**\nA. w\nB. x\n**Correct Answer:** B\n## Why\nBecause."
    write_lines(tmp_path / "college_medicine_rows.jsonl", [{"text": "An article about something."}, {"text": text}])
    (seed,) = hub(tmp_path, "genesis_medicine", 1)
    assert seed.stem == "Which one?" and "A. w\nB. x\nThink" in seed.messages[0]["content"]
    assert "Because" not in str(seed) and "Correct" not in str(seed)


def test_fewer_questions_than_asked_for_are_an_error(tmp_path):
    write_lines(tmp_path / "train.jsonl", [medmcqa(1)])
    with pytest.raises(DataError, match="1 questions are there, 2 are asked for; lower corpus1.medmcqa"):
        hub(tmp_path, "medmcqa", 2)


def test_a_hub_copy_without_a_commit_is_refused(tmp_path):
    with pytest.raises(DataError, match="origins.genesis_medicine: revision '' of qvac/GenesisI is not a commit"):
        hub(tmp_path, "genesis_medicine", 1, data_dir="")


def test_a_folder_is_named_in_the_sources_without_its_place(tmp_path):
    settings = small_study(source="hub")
    origins = {"medqa": {"data_dir": str(tmp_path / "copy")}, "genesis_medicine": {"revision": COMMIT}}
    made = corpus.recipe(settings, sampling=SAMPLING, filters=FILTERS, batch=1, origins=origins)
    assert hub_seeds.described(["medqa", "genesis_medicine"], made) == {
        "medqa (questions of folder copy)": "medqa: CC-BY-4.0",
        f"genesis_medicine (questions of qvac/GenesisI@{COMMIT})": "genesis_medicine: CC BY-NC 4.0",
    }
