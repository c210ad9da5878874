"""Tables of cases beside the tests, `tests/cases/<name>.jsonl`: one case a line, a new one becomes one line."""

import json
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[1] / "cases"


def rows(name):
    """Return the rows of a table."""
    with (CASES / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def cases(name, *fields):
    """Return the rows as parameters; of `fields` where these are named, or else whole."""
    return [
        pytest.param(*([row[field] for field in fields] or [row]), id=row.get("name", row.get("why")))
        for row in rows(name)
    ]
