"""What lm-evaluation-harness wrote, as plain rows: scores by task and metric, and what each document scored.

Reads its result files as they are; scores become points of 0 to 100.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

Rows = list[dict[str, Any]]


class NoResults(ValueError):
    """A folder does not hold what the harness writes; the message says which and what to do."""


def scores(folder: Path, model: str) -> Rows:
    """Return ``{model, task, metric, value, stderr, n, shots}`` of every task and group; stderr may be None.

    Raises:
        NoResults: there is not exactly one file of results.
    """
    found = _results(folder)
    rows = []
    for task, entries in found["results"].items():
        leaves = _leaves(task, found)
        n = sum(found["n-samples"][leaf]["effective"] for leaf in leaves)
        place = {"model": model, "task": task, "n": n, "shots": found["n-shot"].get(leaves[0], 0)}
        for key, value in entries.items():
            metric, _, tail = key.partition(",")
            if tail and not metric.endswith("_stderr") and isinstance(value, int | float):
                stderr = entries.get(f"{metric}_stderr,{tail}")
                spread = 100 * stderr if isinstance(stderr, int | float) else None
                rows.append(place | {"metric": metric, "value": 100 * value, "stderr": spread})
    return rows


def documents(folder: Path, model: str) -> Rows:
    """Return ``{model, task, metric, documents, values}`` with one value per document, in points.

    A document of a task counts for each of its groups too, under ``task/number``. Where a document has several
    instructions, its value is the share of them that was followed.
    """
    found = _results(folder)
    own = {task: list(_values(folder, task)) for task in found["n-samples"]}
    rows = []
    for task in found["results"]:
        together: dict[str, dict[str, float]] = {}
        for leaf in _leaves(task, found):
            for name, metric, value in own[leaf]:
                together.setdefault(metric, {})[name] = value
        place = {"model": model, "task": task}
        rows += [
            place | {"metric": one, "documents": list(v), "values": list(v.values())} for one, v in together.items()
        ]
    return rows


def responses(folder: Path, task: str) -> list[dict[str, str]]:
    """Return ``{document, prompt, text}`` of a task that has text written: what was scored, after all stripping."""
    found = []
    for row in _samples(folder, task):
        prompt = row["arguments"]["gen_args_0"]["arg_0"]
        found.append({"document": f"{task}/{row['doc_id']}", "prompt": prompt, "text": row["filtered_resps"][0]})
    return found


def _values(folder: Path, task: str) -> Iterator[tuple[str, str, float]]:
    for row in _samples(folder, task):
        for metric in row["metrics"]:
            value = row[metric]
            yield f"{task}/{row['doc_id']}", metric, 100 * (fmean(value) if isinstance(value, list) else float(value))


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    paths = list(folder.glob(f"samples_{task}_[0-9]*.jsonl"))
    if len(paths) != 1:
        raise NoResults(
            f"{folder.name} holds {len(paths)} files of samples of {task}; delete the folder and evaluate again"
        )
    rows = [json.loads(line) for line in paths[0].read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: row["doc_id"])


def _results(folder: Path) -> dict[str, Any]:
    paths = list(folder.glob("results_*.json"))
    if len(paths) != 1:
        raise NoResults(f"{folder.name} holds {len(paths)} files of results; delete the folder and evaluate again")
    return json.loads(paths[0].read_text(encoding="utf-8"))


def _leaves(task: str, found: dict[str, Any]) -> list[str]:
    """Return the tasks that make up a group, or the task itself."""
    if task in found["n-samples"]:
        return [task]
    return [leaf for child in found["group_subtasks"].get(task, ()) for leaf in _leaves(child, found)]
