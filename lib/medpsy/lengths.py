"""How long stored responses are, in tokens of the model that wrote them: the whole, its reasoning, its answer.

Generates nothing and leaves nothing out but requests without a response. A response that hit the token limit is as long
as the limit let it be: it is marked, never mended.
"""

from collections.abc import Iterator

import pandas as pd

from medpsy import evaluate
from medpsy.responses import ResponseStore
from medpsy.study import Study

COLUMNS = ["model", "suite", "item", "run", "key", "tokens", "reasoning", "answer", "cut_off", "outcome"]
NAMES = {"question_id": "item", "conversation_id": "item", "completion_tokens": "tokens"}
NAMES |= {"reasoning_tokens": "reasoning"}


def of_responses(study: Study, graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the length of every response to a question or a conversation, failed requests left out.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        judged: as `medpsy.open_ended.open_ended` returns it; how many judges there are does not matter.

    Returns:
        One row per response; columns as in `COLUMNS`. ``tokens`` were counted as they were generated; ``reasoning``
        ends at the end marker and ``answer`` is all the rest, the marker included (both missing for models behind an
        endpoint); ``cut_off`` says that the response hit the token limit; ``outcome`` is that of
        `medpsy.evaluate`, missing for conversations.
    """
    rows = pd.concat([graded, *_open(study, judged)], ignore_index=True)
    rows = rows[rows["finish_reason"] != "failed"].reset_index(drop=True)
    known = rows["reasoning_tokens"].astype("Float64").astype(float)
    found = rows.assign(
        item=rows["question_id"].fillna(rows["conversation_id"]) if "conversation_id" in rows else rows["question_id"],
        tokens=rows["completion_tokens"].astype(float),
        reasoning=known,
        answer=rows["completion_tokens"] - known,
        cut_off=rows["finish_reason"] == "length",
    )
    return found[COLUMNS]


def _open(study: Study, judged: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the responses to conversations, one model at a time, with the tokens of their reasoning."""
    store = ResponseStore(study.store_dir)
    names = ["model", "suite", "conversation_id", "run", "key", "finish_reason", "completion_tokens"]
    for name, rows in judged.drop_duplicates(["model", "suite", "key"])[names].groupby("model", sort=False):
        model, rows = study.model(str(name)), rows.reset_index(drop=True)
        rows["text"] = store.lookup(list(rows["key"]), model=model)["text"]
        rows["reasoning_tokens"] = evaluate.reasoning_tokens(store, model, rows)
        yield rows.drop(columns="text")
