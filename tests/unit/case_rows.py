"""Tables of cases beside the tests, `tests/cases/<name>.jsonl`: one case a line, a new one becomes one line."""

import json
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[1] / "cases"


def cases(name, *fields):
    """Return the rows as parameters; of `fields` where these are named, or else whole."""
    rows = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [pytest.param(*([row[field] for field in fields] or [row]), id=row.get("name")) for row in rows]
