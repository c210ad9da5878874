"""Suite, engine and reader together: which outcome each response gets."""

import dataclasses

import pandas as pd
import pytest
from fake_engine import World, fenced, small_study
from medpsy import bundle, engines, evaluate, prompts
from medpsy.data.questions import Question, sample
from medpsy.data.suites import SUITES, build
from medpsy.engines.base import Response
from medpsy.store import REPLAY, FailedResponsesWarning, NotStored, ResponseStore, Session
from medpsy.study import SO_FAR, ModelSpec

OPTIONS = ("lorin", "mazel", "pendra", "quist")


def question(number: int, gold: int | None, suite: str = "medqa", group: str | None = None) -> Question:
    stem = f"Which invented drug treats condition {number} of {suite}?"
    return Question(str(number), suite, "drugs", stem, OPTIONS, gold, None, group or suite)


MEDQA = tuple(question(number, number % 4) for number in range(6))
MMLU = tuple(question(number, 0, "mmlu_health", f"subject {number // 4}") for number in range(6))  # groups of 4 and 2
SETS = {"medqa": MEDQA, "mmlu_health": MMLU}


def thought(answer: str) -> str:
    return f"<think>one two three</think> {answer}"


def parse(prompt, sampling) -> str:
    """Reply as a parser model does: the letter that stands alone in the response, or a word."""
    words = fenced(prompt.messages[0]["content"]).split()
    letters = [word.strip(".") for word in words if word.strip(".") in ("A", "B", "C", "D")]
    return {0: "NONE", 1: (letters or [""])[0]}.get(len(set(letters)), "SEVERAL")


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(evaluate, "count_tokens", lambda model, texts: [len(text.split()) for text in texts])
    monkeypatch.setattr(evaluate, "suite", lambda study, key: build(SUITES[key], SETS[key]))
    return World(monkeypatch, {"parser": parse})


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    return small_study("anna", "bert", engine_options={"batch": 8})


def by_number(answers: dict[str, str | Response]):
    """Return a model that answers question `n` with `answers["n"]`."""

    def reply(prompt, sampling):
        answer = answers[prompt.id.split("/")[1].split("#")[0]]
        return dataclasses.replace(answer, prompt_id=prompt.id) if isinstance(answer, Response) else answer

    return reply


SIX = {
    "0": thought("The answer is A."),
    "1": thought("The answer is C."),
    "2": thought("A or B."),
    "3": thought("I cannot tell."),
    "4": Response("", "<think>A is what I take, but", "length", 9, 64, 1.0),
    "5": Response("", "", "failed", 0, 0, 1.0, "timed out"),
}


def test_five_outcomes_are_never_folded(world, mine):
    world.writes["anna"] = by_number(SIX)
    with pytest.warns(FailedResponsesWarning, match=r"1 of 6 .* anna failed.*, first medqa/5: timed out.*run again"):
        graded = evaluate.closed_ended(mine, ["anna"])
    first = graded[graded["run"] == 0]
    assert list(first["outcome"]) == ["correct", "wrong", "unreadable", "unreadable", "cut off", "failed"]
    assert [None if pd.isna(one) else one for one in first["chosen"]] == [0, 2, None, None, None, None]
    assert list(first["how"][4:]) == ["cut off", "failed"]
    assert first["parser_key"].notna().tolist() == [True] * 4 + [False] * 2
    assert list(graded["question_id"]) == [one.id for _ in range(2) for one in MEDQA]


def test_the_graded_row_knows_its_question_and_its_cost(world, mine):
    world.writes["anna"] = by_number(SIX | {"5": thought("B")})
    row = evaluate.closed_ended(mine, ["anna"]).iloc[1]
    assert (row["model"], row["suite"], row["subject"], row["weight_group"]) == ("anna", "medqa", "drugs", "medqa")
    assert (row["question_id"], row["run"], row["gold"], row["chosen"]) == ("1", 0, 1, 2)
    assert (row["completion_tokens"], row["reasoning_tokens"], row["finish_reason"]) == (7, 3, "stop")
    store = ResponseStore(mine.store_dir)
    assert store.lookup([row["key"]], model=mine.model("anna"))["text"][0] == SIX["1"]
    assert store.lookup([row["parser_key"]], model=mine.model("parser"))["text"][0] == "C"


def test_each_engine_opens_once_for_all_suites_and_runs_and_a_rerun_opens_none(world, mine):
    mine = dataclasses.replace(mine, suites=("medqa", "mmlu_health"))
    for name in ("anna", "bert"):
        world.writes[name] = lambda prompt, _: thought("B.")
    lines = []
    graded = evaluate.closed_ended(mine, ["anna", "bert"], progress=lines.append)
    assert len(graded) == 2 * 2 * 12
    assert {name: len(opened) for name, opened in world.engines.items()} == {"anna": 1, "bert": 1, "parser": 1}
    assert len(world.asked("anna")) == 24
    assert len(world.asked("parser")) == 12  # one per question: both models and both runs gave the same answer
    assert [line for line in lines if line.startswith("anna: 24 of 24 responses")]
    world.engines.clear()
    again = evaluate.closed_ended(mine, ["anna", "bert"])
    assert world.engines == {}
    pd.testing.assert_frame_equal(again, graded)


def test_a_seeded_subsample_is_asked_and_kept_and_a_new_run_adds_its_own_alone(world, mine):
    world.writes["anna"] = lambda *_: thought("B")
    mine = dataclasses.replace(mine, questions_per_suite=2)
    few = evaluate.closed_ended(mine, ["anna"])
    assert set(few["question_id"]) == {one.id for one in sample(MEDQA, 2, 7)}
    assert len(evaluate.with_reader(mine, few, "lenient")) == len(few)
    world.engines.clear()
    evaluate.closed_ended(dataclasses.replace(mine, runs=3), ["anna"])
    assert {one.id.split("#")[1] for one in world.asked("anna")} == {"2"}


def test_variants_are_asked_in_their_own_words_and_order_and_graded_by_their_own_key(world, mine):
    world.writes["anna"] = lambda *_: thought("The answer is A.")
    how = {"options": (*OPTIONS[1:], OPTIONS[0]), "wording": "{context}{stem} {options} Which?"}
    moved = {q.id: dataclasses.replace(q, id=f"{q.id}#1", gold=(q.gold - 1) % 4, **how) for q in MEDQA}
    graded = evaluate.closed_ended(mine, ["anna"], variants=lambda one: [moved[one.id]])
    assert set(graded.loc[graded["outcome"] == "correct", "question_id"]) == {"1#1", "5#1"}
    assert all(asked.messages[0]["content"].endswith("D. lorin Which?") for asked in world.asked("anna"))
    with pytest.raises(ValueError, match="medqa: question '0#1' is not in the suite as it is now"):
        evaluate.with_reader(mine, graded, "strict")
    with pytest.raises(ValueError, match="a template has {context}, {stem} and {options}"):
        dataclasses.replace(MEDQA[0], wording="{stem}")


def test_a_run_that_is_stopped_shows_its_last_whole_round_and_goes_on(world, mine, monkeypatch):
    mine, pair = dataclasses.replace(mine, suites=tuple(SETS), rounds=3, runs=1), ["anna", "bert"]
    monkeypatch.setitem(SETS, "mmlu_health", MMLU[:3])
    world.writes |= {"anna": lambda *_: thought("B"), "bert": lambda *_: [thought("B")][len(world.asked("bert")) == 5]}
    with pytest.raises(IndexError):
        evaluate.closed_ended(mine, pair)
    monkeypatch.setenv(SO_FAR, "1")
    graded = evaluate.closed_ended(shown := dataclasses.replace(mine, so_far={}), pair)
    assert shown.so_far == {"medqa": (2, 6), "mmlu_health": (1, 3)}
    asked = graded.groupby(["model", "suite"])["question_id"].agg(set).to_dict()
    drawn = {key: {one.id for one in sample(items, len(items) // 3, 7)} for key, items in SETS.items()}
    assert asked == {(name, key): drawn[key] for name in pair for key in SETS}
    with pytest.raises(NotStored, match="no response of model 'anna' is stored; run the section without --so-far"):
        evaluate.closed_ended(dataclasses.replace(shown, profile="smoke"), pair)
    monkeypatch.delenv(SO_FAR)
    assert len(evaluate.closed_ended(mine, pair)) == 18 and len(world.asked("bert")) == 10  # one of them again


def test_a_replay_has_no_early_rounds_and_of_a_suite_shown_in_several_ways_the_least_is_told(mine, monkeypatch):
    store, asked, sizes = ResponseStore(mine.store_dir), {"medqa": {one.id: one for one in MEDQA}}, []

    def ask(part):
        sizes.append(len(part["medqa"]))
        if sizes[-1] > there:
            raise NotStored
        return part

    def shown(so_far):
        evaluate.in_rounds(Session(dataclasses.replace(mine, rounds=3, so_far=so_far), store), asked, ask)
        return so_far

    there = 6
    assert shown(None) is None and sizes == [2, 4, 6]
    assert shown({"medqa": (1, 6)}) == {"medqa": (1, 6)} and shown({}) == {"medqa": (6, 6)}
    there = 4
    assert shown({"medqa": (6, 6)}) == {"medqa": (4, 6)} and sizes[-2:] == [6, 4]
    monkeypatch.setenv(REPLAY, "1")
    there = 6
    assert shown(None) is None and sizes[-2:] == [4, 6]


def test_a_question_without_a_key_is_asked_and_has_no_outcome(world, mine, monkeypatch):
    monkeypatch.setitem(SETS, "medqa", (question(0, 1), question(1, None), question(2, None)))
    world.writes["anna"] = by_number({"0": thought("B"), "1": thought("B"), "2": thought("A or B")})
    assert list(evaluate.closed_ended(mine, ["anna"])["outcome"][:3]) == ["correct", "no gold", "no gold"]


@pytest.mark.parametrize(("sees", "shown"), [("answer", "B"), ("response", "thoughts\n\nB")])
def test_the_parser_never_sees_the_gold_and_the_reasoning_where_the_study_says_so(world, mine, sees, shown):
    world.writes["anna"] = lambda *_: "<think>thoughts</think> B"
    evaluate.closed_ended(dataclasses.replace(mine, parser_sees=sees), ["anna"])
    (parser,) = world.engines["parser"]
    for one in parser.asked:
        expected = shown if sees == "answer" else f"<think>{shown}"
        assert one.messages == prompts.parser(MEDQA[int(one.id.split("/")[1])], expected)


def test_a_failing_parser_is_a_missing_reading_never_a_wrong_answer(world, mine):
    world.writes["anna"] = lambda *_: thought("B")
    down = Response("", "", "failed", 0, 0, 0.0, "parser is down")
    world.writes["parser"] = by_number({str(number): "B" for number in range(5)} | {"5": down})
    with pytest.warns(FailedResponsesWarning, match="requests to parser failed.*parser is down"):
        graded = evaluate.closed_ended(mine, ["anna"])
    last = graded[graded["question_id"] == "5"]
    assert set(last["outcome"]) == {"failed"}
    assert set(last["how"]) == {evaluate.PARSER_FAILED}
    world.writes["parser"] = parse
    repaired = evaluate.closed_ended(mine, ["anna"])  # the next call asks again, and only that
    assert (repaired["outcome"] == "failed").sum() == 0
    assert len(world.engines["parser"][1].asked) == 1


def test_a_parser_that_thinks_is_read_after_its_reasoning_and_sees_the_end_of_a_very_long_answer(world, mine):
    world.writes["anna"] = by_number({"3": thought("word " * 30_000 + "D")} | dict.fromkeys("01245", thought("B")))
    cut = Response("", "<think>B it seems", "length", 9, 8, 0.1)
    replies = {"0": cut, "1": "<think>B it seems</think>", "2": "<think>not A</think> C", "3": "D"}
    world.writes["parser"] = by_number(replies | dict.fromkeys("45", "B"))
    first = evaluate.closed_ended(mine, ["anna"])[:4]
    assert list(first["outcome"]) == ["unreadable", "unreadable", "correct", "correct"]
    assert list(first["how"][:2]) == ["parser cut off", "parser unreadable"]
    longest = max(len(one.messages[0]["content"]) for one in world.asked("parser"))
    assert evaluate.LONGEST < longest < evaluate.LONGEST + 1000


def test_another_reader_regrades_the_same_responses_row_by_row_without_a_model(world, mine):
    world.writes["anna"] = by_number(SIX | {"3": thought("Mazel? No. I take quist, which is D.")})
    world.writes["bert"] = lambda *_: thought("The answer is B.")
    with pytest.warns(FailedResponsesWarning):
        graded = evaluate.closed_ended(mine, ["anna", "bert"])
    world.engines.clear()
    first = evaluate.with_reader(mine, graded, "first_letter")
    last = evaluate.with_reader(mine, graded, "last_letter")
    assert (first["chosen"][2], last["chosen"][2]) == (0, 1)
    assert world.engines == {}
    for regraded in (first, last):
        untouched = [name for name in graded.columns if name not in ("chosen", "outcome", "how", "parser_key")]
        pd.testing.assert_frame_equal(regraded[untouched], graded[untouched])
        assert list(regraded["outcome"][4:6]) == ["cut off", "failed"]
        assert regraded["parser_key"].isna().all()
    pd.testing.assert_frame_equal(evaluate.with_reader(mine, first, "parser"), graded)
    mixed = graded.sample(frac=1, random_state=1)
    regraded, expected = evaluate.with_reader(mine, mixed, "first_letter"), first.loc[mixed.index]
    pd.testing.assert_frame_equal(regraded, expected.reset_index(drop=True))


def test_the_cascade_asks_the_parser_only_what_the_rule_cannot_read(world, mine, monkeypatch):
    monkeypatch.setitem(SETS, "medqa", (question(0, 1), question(1, 1)))
    said = {"0": thought("The answer is B"), "1": thought("Surely B , I would say, of these")}
    world.writes["anna"] = by_number(said)
    graded = evaluate.closed_ended(mine, ["anna"])
    calls = []
    read = evaluate._by_parser
    monkeypatch.setattr(evaluate, "_by_parser", lambda session, items: calls.append(len(items)) or read(session, items))
    cascade = evaluate.with_reader(mine, graded, "cascade")
    assert calls == [2]  # of four responses
    assert list(cascade["outcome"]) == ["correct"] * 4
    assert list(cascade["parser_key"].notna()) == [False, True] * 2


def test_an_unknown_reader_model_or_suite_offers_the_nearest(world, mine):
    with pytest.raises(ValueError, match="reader 'strct'.*'strict'"):
        evaluate.with_reader(mine, pd.DataFrame(), "strct")
    with pytest.raises(ValueError, match=r"model 'ana' is not in params/mini/study.yaml; .*'anna'"):
        evaluate.closed_ended(mine, ["ana"])
    with pytest.raises(ValueError, match="suite 'medq'.*'medqa'"):
        evaluate.questions(mine, ["medq"])
    with pytest.raises(ValueError, match="once"):
        evaluate.closed_ended(mine, ["anna", "anna"])
    assert world.engines == {}


def test_a_replay_regrades_everything_without_model_or_tokenizer(world, mine, tmp_path, monkeypatch):
    world.writes["anna"] = by_number(SIX | {"5": thought("B")})
    graded = evaluate.closed_ended(mine, ["anna"])
    bundle.write(ResponseStore(mine.store_dir), tmp_path / "all.zip")
    world.engines.clear()
    mine = dataclasses.replace(mine, root=tmp_path / "elsewhere")
    bundle.add(tmp_path / "all.zip", mine.store_dir)

    def gone(model, *rest):
        raise FileNotFoundError(f"{model.path} is not there")

    monkeypatch.setattr(engines, "fingerprint", gone)
    monkeypatch.setattr(evaluate, "count_tokens", gone)
    pd.testing.assert_frame_equal(evaluate.closed_ended(mine, ["anna"]), graded)
    assert world.engines == {}


def test_a_model_behind_an_endpoint_is_asked_there_and_its_reasoning_is_not_counted(world, mine):
    remote = ModelSpec("anna", "served-name", base_url="http://localhost:8000/v1")
    mine = dataclasses.replace(mine, models=mine.models | {"anna": remote})
    world.writes["anna"] = lambda *_: thought("B")
    graded = evaluate.closed_ended(mine, ["anna"])
    assert world.options["anna"] == {"kind": "openai"}  # options of another engine are not passed on
    assert world.options["parser"] == {"kind": "transformers", "batch": 8}
    assert graded["reasoning_tokens"].isna().all()


def test_reasoning_tokens_are_counted_once_with_the_models_own_tokenizer(world, mine, monkeypatch):
    world.writes["anna"] = by_number(SIX | {"5": "The answer is B"})
    counted = []
    monkeypatch.setattr(evaluate, "count_tokens", lambda _, texts: counted.extend(texts) or list(map(len, texts)))
    graded = evaluate.closed_ended(mine, ["anna"])
    assert graded["reasoning_tokens"][5] == 0  # it wrote none
    assert graded["reasoning_tokens"][4] == graded["completion_tokens"][4] == 64  # cut off: all of it was reasoning
    assert (graded["reasoning_tokens"] <= graded["completion_tokens"]).all()
    number = len(counted)
    evaluate.closed_ended(mine, ["anna"])
    assert len(counted) == number > 0
