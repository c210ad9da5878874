"""The evidence behind the scores, for people to read without the models: one Parquet file per kind beside the record.

A row is one response, with what was asked, what the model wrote, and what every reader, or every judge of every
criterion, made of it. Generates, grades and judges nothing: a response that is not stored is an error.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medpsy import evaluate, strict
from medpsy.data.healthbench import THEMES
from medpsy.data.questions import Conversation, Question
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.files import storable, write_whole
from medpsy.grading import rubric
from medpsy.grading.readers import split
from medpsy.judge import conversations
from medpsy.store import ResponseStore
from medpsy.study import ModelSpec, Study


@dataclass(frozen=True, eq=False)
class Evidence:
    """One kind of evidence: the `name` of its file, of its entry in a record and of its page, and the column `task`
    that names what was asked; two suites may ask the same, and then share a response."""

    name: str
    title: str
    task: str
    schema: pa.Schema

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"

    @property
    def identity(self) -> list[str]:
        return ["key", "suite", self.task]

    def write(self, rows: pd.DataFrame | None, folder: Path) -> None:
        """Write `rows` into `folder`; None removes what an earlier run left."""

        def fill(path: Path) -> None:
            with pq.ParquetWriter(path, self.schema, compression="zstd") as writer:
                for start in range(0, max(len(rows), 1), AT_ONCE):
                    some = rows.iloc[start : start + AT_ONCE]  # what is missing is null
                    writer.write_table(pa.Table.from_pandas(some, self.schema, preserve_index=False))

        if rows is None:
            (folder / self.file).unlink(missing_ok=True)
        else:
            write_whole(folder / self.file, fill)

    def read(self, path: Path) -> Iterable[dict]:
        """Yield the rows of a file, a few at a time, so that a large file does not fill memory."""
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=500):
                yield from batch.to_pylist()

    def ordered(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the columns of `schema` in the order suite, task, model, run: responses to a task stand together."""
        suites = pd.Categorical(rows["suite"], rows["suite"].unique())
        rows = rows.assign(place=suites.codes).sort_values(["place", self.task, "model", "run"])
        return rows[self.schema.names].reset_index(drop=True)


AT_ONCE = 2000  # rows in memory in Arrow's form while a file is written
Asked = Mapping[str, Mapping[str, Conversation]]  # by suite and id
Models = Mapping[str, ModelSpec]  # by name
Texts = Mapping[str, str]  # key -> what the model wrote


def _type(written: str | list | dict) -> pa.DataType:
    if isinstance(written, list):
        return pa.list_(_type(written[0]))
    if isinstance(written, dict):
        return pa.struct([(name, _type(each)) for name, each in written.items()])
    return pa.type_for_alias(written)


LISTED = strict.read(Path(__file__).with_name("evidence.yaml"))
COLUMNS = {kind: pa.schema(_type(columns)) for kind, columns in LISTED.items()}
RESPONSES = Evidence("responses", "Responses", "question_id", COLUMNS["responses"])
CONVERSATIONS = Evidence("conversations", "Conversations", "conversation_id", COLUMNS["conversations"])
KINDS = (RESPONSES, CONVERSATIONS)


def readable(study: Study, graded: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return graded rows (a frame, or one per reader) with question and text from the study's store."""
    by_reader = {evaluate.PARSER: graded} if isinstance(graded, pd.DataFrame) else graded
    rows = pd.concat([frame.assign(reader=reader) for reader, frame in by_reader.items()], ignore_index=True)
    asked = evaluate.questions(study, list(rows["suite"].unique()), every=True)
    questions = [question for group in asked.values() for question in group.values()]
    return with_questions(rows, questions, *_texts_and_models(study, rows))


def readable_conversations(study: Study, judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row per response in a judged conversation, with every criterion and verdict, as `CONVERSATIONS`."""
    asked = conversations(study, list(judged["suite"].unique()))
    return with_conversations(judged, asked, *_texts_and_models(study, judged), guarded=study.source == "hub")


def _texts_and_models(study: Study, rows: pd.DataFrame) -> tuple[dict[str, str], dict[str, ModelSpec]]:
    """Return key -> what the model wrote, and name -> model, of every response in `rows`."""
    store, texts = ResponseStore(study.store_dir), {}
    models = {name: study.model(name) for name in rows["model"].unique()}
    for name, part in rows.drop_duplicates("key").groupby("model"):
        texts |= dict(zip(part["key"], store.lookup(list(part["key"]), model=models[name])["text"], strict=True))
    return texts, models


def with_questions(graded: pd.DataFrame, questions: Iterable[Question], texts: Texts, models: Models) -> pd.DataFrame:
    """Return `graded` with question, reasoning and answer beside every row; `texts` holds what each key's model wrote.
    A ValueError names a row without a question."""
    asked = pd.DataFrame(map(vars, questions)).rename(columns={"id": "question_id"})
    asked["suite_title"] = [SUITES[name].title if name in SUITES else name for name in asked["suite"]]
    asked["stem"], asked["context"] = (asked[name].map(storable, na_action="ignore") for name in ("stem", "context"))
    asked["options"] = [list(map(storable, options)) for options in asked["options"]]
    rows = graded.drop(columns=["subject", "gold", "weight_group"], errors="ignore")
    rows = rows.merge(asked, on=["suite", "question_id"], how="left")
    if missing := rows["stem"].isna().sum():
        row = rows[rows["stem"].isna()].iloc[0]
        raise ValueError(f"{missing} graded rows have no question, first {row['suite']}/{row['question_id']}")
    return _with_texts(rows, texts, models)


def one_row_per_response(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` (one per response and reader) with one row per response and all its readings in a list."""
    rows = rows.assign(readings=rows[RESPONSES.schema.field("readings").type.value_type.names].to_dict("records"))
    together = rows.groupby(RESPONSES.identity, sort=False)["readings"].agg(list)
    first = rows.drop(columns="readings").drop_duplicates(RESPONSES.identity).set_index(RESPONSES.identity)
    return RESPONSES.ordered(first.join(together).reset_index())


def with_conversations(
    judged: pd.DataFrame, conversations: Asked, texts: Texts, models: Models, *, guarded: bool
) -> pd.DataFrame:
    """Return one row per response, with columns as in `CONVERSATIONS`, scores in points. `judged` has a row per
    criterion and judge, `conversations` are by suite and id, `texts` key -> what the model wrote (a failed response has
    none), and `guarded` says whether the authors ask not to publish the rows. A ValueError names a row without
    conversation, or judged by another rubric than its conversation has."""
    identity = CONVERSATIONS.identity  # a suite and its Hard subset share responses
    rows = judged.drop_duplicates(identity).drop(columns=["criterion", "points", "axis", "judge", "outcome"])
    asked, scores = {}, {}
    for key, suite, name in rows[identity].itertuples(index=False):
        if name not in conversations.get(suite, {}):
            raise ValueError(f"{suite}/{name} was judged, but is not among the conversations")
        asked[key, suite, name] = conversations[suite][name]
    scored = rubric.example_scores(judged, by=["key", "model", "suite", "judge"])
    for *response, judge, score in scored[[*identity, "judge", "score"]].itertuples(index=False):
        scores.setdefault(tuple(response), []).append({"judge": judge, "score": 100 * score})
    rows = _with_texts(rows, texts, models).assign(
        suite_title=[OPEN_SUITES[name].title if name in OPEN_SUITES else name for name in rows["suite"]],
        theme_title=[THEMES.get(name, name) for name in rows["theme"]],
        guarded=guarded,
        messages=[
            [{"role": turn["role"], "content": storable(turn["content"])} for turn in conversation.messages]
            for conversation in asked.values()
        ],
        criteria=list(_criteria(judged, asked).values()),
        scores=[scores[response] for response in asked],
    )
    return CONVERSATIONS.ordered(rows)


def _criteria(judged: pd.DataFrame, asked: Mapping[tuple, Conversation]) -> dict[tuple, list[dict]]:
    """Return response -> the whole rubric of its conversation, each criterion with the verdicts on it."""
    criteria = {
        response: [
            {"criterion": storable(criterion.text), "points": criterion.points, "axis": criterion.axis, "verdicts": []}
            for criterion in conversation.rubric
        ]
        for response, conversation in asked.items()
    }
    columns = [*CONVERSATIONS.identity, "criterion", "points", "judge", "outcome", "explanation", "reason"]
    for *response, place, points, judge, outcome, explanation, reason in judged[columns].itertuples(index=False):
        entries = criteria[tuple(response)]
        if not 0 <= place < len(entries) or points != entries[place]["points"]:
            where = f"{response[1]}/{response[2]}, criterion {place} ({points} points)"
            raise ValueError(f"{where}: the rubric has no such criterion; judge it again with this rubric")
        why = explanation or (None if pd.isna(reason) else reason)  # why there is no verdict, where there is none
        verdict = {"judge": judge, "outcome": outcome, "explanation": why and storable(why)}
        entries[int(place)]["verdicts"].append(verdict)
    return criteria


def judges_differ(criterion: Mapping) -> bool:
    """Return whether one judge says met and another not met; an unjudged criterion is no opinion."""
    return {rubric.MET, rubric.NOT_MET} <= {verdict["outcome"] for verdict in criterion["verdicts"]}


def _with_texts(rows: pd.DataFrame, texts: Texts, models: Models) -> pd.DataFrame:
    """Return `rows` with the label of the model and the two parts of the response."""
    parts = [
        split(storable(texts.get(key) or ""), opens_thinking=models[model].opens_thinking, finish_reason=reason)
        for key, model, reason in zip(rows["key"], rows["model"], rows["finish_reason"], strict=True)
    ]
    return rows.assign(
        label=[models[name].label for name in rows["model"]],
        reasoning=[part.reasoning for part in parts],
        answer=[part.answer for part in parts],
    )
