"""Invented conversations, responses and verdicts, as the evidence of a section; every text tries to become markup."""

from collections.abc import Iterator
from itertools import product

import pandas as pd
import pyarrow as pa
from medpsy import evidence
from medpsy.data.healthbench import THEMES
from medpsy.data.questions import Conversation, Criterion
from report_example import ENDINGS, MODELS, PLANTED

ROLES = ("user", "assistant", "user")
JUDGES = ("stern", "kind", "odd one")
RUBRIC = (  # text, points, axis
    (f"Names the tincture {PLANTED}", 7.0, "accuracy"),
    ("Asks how long the grell has hummed", 5.0, "context_awareness"),
    (f"Recommends salt {ENDINGS}", -8.0, "accuracy"),
)


def conversations(suite: str, count: int) -> dict[str, Conversation]:
    """Return `count` conversations of three turns, over the themes in turn."""
    rubric = tuple(Criterion(*one) for one in RUBRIC)
    found = {}
    for number in range(count):
        turns = (f"My grell hums, case {number}.", f"How loudly? {ENDINGS}", f"At dusk it is loud, {number} {PLANTED}")
        messages = [{"role": role, "content": turn} for role, turn in zip(ROLES, turns, strict=True)]
        name = f"c{number:05d}"
        found[name] = Conversation(name, suite, tuple(messages), rubric, list(THEMES)[number % 7])
    return found


def judged(asked: dict[str, dict[str, Conversation]], runs: int) -> pd.DataFrame:
    """Return a frame of verdicts: judges differ on the third of every four responses, one is unjudged on the fourth."""
    rows = []
    for suite, group in asked.items():
        for (number, one), model, run in product(enumerate(group.values()), MODELS, range(runs)):
            place = (number * len(MODELS) + list(MODELS).index(model)) * runs + run
            row = {"model": model, "suite": suite, "conversation_id": one.id, "theme": one.theme, "run": run}
            row |= {"key": f"{place * 2654435761 % 2**48:012x}{place:052x}", "completion_tokens": 900 + place}
            row["finish_reason"] = {5: "length", 11: "failed"}.get(place % 12, "stop")
            rows += [row | verdict for verdict in verdicts(place, one)]
    return pd.DataFrame(rows)


def verdicts(place: int, conversation: Conversation) -> Iterator[dict]:
    """Yield every judge's verdict on every criterion of one response."""
    for judge, (number, criterion) in product(JUDGES, enumerate(conversation.rubric)):
        outcome = "met" if number == 0 else "not met"
        if number == 1 and place % 4 == 2 and judge == "kind":
            outcome = "met"
        if number == 2 and place % 4 == 3 and judge == "odd one":
            outcome = "unjudged"
        said = f"{judge} says: {outcome} {PLANTED}" if outcome != "unjudged" else ""
        asked = {"judge": judge, "criterion": number, "points": criterion.points, "axis": criterion.axis}
        reason = "broken JSON" if outcome == "unjudged" else None
        yield asked | {"outcome": outcome, "explanation": said, "reason": reason}


def rows(count: int, *, guarded: bool = False, hard: int = 0, runs: int = 2) -> pd.DataFrame:
    """Return evidence of `count` conversations; the first `hard` of them are in the Hard suite as well."""
    asked = {"healthbench": conversations("healthbench", count)}
    if hard:
        asked["healthbench_hard"] = conversations("healthbench_hard", hard)
    frame = judged(asked, runs)
    whole = f"I weigh the moss. {PLANTED} {ENDINGS}</think>\nRest, and call {PLANTED}"
    by_reason = {"failed": "", "length": "<think>I weigh the moss, and again"}
    texts = {key: by_reason.get(why, whole) for key, why in zip(frame["key"], frame["finish_reason"], strict=True)}
    return evidence.with_conversations(frame, asked, texts, MODELS, guarded=guarded)


def many(count: int) -> Iterator[dict]:
    """Yield `count` responses as they come out of the evidence file, about as long as the miniature's."""
    schema = evidence.CONVERSATIONS.schema
    template = pa.Table.from_pandas(rows(28, runs=1), schema, preserve_index=False).to_pylist()
    for place in range(count):
        row = template[place % len(template)]
        name = f"c{place // 6:06d}"
        yield row | {"key": f"{place * 2654435761 % 2**48:012x}{place:052x}", "conversation_id": name, "run": place % 3}
