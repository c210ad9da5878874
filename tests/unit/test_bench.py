"""What `make bench` measures with: the parts that need no engine of their own."""

import json

import pytest
from medpsy import provenance, study
from medpsy.engines import programs
from medpsy.provenance import cores

from bench import evaluation, quantized


def test_of_several_repetitions_the_fastest_counts(monkeypatch):
    clock = iter([0.0, 4.0, 4.0, 5.0, 5.0, 7.0])  # three calls of 4, 1 and 2 seconds
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: next(clock))
    assert evaluation.fastest(lambda: 100) == 100.0


def test_the_table_and_its_record_hold_the_same_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(provenance, "collect", lambda root: {})
    monkeypatch.setattr(evaluation, "measure", lambda: [evaluation.Row("ours / theirs", 300.0, 100.0, 3.0)])
    evaluation.main()
    assert "ratio 3.00" in capsys.readouterr().out
    record = json.loads((tmp_path / "outputs" / "bench" / "bench.json").read_text())
    row = {"name": "ours / theirs", "ours": 300.0, "reference": 100.0, "ratio": 3.0, "unit": "tokens/s"}
    assert record["rows"] == [row]


def test_a_quantized_model_is_served_and_benched_at_the_same_length(monkeypatch):
    try:
        programs.find("llama-bench")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(quantized, "SHAPE", {**quantized.SHAPE, "num_hidden_layers": 1})
    monkeypatch.setattr(quantized, "WRITTEN", 16)
    said, asked = [], []
    run, speed = quantized.run_tool, quantized._speed
    monkeypatch.setattr(quantized, "run_tool", lambda *words, **more: said.append(run(*words, **more)) or said[-1])
    monkeypatch.setattr(quantized, "_speed", lambda *given: asked.append(given[-1].max_tokens) or speed(*given))
    served, bench = quantized.tokens_per_second(study.load("mini").model("qwen3-small").local_dir)
    (row,) = json.loads(said[-1][0])
    assert (row["n_gen"], row["n_prompt"], row["n_threads"]) == (16, 0, cores()) and set(asked) == {16}
    assert len(row["samples_ts"]) == len(asked) and bench == max(row["samples_ts"]) > 0 and served > 0
