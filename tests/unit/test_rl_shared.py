"""Reinforcement learning shared by two processes under FSDP, of which one is lost on the way."""

import pytest
import torch
from medpsy import study
from medpsy.training import launch, rl_set
from medpsy.training.data import write
from medpsy.training.jobs import Job
from medpsy.training.stages import curves
from test_dapo import CONFIG
from training_examples import HUB, killing, working_as
from transformers import AutoModelForCausalLM

ROLLOUTS, HELD_OUT = 4, 8


@pytest.fixture
def job(tmp_path):
    known = rl_set(study.load("mini"), size=24, held_out=HELD_OUT, seed=1)
    parts = {"train": known.train, "held_out": known.held_out}
    files = tuple(str(write(tmp_path / f"{name}.parquet", part)) for name, part in parts.items())
    folders = {"folder": str(tmp_path / "models" / "small-rl1"), "work": str(tmp_path / "training" / "small-rl1")}
    size = {"max_steps": 2 * ROLLOUTS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    config = {**CONFIG, **size, "learning_rate": 1e-4, "max_completion_length": 128, "report_to": ["tensorboard"]}
    given = {"config": config, "store": str(tmp_path), "opens_thinking": False}
    return Job("small-rl1", "rl", parent=str(HUB / "qwen3-small"), data=files, **folders, **given)


def test_a_sharded_stage_that_loses_a_process_goes_on_to_its_best_checkpoint(job, monkeypatch):
    working_as("fsdp_on_cpu", monkeypatch)
    killing(job, rank="1")
    record = launch([[job]], processes=2, config="fsdp_8", restarts=1)[job.name]
    assert (record["processes"], record["restarts"], record["held_out"]) == (2, 1, HELD_OUT)
    found = curves(record["log"]).set_index("step")
    assert list(found.index) == [2 * at for at in range(ROLLOUTS + 1)]  # none twice
    assert found["useful"].dropna().size == ROLLOUTS and found["useful"].max() == 1
    assert found["grad_norm"].max() > 0
    assert found["held_out"][record["best_step"]] == record["held_out_best"] == found["held_out"].max()
    written, parent = (AutoModelForCausalLM.from_pretrained(folder) for folder in (job.folder, job.parent))
    changed = [not torch.equal(a, b) for a, b in zip(written.parameters(), parent.parameters(), strict=True)]
    assert all(torch.isfinite(one).all() for one in written.parameters()) and any(changed) == (record["best_step"] > 0)
