"""The responses behind the scores, as one Parquet file that a person can read without the models.

One row per response: the question as asked, what the model wrote (reasoning and answer apart), and what every reader
made of it. Grades nothing; outcomes come from `medpsy.evaluate`.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medpsy.benchmarks.question import Question
from medpsy.grading.reasoning import split
from medpsy.report import leaks
from medpsy.report.files import write_whole
from medpsy.report.plain import writable
from medpsy.study import ModelSpec

FILE = "responses.parquet"
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
    parts = [
        split(writable(texts.get(key) or ""), opens_thinking=models[model].opens_thinking, finish_reason=reason)
        for key, model, reason in zip(rows["key"], rows["model"], rows["finish_reason"], strict=True)
    ]
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


def entry(rows: pd.DataFrame | None) -> dict | None:
    """Return what a record says of `rows` of `one_row_per_response`; they may hold no secret."""
    if rows is None:
        return None
    leaks.refuse_frame(rows, "responses")
    return {"file": FILE, "rows": len(rows)}


def write(rows: pd.DataFrame | None, folder: Path) -> None:
    """Write `rows` of `one_row_per_response` into `folder`; None removes what an earlier run left."""
    if rows is None:
        (folder / FILE).unlink(missing_ok=True)
        return
    columns = {name: [_stored(value) for value in rows[name]] for name in COLUMNS.names}
    table = pa.Table.from_pydict(columns, schema=COLUMNS)
    write_whole(folder / FILE, lambda path: pq.write_table(table, path, compression="zstd", row_group_size=2000))


def read(path: Path) -> Iterable[dict]:
    """Yield the rows of a file written by `write`, a few at a time, so that a large file does not fill memory."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1000):
            yield from batch.to_pylist()


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


def _stored(value: object) -> object:
    """Return `value` as Arrow takes it: NaN is null, and numbers that pandas made fractions are whole again."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value)
    return None if value is pd.NA else value
