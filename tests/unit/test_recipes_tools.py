"""Traces of tool calls: what becomes a row, what is refused, and the miniature's own."""

# ruff: noqa: F811 - a fixture is imported, and tests name it
import json
from dataclasses import replace

import pytest
from benchmark_rows import write_rows
from case_rows import cases
from fake_engine import FakeEngine
from medpsy import corpus, engines, licences
from medpsy.corpus import building
from medpsy.corpus import rows as examples
from medpsy.corpus.building import Origins
from medpsy.corpus.rows import TOOL_SCHEMA, TrainingRow
from medpsy.data import rows as data_rows
from medpsy.data.rows import DataError, Row
from medpsy.mini import suites, world
from medpsy.mini.world import is_held_out
from medpsy.recipes import tools as tool_traces
from medpsy.recipes.tools import NO_CALL, WELL_FORMED, call_form, tool_corpus, tools
from medpsy.store import REPLAY
from recipes_example import FILTERS, HUB, mine, real  # noqa: F401
from transformers import AutoTokenizer

WORLD = world.build()
TYPES = {"term": {"type": "string"}, "top": {"type": "integer"}}
LOOKUP = {"type": "object", "properties": TYPES, "required": ["term"]}
TOOLS = [{"type": "function", "function": {"name": "lookup", "description": "Look up.", "parameters": LOOKUP}}]

SHOWN = "{%- if tools %}{{ tools|tojson }}{% endif %}{%- for m in messages %}<{{ m.role }}>{{ m.content }}{%- endfor %}"


def call(arguments: object = None, name: str = "lookup", **more) -> dict:
    function = {"name": name, "arguments": {"term": "größe 大小"} if arguments is None else arguments}
    return {"type": "function", "function": function, **more}


def trace(*calls: dict, results: int | None = None) -> dict:
    """Return a trace in which one turn makes `calls`."""
    calls = calls or (call(),)
    given = [{"role": "tool", "content": f"found {n}"} for n in range(len(calls) if results is None else results)]
    return {
        "messages": [
            {"role": "user", "content": "How large?"},
            {"role": "assistant", "content": "<think>\nI look.\n</think>\n\n", "tool_calls": list(calls)},
            *given,
            {"role": "assistant", "reasoning_content": "It says so.", "content": "Large."},
        ],
        "tools": TOOLS,
    }


def rows(one: dict) -> list[TrainingRow]:
    return list(tool_traces.turns(Row(one, "traces.jsonl", 4), "openmed-sft", "us"))


def test_every_assistant_turn_becomes_a_row_with_what_came_before_it():
    calling, closing = rows(trace())
    text = '<tool_call>\n{"name": "lookup", "arguments": {"term": "größe 大小"}}\n</tool_call>'
    assert (calling.reasoning, calling.answer) == ("I look.", text)
    assert calling.messages == ({"role": "user", "content": "How large?"},)
    assert (closing.reasoning, closing.answer) == ("It says so.", "Large.")
    assert [turn["role"] for turn in closing.messages] == ["user", "assistant", "tool"]
    assert closing.messages[1]["content"] == f"<think>\nI look.\n</think>\n\n{text}"
    assert {type(value) for turn in closing.messages for value in turn.values()} == {str}
    assert json.loads(closing.prompt_tools) == TOOLS and calling.id != closing.id


def test_several_calls_stand_one_after_the_other_and_a_trace_without_any_is_plain_talk():
    calling, closing = rows(trace(call('{"term": "a"}', id="x"), call({"term": "b", "top": 3}, id="y")))
    assert calling.answer.count("<tool_call>") == 2 and '"arguments": {"term": "a"}' in calling.answer  # was JSON text
    assert [turn["role"] for turn in closing.messages] == ["user", "assistant", "tool", "tool"]
    (row,) = rows({"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]})
    assert (row.reasoning, row.answer, row.prompt_tools) == ("", "Hello.", "")


def test_one_malformed_trace_stops_the_whole_file_drawn_or_not(mine, tmp_path):
    folder = write_rows(tmp_path / "t", "traces.jsonl", [trace(), trace(results=0), trace()])
    source = tool_traces.traces_copy(real(mine), {"data_dir": str(folder)})
    with pytest.raises(DataError, match="traces.jsonl, row 2, messages, row 3"):
        tool_traces.read_traces(source, 1, 7)
    write_rows(folder, "traces.jsonl", [trace(), '{"messages": ['])
    with pytest.raises(DataError, match="traces.jsonl, row 2: no JSON"):
        tool_traces.read_traces(source, 1, 7)
    with pytest.raises(DataError, match="tool-traces: it is on no hub that we know; give data_dir"):
        tool_traces.traces_copy(real(mine), {})


def test_tools_are_shown_by_a_template_that_knows_them_and_count_among_its_tokens():
    tokenizer = AutoTokenizer.from_pretrained(HUB / "qwen3-small")
    row = rows(trace())[1]
    form = examples.Form(opens_thinking=False, end="<|im_end|>", switches={})
    (without,) = form.prompts(tokenizer, [vars(row)])
    assert "lookup" in without and '"properties"' not in without  # the miniature's template shows calls alone
    tokenizer.chat_template = SHOWN
    assert form.prompts(tokenizer, [vars(row)])[0].startswith('[{"type": "function", "function":')
    assert row.written != replace(row, prompt_tools="").written


def test_the_miniatures_traces_are_of_training_cells_and_search_finds_one_sentence_per_hop():
    for fact in WORLD.facts:
        assert suites.search(WORLD, suites.fact_query(fact)) == suites.state(fact)
        assert not (fact.relation != "signs" and fact.objects[0] in suites.fact_query(fact).split())
    found = suites.traces(WORLD)
    assert not any(is_held_out(one["id"]) for one in found)
    hops = {one["id"].split("/")[0]: sum(turn["role"] == "tool" for turn in one["messages"]) for one in found}
    assert hops == {"ask0": 1, "ask1": 1, "ask2": 1, "vignette": 2}


def test_the_corpus_holds_domain_rows_and_traces_and_survives_the_disk(mine):
    made = tool_corpus(mine, configs={"en": 30, "zh": 10}, synthetic={}, traces=25, filters=FILTERS)
    rows = corpus.load(mine, "openmed-sft")
    assert rows.column_names == TOOL_SCHEMA.names
    kinds = {kind: counts["kept"] for kind, counts in made.card.funnel.items()}
    assert kinds["en"] == 30 and kinds["zh"] == 10 and kinds["traces"] >= 50 and len(rows) == sum(kinds.values())
    assert {bool(row["prompt_tools"]) for row in rows if row["kind"] == "traces"} == {True}
    assert {row["prompt_tools"] for row in rows if row["kind"] == "en"} == {""}
    assert max(rows["tokens"]) <= 200
    calling = [row for row in rows if row["answer"].startswith("<tool_call>")]
    assert all(json.loads(row["answer"].split("\n")[1])["name"] == "search" for row in calling) and calling


def test_rows_of_the_studys_own_teacher_join_the_domain_rows(mine):
    some = [
        TrainingRow(f"q{n}", "corpus1", "questions", ({"role": "user", "content": f"Invented {n}?"},), f"thought {n}",
                    "The answer is A.", ("fact",), "teacher", "")
        for n in range(9)
    ]  # fmt: skip
    origins = Origins("Made up.", {"none": "MIT"}, "us", True)
    building.write_corpus(mine, "corpus1", some, filters=FILTERS, origins=origins)
    settings = {"configs": {"en": 5}, "traces": 3, "filters": FILTERS}
    made = tool_corpus(mine, synthetic={"corpus1": 4}, **settings)
    rows = [row for row in corpus.load(mine, "openmed-sft") if row["kind"] == "questions"]
    assert len(rows) == 4 and {row["corpus"] for row in rows} == {"openmed-sft"}
    assert {row["id"] for row in rows} < {row.id for row in some}
    assert licences.of_folder(made.folder).keys() >= licences.of_folder(mine.corpora_dir / "corpus1").keys() > set()
    with pytest.raises(FileNotFoundError, match="corpus2 of profile mini is not complete.*run 03_training_data"):
        tool_corpus(mine, synthetic={"corpus2": 1}, **settings)


@pytest.mark.parametrize(("answer", "form"), cases("call_forms", "answer", "form"))
def test_a_call_counts_as_well_formed_only_if_its_tool_would_take_it(answer, form):
    assert call_form(answer, tools(Row({"tools": TOOLS}, "f", 1))) == form


def test_a_trace_is_trained_on_or_held_out_and_held_out_ones_begin_with_a_call(mine, tmp_path):
    some = [trace() for _ in range(200)]
    for number, one in enumerate(some):
        one["messages"][0] = {"role": "user", "content": f"How large is {number}?"}
    folder = write_rows(tmp_path / "t", "traces.jsonl", some)
    sides = []
    for study, given in ((mine, {}), (real(mine), {"data_dir": str(folder)})):
        source = tool_traces.traces_copy(study, given)
        apart, trained = tool_traces.held_out_traces(source, 0, 7), tool_traces.read_traces(source, 0, 7)
        sides.append([{tool_traces.trace_question(row) for row in side} for side in (apart, trained)])
        assert not set.intersection(*sides[-1])
        assert {call_form(row.answer, tools(Row({"tools": row.prompt_tools}, "f", 1))) for row in apart} == {
            WELL_FORMED
        }
        with pytest.raises(ValueError, match="rows are asked for"):
            tool_traces.held_out_traces(source, len(apart) + 1, 7)
    (fiction, _), (apart, trained) = sides
    assert len(fiction) > 50 and len(apart | trained) == 200 and 0 < len(apart) < 40


HERMES = {
    "conversations": [
        {"from": "system", "value": "You call functions. <tools>[...]</tools>"},
        {"from": "human", "value": "How large?"},
        {"from": "gpt", "value": "I look.\n<tool_call>\n{'name': 'lookup', 'arguments': {'term': 'a'}}\n</tool_call>"},
        {"from": "tool", "value": "<tool_response>\n{'found': 1}\n</tool_response>"},
        {"from": "gpt", "value": "Large."},
    ],
    "tools": json.dumps(TOOLS),
}


def test_a_public_set_stands_in_for_missing_traces_without_its_malformed_rows(mine, tmp_path, monkeypatch):
    given = {"data_dir": str(tmp_path / "mine"), "hub_id": next(iter(tool_traces.PUBLIC))}
    study = real(mine, revisions={given["hub_id"]: "0" * 40})
    silent = {**HERMES, "conversations": HERMES["conversations"][:3]}
    others = [{**HERMES, "conversations": [{"from": "robot", "value": "x"}]}, silent]
    asked = [
        {**HERMES, "conversations": [{"from": "human", "value": f"How large is {n}?"}, *HERMES["conversations"][2:]]}
        for n in range(60)
    ]
    found = [Row(row, "func-calling.json", at) for at, row in enumerate([HERMES, *others, *asked], 1)]
    monkeypatch.setattr(data_rows, "from_hub", lambda origin, config, file: found)
    source = tool_traces.traces_copy(study, given)
    assert source.licence == "Apache-2.0" and source.described == f"{given['hub_id']}@{'0' * 40}"
    with pytest.warns(UserWarning, match="2 of 63 rows are left out as malformed.*1 calls have no result"):
        rows = tool_traces.read_traces(source, 0, 7)
    with pytest.warns(UserWarning):
        apart = tool_traces.held_out_traces(source, 0, 7)
    assert len(rows) == 2 * (61 - len(apart)) and apart
    assert rows[0].answer == 'I look.\n<tool_call>\n{"name": "lookup", "arguments": {"term": "a"}}\n</tool_call>'
    assert rows[1].messages[-1] == {"role": "tool", "content": "{'found': 1}"} and rows[1].answer == "Large."
    write_rows(tmp_path / "mine", "traces.jsonl", [trace()])
    assert tool_traces.traces_copy(study, given).origin.data_dir == tmp_path / "mine"


def test_models_are_asked_with_their_tools_and_their_calls_told_apart(mine, monkeypatch):
    opened = []  # the tools of every engine that was opened

    def open_engine(kind, model, **_):
        opened.append([tool["function"]["name"] for tool in model.chat_template_kwargs["tools"]])
        call = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
        said = "The answer is A." if model.name.startswith("qwen3-small") else f"<think>Look.</think>{call}"
        return FakeEngine(f"fp {model.name}", reply=lambda prompt, sampling: said)

    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    monkeypatch.setattr(engines, "open_engine", open_engine)
    models, asked = ["qwen3-small", "small-openmed-sft"], {"prompts": 5, "sampling": {"max_tokens": 32}}
    found = tool_traces.call_forms(mine, models, **asked)
    forms = found.groupby("model")["form"].agg(set).to_dict()
    assert forms == {"qwen3-small": {NO_CALL}, "small-openmed-sft": {WELL_FORMED}}
    assert opened == [["search"], ["search"]]
    monkeypatch.setenv(REPLAY, "1")
    assert tool_traces.call_forms(mine, models, **asked).equals(found) and len(opened) == 2
