"""The miniature's documents for the tasks in ``tasks/``: rows in the very form of the data sets they stand for.

Questions are those of the suites (held out); examples come from cells that training may show. Scores nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medpsy import benchmarks
from medpsy.benchmarks.question import Question
from medpsy.files import write_text
from medpsy.harness.mini_instructions import instructed
from medpsy.mini import world as worlds
from medpsy.mini.cases import cases
from medpsy.mini.suites import SUBJECTS, pick, question

TASKS = Path(__file__).parent / "tasks"
EXAMPLES = 5  # of a ten-option question, as `leaderboard_mmlu_pro` has them


def files() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every file that a task of `TASKS` reads, by its name."""
    health = benchmarks.load_suite("mmlu_health", source="mini").questions
    pro = benchmarks.load_suite("mmlu_pro_health", source="mini").questions
    found = {f"mmlu_{subject}.jsonl": [mmlu(one) for one in health if one.subject == subject] for subject in SUBJECTS}
    found |= {"mmlu_pro.jsonl": [mmlu_pro(one) for one in pro]}
    found |= {"mmlu_pro_examples.jsonl": [mmlu_pro(one) for one in examples()]}
    return found | {"ifeval.jsonl": instructed()}


def write(folder: Path) -> str:
    """Write all files into `folder` and return the digest of the documents and of the tasks that read them."""
    total = hashlib.sha256()
    for name, rows in files().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text:
            write_text(folder / name, text)
        total.update(f"{name}\0{text}\0".encode())
    for path in sorted(path for path in TASKS.iterdir() if path.is_file()):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def mmlu(one: Question) -> dict[str, Any]:
    return {"question": one.stem, "subject": one.subject, "choices": list(one.options), "answer": one.gold}


def mmlu_pro(one: Question) -> dict[str, Any]:
    return {"question": one.stem, "options": list(one.options), "answer": one.letters[one.gold], "category": "health"}


def examples() -> Iterable[Question]:
    """Return `EXAMPLES` ten-option questions with their answers, none of which is asked."""
    pool = [case for case in cases(worlds.build(), held_out=False)["ask1"] if case.relation != "region"]
    return [question("mmlu_pro_health", case, 10) for case in pick("examples", pool, EXAMPLES)]
