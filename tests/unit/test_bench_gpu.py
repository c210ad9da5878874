"""`make bench-gpu` on a processor with a small shape: what is counted, and what is said where there is no GPU."""

import json
import time

import pytest
import torch
from medpsy import provenance
from medpsy.training.flops import flops_per_token, shape
from training_examples import one_thread  # noqa: F401
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench import gpu, gpu_parts
from bench.gpu_parts import ATTENTION, OPTIMIZER, PRODUCTS, REST, Parts
from bench.gpu_runs import Sizes, grpo_parts, sft_parts, sft_speed

SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16}
RL = {"max_steps": 6, "generation_batch_size": 4, "num_generations": 2, "per_device_train_batch_size": 2}
SMALL = Sizes(
    shape=SHAPE | {"num_key_value_heads": 2, "max_position_embeddings": 1024}, packed_length=256, document=60, packs=2,
    micro_batch=1, precision="float32", attention="sdpa", warm=1, steps=4,
    rl=RL | {"max_completion_length": 16, "soft_punish_cache": 4},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


def test_utilization_is_the_models_operations_over_the_most_there_can_be(folder):
    found = sft_speed(SMALL, folder)
    config = json.loads((folder / "model" / "config.json").read_text())
    parameters = sum(one.numel() for one in Qwen3ForCausalLM(Qwen3Config(**config)).parameters())
    tokens = (found["flops_per_token"] - 6 * parameters) / (12 * 2 * 64)  # of a document; two layers, width 64
    assert flops_per_token(shape(config, parameters), tokens) == pytest.approx(found["flops_per_token"])
    assert 60 < tokens < 256
    assert found["mfu"] == pytest.approx(found["tokens_per_second"] * found["flops_per_token"] / found["ceiling"])
    assert 0 < found["mfu"] < 1


def test_the_rows_divide_by_the_ceiling_and_by_the_data_sheet():
    speed = {"tokens_per_second": 30_000.0, "flops_per_token": 1e10, "ceiling": 600e12}
    speed |= {"memory_gib": 40.0, "expected_gib": 50.0}
    rows = {row.name: row for row in gpu.sft_rows(speed, peak=1000e12)}
    assert rows["SFT / matrix products measured here"].ratio == pytest.approx(0.5)
    assert rows["matrix products measured here / data sheet"].ratio == pytest.approx(0.6)
    assert rows["SFT / data sheet, goal 0.45"].ratio == pytest.approx(0.3)
    assert rows["SFT / as fast as the matrix products"].reference == pytest.approx(60_000)
    assert rows["SFT: memory / forecast"].ratio == pytest.approx(0.8)
    assert not [row for row in gpu.sft_rows(speed, peak=None) if "data sheet" in row.name]


def test_the_parts_of_sft_and_the_rest_make_the_whole(folder):
    parts, kinds = sft_parts(SMALL, folder)
    assert set(parts.seconds) == {"data", "forward", "backward", "norm of the gradient", "optimizer"}
    assert parts.steps >= 3 and 0 < sum(parts.seconds.values()) <= parts.whole
    assert set(kinds) == {PRODUCTS, ATTENTION, REST} and all(seconds > 0 for seconds in kinds.values())
    rows = gpu.part_rows("SFT step", parts.seconds, parts.whole, parts.steps)
    assert sum(row.ratio for row in rows) == pytest.approx(1)
    assert sum(row.ours for row in rows) == pytest.approx(parts.whole / parts.steps)
    assert [row.ratio for row in rows] == sorted((row.ratio for row in rows), reverse=True)


def test_a_rollout_is_told_apart_from_its_updates(folder):
    parts = grpo_parts(SMALL, folder)
    assert parts.steps == 4  # two of three rollouts, of two updates each
    assert {"generation", "reward", "forward and backward", "optimizer"} <= set(parts.seconds)
    assert all(seconds > 0 for seconds in parts.seconds.values()) and sum(parts.seconds.values()) <= parts.whole


def test_a_part_within_another_counts_for_itself_alone(monkeypatch):
    class Trainer:
        def outer(self):
            time.sleep(0)
            self.inner()

        def inner(self):
            time.sleep(0)

    clock = iter([1.0, 2.0, 5.0, 6.0, 6.0, 7.0] * 2)
    monkeypatch.setattr(gpu_parts.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(OPTIMIZER[0], OPTIMIZER[1], lambda self: None)
    parts, trainer = Parts(warm=0), Trainer()
    with parts.of({(Trainer, "outer"): "outer", (Trainer, "inner"): "inner", OPTIMIZER: "optimizer"}):
        trainer.outer()  # from 1 to 6, inner from 2 to 5
        OPTIMIZER[0].step(None)
    assert parts.seconds == {"outer": 2.0, "inner": 3.0, "optimizer": 1.0}
    assert Trainer.outer.__name__ == "outer" and not hasattr(Trainer.outer, "__wrapped__")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    gpu.main()
    said = capsys.readouterr().out
    assert said.startswith("bench-gpu: no NVIDIA GPU here, so nothing was measured") and said.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_what_was_measured_stays_when_a_later_part_needs_more_memory(capsys, tmp_path, monkeypatch):
    def full(sizes, peak, rows):
        rows.append(gpu.Row("measured", 1.0, 2.0, 0.5))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setenv("MEDPSY_ROOT", str(tmp_path))
    monkeypatch.setattr(provenance, "collect", lambda root: {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(gpu, "measure", full)
    with pytest.raises(gpu.typer.Exit):
        gpu.main(packed_length=4096, micro_batch=2, checkpointing=False, peak=0.0)
    assert "try `python -m bench.gpu --micro-batch 1" in capsys.readouterr().out
    record = json.loads((tmp_path / "outputs" / "bench" / "bench_gpu.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["measured"]
