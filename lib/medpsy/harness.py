"""lm-evaluation-harness (0.4.13) in processes of its own: the OpenMed card's benchmarks, and options by likelihood.

Results lie in ``outputs/<profile>/harness/<model>/<task>-<key>/`` as the harness writes them and are done with
`RECORD`, which appears with all of its files in one step; what stands is not run again.
This module is the process too (``python -m medpsy.harness JOBS.json``); imported, it loads neither lm_eval nor torch.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import pandas as pd
from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass as pydantic_dataclass

from medpsy import prompts, strict
from medpsy.data.questions import Question
from medpsy.data.rows import require_commit, written
from medpsy.data.suites import SUITES
from medpsy.engines.models import digest, fingerprint, model_folder, read_json
from medpsy.engines.programs import Child, importable
from medpsy.files import whole_folder, write_text
from medpsy.mini.suites import suite
from medpsy.provenance import cores, gpus
from medpsy.store import Progress, noted
from medpsy.study import ModelSpec, Study

RECORD = "harness.json"
RECIPE_VERSION = 1  # raised by hand when the same inputs begin to give other scores
DECIDING = ("lm-eval", "transformers", "torch", "datasets")  # packages whose version can change a score
TASKS = Path(__file__).parent / "mini" / "tasks"  # the card's benchmarks in the miniature's language
OPTIONS = "options"  # the task of `likeliest`
LOOK = 0.2  # seconds between two looks at the processes
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
SENTENCES = "tokenizers/punkt_tab"  # NLTK's data for splitting sentences and words
SPLITTING = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}  # instructions that need it
Rows = list[dict[str, Any]]


class HarnessError(RuntimeError):
    """The harness left no results, or not those that it should; the message says which, why and what to do."""


@pydantic_dataclass(frozen=True)
class Settings:
    """Settings of one run; the defaults are the card's, or where it says nothing the harness's own.

    Args:
        think_end_token: where the reasoning ends; what stands before it is not scored. None scores all of it. The card
            gives none, since its models do not think.
        max_gen_toks: tokens a response may have; None leaves it to the task, and in the end to the harness (256).
        limit: documents per task; 0 means all.
        backend_options: further arguments of the backend, e.g. ``{"parallelize": True}``.
    """

    backend: Literal["hf", "vllm"] = "hf"
    batch_size: PositiveInt = 64
    dtype: str = "bfloat16"
    apply_chat_template: bool = True
    fewshot_as_multiturn: bool = True
    think_end_token: str | None = "</think>"
    max_gen_toks: PositiveInt | None = None
    limit: NonNegativeInt = 0
    backend_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("fewshot_as_multiturn needs apply_chat_template: turns exist in a chat only")
        if any(name.startswith("trust_remote_code") for name in self.backend_options):
            raise ValueError("backend_options: trust_remote_code stays off; code that comes with a model is not run")


@dataclass(frozen=True)
class Benchmark:
    title: str  # as the card prints it
    task: str  # of the harness, or a group of tasks
    metric: str  # the harness's name of what the card prints
    hub_id: str = ""  # data set that the task reads; empty in the miniature
    revision: str | None = None  # commit at which it is read


COMMITS = {spec.hub_id: spec.revision for spec in SUITES.values()}
BENCHMARKS = {
    source: [Benchmark(**about, revision=COMMITS.get(about.get("hub_id"))) for about in listed]
    for source, listed in strict.read(Path(__file__).with_name("harness.yaml")).items()
}


def card_benchmarks(study: Study) -> tuple[Benchmark, ...]:
    """Return the card's benchmarks as the study's source of suites has them; DataError where one has no commit."""
    every = BENCHMARKS[study.source]
    benchmarks = tuple(replace(each, revision=study.commit(each.hub_id, each.revision)) for each in every)
    for benchmark in benchmarks:
        if benchmark.hub_id:
            require_commit(benchmark.hub_id, benchmark.revision)
    return benchmarks


def evaluate(
    study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], *, settings: Settings, progress: Progress = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what the harness says of `models` on `tasks`, groups and their parts included; runs what is missing.

    Scores: columns model, task, metric, value, stderr (both in points; stderr missing where the harness knows none), n
    (documents), shots (examples in the prompt), seconds (of the task, or of the group it was asked in). Documents:
    columns model, task, metric, document (``task/number``), value (points; the share that was followed where a document
    has several instructions); they count for each group of their task too. A HarnessError says that it stopped; what
    other models had finished is kept. OSError, ValueError: a model is not to be had or behind an endpoint, or a data
    set has no commit.
    """
    results = _results(study, models, tasks, settings, mini_files() if study.source == "mini" else {}, progress)
    documents = pd.DataFrame(results["documents"]).rename(columns={"documents": "document", "values": "value"})
    documents = documents.explode(["document", "value"]).astype({"value": float}).reset_index(drop=True)
    return pd.DataFrame(results["scores"]).astype({"stderr": float}), documents


def likeliest(
    study: Study,
    models: Sequence[ModelSpec],
    questions: Sequence[Question],
    *,
    settings: Settings,
    progress: Progress = None,
) -> pd.DataFrame:
    """Return whether the letter of the right option is the likeliest of all letters behind question and ``Answer:``:
    the protocol of `mmlu` on any suite's questions that have a key. Columns model, suite, weight_group, question_id,
    value (points: 0 or 100). Raises as `evaluate` does."""
    keyed = [question for question in questions if question.gold is not None]
    files = option_files(keyed)
    rows = _results(study, models, [OPTIONS], settings, files, progress, digest(files))["documents"]
    about = pd.DataFrame([{"suite": q.suite, "weight_group": q.weight_group, "question_id": q.id} for q in keyed])
    frames = [about[: len(row["values"])].assign(model=row["model"], value=row["values"]) for row in rows]  # a limit
    frames.append(about[:0].assign(model="", value=0.0))  # there may be no model
    return pd.concat(frames, ignore_index=True)[["model", *about.columns, "value"]]


def _results(
    study: Study,
    models: Sequence[ModelSpec],
    tasks: Sequence[str],
    settings: Settings,
    files: Mapping[str, str],
    say: Progress,
    *more: str,
) -> dict[str, Rows]:
    """Return scores and documents of `tasks`, of the harness or in `files` (name -> text); a replay tells what was
    noted of the same names, settings and `more`."""
    asked = digest([[model.name for model in models], list(tasks), asdict(settings), *more])

    def make() -> dict[str, Rows]:
        every = jobs(study, models, tasks, settings, files)
        if missing := [job for job in every if not done(job)]:
            run_jobs(missing, files, say or (lambda line: None))
        scores, documents = [], []
        for job in every:
            folder = Path(job["folder"])
            seconds = {"seconds": read_json(folder / RECORD)["seconds"]}
            scores += [row | seconds for row in read_scores(folder, job["name"])]
            documents += read_documents(folder, job["name"])
        return {"scores": scores, "documents": documents}

    return noted(study.store_dir, f"harness-{asked[:16]}", make)


def jobs(
    study: Study, models: Sequence[ModelSpec], tasks: Sequence[str], settings: Settings, files: Mapping[str, str]
) -> Rows:
    """Return a job per model and task, as the process takes it: ``folder`` is where its results land and ``place``
    where it works, one for each set of files, since sections run side by side; ``model`` holds the arguments of the
    backend, with paths from there, so that results name no machine."""
    versions, made, root = {name: metadata.version(name) for name in DECIDING}, [], study.outputs / "harness"
    commits = {} if files else {each.hub_id: each.revision for each in card_benchmarks(study) if each.hub_id}
    documents, place = digest(files) if files else commits, root / f"tasks-{digest(files)[:8]}"
    for model in models:
        if model.base_url or model.file:
            where = "behind an endpoint" if model.base_url else "a GGUF file"
            raise ValueError(f"model {model.name!r} is {where}; the harness needs its weights")
        model_folder(model)  # of the hub too: what the harness loads has been looked at
        given, local = {"dtype": settings.dtype, "trust_remote_code": False}, model.local_dir
        given |= settings.backend_options | {"pretrained": os.path.relpath(local, place) if local else model.path}
        given |= {"revision": model.revision} if model.revision and not local else {}
        given |= {"chat_template_args": dict(model.chat_template_kwargs)} if model.chat_template_kwargs else {}
        given |= {"think_end_token": settings.think_end_token} if settings.think_end_token else {}
        for task in tasks:
            inputs = [fingerprint(model), task, asdict(settings), versions, RECIPE_VERSION, documents]
            key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
            job = {"name": model.name, "task": task, "key": key, "settings": asdict(settings)}
            job |= {"folder": str(root / model.name / f"{task}-{key[:8]}"), "place": str(place)}
            made.append(job | {"commits": commits, "model": given})
    return made


def done(job: Mapping[str, Any]) -> bool:
    return read_json(Path(job["folder"]) / RECORD).get("key") == job["key"]


def mini_files() -> dict[str, str]:
    """Return name -> text of the card's benchmarks in the miniature: tasks, and the questions of its suites."""
    rows: dict[str, Rows] = {"mmlu_pro.jsonl": []}
    for item in suite("mmlu_health").items:
        row = {"question": item.stem, "subject": item.subject, "choices": list(item.options), "answer": item.gold}
        rows.setdefault(f"mmlu_{item.subject}.jsonl", []).append(row)
    for item in suite("mmlu_pro_health").items:
        row = {"question": item.stem, "options": list(item.options), "answer": item.letters[item.gold]}
        rows["mmlu_pro.jsonl"].append(row | {"category": "health"})
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(TASKS.iterdir())}
    return files | {name: written(some) for name, some in rows.items()}


def option_files(questions: Sequence[Question]) -> dict[str, str]:
    """Return name -> text of a task in the form of `mmlu`: letters behind each question, no examples."""
    rows = []
    for item in questions:
        context = f"{item.context}\n" if item.context else ""
        text = f"{context}{item.stem}\n{prompts.lettered(item.options)}\nAnswer:"
        rows.append({"text": text, "letters": list(item.letters), "answer": item.gold})
    task = {"task": OPTIONS, "output_type": "multiple_choice", "test_split": "test"}
    task |= {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{OPTIONS}.jsonl"}}}
    task |= {"doc_to_text": "text", "doc_to_choice": "letters", "doc_to_target": "answer"}
    task |= {"metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]}
    return {f"{OPTIONS}.jsonl": written(rows), f"{OPTIONS}.yaml": json.dumps(task)}


def run_jobs(missing: Rows, files: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Do the jobs, those of one model in turn; models side by side, one per core, unless a GPU takes them all."""
    models = list(dict.fromkeys(job["name"] for job in missing))
    beside = min(len(models), 1 if gpus() else cores())
    queues = [[job for job in missing if models.index(job["name"]) % beside == at] for at in range(beside)]
    place, told = Path(missing[0]["place"]), set()
    environment = {**QUIET, **importable(), "OMP_NUM_THREADS": str(max(1, cores() // beside))}
    if files:  # what the harness makes of the documents stays here too
        environment |= dict.fromkeys(OFFLINE, "1") | {"HF_DATASETS_CACHE": str(place.parent / "cache")}
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(place / name, text)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".jobs-") as lists, ExitStack() as stack:
        children = []
        for number, queue in enumerate(queues):
            file = write_text(Path(lists) / f"{number}.json", json.dumps(queue))
            children.append(Child([sys.executable, "-m", "medpsy.harness", str(file)], env=environment))
            stack.callback(children[-1].stop)
        while any(child.alive for child in children):
            time.sleep(LOOK)
            for job in (job for job in missing if job["key"] not in told and done(job)):
                told.add(job["key"])
                say(f"harness: {job['name']}, {job['task']}; {len(told)} of {len(missing)}")
    for queue, child in zip(queues, children, strict=True):
        if undone := [f"{job['name']} on {job['task']}" for job in queue if not done(job)]:
            raise HarnessError(child.failure(f"the harness left no results of {', '.join(undone)}"))


# What the harness wrote, as it is; shares become points.


def read_scores(folder: Path, model: str) -> Rows:
    """Return ``{model, task, metric, value, stderr, n, shots}`` of every task and group; stderr may be None."""
    results, rows = _json(folder, "results_*.json"), []
    for task, entries in results["results"].items():
        leaves = _leaves(task, results)
        n = sum(results["n-samples"][leaf]["effective"] for leaf in leaves)
        about = {"model": model, "task": task, "n": n, "shots": results["n-shot"].get(leaves[0], 0)}
        for key, value in entries.items():
            metric, _, tail = key.partition(",")
            if tail and not metric.endswith("_stderr") and isinstance(value, int | float):
                stderr = entries.get(f"{metric}_stderr,{tail}")
                spread = 100 * stderr if isinstance(stderr, int | float) else None
                rows.append(about | {"metric": metric, "value": 100 * value, "stderr": spread})
    return rows


def read_documents(folder: Path, model: str) -> Rows:
    """Return ``{model, task, metric, documents, values}`` with one value per document."""
    results, rows = _json(folder, "results_*.json"), []
    samples = {task: _json(folder, f"samples_{task}_[0-9]*.jsonl") for task in results["n-samples"]}
    for task in results["results"]:
        values: dict[str, dict[str, float]] = {}
        for leaf in _leaves(task, results):
            for row in sorted(samples[leaf], key=lambda row: row["doc_id"]):
                for metric in row["metrics"]:
                    each = row[metric] if isinstance(row[metric], list) else [row[metric]]
                    values.setdefault(metric, {})[f"{leaf}/{row['doc_id']}"] = 100 * fmean(each)
        about = {"model": model, "task": task}
        rows += [about | {"metric": m, "documents": list(v), "values": list(v.values())} for m, v in values.items()]
    return rows


def _json(folder: Path, pattern: str) -> Any:
    """Return what the one file that fits `pattern` holds; of lines of JSON a list."""
    paths = list(folder.glob(pattern))
    if len(paths) != 1:
        raise HarnessError(f"{folder.name} holds {len(paths)} files {pattern}; delete the folder and evaluate again")
    text = paths[0].read_text(encoding="utf-8")
    return json.loads(text) if paths[0].suffix == ".json" else [json.loads(line) for line in text.split("\n") if line]


def _leaves(task: str, results: Mapping[str, Any]) -> list[str]:
    """Return the tasks that make up a group, or the task itself."""
    if task in results["n-samples"]:
        return [task]
    return [leaf for child in results["group_subtasks"].get(task, ()) for leaf in _leaves(child, results)]


# The process: it chooses nothing and scores nothing.


def main(file: Path) -> None:
    import datasets
    import langdetect
    import nltk
    from lm_eval.tasks import TaskManager
    from torch.utils import collect_env

    # what the harness writes of the machine, for which it asks pip in every job, 4 s; records state the versions
    collect_env.get_pretty_env_info = lambda: "left out"
    jobs = json.loads(file.read_text(encoding="utf-8"))
    commits = jobs[0]["commits"]  # of data sets of the hub; none are those of tasks in the folder it works in
    os.chdir(jobs[0]["place"])
    langdetect.DetectorFactory.seed = 0  # it draws at random otherwise, and calls one text now English, now not
    if os.environ.get(OFFLINE[0]):
        nltk.download = lambda *_, **__: False  # IFEval's modules call it when they are imported
    # groups of the harness's tasks cannot be given a revision
    load = datasets.load_dataset
    datasets.load_dataset = lambda path, *args, **options: load(
        path, *args, **options | ({"revision": commits[path]} if path in commits else {})
    )
    manager = TaskManager(include_path=None if commits else ".", include_defaults=bool(commits))
    for task in dict.fromkeys(job["task"] for job in jobs if "ifeval" in job["task"]):
        require_sentences(manager, task)
    for job in jobs:
        do(job, manager)


def require_sentences(manager: Any, name: str) -> None:
    """Stop where an instruction cannot be checked without NLTK's data and this machine has none."""
    import nltk

    loaded = manager.load([name])["tasks"].values()
    kinds = {kind for task in loaded for document in task.test_docs() for kind in document["instruction_id_list"]}
    try:
        if kinds & SPLITTING:
            nltk.data.find(SENTENCES)
    except LookupError:
        sys.exit(
            f"{name}: {', '.join(sorted(kinds & SPLITTING))} need NLTK's punkt_tab, which is not on this "
            "machine; fetch it once with `python -m nltk.downloader punkt_tab`, or copy it to a folder of NLTK_DATA"
        )


def do(job: Mapping[str, Any], manager: Any) -> None:
    """Do one job: evaluate, then write the harness's own files and our record in one step."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    begun, settings = time.monotonic(), job["settings"]
    with whole_folder(Path(job["folder"])) as folder:
        tracker = EvaluationTracker(output_path=str(folder / "results.json"))
        results = simple_evaluate(
            model=settings["backend"],
            model_args=dict(job["model"]),
            tasks=[job["task"]],
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
            _json(folder, f"samples_{name}_[0-9]*.jsonl")  # the harness only warns when it cannot write a file
        read_scores(folder, job["name"])
        record = {name: job[name] for name in ("key", "name", "task", "settings")}
        text = json.dumps(record | {"seconds": time.monotonic() - begun}, indent=1)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
