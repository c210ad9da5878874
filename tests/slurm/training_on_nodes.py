"""Within a job of two nodes: train with a process on each, one killed, then with one alone; write both losses."""

import json
import os
import sys
from pathlib import Path

from medpsy.training import launch
from training_examples import corpus, job, killing

if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_JOB_ID"]:
        del os.environ[name]  # as the plugin does before it runs a section
    folder = Path(sys.argv[1])
    rows = corpus(folder / "data", rows=26)
    shared = job(folder / "shared", rows)
    killing(shared, rank="1")
    records = {
        "shared": launch([[shared]], processes=2, config="cpu_2", restarts=1),
        "alone": launch([[job(folder / "alone", rows)]]),
    }
    losses = {how: [row["loss"] for row in one["small-sft1"]["log"] if "loss" in row] for how, one in records.items()}
    restarts = records["shared"]["small-sft1"]["restarts"]
    (folder / "losses.json").write_text(json.dumps(losses | {"restarts": restarts}))
