"""What every section of a profile asks, trains and writes, counted from its parameters before anything runs.

A response is counted for the first section that asks it: later ones find it stored. Of the miniature its suites are
read too. Asks nothing, runs nothing and downloads nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from medpsy import evaluate, published, run, strict, study
from medpsy.attacks import FLIPPING, TRIED
from medpsy.corpus.seeds import HELD_OUT
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.judge import conversations
from medpsy.planning import costs
from medpsy.planning.costs import unit_costs
from medpsy.recipes import medical_o1, openmed
from medpsy.study import STAGES, Study
from medpsy.training.data import CORPUS
from medpsy.training.flops import ADAM
from medpsy.training.stages import PARTS

DOCUMENTS = "documents"  # of lm-evaluation-harness
HARD, MAIN = "healthbench_hard", "healthbench"  # the first is a part of the second
FULL, ADAPTER = 6.0, 4.0  # operations per parameter and token; with an adapter the weights themselves take no gradient
FORWARD = 2.0  # a further pass forward: probabilities under the reference, or as they were when the rollout was sampled
WEIGHT = 4  # bytes per parameter of a model that is only read: float32
Values, Names = Mapping[str, Any], Iterable[str]


@dataclass(frozen=True)
class Asked:
    """Requests to one model.

    Args:
        read, written: tokens of one request and of its response.
        what: ``"answers"``, ``"readings"``, ``"replies"``, ``"verdicts"``, ``"attempts"``, ``"rows"``, ``"calls"`` or
            `DOCUMENTS`: where of these nothing is written, the likeliest letter is read off.
        share: size of the file that is served against bfloat16.
        kept: what a server knows it as; the model's name by default.
        slots: requests at a time; those of vLLM by default.
    """

    model: str
    requests: float
    read: float
    written: float
    what: str
    share: float = 1.0
    kept: str = ""
    slots: int = 0


@dataclass(frozen=True)
class Trained:
    """One stage of one model.

    Args:
        model: the backbone, which has the size of the checkpoint.
        launch, lane: stages of one lane run in turn, lanes of a launch side by side; a launch loads its frameworks.
        tokens: trained on, over all epochs; `document`: mean tokens of a row; `held`: that one process holds at a time.
        mfu: share of a GPU's peak, 0 to 1.
        operations: per parameter and token; `states`: bytes per parameter of weights, gradients, moments, a reference.
        updates: optimizer steps where responses are sampled on the way; 0 elsewhere.
        sampled: tokens written on the way; `per_second`: those of one process on a GPU.
        kept: whether the checkpoint stays.
    """

    model: str
    launch: str
    lane: str
    tokens: float
    document: float
    held: float
    precision: str
    checkpointing: bool
    mfu: float
    operations: float = FULL
    states: float = ADAM
    processes: int = 1
    updates: int = 0
    sampled: float = 0.0
    per_second: float = 1.0
    kept: bool = True


@dataclass
class Section:
    """What one section does.

    Args:
        quantized: model and, against bfloat16, size of every GGUF file; merged: base of every merged checkpoint.
        launches, tasks: times that processes load their frameworks to ask models through transformers, and that such a
            process loads a model and gives it one task.
        drawn: responses in its tables.
    """

    name: str
    asked: list[Asked] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    quantized: list[tuple[str, float]] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    launches: int = 0
    tasks: int = 0
    drawn: float = 0.0

    @property
    def models(self) -> list[str]:
        """The models that it asks, trains from, converts or merges."""
        named = [each.model for each in (*self.asked, *self.trained)] + [model for model, _ in self.quantized]
        return list(dict.fromkeys(named + self.merged))


@dataclass
class Tally:
    """Counts what sections do, one after another, and knows what is stored by then.

    Attributes:
        section: the one that is counted.
        stored: what is there -> how many responses.
    """

    study: Study
    section: Section = field(default_factory=lambda: Section(""))
    stored: dict[tuple[str, ...], float] = field(default_factory=dict)

    @property
    def lengths(self) -> Any:
        """Tokens per request of the suites."""
        return unit_costs().mini if self.study.source == "mini" else unit_costs().hub

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Suite -> its questions or conversations in all; those of the hub are known without a download."""
        if self.study.source == "hub":
            return {name: spec.published or 0 for name, spec in {**SUITES, **OPEN_SUITES}.items()}
        talks = conversations(self.study) if self.study.open_suites else {}
        return {suite: len(each) for suite, each in (evaluate.questions(self.study, every=True) | talks).items()}

    def add(self, model: str, requests: float, read: float, written: float, what: str, **how: Any) -> None:
        """Count requests, if there are any, whatever is stored; arguments as those of `Asked`."""
        if requests:
            self.section.asked.append(Asked(model, requests, read, written, what, **how))

    def ask(self, models: Names, runs: int = 0, most: int | None = None, **how: Any) -> None:
        """Count the answers of `models` to the study's suites that are not stored, and their reading.

        Args:
            runs: 0 means as the study says.
            most: questions of a suite; 0 means all, None as the study says.
            how: of a GGUF file that is asked instead of the one model, as in `Asked`.
        """
        most = self.study.questions_per_suite if most is None else most
        samples = {suite: self._sample(suite, most) for suite in self.study.suites}
        fresh, seen, (read, written) = 0.0, 0.0, self.lengths.reading
        for name in dict.fromkeys(models):
            new, length = self._new(("answers", how.get("kept", name)), samples, runs), self.written(name)
            self.add(name, new, self.lengths.question, length, "answers", **how)
            fresh, seen = fresh + new, seen + new * length * (self.study.parser_sees == "response")
        self.add(self.study.parser, fresh * self.lengths.unread, read + seen / max(fresh, 1.0), written, "readings")

    def talk(
        self, models: Names, suites: Names, judges: Names, runs: int = 0, most: int | None = None, **how: Any
    ) -> None:
        """Count the replies of `models` that are not stored, and the verdicts of `judges`; arguments as of `ask`."""
        most, models = self.study.conversations_per_suite if most is None else most, list(dict.fromkeys(models))
        samples = {suite: self._sample(suite, most) for suite in suites}
        if HARD in samples and MAIN in samples:  # what is asked for both is asked once
            samples[HARD] *= 1 - samples[MAIN] / self.sizes[MAIN]
        for name in models:
            new = self._new(("replies", how.get("kept", name)), samples, runs)
            self.add(name, new, self.lengths.conversation, self.written(name) * self.lengths.reply, "replies", **how)
        each = self.lengths.criteria * self.lengths.unjudged
        for judge in judges:
            new = sum(self._new(("verdicts", judge, how.get("kept", name)), samples, runs) for name in models)
            self.add(judge, each * new, *self.lengths.verdict, "verdicts")

    def train(
        self, values: Values, *, reference: bool = False, adapter: bool = False, per_rollout: int = 1, **work: Any
    ) -> None:
        """Count a stage; an adapter's own operations and bytes are too few to count, and its parent is there.

        Args:
            values: arguments of the training, as TRL calls them.
            reference: the parent is asked for its probabilities too.
            per_rollout: optimizer steps on the responses of one rollout.
            work: what `Trained` holds besides.
        """
        operations = (ADAPTER if adapter else FULL) + FORWARD * reference
        operations += FORWARD * (per_rollout > 1)
        states = WEIGHT if adapter else ADAM + WEIGHT * reference
        work["precision"] = "bfloat16" if values["bf16"] else "float32"
        work["checkpointing"] = values["gradient_checkpointing"]
        self.section.trained.append(Trained(operations=operations, states=states, **work))

    def sft(self, values: Values, tokens: float, document: float, **how: Any) -> None:
        """Count a stage of SFT on `tokens` per epoch; further arguments as those of `train`."""
        held = values["per_device_train_batch_size"] * values["max_length"]
        self.train(values, tokens=tokens * values["num_train_epochs"], document=document, held=held, **how)

    def rl(
        self, values: Values, questions: int, each: float, *, asked: float = 0.0, rate: float = 0.0, **how: Any
    ) -> float:
        """Count a stage of reinforcement learning, and return its responses.

        Args:
            questions: that the stage learns from.
            each: tokens of a question and a response to it.
            asked: held-out questions of an evaluation; there is one at the start and one every `eval_steps`.
            rate: tokens that a process samples per second on a GPU; that of ``costs.yaml`` by default.
        """
        batch, micro = values["generation_batch_size"], values["per_device_train_batch_size"]
        updates, prompts = batch // (micro * values["gradient_accumulation_steps"]), batch // values["num_generations"]
        rollouts = values.get("max_steps", 0) // updates
        rollouts = rollouts or max(1, int(questions * values["num_train_epochs"] // prompts))
        again = unit_costs().resampled if values.get("sampling_rounds", 2) else 1.0
        looks = 1 + rollouts * updates // values["eval_steps"] if asked else 0
        size = {"tokens": rollouts * batch * each, "document": each, "held": micro * each}
        size |= {"updates": rollouts * updates, "per_second": rate or unit_costs().sampled}
        size |= {"sampled": size["tokens"] * again + looks * asked * each, "mfu": unit_costs().updates}
        self.train(values, reference=values.get("beta", 0.0) > 0, per_rollout=updates, **size, **how)
        return rollouts * batch

    def written(self, name: str) -> float:
        """Return the tokens of an average answer of the model called `name`."""
        return costs.model_size(self.study, name).written or self.lengths.written

    def _sample(self, suite: str, most: int) -> float:
        return min(self.sizes[suite], most or self.sizes[suite])

    def _new(self, key: tuple[str, ...], samples: Mapping[str, float], runs: int) -> float:
        """Return how many responses to `samples` are not stored yet, and count them as stored."""
        new = 0
        for suite, asked in samples.items():
            wanted, before = asked * (runs or self.study.runs), self.stored.get((*key, suite), 0.0)
            self.stored[*key, suite] = max(wanted, before)
            self.section.drawn += wanted
            new += max(0.0, wanted - before)
        return new


MODELS = ("large", "small", "teachers", "models", "classes", "stages")  # parameters that name models to be compared
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
        tally.section.launches, tally.section.tasks = 1, len(models)  # likelihoods of the options
    else:
        suites = tally.study.open_suites if tally.section.name in WHOLE else [MAIN]
        tally.talk(models, suites, params.get("judges", tally.study.judges), runs=runs)


def _leaves(value: object) -> list:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return ([] if value is None else [value]) if inner is None else [leaf for each in inner for leaf in _leaves(each)]


def _corpora(tally: Tally, params: Values, every: Mapping[str, Values]) -> None:
    """Count the rows; where the teacher is not chosen yet, the first candidate stands for it."""
    teacher = params["teacher"] or every["02_teacher_selection"]["teachers"][0]
    rows = sum(params["corpus1"].values()) + sum(params["corpus2"].values())
    tally.add(teacher, rows, tally.lengths.seed, tally.lengths.row, "rows")


def _tuned(tally: Tally, params: Values, every: Mapping[str, Values]) -> None:
    """Count the SFT stages of every target."""
    shared, document = params["batch"] | params["computing"], tally.lengths.seed + tally.lengths.row
    how = {"launch": "sft", "mfu": params["mfu"], "processes": params["launching"]["processes"]}
    for (size, model), seed in product(tally.study.targets.items(), params["seeds"]):
        for stage, corpus in CORPUS.items():
            tokens = sum(every["03_training_data"][corpus].values()) * document
            tally.sft(shared | params[stage], tokens, document, model=model, lane=f"{size}, seed {seed}", **how)


def _reinforced(tally: Tally, params: Values, _: object) -> None:
    """Count attempts at the RL set and the stages that follow, then the short stages that compare DAPO's parts."""
    study, (read, written), attempts = tally.study, tally.lengths.attempt, params["attempts"]
    shared = params["rollout"] | params["limits"] | params["optimizer"] | params["batch"] | params["computing"]
    questions, asked = params["asked"]["size"] or tally.lengths.rl_set, params["asked"]["held_out"]
    learnable = max(1, round(questions * tally.lengths.learnable))
    how = {"rate": params["sampled_per_second"], "processes": params["launching"]["processes"]}
    for (size, model), seed in product(study.targets.items(), params["seeds"]):
        parent, *names = (study.checkpoint(size, stage, seed).name for stage in ("sft2", "rl1", "rl2"))
        for stage, name in zip(("rl1", "rl2"), names, strict=True):
            words = written if study.source == "mini" else tally.written(parent)
            tally.add(parent, questions * attempts["rl"], read, words, "attempts")
            place = {"model": model, "launch": stage, "lane": name}
            tally.rl(shared | params[stage], learnable, read + written, asked=asked, **place, **how)
            parent = name
    size = params["parts"]["size"]
    name = study.checkpoint(size, "rl1").name
    short = shared | params["rl1"] | {"max_steps": params["parts"]["max_steps"]}
    for part, changed in {"all": {}, **PARTS}.items():
        place = {"model": study.targets[size], "launch": "switches", "lane": part, "kept": False}
        tally.add(name, asked * attempts["switches"], read, written, "attempts", kept=f"{name}-{part}")
        tally.rl(short | changed, learnable, read + written, **place, **how)


def _quantized(tally: Tally, params: Values, _: object) -> None:
    """Count the files, whose sizes are those of the report's tables, and what each is asked."""
    most, suites = params["asked"], tally.study.open_suites
    for size, source in params["sources"].items():
        sizes = published.table(params["stands_for"][size])["Size (GB)"].astype(float)
        formats = [*params["formats"], *params["plain"]]
        shares = [sizes[sizes.index.str.endswith(form)].iloc[0] / sizes.max() for form in formats]
        tally.section.quantized += [(source, 1.0), *((source, share) for share in shares)]
        for place, share in enumerate(shares):
            how = {"runs": params["runs"], "share": share, "kept": f"{source}/{place}"}
            how["slots"] = unit_costs().serving.gguf_slots
            tally.ask([source], most=most["questions"], **how)
            tally.talk([source], suites, params["judges"], most=most["conversations"], **how)


def _gspo(tally: Tally, params: Values, _: object) -> None:
    """Count SFT of every base and all methods and seeds on the first one (the first method alone on the others)."""
    study, lengths, counts, tiers = tally.study, tally.lengths, params["counts"], len(params["tiers"])
    sft = {**params["sft"], **params["computing"], "max_length": params["filters"]["packed_length"]}
    method = medical_o1.SHARED | params["rollout"] | params["limits"] | params["optimizer"] | params["computing"]
    rows = sum(count or lengths.o1_set for count in params["corpus"]["configs"].values())
    first, *others = params["bases"]
    for base in params["bases"]:
        place = {"model": study.targets.get(base, base), "launch": "sft", "lane": base}
        tally.sft(sft, rows * lengths.o1, lengths.o1, mfu=unit_costs().updates, **place)
    names = [study.targets.get(first, first), taught := medical_o1.checkpoint(study, first, "sft")]
    kinds, rewarded = list(params["clip_ranges"]), []
    trainings = [(first, kind, seed) for seed in medical_o1.seeds(study, counts["seeds"]) for kind in kinds]
    for base, each, seed in [*trainings, *((base, kinds[0], study.seed) for base in others)]:
        name = medical_o1.checkpoint(study, base, each, seed)
        place = {"model": study.targets.get(base, base), "launch": "methods", "lane": name, "adapter": True}
        responses = tally.rl(method, counts["rows"] or lengths.o1_set, sum(lengths.open), **place)
        if base == first:
            names.append(name)
            rewarded.append(responses)
    held_out, runs = counts["held_out"] or HELD_OUT * lengths.o1_set, counts["runs"]
    for name in names:
        foreign = counts["foreign"] * (name in (names[0], taught))
        tally.add(name, (held_out + foreign) * runs, *lengths.open, "answers")
        tally.add(name, counts["closed"] * runs, *lengths.attempt, "attempts", kept=name)
    tried = 2 * len(TRIED) + 1  # texts in the conclusion; in the reasoning that is shown, where none is tried too
    for count in (*rewarded, held_out * runs * len(names), held_out * tried, FLIPPING / tiers):
        tally.add(params["judge"]["model"], tiers * lengths.unjudged * count, *lengths.verdict, "verdicts")
    tally.section.launches += 1


def _openmed(tally: Tally, params: Values, _: object) -> None:
    """Count the stages and merges of every base, and what the recipe, the study's protocol and the harness ask."""
    study, lengths, asked, methods = tally.study, tally.lengths, params["asked"], [*params["methods"].values()]
    *further, parts = trained = openmed.openmed_trainings(study, methods)
    for each in trained:
        _openmed_stages(tally, params, each)
    tally.section.merged += [parts["base"]] * len(openmed.MERGES) + [each["base"] for each in further]
    for part in ("base", "sft"):
        calls = asked["calls"] or HELD_OUT * lengths.trace_set
        tally.add(parts[part], calls, *lengths.call, "calls", kept=f"{parts[part]}-tools")
    for each in trained:
        tally.add(each["sft"], params["choices"]["dpo"]["size"] * asked["attempts"], *lengths.attempt, "attempts")
    models = [parts[part] for part in ("base", "sft", "dpo", "rl", "merged")]
    models += [*methods, *(costs.backbone_of(study, name) for name in methods)]
    tally.ask(models, runs=asked["runs"], most=asked["questions"])
    tally.talk(models, [MAIN], study.judges[:1], runs=asked["runs"], most=asked["conversations"])
    limit, slots, tasks = params["protocol"]["limit"], params["protocol"]["batch_size"], lengths.harness.values()
    for task in tasks:  # all letters of a question are told by one reading of its prompt, since each is one token
        documents, words = min(task["documents"], task["parts"] * limit or task["documents"]), task["written"]
        models = [(name, words) for name in parts.values()]
        if words:  # handled wrongly: reasoning left in, and cut off
            models += [(parts["merged"], words), (parts["merged"], min(asked["short"], words))]
        for name, written in models:
            tally.add(name, documents, task["read"], written, DOCUMENTS, slots=slots)
    writing = sum(task["written"] > 0 for task in tasks)
    tally.section.launches += 1 + 2 * bool(writing)
    tally.section.tasks += len(parts) * len(tasks) + 2 * writing


def _openmed_stages(tally: Tally, params: Values, parts: Mapping[str, str]) -> None:
    """Count the stages of one base; `parts`: step -> checkpoint that it leaves, ``"base"`` -> the backbone."""
    lengths, corpus, choices, machine = tally.lengths, params["corpus"], params["choices"], params["machine"]
    amounts = [(count or lengths.o1_set, sum(lengths.open)) for count in corpus["configs"].values()]
    amounts += [(count, lengths.seed + lengths.row) for count in corpus["synthetic"].values()]
    amounts += [(corpus["traces"] or lengths.trace_set, lengths.trace)]  # a trace counts as one row
    rows, tokens = sum(count for count, _ in amounts), sum(count * each for count, each in amounts)
    shared, pair, mfu = params["common"] | machine["compute"], sum(lengths.attempt), unit_costs().updates
    how = {"model": parts["base"], "lane": parts["base"], "processes": machine["launch"]["processes"]}
    sft = {**shared, **params["adam"], **params["sft"], "max_length": params["filters"]["packed_length"]}
    tally.sft(sft, tokens, tokens / rows, launch="sft", mfu=mfu, **how)
    dpo, how["launch"] = shared | params["dpo"], "preference"
    pairs = choices["dpo"]["size"] * lengths.paired  # both sides pass the policy and, forward alone, its parent
    size = {"tokens": 2 * pairs * pair * dpo["num_train_epochs"], "document": pair}
    size["held"] = 2 * dpo["per_device_train_batch_size"] * pair
    tally.train(dpo, reference=True, mfu=mfu, **size, **how)
    grpo = openmed.GRPO | shared | params["grpo"] | params["rollout"]
    tally.rl(grpo, choices["rl"]["size"] or lengths.rl_set, pair, **how)


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


def work(profile: str) -> list[Section]:
    """Return what every section of `profile` does, in reading order; nothing of one that has no rule.

    Raises:
        strict.SettingsError: the profile or its parameters cannot be read.
    """
    tally, root, sections = Tally(study.load(profile)), study.find_root(), []
    named = {name: path for name, path in run.notebooks().items() if (root / f"params/{profile}/{name}.yaml").is_file()}
    every = {name: run.profile_parameters(path, profile, root) for name, path in named.items()}
    for name, params in every.items():
        tally.section = Section(name)
        try:
            if name in RULES:
                RULES[name](tally, params, every)
        except KeyError as error:
            raise strict.SettingsError(f"params/{profile}/{name}.yaml: no forecast without {error}; add it") from error
        sections.append(tally.section)
    return sections
