"""Invented rows, as many as were published, in the files and columns of each suite's copy on the hub."""

from pathlib import Path

import benchmark_rows as invented
import healthbench_rows
from medpsy.benchmarks import healthbench, mmlu_health

HEALTH, OTHERS = 818, 40  # rows of MMLU-Pro: as many of health as published, and some of another category
KINDS = ("step1", "step2&3")


def write_all(folder: Path) -> dict[str, Path]:
    """Write the rows of every suite of the report under `folder`; return suite -> folder, for `data_dirs`."""
    made = {name: write(folder / name) for name, write in SUITES.items()}
    conversations = _healthbench(folder / "healthbench")
    return made | {"healthbench": conversations, "healthbench_hard": conversations}


def _mmlu_health(folder: Path) -> Path:
    for subject, count in mmlu_health.SUBJECTS.items():
        rows = [invented.mmlu_hub(number, subject) for number in range(count)]
        invented.write_parquet(folder / subject / "test-00000-of-00001.parquet", rows)
    return folder


def _afrimedqa(folder: Path) -> Path:
    rows = [invented.afrimedqa(number, correct_answer=f"option{1 + number % 4}") for number in range(3_910)]
    rows += [invented.afrimedqa(9_000, tier="crowdsourced"), invented.afrimedqa(9_001, question_type="saq")]
    invented.write_named_csv(folder / "afri_med_qa_15k_v2.4_phase_2_15275.csv", rows)
    return folder


def _mmlu_pro_health(folder: Path) -> Path:
    rows = [invented.mmlu_pro(number, options=3 + number % 8) for number in range(HEALTH)]
    rows += [invented.mmlu_pro(HEALTH + number, category="law") for number in range(OTHERS)]
    invented.write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    return folder


def _medmcqa(folder: Path) -> Path:
    rows = [invented.medmcqa(number, topic_name="Nerves") for number in range(4_183)]
    invented.write_parquet(folder / "data" / "validation-00000-of-00001.parquet", rows)
    return folder


def _medqa(folder: Path) -> Path:
    rows = [invented.medqa(number, meta_info=KINDS[number % 2]) for number in range(1_273)]
    return invented.write_rows(folder, "phrases_no_exclude_test.jsonl", rows)


def _medxpertqa(folder: Path) -> Path:
    invented.write_rows(folder / "Text", "test.jsonl", [invented.medxpertqa(number) for number in range(2_450)])
    return folder


def _pubmedqa(folder: Path) -> Path:
    rows = [invented.pubmedqa(number) for number in range(1_000)]
    invented.write_parquet(folder / "pqa_labeled" / "train-00000-of-00001.parquet", rows)
    invented.write_json(folder / "test_ground_truth.json", invented.pubmedqa_list(range(500)))
    return folder


def _healthbench(folder: Path) -> Path:
    """The main file, and the Hard one, which repeats a fifth of its rows."""
    themes = list(healthbench.THEMES)
    rows = [_conversation(number, themes[number % len(themes)]) for number in range(5_000)]
    main, hard = (part for part in healthbench.PARTS if part.key in ("healthbench", "healthbench_hard"))
    invented.write_rows(folder, main.file, rows)
    return invented.write_rows(folder, hard.file, rows[::5])


def _conversation(number: int, theme: str) -> dict:
    """A row with one criterion on each of two axes, one of a cluster, and one that takes points away."""
    axes = list(healthbench.AXES)
    of = healthbench_rows.criterion
    rubric = [of(f"names nerve {number}", 7, axes[number % 5]), of("asks when", 5, axes[(number + 1) % 5], "cluster")]
    return healthbench_rows.example(number, theme=theme, rubrics=[*rubric, of("sends nobody anywhere", -4)])


SUITES = {
    "mmlu_health": _mmlu_health,
    "afrimedqa": _afrimedqa,
    "mmlu_pro_health": _mmlu_pro_health,
    "medmcqa": _medmcqa,
    "medqa": _medqa,
    "medxpertqa": _medxpertqa,
    "pubmedqa": _pubmedqa,
}
