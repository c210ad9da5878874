"""The responses behind the scores, as one Parquet file that a person can read without the models.

One row per response: the question as asked, what the model wrote (reasoning and answer apart), and what every reader
made of it. Grades nothing; outcomes come from `medpsy.evaluate`.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
import pyarrow as pa

from medpsy.benchmarks.question import Question
from medpsy.grading.reasoning import Split, split
from medpsy.report.evidence import Evidence
from medpsy.report.plain import writable
from medpsy.study import ModelSpec

IDENTITY = ["key", "suite", "question_id"]  # two suites may ask the same question, and then share a response
READING = pa.struct([("reader", pa.string()), ("chosen", pa.int8()), ("outcome", pa.string()), ("how", pa.string())])
COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("label", pa.string()),
        ("suite", pa.string()),
        ("suite_title", pa.string()),
        ("subject", pa.string()),
        ("question_id", pa.string()),
        ("run", pa.int32()),
        ("stem", pa.string()),
        ("context", pa.string()),
        ("options", pa.list_(pa.string())),
        ("gold", pa.int8()),
        ("reasoning", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("completion_tokens", pa.int32()),
        ("readings", pa.list_(READING)),
    ]
)
RESPONSES = Evidence("responses", "Responses", COLUMNS)


def joined(
    graded: pd.DataFrame,
    questions: Iterable[Question],
    texts: Mapping[str, str],
    models: Mapping[str, ModelSpec],
    titles: Mapping[str, str],
) -> pd.DataFrame:
    """Return `graded` with question, reasoning and answer beside every row.

    Args:
        graded: as `medpsy.report.gathering.stacked` returns it.
        texts: key -> what the model wrote; a failed response has none.
        titles: suite -> the name tables give it.
    """
    asked = pd.DataFrame([_question_row(question, titles) for question in questions])
    rows = graded.drop(columns=["subject", "gold"], errors="ignore").merge(
        asked, on=["suite", "question_id"], how="left"
    )
    if missing := rows["stem"].isna().sum():
        row = rows[rows["stem"].isna()].iloc[0]
        raise ValueError(f"{missing} graded rows have no question, first {row['suite']}/{row['question_id']}")
    parts = split_texts(rows, texts, models)
    return rows.assign(
        label=[models[name].label or name for name in rows["model"]],
        reasoning=[part.reasoning for part in parts],
        answer=[part.answer for part in parts],
    )


def one_row_per_response(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` (one per response and reader) with one row per response and all its readings in a list.

    Rows are in the order suite, question, model, run, so that answers to the same question stand together.
    """
    readings = [
        {"reader": reader, "chosen": _index(chosen), "outcome": _text(outcome), "how": _text(how)}
        for reader, chosen, outcome, how in zip(*(rows[name] for name in READING.names), strict=True)
    ]
    rows = rows.assign(readings=readings)
    together = rows.groupby(IDENTITY, sort=False)["readings"].agg(list)
    first = rows.drop(columns="readings").drop_duplicates(IDENTITY).set_index(IDENTITY)
    whole = first.join(together).reset_index()
    order = {name: place for place, name in enumerate(whole["suite"].drop_duplicates())}
    whole = whole.assign(place=whole["suite"].map(order)).sort_values(["place", "question_id", "model", "run"])
    return whole[COLUMNS.names].reset_index(drop=True)


def split_texts(rows: pd.DataFrame, texts: Mapping[str, str], models: Mapping[str, ModelSpec]) -> list[Split]:
    """Return reasoning and answer of the response behind every row."""
    return [
        split(writable(texts.get(key) or ""), opens_thinking=models[model].opens_thinking, finish_reason=reason)
        for key, model, reason in zip(rows["key"], rows["model"], rows["finish_reason"], strict=True)
    ]


def readers_differ(readings: Iterable[Mapping]) -> bool:
    """Return whether two `readings` of one response chose differently; reading no option is a choice of its own."""
    return len({reading["chosen"] for reading in readings}) > 1


def _question_row(question: Question, titles: Mapping[str, str]) -> dict:
    return {
        "suite": question.suite,
        "question_id": question.id,
        "suite_title": titles.get(question.suite, question.suite),
        "subject": question.subject,
        "stem": writable(question.stem),
        "context": None if question.context is None else writable(question.context),
        "options": [writable(option) for option in question.options],
        "gold": question.gold,
    }


def _text(value: object) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def _index(value: object) -> int | None:
    return None if value is None or pd.isna(value) else int(value)
