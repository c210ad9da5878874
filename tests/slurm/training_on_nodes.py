"""Within a job of two nodes: train with a process on each, then with one alone; write both losses to a file."""

import json
import os
import sys
from pathlib import Path

from medpsy.training import launch
from training_examples import corpus, job

if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_JOB_ID"]:
        del os.environ[name]  # as the plugin does before it runs a section
    folder = Path(sys.argv[1])
    rows = corpus(folder / "data", rows=26)
    records = {
        "shared": launch([[job(folder / "shared", rows)]], processes=2, config="cpu_2"),
        "alone": launch([[job(folder / "alone", rows)]]),
    }
    losses = {
        how: [row["loss"] for row in found["small-sft1"]["log"] if "loss" in row] for how, found in records.items()
    }
    (folder / "losses.json").write_text(json.dumps(losses))
