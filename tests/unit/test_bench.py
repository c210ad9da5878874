"""What `make bench` measures with: the parts that need no engine of their own."""

import json

import pytest
from fake_engine import FakeEngine
from medpsy import bench, bench_judging, bench_quantized, study
from medpsy.benchmarks import SUITES
from medpsy.engines import tools
from medpsy.engines.base import Sampling
from medpsy.provenance import cores


def test_all_questions_of_all_suites_are_asked_once():
    asked = bench.asked()
    assert {prompt.id.partition("/")[0] for prompt in asked} == set(SUITES)
    assert len({prompt.id for prompt in asked}) == len(asked) > 300


def test_of_several_repetitions_the_fastest_counts(monkeypatch):
    clock = iter([0.0, 4.0, 4.0, 5.0, 5.0, 7.0])  # three calls of 4, 1 and 2 seconds
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    assert bench.fastest(lambda: 100) == 100.0


def test_every_conversation_is_judged_with_several_responses():
    items = bench_judging.items()
    assert len({conversation.id for conversation, _ in items}) * bench_judging.EACH == len(items)
    assert bench_judging.items() == items


def test_the_plain_loop_asks_one_prompt_at_a_time():
    with FakeEngine("fp judge", reply=lambda prompt, sampling: "{}") as engine:
        assert bench_judging.one_by_one(engine, ["a", "b", "c"], Sampling(max_tokens=4)) > 0
        assert [prompt.messages[0]["content"] for prompt in engine.asked] == ["a", "a", "b", "c"]


def test_the_table_and_its_record_hold_the_same_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "provenance", dict)
    monkeypatch.setattr(bench, "measure", lambda: [bench.Row("ours / theirs", 300.0, 100.0, 3.0)])
    bench.main()
    assert "ratio 3.00" in capsys.readouterr().out
    record = json.loads((tmp_path / "outputs" / "bench" / "bench.json").read_text())
    row = {"name": "ours / theirs", "ours": 300.0, "reference": 100.0, "ratio": 3.0, "unit": "tokens/s"}
    assert record["rows"] == [row]


def test_a_quantized_model_is_served_and_benched_at_the_same_length(monkeypatch):
    try:
        tools.find("llama-bench")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(bench_quantized, "SHAPE", {**bench_quantized.SHAPE, "num_hidden_layers": 1})
    monkeypatch.setattr(bench_quantized, "WRITTEN", 16)
    said, asked = [], []
    run, speed = bench_quantized.run, bench_quantized._speed
    monkeypatch.setattr(bench_quantized, "run", lambda *words, **more: said.append(run(*words, **more)) or said[-1])
    monkeypatch.setattr(bench_quantized, "_speed", lambda *given: asked.append(given[-1].max_tokens) or speed(*given))
    served, bench = bench_quantized.tokens_per_second(study.load("mini").model("qwen3-small").local_dir)
    (row,) = json.loads(said[-1].stdout)
    assert (row["n_gen"], row["n_prompt"], row["n_threads"]) == (16, 0, cores()) and set(asked) == {16}
    assert len(row["samples_ts"]) == len(asked) and bench == max(row["samples_ts"]) > 0 and served > 0
