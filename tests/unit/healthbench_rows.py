"""Invented HealthBench rows in the published schema; no real row, criterion or answer."""

import copy

from medpsy.data.healthbench import AXES, THEMES
from medpsy.data.questions import Conversation, Criterion

CANARY = "healthbench:00000000-0000-0000-0000-000000000000"


def criterion(text: str, points: float = 5, axis: str = "accuracy", level: str = "example") -> dict:
    return {"criterion": text, "points": points, "tags": [f"level:{level}", f"axis:{axis}"]}


def example(number: int = 0, *, rubrics: list[dict] | None = None, theme: str = "hedging", **changes) -> dict:
    row = {
        "prompt": [
            {"role": "user", "content": f"Is lorin {number} good?"},
            {"role": "assistant", "content": "For what?"},
            {"role": "user", "content": "For mazel."},
        ],
        "prompt_id": f"p{number}",
        "rubrics": rubrics or [criterion("says yes", 7), criterion("says no", -8, "communication_quality")],
        "example_tags": [f"theme:{theme}", "physician_agreed_category:enough"],
        "ideal_completions_data": {"ideal_completion": "SECRET ideal answer"},
        "canary": CANARY,
    }
    return {**row, **changes}


def labelled(number: int = 0, *, theme: str = "hedging", **changes) -> dict:
    """Return a row of the meta-evaluation."""
    row = {
        "prompt": [{"role": "user", "content": f"Is lorin {number} good?"}],
        "completion": f"Answer {number}: it is good.",
        "rubric": f"Judge whether the completion names lorin {number}.",
        "category": f"cluster:{theme}_any-uncertainty_hedges",
        "binary_labels": [True, number % 3 > 0],
        "anonymized_physician_ids": ["a", "b"],
        "prompt_id": f"p{number}",
        "completion_id": f"c{number}",
        "canary": CANARY,
    }
    return {**row, **changes}


def changed(path: str, value: object) -> dict:
    """Return an example with the value at a path such as ``rubrics.0.points`` replaced, or removed for `...`."""
    row = copy.deepcopy(example())
    *outer, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = row
    for part in outer:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return row


def conversation(name="c1", points=(7, -8), *, suite="healthbench", theme="hedging"):
    """Return a conversation whose criteria are called after their points and lie on the axes in turn."""
    axes = list(AXES)
    rubric = tuple(Criterion(f"thing {at} of {name}", one, axes[at % len(axes)]) for at, one in enumerate(points))
    assert theme in THEMES
    return Conversation(name, suite, ({"role": "user", "content": f"Ask {name}?"},), rubric, theme, (f"theme:{theme}",))
