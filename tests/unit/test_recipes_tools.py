"""Traces of tool calls: what becomes a row, what is refused, and the miniature's own."""

# ruff: noqa: F811 - a fixture is imported, and tests name it
import copy
import json

import pytest
from medpsy import corpus, recipes
from medpsy.benchmarks.fields import DataError, Row
from medpsy.mini import searching, world
from medpsy.mini.cases import is_held_out
from medpsy.recipes import tool_traces
from medpsy.training import examples
from recipes_example import FILTERS, HUB, mine, real, write_lines  # noqa: F401
from transformers import AutoTokenizer

WORLD = world.build()
LOOKUP = {
    "type": "object",
    "properties": {"term": {"type": "string"}, "top": {"type": "integer"}},
    "required": ["term"],
}
TOOLS = [{"type": "function", "function": {"name": "lookup", "description": "Look up.", "parameters": LOOKUP}}]
SHOWS_TOOLS = (
    "{%- if tools %}{{ tools | tojson }}{% endif %}{%- for m in messages %}<{{ m.role }}>{{ m.content }}{%- endfor %}"
)


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


def rows(one: dict) -> list[tool_traces.TracedRow]:
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


def test_arguments_may_be_json_text_and_several_calls_stand_one_after_the_other():
    calling, closing = rows(trace(call('{"term": "a"}', id="x"), call({"term": "b", "top": 3}, id="y")))
    assert calling.answer.count("<tool_call>") == 2 and '"arguments": {"term": "a"}' in calling.answer
    assert [turn["role"] for turn in closing.messages] == ["user", "assistant", "tool", "tool"]


def test_a_trace_without_tools_and_reasoning_is_plain_talk():
    talk = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    (row,) = rows({"messages": talk})
    assert (row.reasoning, row.answer, row.prompt_tools) == ("", "Hello.", "")


MALFORMED = {
    "no JSON": (trace(call("{term: a}")), "turn 2: arguments of 'lookup' are no JSON"),
    "no object": (trace(call("[1]")), r"turn 2: arguments of 'lookup' are \[1\]; an object is expected"),
    "unknown function": (
        trace(call(name="serch")),
        "turn 2: function 'serch' is called, and the row's tools are lookup",
    ),
    "missing argument": (trace(call({"top": 1})), "turn 2: call of 'lookup' lacks argument 'term'"),
    "unknown argument": (trace(call({"term": "a", "x": 1})), "turn 2: call of 'lookup' has argument 'x'"),
    "no function": (trace({"name": "lookup"}), "turn 2: call .* has no function.name"),
    "call without result": (trace(results=0), "turn 3: 1 calls have no result before this turn"),
    "one result for two calls": (trace(call(), call(), results=1), "turn 4: 1 calls have no result before this turn"),
    "result without call": (trace(results=2), "turn 4: a result without a call before it"),
    "no calls": (trace() | {"messages": [*trace()["messages"][:1], {"role": "assistant", "tool_calls": []}]}, "turn 2"),
    "ends with a call": (trace() | {"messages": trace()["messages"][:2]}, "ends and 1 calls have no result"),
    "ends with a result": (trace() | {"messages": trace()["messages"][:3]}, "ends and no assistant turn closes it"),
    "nothing": (trace() | {"messages": []}, "turn 0: the trace ends and no assistant turn closes it"),
    "strange role": (trace() | {"messages": [{"role": "robot", "content": "x"}]}, "turn 1: role 'robot' may not stand"),
    "no tools": ({"messages": trace()["messages"]}, "the row's tools are none"),
    "tool without name": (trace() | {"tools": [{"type": "function"}]}, "field 'tools' .* function.name"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_trace_is_refused_with_its_file_row_and_fix(what):
    broken, message = MALFORMED[what]
    with pytest.raises(DataError, match=rf"traces.jsonl, row 4, .*{message}"):
        rows(copy.deepcopy(broken))


def test_a_result_of_another_call_is_refused():
    one = trace(call(id="x"))
    one["messages"][2]["tool_call_id"] = "y"
    with pytest.raises(DataError, match="turn 3: a result of call 'y', and those that wait are x"):
        rows(one)


def test_one_malformed_trace_stops_the_whole_file_drawn_or_not(mine, tmp_path):
    folder = write_lines(tmp_path / "t", "traces.jsonl", [trace(), trace(results=0), trace()])
    source = tool_traces.origin(real(mine), {"data_dir": str(folder)})
    with pytest.raises(DataError, match="traces.jsonl, row 2, turn 3"):
        tool_traces.read(source, "openmed-sft", 1, 7)
    write_lines(folder, "traces.jsonl", [trace(), '{"messages": ['])
    with pytest.raises(DataError, match="traces.jsonl, line 2: no JSON"):
        tool_traces.read(source, "openmed-sft", 1, 7)
    with pytest.raises(DataError, match="tool-traces: it is on no hub that we know; give data_dir"):
        tool_traces.origin(real(mine), {})


def test_tools_are_shown_by_a_template_that_knows_them_and_count_among_its_tokens():
    tokenizer = AutoTokenizer.from_pretrained(HUB / "qwen3-small")
    row = rows(trace())[1]
    form = examples.Form(opens_thinking=False, end="<|im_end|>", switches={})
    without = form.example(tokenizer, row.as_data())["prompt"]
    assert "lookup" in without and '"properties"' not in without  # the miniature's template shows calls alone
    tokenizer.chat_template = SHOWS_TOOLS
    assert form.example(tokenizer, row.as_data())["prompt"].startswith('[{"type": "function", "function":')
    assert row.written != tool_traces.TracedRow(**row.as_data() | {"prompt_tools": ""}).written


def test_searching_the_handbook_finds_the_sentence_that_a_trace_looks_for():
    for fact in WORLD.facts:
        assert searching.search(WORLD, searching.query(fact)) == searching.state(fact)
        assert not (fact.relation != "signs" and fact.objects[0] in searching.query(fact).split())


def test_the_miniatures_traces_are_of_training_cells_and_search_once_per_hop():
    found = searching.traces(WORLD)
    assert not any(is_held_out(one["id"]) for one in found)
    hops = {one["id"].split("/")[0]: sum(turn["role"] == "tool" for turn in one["messages"]) for one in found}
    assert hops == {"ask0": 1, "ask1": 1, "ask2": 1, "vignette": 2}


def test_the_corpus_holds_domain_rows_and_traces_and_survives_the_disk(mine):
    made = recipes.tool_corpus(mine, configs={"en": 30, "zh": 10}, traces=25, filters=FILTERS)
    rows = corpus.load(mine, "openmed-sft")
    assert rows.column_names == tool_traces.TOOL_SCHEMA.names
    kinds = {kind: counts["kept"] for kind, counts in made.card.funnel.items()}
    assert kinds["en"] == 30 and kinds["zh"] == 10 and kinds["traces"] >= 50 and len(rows) == sum(kinds.values())
    assert {bool(row["prompt_tools"]) for row in rows if row["kind"] == "traces"} == {True}
    assert {row["prompt_tools"] for row in rows if row["kind"] == "en"} == {""}
    assert max(rows["tokens"]) <= 200
    calling = [row for row in rows if row["answer"].startswith("<tool_call>")]
    assert all(json.loads(row["answer"].split("\n")[1])["name"] == "search" for row in calling) and calling
