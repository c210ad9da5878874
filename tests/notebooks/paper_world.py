"""Profile `paper` on stand-ins: what is laid over its files. Trainings run alone and stop after a few steps."""

from pathlib import Path

import stand_in_harness_rows
import stand_in_rows
import stand_in_training_rows
from stand_in_world import SHORT, SIZES, World

ALONE = {"processes": 1, "config": "", "restarts": 0}
TRAINED_ON = ("alphamed",)  # the one of these sets that a study reads as it reads a suite
FEW = {"questions": 2, "conversations": 1}


def copy(name: str) -> dict[str, str]:
    return {"data_dir": f"data/{name}", "revision": ""}


def write_all(folder: Path) -> dict[str, Path]:
    """Write the rows of all suites and training sets under `folder`, and the harness's documents where it works."""
    stand_in_harness_rows.write_all(folder.parent / "outputs" / "paper" / "harness" / "data")
    sets = stand_in_training_rows.write_all(folder)
    return stand_in_rows.write_all(folder) | {name: sets[name] for name in TRAINED_ON}


SECTIONS = {
    "03_training_data": {
        "corpus1": {"genesis_medicine": 30, "genesis_biology": 20, "medmcqa": 20},
        "corpus2": {"medqa": 30},
        "sampling": SHORT,
        "batch": 40,
        "origins": {
            "genesis_medicine": copy("genesis_medicine"),
            "genesis_biology": copy("genesis_biology"),
            "medmcqa": copy("train-medmcqa"),
            "medqa": copy("train-medqa"),
        },
    },
    "04_sft": {"batch": {"packed_length": 1024, "global_batch": 4}, "launching": ALONE},
    "05_rl": {
        "asked": {"size": 24, "held_out": 4},
        "attempts": {"rl": 3, "switches": 1},
        "sampling": SHORT,
        "rl1": {"epochs": 1.0},
        "rl2": {"rollouts": 2, "group_size": 4},
        "rollout": {"prompts_per_rollout": 4, "group_size": 4, "max_new_tokens": 16},
        "limits": {"overlong_buffer": 4, "held_out_batch": 4, "evaluate_every": 1},
        "parts": {"rollouts": 1},
        "launching": ALONE,
    },
    "10_quantization": {"calibration": {"rows": 20, "held_out": 4, "context": 256}, "asked": FEW, "threads": 1},
    "12_gspo_judge": {
        "corpus": {"origin": copy("medical-o1")},
        "counts": {"held_out": 4, "runs": 1, "foreign": 4, "closed": 4},
        "sft": {"global_batch": 4},
        "rollout": {"rollouts": 2, "prompts_per_rollout": 4},
        "limits": {"max_new_tokens": 24, "overlong_buffer": 4, "evaluate_every": 1},
    },
    "13_openmed": {
        "corpus": {
            "configs": {"en": 10},
            "synthetic": {"corpus1": 20},
            "traces": 20,
            "origin": copy("medical-o1"),
            "trace_origin": copy("tool-traces"),
        },
        "filters": {"packed_length": 1024},
        "sft": {"global_batch": 8},
        "dpo": {"global_batch": 4},
        "grpo": {"rollouts": 2},
        "rollout": {"prompts_per_rollout": 4, "group_size": 4, "max_new_tokens": 16, "overlong_buffer": 4},
        "common": {"evaluate_every": 1},
        "choices": {
            "dpo": {"size": 40, "origin": copy("train-medmcqa")},
            "rl": {"size": 8, "origin": copy("medreason")},
        },
        "sampling": {"max_tokens": 40},
        "protocol": {"limit": 2, "batch_size": 4},
        "asked": {"runs": 1, "questions": 2, "conversations": 1, "calls": 4, "attempts": 3, "short": 16},
        "machine": {"launch": ALONE},
    },
}
OPTIONS = {"engine_options": {"replicas": None}}
PAPER = World("paper", SIZES | OPTIONS, SECTIONS, write_all, alone=("engine_options",))
