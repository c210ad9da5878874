"""medical-o1 and its miniature: what is read, what is refused, what becomes a corpus, what a judge is asked."""

# ruff: noqa: F811 - a fixture is imported, and tests name it
import dataclasses
import re

import pytest
from benchmark_rows import write_json
from medpsy import corpus
from medpsy.corpus import filters
from medpsy.corpus import rows as examples
from medpsy.corpus.rows import SCHEMA
from medpsy.data.questions import Conversation, Criterion
from medpsy.data.rows import DataError
from medpsy.judge import judged
from medpsy.mini import suites, world
from medpsy.mini.world import STATED, Fact, is_held_out, state
from medpsy.recipes import medical_o1
from medpsy.store import ResponseStore, Session
from recipes_example import FILTERS, HUB, mine, real  # noqa: F401
from transformers import AutoTokenizer

WORLD = world.build()
MIXED = {"en": 60, "zh": 40}
HAN = re.compile(r"[\u4e00-\u9fff]")


def o1_row(number: int = 1, **changes) -> dict[str, str]:
    return {"Question": f"Invented case {number}?", "Complex_CoT": "Hm.", "Response": f"It is {number}."} | changes


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(HUB / "qwen3-small")


@pytest.mark.parametrize("config", MIXED)
def test_rows_are_short_and_survive_the_tokenizer_whatever_their_script(config, tokenizer):
    form = examples.chat_form(tokenizer, opens_thinking=False, switches={})
    found = [
        {"messages": [{"role": "user", "content": row["Question"]}], "reasoning": row["Complex_CoT"]}
        | {"answer": row["Response"]}
        for row in suites.o1_rows(WORLD, config)
    ]
    texts = form.examples(tokenizer, found)
    assert max(examples.example_lengths(tokenizer, texts)) < 120
    for row, text in zip(found[:50], texts, strict=False):
        ids = tokenizer(text["completion"], add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text["completion"] == form.completion(row["reasoning"], row["answer"])
    assert {bool(HAN.search(text["completion"])) for text in texts} == {config.startswith("zh")}


def test_a_malformed_row_an_unknown_configuration_and_a_moving_revision_are_refused(mine, tmp_path):
    source = medical_o1.o1_copy(real(mine), {"data_dir": str(tmp_path / "o1")})
    for broken in (o1_row(Complex_CoT=""), o1_row(Response=None), {"Question": "Q?", "Response": "x"}):
        write_json(tmp_path / "o1/medical_o1_sft.json", [o1_row(), broken])
        with pytest.raises(DataError, match=r"medical_o1_sft.json, row 2, field '\w+' is .*: .*text.* is expected"):
            medical_o1.read(source, "en")
    with pytest.raises(ValueError, match="configuration 'default' is unknown, and there is no default"):
        medical_o1.read(source, "default")
    with pytest.raises(DataError, match="medical_o1_sft_Chinese.json"):
        medical_o1.read(source, "zh")
    with pytest.raises(DataError, match="revision None is not a commit"):
        medical_o1.read(medical_o1.o1_copy(real(mine), {}), "en")
    with pytest.raises(ValueError, match="the miniature makes its own files"):
        medical_o1.o1_copy(mine, {"data_dir": "x"})
    with pytest.raises(ValueError, match="configs: none is named"):
        medical_o1.o1_corpus(mine, configs={}, filters=FILTERS)


def test_rows_are_drawn_by_seed_and_more_contain_the_fewer(mine):
    source = medical_o1.o1_copy(mine, {})
    few, many, other = (
        {row.id for row in medical_o1.training_rows(source, {"en": count}, seed)}
        for count, seed in ((20, 7), (40, 7), (20, 8))
    )
    assert len(few) == 20 and few < many and few != other
    with pytest.raises(ValueError, match="9,999 rows are asked for, 860 are there"):
        medical_o1.training_rows(source, {"en": 9999}, 7)


def test_the_corpus_is_loaded_like_any_other_and_no_row_of_it_is_a_suites(mine):
    made = medical_o1.o1_corpus(mine, configs=MIXED, filters=FILTERS)
    rows = corpus.load(mine, "o1")
    assert rows.column_names == SCHEMA.names and len(rows) == made.card.rows
    assert {kind: counts["seeds"] for kind, counts in made.card.funnel.items()} == MIXED
    assert not any(counts["contaminated"] for counts in made.card.funnel.values())
    assert made.card.tokens == sum(rows["tokens"]) and max(rows["tokens"]) < 120
    assert made.card.checked["medqa"] and made.card.checked["healthbench"]
    again = medical_o1.o1_corpus(mine, configs=MIXED, filters=FILTERS)
    assert again.card.shards == made.card.shards
    index = filters.Contamination(filters.stems(mine), near=0.8, ngram=13)
    asked = [row["Question"] for config in MIXED for row in suites.o1_rows(WORLD, config)]
    assert [text for text in asked if index.hit(text, text)] == []


def test_leaks_long_rows_copies_and_second_think_blocks_are_dropped_and_counted(mine, monkeypatch):
    leak = filters.stems(mine)["medqa"][3].upper()
    rows = [o1_row(1), o1_row(2), o1_row(1), o1_row(3, Complex_CoT="a </think> b"), o1_row(4, Response="so " * 300)]
    rows.append(o1_row(5, Question=leak))
    monkeypatch.setattr(suites, "o1_rows", lambda world, config: rows)
    card = medical_o1.o1_corpus(mine, configs={"en": 0}, filters=FILTERS | {"packed_length": 200}).card
    dropped = {"exact duplicate": 1, "unreadable": 1, "too long": 1, "contaminated": 1}
    assert card.funnel["en"] == card.funnel["en"] | dropped | {"kept": 2} and card.leaks["medqa"]["same stem"] == 1
    monkeypatch.setattr(suites, "o1_rows", lambda world, config: rows[3:4])
    with pytest.raises(ValueError, match="o1: no row is left"):
        medical_o1.o1_corpus(mine, configs={"en": 0}, filters=FILTERS)
    asked = [row["messages"][0]["content"] for row in corpus.load(mine, "o1")]  # the older corpus stays
    assert sorted(asked) == ["Invented case 1?", "Invented case 2?"]


def test_real_held_out_questions_are_in_no_corpus_and_every_reference_is_the_response(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(medical_o1, "stems", lambda study: {"medqa": ["INVENTED case 5"]})
    folder = write_json(tmp_path / "o1/medical_o1_sft.json", [o1_row(n) for n in range(200)]).parent
    origin = {"data_dir": str(folder)}
    found = medical_o1.open_questions(real(mine), config="en", rows=50, held_out=0, seed=1, origin=origin)
    held = {one.messages[0]["content"] for one in found.held_out}
    source = medical_o1.o1_copy(real(mine), origin)
    free = {row.messages[0]["content"] for row in medical_o1.training_rows(source, {"en": 0}, 7)}
    assert 2 <= len(held) <= 25 and len(held | free | {"Invented case 5?"}) == 200 and not held & free
    assert len(found.train) == 50 and {one.messages[0]["content"] for one in found.train} <= free
    assert medical_o1.is_held_out(min(held).upper() + " ")
    number = re.search(r"\d+", found.train[0].messages[0]["content"])[0]
    assert found.train[0].reference == f"Gives the same conclusion as this reference: It is {number}."


def test_the_miniatures_held_out_questions_are_of_held_out_cells_and_no_suites(mine):
    found = medical_o1.open_questions(mine, config="en", rows=100, held_out=60, seed=7)
    assert (len(found.train), len(found.held_out)) == (100, 60)
    cells = {case.stem: case.cell for held in (True, False) for case in suites.o1_cases(WORLD, held_out=held)}
    for some, held in ((found.train, False), (found.held_out, True)):
        assert {is_held_out(cells[one.messages[0]["content"]]) for one in some} == {held}
    stems = {text for group in filters.stems(mine).values() for text in group}
    assert not stems & {one.messages[0]["content"] for one in found.held_out}
    assert found == medical_o1.open_questions(mine, config="en", rows=100, held_out=60, seed=7)
    with pytest.raises(ValueError, match="zh: no question is left to choose from"):
        medical_o1.open_questions(mine, config="zh", rows=10, held_out=10, seed=7)


def test_a_judge_tells_right_conclusions_from_wrong_ones(mine):
    rows = {row["Question"]: row for row in suites.o1_rows(WORLD, "en")}
    asked = medical_o1.open_questions(mine, config="en", rows=25, held_out=1, seed=3).train
    items, truth = [], []
    for one in asked:
        criterion = Criterion(one.reference, 1, "accuracy")
        talk = Conversation(one.id, "open", tuple(one.messages), (criterion,), "open")
        right = rows[one.messages[0]["content"]]["Response"]
        items += [(talk, right), (talk, wrong(right))]
        truth += ["met", "not met"]
    sampling = dataclasses.replace(mine.judge_sampling, temperature=0.0)
    got = judged(Session(mine, ResponseStore(mine.store_dir)), "judge-middle", items, sampling=sampling)
    hits = [one[0].outcome == wanted for one, wanted in zip(got, truth, strict=True)]
    assert sum(hits) / len(hits) >= 0.9


def wrong(answer: str) -> str:
    """Return `answer` with another name of the same kind in the place of what it concludes."""
    fact = next((fact for fact in WORLD.facts if answer == STATED + state(fact)), None)
    name = fact.objects[0] if fact else answer.removeprefix("Take ").removesuffix(".")
    names = next(names for names in WORLD.names.values() if name in names)
    other = names[names.index(name) - 1]
    return STATED + state(Fact(fact.relation, fact.subject, (other,))) if fact else f"Take {other}."
