"""Invented documents of lm-evaluation-harness's own tasks, in folders named as its data sets on the hub.

A folder of that name where the harness works goes before the hub.
"""

import importlib.util
import random
from pathlib import Path

import benchmark_rows as invented
import yaml
from stand_in_training_rows import asked, options, words

TASKS = Path(importlib.util.find_spec("lm_eval").origin).parent / "tasks"
CATEGORIES, SHOTS, DOCUMENTS = ("health", "law"), 5, 3


def write_all(folder: Path) -> None:
    """Write the data sets of MMLU, MMLU-Pro and IFEval under `folder`."""
    draw = random.Random(7)
    _mmlu(folder / "cais" / "mmlu", draw)
    _mmlu_pro(folder / "TIGER-Lab" / "MMLU-Pro", draw)
    rows = [_instruction(number, draw) for number in range(DOCUMENTS)]
    invented.write_parquet(folder / "wis-k" / "instruction-following-eval" / "train.parquet", rows)


def _mmlu(folder: Path, draw: random.Random) -> None:
    """One configuration per subject, as its page declares them."""
    subjects = sorted(path.stem.removeprefix("mmlu_") for path in (TASKS / "mmlu" / "default").glob("mmlu_*.yaml"))
    configs = []
    for subject in subjects:
        for split, count in (("test", DOCUMENTS), ("dev", SHOTS)):
            rows = [_question(draw) | {"subject": subject} for _ in range(count)]
            invented.write_parquet(folder / subject / f"{split}.parquet", rows)
        files = [{"split": split, "path": f"{subject}/{split}.parquet"} for split in ("test", "dev")]
        configs.append({"config_name": subject, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n", encoding="utf-8")


def _question(draw: random.Random) -> dict:
    return {"question": asked(draw), "choices": options(draw), "answer": draw.randrange(4)}


def _mmlu_pro(folder: Path, draw: random.Random) -> None:
    for split, count in (("test", DOCUMENTS), ("validation", SHOTS)):
        rows = [
            invented.mmlu_pro(number, options=10, question=asked(draw), category=CATEGORIES[number % 2])
            for number in range(count)
        ]
        invented.write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def _instruction(number: int, draw: random.Random) -> dict:
    kind = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_highlights": None, "relation": None}]}
    return {"key": number, "prompt": f"Write about {words(draw, 3)} without a comma.", **kind}
