"""What a profile takes before anything runs: time, memory, disk and money of what its sections ask, train and write.

Counted from the parameters of its sections; a response is counted for the first section that asks it, since later ones
find it stored. Time is that of a GPU by its data sheet, or of a CPU by what the reference machine took. Asks nothing,
runs nothing and downloads nothing.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import pandas as pd

from medpsy import evaluate, published, run, strict, study
from medpsy.attacks import FLIPPING, TRIED
from medpsy.corpus.seeds import HELD_OUT
from medpsy.data.suites import EVERY, PHYSICIANS
from medpsy.engines.llama_cpp import SLOTS
from medpsy.judge import conversations
from medpsy.planning import costs
from medpsy.planning.costs import GIGA, Gpu, unit_costs
from medpsy.provenance import cores
from medpsy.recipes import medical_o1, openmed
from medpsy.study import STAGES, Study
from medpsy.training.data import CORPUS
from medpsy.training.flops import ADAM, flops_per_token, memory
from medpsy.training.stages import PARTS

TRAINING, DOCUMENTS = "training", "documents"  # kinds of work; documents are those of lm-evaluation-harness
HARD, MAIN = "healthbench_hard", "healthbench"  # the first is a part of the second
TEACHER = "Baichuan-M3-235B"  # report 2.2: the candidate that was chosen
FULL, ADAPTER = 6.0, 4.0  # operations per parameter and token; with an adapter the weights themselves take no gradient
FORWARD = 2.0  # a further pass forward: probabilities under the reference, or as they were when the rollout was sampled
WEIGHT = 4  # bytes per parameter of a model that is only read: float32
KEPT_BYTES = 2  # per parameter of a checkpoint: bfloat16
CONVERTS = "llama_cpp"  # the engine that writes a file of its own before it serves a model
GIB, HOUR = 2**30, 3600.0
SUMS = ["read", "written", "trained", "hours", "memory", "disk", "download"]  # of a section; of memory the most
Values, Names = Mapping[str, Any], Iterable[str]


@dataclass
class Tally:
    """Counts what sections do, one after another: `rows` has one for each piece of work."""

    study: Study
    gpu: Gpu | None = None  # None: the CPU of the reference machine
    section: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[tuple[str, ...], float] = field(default_factory=dict)  # what is there by then -> how many responses
    there: set[object] = field(default_factory=set)  # models, and (section, model) where a server runs

    @property
    def lengths(self) -> Any:
        """Tokens per request of the suites."""
        return unit_costs().mini if self.study.source == "mini" else unit_costs().hub

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Suite -> its questions or conversations in all; those of the hub are known without a download."""
        if self.study.source == "hub":
            return {name: spec.published or 0 for name, spec in EVERY.items()}
        talks = conversations(self.study) if self.study.open_suites else {}
        return {suite: len(each) for suite, each in (evaluate.questions(self.study, every=True) | talks).items()}

    def note(self, what: str, model: str = "", *, seconds: float = 0.0, added: float = 0.0, **columns: Any) -> None:
        """Add a row of work that takes `seconds` and adds bytes to the disk; the first work of a model downloads it."""
        download = 0.0
        file = model and (self.study.model(model).file or model)  # several models may be one file
        if model and file not in self.there:
            self.there.add(file)
            size, converts = costs.model_size(self.study, model), not self.gpu and self.study.engine == CONVERTS
            download = size.weights * size.remote
            added += download + size.weights * converts
        row = {"section": self.section, "what": what, "model": model} | dict.fromkeys(SUMS, 0.0) | columns
        row |= {"hours": seconds / HOUR, "disk": added / GIGA, "download": download / GIGA}
        self.rows.append(row)

    def on(self, cpu: float, gpu: float = 0.0) -> float:
        """Return the seconds that apply: those of a CPU or those of a GPU."""
        return gpu if self.gpu else cpu

    def add(
        self, model: str, requests: float, read: float, written: float, what: str, *, share: float = 1.0,
        kept: str = "", slots: int = 0,
    ) -> None:  # fmt: skip
        """Count `requests` of `read` and `written` tokens each, whatever is stored; an endpoint's cost nothing. `what`
        are answers, ..., or `DOCUMENTS`; `share` is the size of the file that is served against bfloat16, `kept` the
        name under which a server knows it, and `slots` requests are answered at a time (0: those of vLLM)."""
        spec = self.study.model(model)
        if not requests or spec.base_url:
            return
        unit, serving, size = unit_costs().cpu, unit_costs().serving, costs.model_size(self.study, model)
        slots = slots or (spec.gguf and (self.study.answers(spec)[1].get("slots") or SLOTS)) or 0
        row = {"requests": requests, "read": requests * read, "written": requests * written, "memory": unit.memory}
        seconds = row["read"] * unit.read + row["written"] * unit.token + unit.serve * (what != DOCUMENTS)
        if self.gpu:
            served, server = replace(size, weights=size.weights * share), (self.section, kept or model)
            writing = costs.writing_rate(served, self.gpu, read + written / 2, slots)
            seconds = row["read"] / costs.reading_rate(served, self.gpu) + row["written"] / writing
            if what != DOCUMENTS and server not in self.there and not spec.gguf:  # a file is mapped
                self.there.add(server)
                seconds += serving.start * costs.gpus_needed(size, self.gpu)
            least = size.weights + size.cache * (read + written)
            row["memory"] = unit.memory + least / GIB if spec.gguf else self.gpu.memory * GIGA * serving.memory / GIB
        self.note(what, model, seconds=seconds, added=(row["read"] + row["written"]) * unit_costs().stored, **row)

    def start(self, launches: int, tasks: int = 0) -> None:
        """Count launches of processes that load their frameworks, and tasks for which such a process loads a model."""
        cpu, serving = unit_costs().cpu, unit_costs().serving
        self.note("start", seconds=self.on(launches * cpu.start + tasks * cpu.task / cores(), serving.start * tasks))

    def make(self, what: str, model: str, share: float = 1.0) -> None:
        """Count a file that is made of a model's weights: one in GGUF, or a merged checkpoint."""
        cpu, weights = unit_costs().cpu, share * costs.model_size(self.study, model).weights
        seconds = cpu.merge if what == "merge" else cpu.build + cpu.measure
        on_gpu = getattr(unit_costs().serving, what) * weights / GIGA
        self.note(what, model, added=weights, seconds=self.on(seconds, on_gpu))

    def ask(self, models: Names, runs: int = 0, most: int | None = None, suites: Names = (), **how: Any) -> None:
        """Count the answers of `models` to `suites` (none: the study's) that are not stored, and their reading: `runs`
        (0: as the study says) of `most` questions (0: all, None: as the study says); `how` is that of a GGUF file, as
        of `add`."""
        samples = self._samples(suites or self.study.suites, self.study.questions_per_suite if most is None else most)
        fresh, seen, (read, written) = 0.0, 0.0, self.lengths.reading
        for name in dict.fromkeys(models):
            new, length = self._new(("answers", how.get("kept", name)), samples, runs), self.length(name)
            self.add(name, new, self.lengths.question, length, "answers", **how)
            fresh, seen = fresh + new, seen + new * length * (self.study.parser_sees == "response")
        self.add(self.study.parser, fresh * self.lengths.unread, read + seen / max(fresh, 1.0), written, "readings")

    def talk(
        self, models: Names, suites: Names, judges: Names, runs: int = 0, most: int | None = None, **how: Any
    ) -> None:
        """Count the replies of `models` that are not stored, and the verdicts of `judges`; arguments as of `ask`."""
        samples = self._samples(suites, self.study.conversations_per_suite if most is None else most)
        if HARD in samples and MAIN in samples:  # what is asked for both is asked once
            samples[HARD] *= 1 - samples[MAIN] / self.sizes[MAIN]
        names = {name: how.get("kept", name) for name in models}
        for name, kept in names.items():
            new = self._new(("replies", kept), samples, runs)
            self.add(name, new, self.lengths.conversation, self.length(name) * self.lengths.reply, "replies", **how)
        for judge in judges:
            new = sum(self._new(("verdicts", judge, kept), samples, runs) for kept in names.values())
            self.add(judge, self.lengths.criteria * self.lengths.unjudged * new, *self.lengths.verdict, "verdicts")

    def train(
        self, values: Values, model: str, tokens: float, document: float, held: float, *, mfu: float, beside: int,
        reference: bool = False, adapter: bool = False, updates: int = 0, per_rollout: int = 1, sampled: float = 0.0,
        per_second: float = 1.0, processes: int = 1, kept: bool = True,
    ) -> None:  # fmt: skip
        """Count a stage with TRL's arguments `values` on `tokens` in all, of documents of `document` tokens.

        Each of `processes` holds `held` tokens at a time at `mfu` (0 to 1) of a GPU's peak; `beside` stages are
        launched together, on a CPU as many side by side as there are cores; a `reference` model may give its
        probabilities; of an `adapter` what it adds itself is too little to count. Where responses are sampled on the
        way: `updates` of the optimizer, `per_rollout` of these, `sampled` tokens, `per_second` by one process on a GPU.
        `kept`: the checkpoint stays.
        """
        unit, size, lanes = unit_costs().cpu, costs.model_size(self.study, model), min(beside, cores())
        operations = (ADAPTER if adapter else FULL) + FORWARD * (reference + (per_rollout > 1))
        states = WEIGHT if adapter else ADAM + WEIGHT * reference
        sharing = {"checkpointing": values["gradient_checkpointing"], "processes": processes, "states": states}
        needed = memory(size.shape, int(held), **sharing)
        if self.gpu:
            rate = costs.training_rate(size, self.gpu, mfu, document)
            seconds = tokens * operations / FULL / rate + sampled / per_second
        else:
            speed = unit.train["bfloat16" if values["bf16"] else "float32"] * GIGA
            alone = tokens * flops_per_token(size.shape, document) * operations / FULL / speed
            seconds = (alone + sampled / unit.sampled + updates * unit.update) / lanes
            needed = unit.memory + needed * lanes
        row = {"trained": tokens, "document": document, "operations": operations, "mfu": mfu, "memory": needed}
        row |= {"written": sampled, "per_second": per_second, "kept": kept}
        self.note(TRAINING, model, seconds=seconds, added=KEPT_BYTES * size.shape.parameters * kept, **row)

    def sft(self, values: Values, model: str, tokens: float, document: float, **how: Any) -> None:
        """Count a stage of SFT on `tokens` per epoch; further arguments as those of `train`."""
        held = values["per_device_train_batch_size"] * values["max_length"]
        self.train(values, model, tokens * values["num_train_epochs"], document, held, **how)

    def rl(
        self, values: Values, model: str, questions: int, each: float, *, asked: float = 0, rate: float = 0, **how: Any
    ) -> float:
        """Count a stage of reinforcement learning from `questions` of `each` tokens with a response, and return its
        responses. `asked` held-out questions are evaluated at the start and every `eval_steps`; a process samples
        `rate` tokens per second on a GPU (0: that of ``costs.yaml``)."""
        batch, micro = values["generation_batch_size"], values["per_device_train_batch_size"]
        updates, prompts = batch // (micro * values["gradient_accumulation_steps"]), batch // values["num_generations"]
        rollouts = values.get("max_steps", 0) // updates
        rollouts = rollouts or max(1, int(questions * values["num_train_epochs"] // prompts))
        again = unit_costs().resampled if values.get("sampling_rounds", 2) else 1.0
        looks = 1 + rollouts * updates // values["eval_steps"] if asked else 0
        tokens = rollouts * batch * each
        how |= {"updates": rollouts * updates, "per_rollout": updates, "reference": values.get("beta", 0.0) > 0}
        how |= {"sampled": tokens * again + looks * asked * each, "per_second": rate or unit_costs().sampled}
        self.train(values, model, tokens, each, micro * each, mfu=unit_costs().updates, **how)
        return rollouts * batch

    def length(self, name: str) -> float:
        """Return the tokens of an average answer of the model called `name`."""
        return costs.model_size(self.study, name).written or self.lengths.written

    def _samples(self, suites: Names, most: int) -> dict[str, float]:
        return {suite: min(self.sizes[suite], most or self.sizes[suite]) for suite in suites}

    def _new(self, key: tuple[str, ...], samples: Mapping[str, float], runs: int) -> float:
        """Return how many responses to `samples` are not stored yet, and count them as stored; all take a moment to be
        tabulated and drawn."""
        new = 0.0
        for suite, asked in samples.items():
            wanted, before = asked * (runs or self.study.runs), self.stored.get((*key, suite), 0.0)
            self.stored[*key, suite] = max(wanted, before)
            self.note("notebook", seconds=self.on(wanted * unit_costs().cpu.drawn))
            new += max(0.0, wanted - before)
        return new


# parameters that name models to be compared
MODELS = ("large", "small", "teachers", "models", "classes", "retrained", "stages")
WHOLE = ("02_teacher_selection", "07_main_results")  # sections that show the hard conversations apart


def _compared(tally: Tally, params: Values, _: object) -> None:
    """Count what a section asks that trains none: the models that its parameters name."""
    models = [name for key in MODELS for name in _leaves(params.get(key)) if name]
    again = [seed for seed in params.get("seeds", ()) if seed != tally.study.seed]
    last = [tally.study.checkpoint(size, STAGES[-1], seed).name for size in tally.study.targets for seed in again]
    runs = params.get("runs", 0)
    tally.ask([*models, *params.get("teacher", ()), *last], runs=runs)
    if "readers" in params:
        tally.add(tally.study.parser, FLIPPING + params["shown"], *tally.lengths.reading, "readings")
        tally.start(1, sum(not tally.study.model(name).gguf for name in models))  # likelihoods of the options
    else:
        suites = tally.study.open_suites if tally.section in WHOLE else [MAIN]
        tally.talk(models, suites, params.get("judges", tally.study.judges), runs=runs)
    if "varied" in params:
        _varied(tally, params, last)
    decided = (params["physicians"] or PHYSICIANS.published) if "physicians" in params else 0
    for judge in tally.study.judges:
        tally.add(judge, decided * tally.lengths.unjudged, *tally.lengths.verdict, "verdicts")


def _varied(tally: Tally, params: Values, trained: Names) -> None:
    """Count what splits a margin: all judges on both ends of a class and what was `trained` again, and on few questions
    further runs of both ends, other wordings and other orders."""
    study, varied = tally.study, params["varied"]
    ends = [params["stages"][stage][varied["size"]] for stage in ("backbone", STAGES[-1])]
    tally.talk([*ends, *trained], [MAIN], {*params["judges"], *study.judges}, runs=params["runs"])
    more = max(0, varied["runs"] - (params["runs"] or study.runs))
    versions = bool(varied["questions"]) * (more + len(varied["wordings"]) + varied["orders"])
    for name in ends:
        tally.ask([name] * bool(versions), versions, varied["questions"], kept=f"{name}, again")
        talking = [name] * bool(more * varied["conversations"])
        tally.talk(talking, [MAIN], params["judges"][:1], more, varied["conversations"], kept=f"{name}, again")


def _leaves(value: object) -> list:
    if isinstance(value, dict | list):
        return [leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(each)]
    return [] if value is None else [value]


def _corpora(tally: Tally, params: Values, every: Mapping[str, Values]) -> None:
    """Count the rows that the teacher writes; where none is named, the candidate that is the report's stands for it."""
    if not (teacher := params["teacher"]):
        candidates = every["02_teacher_selection"]
        plays = {row: name for name, row in candidates["stands_for"].items()}
        teacher = plays.get(TEACHER, candidates["teachers"][0])
    rows = sum(params["corpus1"].values()) + sum(params["corpus2"].values())
    tally.add(teacher, rows, tally.lengths.seed, tally.lengths.row, "rows")


def _tuned(tally: Tally, params: Values, every: Mapping[str, Values]) -> None:
    """Count the SFT stages of every target."""
    shared, document = params["batch"] | params["computing"], tally.lengths.seed + tally.lengths.row
    beside = list(product(tally.study.targets.values(), params["seeds"]))
    how = {"mfu": params["mfu"], "processes": params["launching"]["processes"], "beside": len(beside)}
    tally.start(1)
    for model, _ in beside:
        for stage, corpus in CORPUS.items():
            tokens = sum(every["03_training_data"][corpus].values()) * document
            tally.sft(shared | params[stage], model, tokens, document, **how)


def _reinforced(tally: Tally, params: Values, _: object) -> None:
    """Count attempts at the RL set and the stages that follow, then the short stages that compare DAPO's parts."""
    study, (read, written), attempts = tally.study, tally.lengths.attempt, params["attempts"]
    shared = params["rollout"] | params["limits"] | params["optimizer"] | params["batch"] | params["computing"]
    questions, asked = params["asked"]["size"] or tally.lengths.rl_set, params["asked"]["held_out"]
    learnable = max(1, round(questions * tally.lengths.learnable)), read + written
    how = {"rate": params["sampled_per_second"], "processes": params["launching"]["processes"]}
    every, parts = list(product(study.targets.items(), params["seeds"])), {"all": {}, **PARTS}
    tally.start(3)  # of rl1, of rl2, and of the parts
    for (size, model), seed in every:
        parent = study.checkpoint(size, "sft2", seed).name
        for stage in ("rl1", "rl2"):
            words = written if study.source == "mini" else tally.length(parent)
            tally.add(parent, questions * attempts["rl"], read, words, "attempts")
            parent = study.checkpoint(size, stage, seed).name
            tally.rl(shared | params[stage], model, *learnable, asked=asked, beside=len(every), **how)
        for stage in ("sft2", "rl1", "rl2"):
            tally.add(study.checkpoint(size, stage, seed).name, asked * attempts["held_out"], read, written, "attempts")
    size = params["parts"]["size"]
    name, how = study.checkpoint(size, "rl1").name, how | {"beside": len(parts), "kept": False}
    short = shared | params["rl1"] | {name: value for name, value in params["parts"].items() if name != "size"}
    for part, changed in parts.items():
        tally.add(name, asked * attempts["switches"], read, written, "attempts", kept=f"{name}-{part}")
        tally.rl(short | changed, study.targets[size], *learnable, **how)


def _quantized(tally: Tally, params: Values, _: object) -> None:
    """Count the files, whose sizes are those of the report's tables, and what each is asked."""
    most, suites = params["asked"], tally.study.open_suites
    for size, source in params["sources"].items():
        how, own = {"runs": params["runs"]}, tally.study.model(source).file
        how |= {} if own else {"slots": unit_costs().serving.gguf_slots}
        released = {file.name: file.format for file in tally.study.files(source)}
        names = [name for name, form in released.items() if name == source or form in params["formats"]]
        tally.ask(names, most=most["questions"], **how)
        tally.talk(names, suites, params["judges"], most=most["conversations"], **how)
        if own:
            continue
        sizes = published.table(params["stands_for"][size])["Size (GB)"].astype(float)
        formats = [*(form for form in params["formats"] if form not in released.values()), *params["plain"]]
        shares = [sizes[sizes.index.str.endswith(form)].iloc[0] / sizes.max() for form in formats]
        tally.make("gguf", source)
        for place, share in enumerate(shares):
            tally.make("gguf", source, share)
            how |= {"share": share, "kept": f"{source}/{place}"}
            tally.ask([source], most=most["questions"], **how)
            tally.talk([source], suites, params["judges"], most=most["conversations"], **how)


def _gspo(tally: Tally, params: Values, _: object) -> None:
    """Count SFT of every base, all methods and seeds on the first one (the first method alone on the others), and what
    is answered and judged: rewards, held-out answers and these with praise. Of released models only the latter, in all
    languages; those that are trained are asked in the first one."""
    released, counts, sets = [*params["released"].values()], params["counts"], params["closed_sets"]
    names, judged = (released, []) if released else _gspo_stages(tally, params)
    lengths, tiers, runs, languages = tally.lengths, len(params["tiers"]), counts["runs"], params["corpus"]["configs"]
    held_out = (counts["held_out"] or HELD_OUT * lengths.o1_set) * (len(languages) if released else 1)
    for name in names:
        words = tally.length(name) if released else lengths.open[1]
        tally.add(name, (held_out + counts["foreign"] * (name in names[:2])) * runs, lengths.open[0], words, "answers")
        tally.add(name, counts["closed"] * runs * (not sets), *lengths.attempt, "attempts", kept=name)
    tally.ask(names * bool(sets), most=counts["closed"], suites=sets)
    tried = 2 * len(TRIED) + 1  # texts in the conclusion; in the reasoning that is shown, where none is tried too
    for count in (*judged, held_out * runs * len(names), held_out * tried, FLIPPING / tiers):
        tally.add(params["judge"]["model"], tiers * lengths.unjudged * count, *lengths.verdict, "verdicts")
    tally.start(3 if judged else 1)  # of SFT, of the methods, and of the answers


def _gspo_stages(tally: Tally, params: Values) -> tuple[list[str], list[float]]:
    """Count the trainings; return the models that are asked, and how many responses of each training are judged."""
    study, lengths, counts = tally.study, tally.lengths, params["counts"]
    sft = {**params["sft"], **params["computing"], "max_length": params["filters"]["packed_length"]}
    method = medical_o1.SHARED | params["rollout"] | params["limits"] | params["optimizer"] | params["computing"]
    rows = sum(count or lengths.o1_set for count in params["corpus"]["configs"].values())
    backbones = {base: study.targets.get(base, base) for base in params["bases"]}
    for model in backbones.values():
        tally.sft(sft, model, rows * lengths.o1, lengths.o1, mfu=unit_costs().updates, beside=len(backbones))
    first, *others = backbones
    trained = list(product([first], params["clip_ranges"], medical_o1.seeds(study, counts["seeds"])))
    names = [backbones[first], *(medical_o1.checkpoint(study, *each) for each in [(first, "sft"), *trained])]
    how = {"adapter": True, "beside": len(trained) + len(others)}
    questions, each = counts["rows"] or lengths.o1_set, sum(lengths.open)
    judged = [tally.rl(method, backbones[base], questions, each, **how) for base in [first] * len(trained) + others]
    return names, judged[: len(trained)]


def _openmed(tally: Tally, params: Values, _: object) -> None:
    """Count the stages and merges of every base, and what the recipe, the study's protocol and the harness ask; of
    released checkpoints only the latter."""
    study, lengths, asked, methods = tally.study, tally.lengths, params["asked"], [*params["methods"].values()]
    released = params["released"]
    trained = [] if released else openmed.openmed_trainings(study, methods)
    parts = released or trained[-1]
    for each in trained:
        _openmed_stages(tally, params, each["base"], len(trained))
        tally.add(each["sft"], params["choices"]["dpo"]["size"] * asked["attempts"], *lengths.attempt, "attempts")
    for base in [each["base"] for each in trained[:-1]] + [parts["base"]] * len(openmed.MERGES) * bool(trained):
        tally.make("merge", base)
    for name in (parts["base"], parts.get("sft", parts["merged"])):
        calls = asked["calls"] or HELD_OUT * lengths.trace_set
        tally.add(name, calls, *lengths.call, "calls", kept=f"{name}-tools")
    models = [parts[part] for part in ("base", "sft", "dpo", "rl", "merged") if part in parts]
    models += [*methods, *(costs.backbone_of(study, name) for name in methods)]
    tally.ask(models, runs=asked["runs"], most=asked["questions"])
    tally.talk(models, [MAIN], study.judges[:1], runs=asked["runs"], most=asked["conversations"])
    limit, slots = params["protocol"]["limit"], params["protocol"]["batch_size"]
    tally.start(3 if trained else 1)  # of SFT, of the preferences with RL, and of the harness
    for task in lengths.harness.values():  # one reading of a prompt tells all letters, since each is one token
        documents, words = min(task["documents"], task["parts"] * limit or task["documents"]), task["written"]
        models = [(name, words) for name in parts.values()]
        if words:  # handled wrongly: reasoning left in, and cut off
            models += [(parts["merged"], words), (parts["merged"], min(asked["short"], words))]
        tally.start(2 * bool(words), len(models))
        for name, written in models:
            tally.add(name, documents, task["read"], written, DOCUMENTS, slots=slots)


def _openmed_stages(tally: Tally, params: Values, base: str, beside: int) -> None:
    lengths, corpus, choices, machine = tally.lengths, params["corpus"], params["choices"], params["machine"]
    amounts = [(count or lengths.o1_set, sum(lengths.open)) for count in corpus["configs"].values()]
    amounts += [(count, lengths.seed + lengths.row) for count in corpus["synthetic"].values()]
    amounts += [(corpus["traces"] or lengths.trace_set, lengths.trace)]  # a trace counts as one row
    rows, tokens = sum(count for count, _ in amounts), sum(count * each for count, each in amounts)
    shared, pair, mfu = params["common"] | machine["compute"], sum(lengths.attempt), unit_costs().updates
    how = {"beside": beside, "processes": machine["launch"]["processes"]}
    sft = {**shared, **params["adam"], **params["sft"], "max_length": params["filters"]["packed_length"]}
    tally.sft(sft, base, tokens, tokens / rows, mfu=mfu, **how)
    dpo = shared | params["dpo"]  # both sides of a pair pass the policy and, forward alone, its parent
    tokens = 2 * choices["dpo"]["size"] * lengths.paired * pair * dpo["num_train_epochs"]
    tally.train(dpo, base, tokens, pair, 2 * dpo["per_device_train_batch_size"] * pair, reference=True, mfu=mfu, **how)
    grpo = openmed.GRPO | shared | params["grpo"] | params["rollout"]
    tally.rl(grpo, base, choices["rl"]["size"] or lengths.rl_set, pair, **how)


COMPARING = ("01_backbone_selection", "02_teacher_selection", "06_answer_extraction", "07_main_results")
COMPARING += ("08_stage_ablations", "09_token_efficiency")
QUIET = ("00_published_claims", "11_compute_budget", "14_ledger")  # ask and train nothing
RULES: dict[str, Callable[[Tally, Values, Mapping[str, Values]], None]] = {
    **dict.fromkeys(COMPARING, _compared),
    **dict.fromkeys(QUIET, lambda *_: None),
    "03_training_data": _corpora,
    "04_sft": _tuned,
    "05_rl": _reinforced,
    "10_quantization": _quantized,
    "12_gspo_judge": _gspo,
    "13_openmed": _openmed,
}


def work(profile: str, gpu: Gpu | None = None) -> pd.DataFrame:
    """Return what the sections of `profile` do, in reading order: a row for each piece of work, at least one a section.
    Columns ``section``, ``what``, ``model`` and `SUMS`; of a training also ``document``, ``mfu``, ``operations`` per
    parameter and token, tokens ``per_second`` of a process that samples, and whether its checkpoint is ``kept``. A
    strict.SettingsError says that the profile or its parameters cannot be read, or that one is missing."""
    tally, root = Tally(study.load(profile), gpu), study.find_root()
    named = {name: path for name, path in run.notebooks().items() if (root / f"params/{profile}/{name}.yaml").is_file()}
    every = {name: run.profile_parameters(path, profile, root) for name, path in named.items()}
    for name, params in every.items():
        tally.section, unit = name, unit_costs().cpu
        tally.note("notebook", seconds=tally.on(unit.notebook), memory=tally.on(unit.memory))
        try:
            RULES.get(name, lambda *_: None)(tally, params, every)
        except KeyError as error:
            raise strict.SettingsError(f"params/{profile}/{name}.yaml: no forecast without {error}; add it") from error
    return pd.DataFrame(tally.rows)


@dataclass(frozen=True)
class Plan:
    """What a profile is expected to take, a row per section. Columns: tokens ``read``, ``written`` and ``trained`` on;
    ``hours`` of all GPUs or of this machine; ``memory`` (GiB at most, of one GPU or of this machine); GB of ``disk``,
    and of these by ``download``. Models behind endpoints cost nothing here."""

    profile: str
    sections: pd.DataFrame
    gpu: str = ""  # empty: this machine's CPU
    price: float | None = None  # dollars per GPU hour
    slowness: float = 1.0  # of this machine against the reference machine

    @property
    def total(self) -> pd.Series:
        """The sums over all sections; of memory the most."""
        return self.sections.agg({name: "max" if name == "memory" else "sum" for name in self.sections})

    @property
    def rows(self) -> pd.DataFrame:
        """The sections with their ``money``, the total last."""
        rows = pd.concat([self.sections, self.total.to_frame("total").T]).rename_axis("section")
        return rows.assign(money=rows["hours"] * self.price if self.gpu else None)

    @property
    def wall(self) -> float:
        """Hours of `make report` on this machine's CPU, which runs as many sections at a time as there are cores."""
        return self.total["hours"] * (unit_costs().cpu.beside if cores() > 1 else 1.0)


def forecast(profile: str, *, gpu: str | None = None, price: float | None = None, slower: float | None = None) -> Plan:
    """Return what `profile` is expected to cost; `gpu` and `price` are those of the profile and of ``costs.yaml`` by
    default, `slower` is this machine against the reference machine (where llama.cpp asks models of the hub, against
    `costs.USUAL`), measured where it is None and this machine does the work. A ValueError names a profile or
    parameters that cannot be read, an unknown GPU, a price below 0, a GPU for a profile that runs on a CPU, or why
    llama-bench failed."""
    settings, prices = study.load(profile), unit_costs()
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ValueError(f"price {price} must be 0 or above: dollars per GPU hour")
    on_cpu = settings.source == "mini"
    if on_cpu and (gpu or price is not None):
        raise ValueError(f"profile {profile} runs on the CPU of this machine; leave out --gpu and --price")
    if not on_cpu and settings.engine == CONVERTS and gpu is None:
        measured = costs.measured() if slower is None else None
        name, card = (costs.HERE, measured) if measured else (costs.OTHER, costs.USUAL)
        slower = slower or 1.0
    else:
        name = "" if on_cpu else costs.gpu_name(gpu or prices.usual.get(profile) or next(iter(prices.gpus)))
        card, slower = prices.gpus.get(name), 1.0 if name else costs.slowness() if slower is None else slower
    sections = work(profile, card).groupby("section", sort=False)
    rows = sections[SUMS].sum().assign(memory=sections["memory"].max()).rename_axis(None)
    rows["hours"] *= slower
    return Plan(profile, rows, name, card.price if card and price is None else price, slower)


def printed(plan: Plan) -> str:
    """Return `plan` as lines of text: a row per notebook, the total, how to read it, and what is free on the disk."""
    rows, total, free = plan.rows, plan.total, shutil.disk_usage(study.find_root()).free / GIGA
    shown = (rows[["read", "written", "trained"]] / 1e6).add_suffix(" (M)")
    own = plan.gpu in (costs.HERE, costs.OTHER)
    shown["hours" if own else "GPU hours" if plan.gpu else "minutes"] = rows["hours"] * (1 if plan.gpu else 60)
    shown[["GiB", "GB of disk"]] = rows[["memory", "disk"]]
    if plan.gpu and not own:
        shown["$"] = rows["money"]
    lines = [shown.rename_axis(None).to_string(float_format="{:,.2f}".format), ""]
    lines.append("Millions of tokens read, generated, trained on. What an earlier section asked is not asked again.")
    if unknown := [name for name in plan.sections.index if name not in RULES]:
        lines.append(f"Nothing is known of {', '.join(unknown)}.")
    if own:
        by = "a measurement of some seconds" if plan.gpu == costs.HERE else "a guess: this one was not measured"
        lines.append(f"Hours of {plan.gpu}, by {by}; they may be off by two, by more while other programs run.")
    elif plan.gpu:
        lines.append(f"Hours of one {plan.gpu} at ${plan.price:g}, from data sheets: they may be off by two.")
    else:
        lines.append(f"Minutes of one section after another; `make report` takes about {60 * plan.wall:.0f}.")
        lines.append(f"This machine takes {plan.slowness:.2f} times as long as the one that the costs are of.")
    room = "." if total.disk < free else ": too little; free some, or put the project on a larger disk."
    lines.append(
        f"{total.download:,.1f} GB to download, {total.disk:,.1f} GB in all; {free:,.0f} GB are free here{room}"
    )
    return "\n".join(lines)


def as_json(plan: Plan) -> dict:
    """Return `plan` as JSON-ready data: a row per section, as `Plan.sections` has it with its money, the total last."""
    about = {"profile": plan.profile, "gpu": plan.gpu or None, "price": plan.price, "slowness": plan.slowness}
    return about | {"wall_hours": None if plan.gpu else plan.wall, "rows": plan.rows.reset_index().to_dict("records")}
