"""Open-ended responses for people to read: the conversation, the response, and what every judge said of each criterion.

One row per response. Judges nothing; scores are those of `medpsy.grading.rubric`, in points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from medpsy.benchmarks.conversation import Conversation
from medpsy.grading import rubric
from medpsy.grading.verdicts import MET, NOT_MET
from medpsy.report.evidence import Evidence
from medpsy.report.plain import writable
from medpsy.report.reading import split_texts
from medpsy.study import ModelSpec

IDENTITY = ["key", "suite", "conversation_id"]  # a suite and its Hard subset share responses
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
VERDICT = pa.struct([("judge", pa.string()), ("outcome", pa.string()), ("explanation", pa.string())])
CRITERION = pa.struct(
    [("criterion", pa.string()), ("points", pa.float64()), ("axis", pa.string()), ("verdicts", pa.list_(VERDICT))]
)
SCORE = pa.struct([("judge", pa.string()), ("score", pa.float64())])
COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("label", pa.string()),
        ("suite", pa.string()),
        ("suite_title", pa.string()),
        ("theme", pa.string()),
        ("theme_title", pa.string()),
        ("conversation_id", pa.string()),
        ("run", pa.int32()),
        ("guarded", pa.bool_()),  # its authors ask not to publish the row; see `medpsy.report.withholding`
        ("messages", pa.list_(TURN)),
        ("reasoning", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("completion_tokens", pa.int32()),
        ("criteria", pa.list_(CRITERION)),
        ("scores", pa.list_(SCORE)),
    ]
)
CONVERSATIONS = Evidence("conversations", "Conversations", COLUMNS)


@dataclass(frozen=True)
class Titles:
    """What pages call suites and themes, by key."""

    suites: Mapping[str, str]
    themes: Mapping[str, str]


def joined(
    judged: pd.DataFrame,
    conversations: Mapping[str, Mapping[str, Conversation]],
    texts: Mapping[str, str],
    models: Mapping[str, ModelSpec],
    *,
    titles: Titles,
    guarded: bool,
) -> pd.DataFrame:
    """Return one row per response, with columns as in `COLUMNS`, in the order suite, conversation, model, run.

    Args:
        judged: one row per model, judge, suite, conversation, run and criterion, as `medpsy.open_ended` returns it.
        conversations: suite -> id -> what was asked.
        texts: key -> what the model wrote; a failed response has none.
        guarded: whether the authors of the rows ask not to publish them.

    Raises:
        ValueError: a row has no conversation, or was judged by another rubric than its conversation has.
    """
    rows = judged.drop_duplicates(IDENTITY).drop(columns=["criterion", "points", "axis", "judge", "outcome"])
    asked = [_conversation(conversations, *name) for name in zip(rows["suite"], rows["conversation_id"], strict=True)]
    verdicts, scored = _verdicts(judged), _scores(judged)
    names = list(rows[IDENTITY].itertuples(index=False, name=None))
    parts = split_texts(rows, texts, models)
    rows = rows.assign(
        label=[models[name].label for name in rows["model"]],
        suite_title=[titles.suites.get(name, name) for name in rows["suite"]],
        theme_title=[titles.themes.get(name, name) for name in rows["theme"]],
        guarded=guarded,
        messages=[_turns(one) for one in asked],
        reasoning=[part.reasoning for part in parts],
        answer=[part.answer for part in parts],
        criteria=[_criteria(one, verdicts[name]) for one, name in zip(asked, names, strict=True)],
        scores=[scored[name] for name in names],
    )
    return _ordered(rows)[COLUMNS.names]


def judges_differ(criterion: Mapping) -> bool:
    """Return whether one judge says met and another not met; an unjudged criterion is no opinion."""
    return {MET, NOT_MET} <= {verdict["outcome"] for verdict in criterion["verdicts"]}


def _conversation(known: Mapping[str, Mapping[str, Conversation]], suite: str, name: str) -> Conversation:
    try:
        return known[suite][name]
    except KeyError:
        raise ValueError(f"{suite}/{name} was judged, but is not among the conversations") from None


def _verdicts(judged: pd.DataFrame) -> dict[tuple, list[tuple]]:
    """Return response -> its verdicts as (place in the rubric, points, verdict), judges in the order they are met."""
    found: dict[tuple, list[tuple]] = {}
    columns = [*IDENTITY, "criterion", "points", "judge", "outcome", "explanation", "reason"]
    for key, suite, name, place, points, judge, outcome, explanation, reason in judged[columns].itertuples(index=False):
        said = explanation or (None if pd.isna(reason) else reason)  # why there is no verdict, where there is none
        verdict = {"judge": judge, "outcome": outcome, "explanation": said and writable(said)}
        found.setdefault((key, suite, name), []).append((place, points, verdict))
    return found


def _scores(judged: pd.DataFrame) -> dict[tuple, list[dict]]:
    """Return response -> its score by every judge."""
    scores = rubric.example_scores(judged, by=["key", "model", "suite", "judge"])
    found: dict[tuple, list[dict]] = {}
    for key, suite, name, judge, score in scores[[*IDENTITY, "judge", "score"]].itertuples(index=False):
        value = None if pd.isna(score) else 100 * float(score)
        found.setdefault((key, suite, name), []).append({"judge": judge, "score": value})
    return found


def _turns(conversation: Conversation) -> list[dict]:
    return [{"role": turn["role"], "content": writable(turn["content"])} for turn in conversation.messages]


def _criteria(conversation: Conversation, verdicts: Sequence[tuple]) -> list[dict]:
    """Return the whole rubric of `conversation`, each criterion with the verdicts on it."""
    criteria = [
        {"criterion": writable(one.text), "points": one.points, "axis": one.axis, "verdicts": []}
        for one in conversation.rubric
    ]
    for place, points, verdict in verdicts:
        if not 0 <= place < len(criteria) or points != criteria[place]["points"]:
            where = f"{conversation.suite}/{conversation.id}, criterion {place} ({points} points)"
            raise ValueError(f"{where}: the rubric has no such criterion; judge it again with this rubric")
        criteria[int(place)]["verdicts"].append(verdict)
    return criteria


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    order = {name: place for place, name in enumerate(rows["suite"].drop_duplicates())}
    rows = rows.assign(place=rows["suite"].map(order))
    return rows.sort_values(["place", "conversation_id", "model", "run"]).reset_index(drop=True)
