"""One training on several nodes of a job, of which one fails: it goes on, and the loss is that of one process."""

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
from medpsy.training import jobs


def test_two_nodes_of_which_one_fails_reach_the_loss_of_one_process(slurm, root, tmp_path):
    paths = [str(root / "lib"), str(root / "tests" / "unit"), *filter(None, [os.environ.get("PYTHONPATH")])]
    script = [sys.executable, str(Path(__file__).with_name("training_on_nodes.py")), str(tmp_path)]
    call = shlex.join(["env", f"PYTHONPATH={os.pathsep.join(paths)}", *script])
    number = slurm("sbatch", "--parsable", "--nodes=2", "--ntasks=2", f"--output={tmp_path}/log", f"--wrap={call}")
    while slurm("squeue", "-h", "-j", number):  # `sbatch --wait` looks ever less often
        time.sleep(0.5)
    assert (tmp_path / "losses.json").exists(), (tmp_path / "log").read_text()[-3000:]
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert losses.pop("restarts") == 1
    assert losses["shared"] == pytest.approx(losses["alone"], rel=1e-3) and len(losses["alone"]) > 5


def test_several_nodes_without_slurm_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ValueError, match="'fsdp_32' shares the work among 4 machines.*EXECUTOR=slurm"):
        jobs.launch_command(["-c", "pass"], jobs.Sharing(32, "fsdp_32"))
    with pytest.raises(ValueError, match="'fsdp_33' is unknown; known are cpu, cpu_2, fsdp_32"):
        jobs.launch_command(["-c", "pass"], jobs.Sharing(32, "fsdp_33"))
    assert "srun" not in jobs.launch_command(["-c", "pass"], jobs.Sharing(8, "fsdp_8"))  # one machine
