"""Graded rows, their questions and their texts brought together from the study's store, to be read beside the scores.

Generates nothing: a response that is not stored is an error.
"""

from collections.abc import Mapping

import pandas as pd

from medpsy import evaluate
from medpsy.benchmarks import SUITES
from medpsy.readings import PARSER
from medpsy.report.reading import joined
from medpsy.responses import ResponseStore
from medpsy.study import Study


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
    store, texts = ResponseStore(study.store_dir), {}
    for name, part in rows.drop_duplicates("key").groupby("model"):
        texts |= dict(zip(part["key"], store.lookup(list(part["key"]), model=study.model(name))["text"], strict=True))
    questions = [question for group in asked.values() for question in group.values()]
    titles = {key: spec.title for key, spec in SUITES.items()}
    return joined(rows, questions, texts, study.models, titles)
