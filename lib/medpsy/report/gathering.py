"""Graded rows, what was asked and what was answered, brought together to be read beside the scores.

Generates nothing: a response that is not stored is an error.
"""

from collections.abc import Mapping

import pandas as pd

from medpsy import evaluate, open_ended
from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.benchmarks.healthbench import THEMES
from medpsy.readings import PARSER
from medpsy.report import conversing, reading
from medpsy.responses import ResponseStore
from medpsy.study import ModelSpec, Study


def stacked(graded: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return graded frames by several readers as one, with a column `reader`; one frame alone is read by the parser."""
    if isinstance(graded, pd.DataFrame):
        return graded if "reader" in graded else graded.assign(reader=PARSER)
    return pd.concat([frame.assign(reader=reader) for reader, frame in graded.items()], ignore_index=True)


def readable(study: Study, graded: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what `write_result` takes as `responses`: graded rows with question and text from the study's store.

    Args:
        graded: as `medpsy.evaluate` returns it, or one such frame per reader of the same responses.
    """
    rows = stacked(graded)
    asked = evaluate.questions(study, list(rows["suite"].unique()), every=True)
    questions = [question for group in asked.values() for question in group.values()]
    titles = {key: spec.title for key, spec in SUITES.items()}
    return reading.joined(rows, questions, stored_texts(study, rows), _models(study, rows), titles)


def readable_conversations(study: Study, judged: pd.DataFrame) -> pd.DataFrame:
    """Return what `write_result` takes as `conversations`: one row per response, with every criterion and verdict.

    Args:
        judged: one row per model, judge, suite, conversation, run and criterion, as `medpsy.open_ended` returns it.
    """
    asked = open_ended.conversations(study, list(judged["suite"].unique()))
    titles = conversing.Titles({key: spec.title for key, spec in OPEN_SUITES.items()}, THEMES)
    texts, guarded = stored_texts(study, judged), study.source == "hub"
    return conversing.joined(judged, asked, texts, _models(study, judged), titles=titles, guarded=guarded)


def _models(study: Study, rows: pd.DataFrame) -> dict[str, ModelSpec]:
    """Return the models of `rows` by name, checkpoints among them."""
    return {name: study.model(name) for name in rows["model"].unique()}


def stored_texts(study: Study, rows: pd.DataFrame) -> dict[str, str]:
    """Return key -> what the model wrote, of every response in `rows`."""
    store, texts = ResponseStore(study.store_dir), {}
    for name, part in rows.drop_duplicates("key").groupby("model"):
        texts |= dict(zip(part["key"], store.lookup(list(part["key"]), model=study.model(name))["text"], strict=True))
    return texts
