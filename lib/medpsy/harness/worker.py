"""The process that runs lm-evaluation-harness: `python -m medpsy.harness.worker JOBS.json`.

Does the jobs of one file in turn and leaves the harness's own result files of each. Chooses nothing and scores nothing.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import langdetect
import nltk
import torch
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from medpsy.folders import whole_folder
from medpsy.harness.job import RECORD, Job

OFFLINE = "HF_DATASETS_OFFLINE"
SENTENCES = "tokenizers/punkt_tab"  # NLTK's data for splitting sentences and words
SPLITTING = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}  # kinds that need it


def main() -> None:
    jobs = [Job(**entry) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    os.chdir(jobs[0].place)
    langdetect.DetectorFactory.seed = 0  # it draws at random otherwise, and calls one text now English, now not
    if os.environ.get(OFFLINE):
        nltk.download = lambda *_, **__: False  # IFEval's modules call it when they are imported
    manager = TaskManager(include_path=jobs[0].include or None, include_defaults=not jobs[0].include)
    for task in dict.fromkeys(job.task for job in jobs if "ifeval" in job.task):
        require_sentences(manager, task)
    for job in jobs:
        do(job, manager)


def require_sentences(manager: TaskManager, name: str) -> None:
    """Stop where an instruction cannot be checked without NLTK's data and this machine has none."""
    loaded = manager.load([name])["tasks"].values()
    kinds = {kind for task in loaded for document in task.test_docs() for kind in document["instruction_id_list"]}
    if not kinds & SPLITTING:
        return
    try:
        nltk.data.find(SENTENCES)
    except LookupError:
        sys.exit(
            f"{name}: {', '.join(sorted(kinds & SPLITTING))} need NLTK's punkt_tab, which is not on this "
            "machine; fetch it once with `python -m nltk.downloader punkt_tab`, or copy it to a folder of NLTK_DATA"
        )


def do(job: Job, manager: TaskManager) -> None:
    """Do one job: evaluate, then write the harness's own files and our record in one step."""
    begun, settings = time.monotonic(), job.settings
    with whole_folder(Path(job.folder)) as folder:
        tracker = EvaluationTracker(output_path=str(folder / "results.json"))
        results = simple_evaluate(
            model=settings["backend"],
            model_args=dict(job.model),
            tasks=[job.task],
            batch_size=settings["batch_size"],
            device="cuda" if torch.cuda.is_available() else "cpu",  # its own default is cuda, available or not
            limit=settings["limit"] or None,
            apply_chat_template=settings["apply_chat_template"],
            fewshot_as_multiturn=settings["fewshot_as_multiturn"],
            gen_kwargs={"max_gen_toks": settings["max_gen_toks"]} if settings["max_gen_toks"] else None,
            evaluation_tracker=tracker,
            task_manager=manager,
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for name, rows in samples.items():
            tracker.save_results_samples(task_name=name, samples=rows)
        record = {"key": job.key, "name": job.name, "task": job.task, "settings": settings}
        record |= {"seconds": time.monotonic() - begun, "documents": check(folder, samples)}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check(folder: Path, samples: dict[str, list[Any]]) -> int:
    """Return the number of documents; the harness only warns when it cannot write a file, so see that all are there."""
    missing = [name for name in samples if not list(folder.glob(f"samples_{name}_*.jsonl"))]
    if missing or not list(folder.glob("results_*.json")):
        raise RuntimeError(f"the harness wrote no results of {', '.join(missing) or 'any task'}; is the disk full?")
    return sum(len({row["doc_id"] for row in rows}) for rows in samples.values())


if __name__ == "__main__":
    main()
