"""Invented rows in the files and columns of each data set's copy on the hub, as many of a suite as were published.

They share questions as the real sets do: AlphaMed is made of the training questions of MedQA and MedMCQA, of which the
corpora ask some; MMLU-Pro repeats MMLU; MedReason repeats suites; medical-o1 repeats MedQA. What is trained on is made
of words drawn at random, so that no other row is like another.
"""

import importlib.util
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import benchmark_rows as invented
import case_rows
import healthbench_rows
import yaml
from benchmark_rows import write_rows
from medpsy.data import healthbench
from medpsy.data.suites import AFRIMED_ROWS, MMLU_PRO_ROWS, MMLU_SUBJECTS, SUITES
from medpsy.recipes.medical_o1 import FILES as O1_FILES
from test_recipes_tools import TOOLS, call

HARNESS = Path(importlib.util.find_spec("lm_eval").origin).parent / "tasks"
SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu")
LETTERS, SHOTS, DOCUMENTS = "ABCD", 5, 3
TRAINED = 9_000  # training questions of each of MedQA and MedMCQA; together about as many as AlphaMed has
SHARED = 20  # questions that MMLU-Pro, MedReason and medical-o1 take over from another set
HEALTH = SUITES["mmlu_pro_health"].published


def write_all(folder: Path) -> None:
    """Write every set under `folder`, each in the folder of its hub id."""
    for hub_id, write in SETS.items():
        write(folder / hub_id, random.Random(hub_id))


def words(draw: random.Random, count: int) -> str:
    return " ".join("".join(draw.choices(SYLLABLES, k=3)) for _ in range(count))


def asked(draw: random.Random) -> str:
    return f"Which {words(draw, 8)}?"


def options(draw: random.Random) -> list[str]:
    return [words(draw, 2) for _ in LETTERS]


@cache
def trained(name: str) -> list[tuple[str, list[str], int]]:
    """Return stem, options and gold of the training questions of a set."""
    draw = random.Random(name)
    return [(asked(draw), options(draw), number % 4) for number in range(TRAINED)]


def lettered(given: list[str], mark: str, between: str) -> str:
    return between.join(f"{letter}{mark} {option}" for letter, option in zip(LETTERS, given, strict=True))


def declare(folder: Path, configs: dict[str, dict[str, str]]) -> None:
    """Write which files are which split of which configuration, as the page of a set declares them."""
    listed = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
        for name, files in configs.items()
    ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n", encoding="utf-8")


def _mmlu(folder: Path, draw: random.Random) -> None:
    """One configuration per subject: those of the suite whole, of the others what the harness needs."""
    subjects = sorted(path.stem.removeprefix("mmlu_") for path in (HARNESS / "mmlu" / "default").glob("mmlu_*.yaml"))
    for subject in subjects:
        for split, count in (("test", MMLU_SUBJECTS.get(subject, DOCUMENTS)), ("dev", SHOTS)):
            rows = [invented.mmlu_hub(number, subject) for number in range(count)]
            invented.write_parquet(folder / subject / f"{split}-00000-of-00001.parquet", rows)
    declare(folder, {one: {split: f"{one}/{split}-*" for split in ("test", "dev")} for one in subjects})


def _mmlu_pro(folder: Path, draw: random.Random) -> None:
    rows = [invented.mmlu_pro(number, options=3 + number % 8) for number in range(HEALTH)]
    for number in range(SHARED):
        rows[number]["question"] = invented.mmlu_hub(number, "anatomy")["question"]
    others = range(HEALTH, MMLU_PRO_ROWS)
    rows += [invented.mmlu_pro(number, category="law", question=asked(draw)) for number in others]
    invented.write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    shown = [invented.mmlu_pro(number, category=one) for one in ("health", "law") for number in range(SHOTS)]
    invented.write_parquet(folder / "data" / "validation-00000-of-00001.parquet", shown)


def _afrimedqa(folder: Path, draw: random.Random) -> None:
    rows = [invented.afrimedqa(number, correct_answer=f"option{1 + number % 4}") for number in range(3_910)]
    rows += [invented.afrimedqa(number, tier="crowdsourced") for number in range(3_910, 4_039)]
    rows += [invented.afrimedqa(number, question_type="saq") for number in range(4_039, AFRIMED_ROWS)]
    invented.write_named_csv(folder / "afri_med_qa_15k_v2.4_phase_2_15275.csv", rows)


def _medmcqa(folder: Path, draw: random.Random) -> None:
    def taught(number: int, stem: str, given: list[str], gold: int) -> dict:
        named = dict(zip(("opa", "opb", "opc", "opd"), given, strict=True))
        return invented.medmcqa(number, question=stem, cop=gold, topic_name="Nerves", **named)

    splits = {
        "train": [taught(10_000 + number, *one) for number, one in enumerate(trained("medmcqa"))],
        "validation": [invented.medmcqa(number, topic_name="Nerves") for number in range(4_183)],
        "test": [invented.medmcqa(5_000 + number, cop=-1, topic_name="Nerves") for number in range(9)],
    }
    for split, rows in splits.items():
        invented.write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def _medqa(folder: Path, draw: random.Random) -> None:
    def taught(number: int, stem: str, given: list[str], gold: int) -> dict:
        named = dict(zip(LETTERS, given, strict=True))
        answer = {"answer": given[gold], "answer_idx": LETTERS[gold]}
        return invented.medqa(number, question=stem, options=named, **answer)

    asking = [invented.medqa(number, meta_info=("step1", "step2&3")[number % 2]) for number in range(1_273)]
    write_rows(folder, "phrases_no_exclude_test.jsonl", asking)
    taught_rows = [taught(number, *one) for number, one in enumerate(trained("medqa"))]
    write_rows(folder, "phrases_no_exclude_train.jsonl", taught_rows)


def _medxpertqa(folder: Path, draw: random.Random) -> None:
    write_rows(folder / "Text", "test.jsonl", [invented.medxpertqa(number) for number in range(2_450)])
    write_rows(folder / "Text", "dev.jsonl", [invented.medxpertqa(3_000 + number) for number in range(5)])
    declare(folder, {"Text": {"dev": "Text/dev.jsonl", "test": "Text/test.jsonl"}})


def _pubmedqa(folder: Path, draw: random.Random) -> None:
    rows = [invented.pubmedqa(number) for number in range(1_000)]
    invented.write_parquet(folder / "pqa_labeled" / "train-00000-of-00001.parquet", rows)
    declare(folder, {"pqa_labeled": {"train": "pqa_labeled/train-*"}})


def _healthbench(folder: Path, draw: random.Random) -> None:
    """The main file, and the Hard one, which repeats a fifth of its rows."""
    themes = list(healthbench.THEMES)
    rows = [_conversation(number, themes[number % len(themes)]) for number in range(5_000)]
    write_rows(folder, healthbench.FILES["healthbench"][0], rows)
    write_rows(folder, healthbench.FILES["healthbench_hard"][0], rows[::5])
    labelled = [healthbench_rows.labelled(number, theme=themes[number % len(themes)]) for number in range(29_511)]
    write_rows(folder, healthbench.PHYSICIANS_FILES[0], labelled)


def _conversation(number: int, theme: str) -> dict:
    """A row with one criterion on each of two axes, one of a cluster, and one that takes points away."""
    axes = list(healthbench.AXES)
    of = healthbench_rows.criterion
    rubric = [of(f"names nerve {number}", 7, axes[number % 5]), of("asks when", 5, axes[(number + 1) % 5], "cluster")]
    return healthbench_rows.example(number, theme=theme, rubrics=[*rubric, of("sends nobody anywhere", -4)])


def _instructions(folder: Path, draw: random.Random) -> None:
    kind = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_highlights": None, "relation": None}]}
    rows = [{"key": n, "prompt": f"Write about {words(draw, 3)} without a comma.", **kind} for n in range(DOCUMENTS)]
    invented.write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


def _genesis(folder: Path, draw: random.Random) -> None:
    def text() -> str:
        given = lettered(options(draw), ")", "\n")
        return f"**Question:** {asked(draw)}\n**Options:**\n{given}\n**Proposed answer:** A, SECRET\n"

    domains = ("college_chemistry",) if folder.name == "GenesisII" else ("college_medicine", "college_biology")
    for domain in domains:
        write_rows(folder / domain, f"{domain}.jsonl", [{"text": text()} for _ in range(300)])


def _consultations(folder: Path, draw: random.Random) -> None:
    rows = [{"instruction": "Answer.", "input": f"I have {words(draw, 12)}.", "output": "SECRET"} for _ in range(300)]
    invented.write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


def _medquad(folder: Path, draw: random.Random) -> None:
    rows = [{"document_source": "NIH", "question": asked(draw), "answer": "SECRET"} for _ in range(300)]
    invented.write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


def _alphamed(folder: Path, draw: random.Random) -> None:
    rows = [
        {"question": f"{stem} {lettered(given, ':', ' ')}", "answer": LETTERS[gold]}
        for stem, given, gold in trained("medqa") + trained("medmcqa")
    ]
    draw.shuffle(rows)
    invented.write_parquet(folder / "train19k.parquet", rows)


def _medical_o1(folder: Path, draw: random.Random) -> None:
    for config, name in O1_FILES.items():
        han = config.startswith("zh")
        rows = [{"Question": _said(draw, han), "Complex_CoT": "Hm.", "Response": _said(draw, han)} for _ in range(120)]
        for row, (stem, _, _) in zip(rows, trained("medqa")[: 0 if han else SHARED], strict=False):
            row["Question"] = stem
        invented.write_json(folder / name, rows)


def _said(draw: random.Random, han: bool) -> str:
    return "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(12)) if han else asked(draw)


def _cmexam(folder: Path, draw: random.Random) -> None:
    write_rows(folder, "test.json", [each["row"] for each in case_rows.rows("cmexam") if each["want"] is None] * 10)


def _medreason(folder: Path, draw: random.Random) -> None:
    stems = [invented.medqa(number)["question"] for number in range(SHARED)]
    stems += [stem for stem, _, _ in trained("medmcqa")[:SHARED]] + [asked(draw) for _ in range(300 - 2 * SHARED)]

    def row(number: int, stem: str) -> dict:
        given = options(draw)
        said = {"answer": f"{given[number % 4]}. Explanation: it is so.", "reasoning": "SECRET"}
        shown = f"Answer Choices:\n{lettered(given, '.', chr(10))}"
        return {"dataset_name": "medmcqa", "id_in_dataset": number, "question": stem, "options": shown, **said}

    write_rows(folder, "ours_quality_33000.jsonl", [row(number, stem) for number, stem in enumerate(stems)])


def write_traces(folder: Path) -> None:
    """Write traces of tool calls, which are on no hub: the one set that a user brings."""
    draw = random.Random("traces")

    def trace() -> dict:
        turn = {"role": "assistant", "content": "<think>\nI look.\n</think>\n\n"}
        turn["tool_calls"] = [call({"term": words(draw, 2)})]
        found = {"role": "tool", "content": words(draw, 4)}
        last = {"role": "assistant", "reasoning_content": "It says so.", "content": f"{words(draw, 2)}."}
        return {"messages": [{"role": "user", "content": asked(draw)}, turn, found, last], "tools": TOOLS}

    write_rows(folder, "traces.jsonl", [json.loads(json.dumps(trace())) for _ in range(80)])


SETS: dict[str, Callable[[Path, random.Random], None]] = {
    "cais/mmlu": _mmlu,
    "TIGER-Lab/MMLU-Pro": _mmlu_pro,
    "afrimedqa/afrimedqa_v2": _afrimedqa,
    "openlifescienceai/medmcqa": _medmcqa,
    "GBaker/MedQA-USMLE-4-options": _medqa,
    "TsinghuaC3I/MedXpertQA": _medxpertqa,
    "qiaojin/PubMedQA": _pubmedqa,
    "openai/healthbench": _healthbench,
    "wis-k/instruction-following-eval": _instructions,
    "qvac/GenesisI": _genesis,
    "qvac/GenesisII": _genesis,
    "lavita/ChatDoctor-HealthCareMagic-100k": _consultations,
    "lavita/MedQuAD": _medquad,
    "che111/AlphaMed19K": _alphamed,
    "FreedomIntelligence/medical-o1-reasoning-SFT": _medical_o1,
    "UCSC-VLAA/MedReason": _medreason,
    "fzkuji/CMExam": _cmexam,
}
