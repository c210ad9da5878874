"""Invented rows of the sets that are trained on, in the files and columns of their copies.

Made of words drawn at random: unlike each other and the suites' rows, so that the filters leave them.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import benchmark_rows as invented
import recipes_example
from medpsy.recipes.medical_o1 import FILES
from test_recipes_tools import TOOLS, call

SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu")
ALPHAMED = 18_000  # about as many as published
LETTERS = "ABCD"


def write_all(folder: Path) -> dict[str, Path]:
    """Write every set under `folder`; return set -> folder."""
    return {name: write(folder / name, random.Random(name)) for name, write in SETS.items()}


def words(draw: random.Random, count: int) -> str:
    return " ".join("".join(draw.choices(SYLLABLES, k=3)) for _ in range(count))


def asked(draw: random.Random) -> str:
    return f"Which {words(draw, 8)}?"


def options(draw: random.Random) -> list[str]:
    return [words(draw, 2) for _ in LETTERS]


def lines(folder: Path, name: str, rows: Iterator[dict]) -> Path:
    return recipes_example.write_lines(folder, name, list(rows))


def _genesis(folder: Path, draw: random.Random) -> Path:
    def text() -> str:
        given = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options(draw), strict=True))
        return f"**Question:** {asked(draw)}\n**Options:**\n{given}\n**Proposed answer:** A, SECRET\n"

    return lines(folder, f"{folder.name.replace('genesis', 'college')}.jsonl", ({"text": text()} for _ in range(300)))


def _medmcqa(folder: Path, draw: random.Random) -> Path:
    def row(number: int) -> dict:
        given = dict(zip(("opa", "opb", "opc", "opd"), options(draw), strict=True))
        return invented.medmcqa(number, question=asked(draw), **given)

    invented.write_parquet(folder / "data" / "train-00000-of-00001.parquet", [row(number) for number in range(300)])
    return folder


def _medqa(folder: Path, draw: random.Random) -> Path:
    def row(number: int) -> dict:
        given = dict(zip(LETTERS, options(draw), strict=True))
        return invented.medqa(number, question=asked(draw), options=given, answer=given[LETTERS[number % 4]])

    return lines(folder, "phrases_no_exclude_train.jsonl", (row(number) for number in range(300)))


def _alphamed(folder: Path, draw: random.Random) -> Path:
    def row(number: int) -> dict:
        given = dict(zip(LETTERS, options(draw), strict=True))
        return {"question": asked(draw), "options": given, "answer": LETTERS[number % 4]}

    return lines(folder, "train.jsonl", (row(number) for number in range(ALPHAMED)))


def _medical_o1(folder: Path, draw: random.Random) -> Path:
    for config, name in FILES.items():
        han = config.startswith("zh")
        rows = [{"Question": _said(draw, han), "Complex_CoT": "Hm.", "Response": _said(draw, han)} for _ in range(120)]
        recipes_example.write_json(folder, name, rows)
    return folder


def _said(draw: random.Random, han: bool) -> str:
    return "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(12)) if han else asked(draw)


def _medreason(folder: Path, draw: random.Random) -> Path:
    def row(number: int) -> dict:
        given = options(draw)
        shown = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, given, strict=True))
        said = {"answer": f"{given[number % 4]}. Explanation: it is so.", "reasoning": "SECRET"}
        return {"dataset_name": "medmcqa", "id_in_dataset": number, "question": asked(draw), "options": shown, **said}

    return lines(folder, "ours_quality_33000.jsonl", (row(number) for number in range(300)))


def _traces(folder: Path, draw: random.Random) -> Path:
    def trace() -> dict:
        turn = {"role": "assistant", "content": "<think>\nI look.\n</think>\n\n"}
        turn["tool_calls"] = [call({"term": words(draw, 2)})]
        found = {"role": "tool", "content": words(draw, 4)}
        last = {"role": "assistant", "reasoning_content": "It says so.", "content": f"{words(draw, 2)}."}
        return {"messages": [{"role": "user", "content": asked(draw)}, turn, found, last], "tools": TOOLS}

    return lines(folder, "traces.jsonl", (json.loads(json.dumps(trace())) for _ in range(80)))


SETS: dict[str, Callable[[Path, random.Random], Path]] = {
    "genesis_medicine": _genesis,
    "genesis_biology": _genesis,
    "train-medmcqa": _medmcqa,
    "train-medqa": _medqa,
    "alphamed": _alphamed,
    "medical-o1": _medical_o1,
    "medreason": _medreason,
    "tool-traces": _traces,
}
