"""What the targets of some jobs really see of their corpus: where the prompt ends and what the loss falls on."""

from collections.abc import Sequence

import pyarrow.parquet as pq

from medpsy.noted import noted
from medpsy.study import Study
from medpsy.training.examples import form, lengths
from medpsy.training.job import Job

SHOWN = 48  # characters of either end


def seen(study: Study, sequences: Sequence[Sequence[Job]]) -> list[dict[str, object]]:
    """Return one entry per target: the ends of prompt and completion of its first row, and their tokens.

    Raises:
        ValueError: the chat template does not do what the study says of it; see `medpsy.training.examples.form`.
    """
    firsts = {jobs[0].parent: jobs[0] for jobs in reversed(sequences)}
    return noted(study.store_dir, "seen", lambda: [_first(job) for job in reversed(firsts.values())])


def _first(job: Job) -> dict[str, object]:
    from transformers import AutoTokenizer  # takes seconds, and a replay needs none of it

    tokenizer = AutoTokenizer.from_pretrained(job.parent, trust_remote_code=False)
    target = form(tokenizer, opens_thinking=job.opens_thinking, switches=job.switches)
    row = next(pq.ParquetFile(job.data[0]).iter_batches(batch_size=1)).to_pylist()[0]
    one = target.example(tokenizer, row)
    whole, prompt = lengths(tokenizer, [one, {"prompt": one["prompt"], "completion": ""}])
    return {
        "Target": job.name,
        "Template opens thinking": "yes" if target.opens_thinking else "no",
        "Prompt ends": _visible(one["prompt"][-SHOWN:]),
        "Completion begins": _visible(one["completion"][:SHOWN]),
        "Completion ends": _visible(one["completion"][-SHOWN:]),
        "Prompt tokens": prompt,
        "Tokens under the loss": whole - prompt,
    }


def _visible(text: str) -> str:
    return text.replace("\n", "⏎")
