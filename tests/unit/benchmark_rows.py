"""Invented rows in the schemas of the published data sets, and the files and hub folders that hold them."""

import csv
import gzip
import json
from pathlib import Path

import datasets
from medpsy.data.suites import official_ids

LETTERS = "ABCDEFGHIJ"
ABCD = ("w", "x", "y", "z")


def mmlu_csv(number: int) -> list[str]:
    """Original form: no header, letter at the end."""
    return [f"Which invented nerve is number {number}?", *ABCD, LETTERS[number % 4]]


def mmlu_hub(number: int, subject: str) -> dict:
    question = f"Which invented nerve is number {number}?"
    return {"question": question, "subject": subject, "choices": list(ABCD), "answer": number % 4}


def mmlu_pro(number: int, *, category: str = "health", options: int = 10, **changes) -> dict:
    row = {"question_id": number, "question": f"Invented stem {number}?", "category": category, "cot_content": ""}
    row |= {"answer": LETTERS[number % options], "answer_index": number % options, "src": "ori_mmlu-virology"}
    return row | {"options": [f"option {letter}" for letter in LETTERS[:options]]} | changes


def medmcqa(number: int, *, base: int = 0, **changes) -> dict:
    row = {"id": f"0000-{number:04}", "question": f"Invented stem {number}?", "cop": number % 4 + base}
    row |= dict(zip(("opa", "opb", "opc", "opd"), ABCD, strict=True))
    row |= {"choice_type": "multi" if number % 3 else "single", "exp": "SECRET explanation: the answer is x"}
    return row | {"subject_name": "Anatomy", "topic_name": None} | changes


def medqa(number: int, **changes) -> dict:
    letter = LETTERS[number % 4]
    options = {name: f"{text}{number}" for name, text in zip("ABCD", ABCD, strict=True)}
    row = {"question": f"An invented patient {number} ...?", "options": options, "answer": options[letter]}
    return row | {"answer_idx": letter, "meta_info": "step1", "metamap_phrases": ["SECRET phrase"]} | changes


def medxpertqa(number: int, **changes) -> dict:
    """Hub form: options as an object, a plain letter; the stem carries its options."""
    options = {letter: f"thing {letter}" for letter in LETTERS}
    listed = " ".join(f"({letter}) {text}" for letter, text in options.items())
    row = {"id": f"Text-{number}", "question": f"Invented case {number}?\nAnswer Choices: {listed}"}
    row |= {"options": options, "label": LETTERS[number % 10], "medical_task": "Diagnosis"}
    return row | {"body_system": "Nervous", "question_type": "Reasoning"} | changes


def medxpertqa_original(number: int) -> dict:
    """Original form: options as a list of objects, the letter in a list."""
    row = medxpertqa(number)
    options = [{"letter": letter, "content": text} for letter, text in row["options"].items()]
    return {**row, "options": options, "label": [row["label"]]}


def pubmedqa_answer(number: int) -> str:
    """The official balance over numbers 0 to 499, and the training half's after that."""
    place = number % 500
    return "yes" if place < 276 else "no" if place < 445 else "maybe"


def pubmedqa_id(number: int) -> int:
    """A PMID of the official test set for numbers 0 to 499, one that is in no set after that."""
    return int(sorted(official_ids())[number]) if number < 500 else 90_000_000 + number


def pubmedqa(number: int, **changes) -> dict:
    """Hub form."""
    answer = pubmedqa_answer(number)
    context = {"contexts": ["Little is known.", "We looked.", "It was so."], "meshes": ["Humans"]}
    context |= {"labels": ["BACKGROUND", "METHODS", "UNLABELLED"]}
    context |= {"reasoning_required_pred": list(answer), "reasoning_free_pred": list(answer)}
    row = {"pubid": pubmedqa_id(number), "question": f"Does invented X {number} help Y?", "context": context}
    return row | {"long_answer": "SECRET conclusion", "final_decision": answer} | changes


def pubmedqa_original(number: int, **changes) -> dict:
    row = pubmedqa(number)
    original = {"QUESTION": row["question"], "CONTEXTS": row["context"]["contexts"], "LABELS": row["context"]["labels"]}
    original |= {"MESHES": ["Humans"], "YEAR": "2001", "final_decision": row["final_decision"]}
    secret = {"reasoning_required_pred": "SECRET", "reasoning_free_pred": "SECRET", "LONG_ANSWER": "SECRET conclusion"}
    return original | secret | changes


def afrimedqa(number: int, *, options=("w", "x", "y", "z", "N/A"), **changes) -> dict:
    texts = {f"option{place}": text for place, text in enumerate(options, 1)}
    row = {"sample_id": f"s{number}", "split": "test", "tier": "expert", "question_type": "mcq", "country": "NG"}
    row |= {"question": f"Invented stem {number}?", "question_clean": f"Invented stem,\n{number}?"}
    row |= {"answer_options": json.dumps(texts), "correct_answer": "option3", "specialty": "Cardiology"}
    return row | {"answer_rationale": "SECRET rationale"} | changes


def alphamed(number: int, **changes) -> dict:
    letter = LETTERS[number % 4]
    return {"question": f"Invented stem {number}?\nA. w\nB. x\nC. y\nD. z", "answer": letter, **changes}


def write_jsonl(path: Path, rows: list[dict | str]) -> Path:
    """Write rows, one JSON object a line; a text is a line as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def write_named_csv(path: Path, rows: list[dict]) -> Path:
    """A csv with a header; nested values as JSON text, as a spreadsheet export holds them."""
    flat = [[value if isinstance(value, str) else json.dumps(value) for value in row.values()] for row in rows]
    return write_csv(path, [list(rows[0]), *flat])


def write_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(str(path))
    return path


def write_hub(root: Path, hub_id: str, configs: dict[str, dict[str, list[dict]]]) -> Path:
    """A folder that `datasets.load_dataset(hub_id)` reads when `root` is the working directory."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            write_parquet(root / hub_id / config / f"{split}-00000-of-00001.parquet", rows)
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    (root / hub_id / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return root / hub_id


def write_rows(folder: Path, name: str, rows: list[dict]) -> Path:
    """Write rows, one JSON object a line, and return the folder, for use as `data_dir`."""
    write_jsonl(folder / name, rows)
    return folder
