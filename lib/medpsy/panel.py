"""Have a model of a profile judge a user's own responses to HealthBench examples, and write its verdicts to a file.

Refuses to write over a file that is there. Scores nothing: the file is scored as any other file of verdicts.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medpsy.benchmarks.conversation import Conversation
from medpsy.engines.base import Sampling
from medpsy.files import write_whole
from medpsy.grading.healthbench_files import load_examples
from medpsy.grading.reasoning import split
from medpsy.grading.rows import load_responses, named
from medpsy.grading.verdicts import MET, NOT_MET
from medpsy.judging import Judgement, judged
from medpsy.responses import ResponseStore
from medpsy.sessions import Session
from medpsy.study import Study

# Where the profile does not say: as simple-evals' grader, whose sampler has these defaults.
REFERENCE = {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_tokens": 2048}
CRITERIA_MET = {MET: True, NOT_MET: False}
NOTES = {
    "missing": "examples without a response (their criteria stay unjudged)",
    "failed": "responses that are null or failed (their criteria stay unjudged)",
    "unknown_ids": "responses to examples that are not in the file (left out)",
    "repeated_ids": "further responses to the same example (left out; the first counts)",
}


def judge_files(
    study: Study,
    judge: str,
    files: Mapping[str, Path],
    *,
    opens_thinking: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Ask `judge` about every criterion of every response and write its verdicts, whole or not at all.

    Args:
        judge: a model of the study.
        files: ``examples`` (published schema) and ``responses`` (``{prompt_id, text, finish_reason?}``) to read, and
            ``verdicts`` to write; packed if its name ends in ``.gz``.
        opens_thinking: the chat template opened the reasoning, so a response without its end marker has no answer.

    Raises:
        ValueError: unknown model, malformed row, verdicts that are there already, or nothing to judge.

    Returns:
        Each of `NOTES` as ``{count, first}``.
    """
    study.model(judge)
    out = Path(files["verdicts"])
    if out.exists():
        raise ValueError(f"{out} is there already; name a new file for the verdicts, or score it without --judge")
    examples = load_examples(Path(files["examples"]))
    answers, notes = _answers(Path(files["responses"]), examples, opens_thinking)
    if not answers:
        raise ValueError(f"{files['responses']}: no response to any of the {len(examples)} examples; nothing to judge")
    session = Session(study, ResponseStore(study.store_dir), progress)
    sampling = study.judge_sampling or Sampling(**REFERENCE, seed=study.seed)
    items = [(examples[name], answer) for name, answer in answers.items()]
    said = judged(session, judge, items, sampling=sampling, attempts=study.judge_attempts)
    rows = [row for (example, _), group in zip(items, said, strict=True) for row in _rows(example, group, judge)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
    packed = gzip.compress(text, mtime=0) if out.suffix == ".gz" else text
    write_whole(out, lambda path: path.write_bytes(packed))
    return notes


def printed_notes(notes: Mapping[str, Any]) -> str:
    """Return what was wrong with the responses, a line each; empty if nothing was."""
    found = {words: notes[name] for name, words in NOTES.items() if notes[name]["count"]}
    return "\n".join(f"{words}: {one['count']:,}, e.g. {', '.join(one['first'])}" for words, one in found.items())


def _answers(
    path: Path, examples: Mapping[str, Conversation], opens_thinking: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the answer to each example without its reasoning, empty where there is none, and what was wrong."""
    answers: dict[str, str] = {}
    failed: dict[str, None] = {}
    unknown: Counter[str] = Counter()
    repeated: Counter[str] = Counter()
    for response in load_responses(path, "prompt_id"):
        name = response.id
        if name not in examples or name in answers or name in failed:
            (unknown if name not in examples else repeated)[name] += 1
        elif response.text is None or response.finish_reason == "failed":
            failed[name] = None
        else:
            parts = split(response.text, opens_thinking=opens_thinking, finish_reason=response.finish_reason)
            answers[name] = parts.answer or ""
    missing = [name for name in examples if name not in answers and name not in failed]
    counted = {"missing": missing, "failed": failed, "unknown_ids": unknown, "repeated_ids": repeated}
    return answers, {name: named(found) for name, found in counted.items()}


def _rows(example: Conversation, judgements: Sequence[Judgement], judge: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": example.id,
            "criterion": criterion.text,
            "criteria_met": CRITERIA_MET.get(one.verdict.outcome),
            "judge": judge,
            "explanation": one.verdict.explanation,
            "attempts": one.attempts,
        }
        for criterion, one in zip(example.rubric, judgements, strict=True)
    ]
