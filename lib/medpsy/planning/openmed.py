"""What 13_openmed asks and trains, counted from its parameters: SFT, pairs for DPO, GRPO, merges, two protocols."""

from collections.abc import Mapping
from typing import Any

from medpsy import harness, recipes, strict
from medpsy.planning.artefacts import Loaded, Merged
from medpsy.planning.asking import DOCUMENTS, MAIN, Asked, Tally
from medpsy.planning.costs import costs
from medpsy.planning.sizes import backbone_of
from medpsy.planning.trained import Place, Trained, preferred, reinforced, tuned
from medpsy.recipes.sources import HELD_OUT
from medpsy.training.dpo_settings import DpoSettings
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings

OURS = ("base", "sft", "dpo", "rl", "merged")  # asked by the study's own protocol too
Parts = Mapping[str, str]  # step -> checkpoint that it leaves; "base" -> the backbone
Values = Mapping[str, Any]


def openmed(tally: Tally, own: Values, _: object) -> list:
    """Return all that the section does."""
    *further, parts = trained = recipes.openmed_trainings(tally.study, own["methods"].values())
    stages = [stage for one in trained for stage in _stages(tally, own, one)]
    merged = [Merged(parts["base"], len(recipes.MERGES)), *(Merged(one["base"], 1) for one in further)]
    asked = [*_calls(tally, own, parts), *(_attempts(tally, own, one) for one in trained)]
    return [*stages, *merged, *asked, *_suites(tally, own, parts), *_harness(tally, own, parts)]


def _stages(tally: Tally, own: Values, parts: Parts) -> list[Trained]:
    lengths, longest = tally.lengths, own["filters"]["packed_length"]
    (rows, tokens), pair = _corpus(tally, own), sum(lengths.attempt)
    processes, pairs = own["machine"]["launch"]["processes"], own["choices"]["dpo"]["size"] * lengths.paired
    place = {
        part: Place("sft" if part == "sft" else "preference", parts["base"], parts[part], parts["base"], processes)
        for part in ("sft", "dpo", "rl")
    }
    sft = _settings(tally, own, "sft", SftSettings, own["adam"] | own["sft"] | {"packed_length": longest})
    dpo = _settings(tally, own, "dpo", DpoSettings, own["dpo"] | {"max_length": longest})
    rl = _settings(tally, own, "rl", RlSettings, {**own["grpo"], **own["rollout"], "most_prompt_tokens": longest})
    return [
        tuned(place["sft"], sft, tokens, tokens / rows, costs().updates),
        preferred(place["dpo"], dpo, pairs, pair),
        reinforced(place["rl"], rl, own["choices"]["rl"]["size"] or lengths.rl_set, pair),
    ]


def _settings(tally: Tally, own: Values, part: str, cls: type, given: Values) -> Any:
    """Return the settings of one stage, checked as the trainer does."""
    shared = recipes.openmed_stages(own["common"], own["machine"]["compute"])[part]
    where = strict.Place(f"params/{tally.study.profile}/13_openmed.yaml", (part,))
    return strict.build(cls, shared | dict(given), where, seed=tally.study.seed)


def _corpus(tally: Tally, own: Values) -> tuple[float, float]:
    """Return the rows of stage 1, a trace counted as one, and their tokens."""
    lengths, corpus = tally.lengths, own["corpus"]
    found = [(count or lengths.o1_set, sum(lengths.open)) for count in corpus["configs"].values()]
    found += [(count, lengths.seed + lengths.row) for count in corpus["synthetic"].values()]
    found += [(corpus["traces"] or lengths.trace_set, lengths.trace)]
    return sum(rows for rows, _ in found), sum(rows * tokens for rows, tokens in found)


def _calls(tally: Tally, own: Values, parts: Parts) -> list[Asked]:
    asked = own["asked"]["calls"] or HELD_OUT * tally.lengths.trace_set
    return [Asked(parts[part], asked, *tally.lengths.call, "calls", kept=f"{parts[part]}-tools") for part in OURS[:2]]


def _attempts(tally: Tally, own: Values, parts: Parts) -> Asked:
    asked = own["choices"]["dpo"]["size"] * own["asked"]["attempts"]
    return Asked(parts["sft"], asked, *tally.lengths.attempt, "attempts")


def _suites(tally: Tally, own: Values, parts: Parts) -> list[Asked]:
    """Return answers and replies by the study's own protocol: the steps, the methods compared, and their backbones."""
    study, asked = tally.study, own["asked"]
    methods = list(own["methods"].values())
    models = [*(parts[part] for part in OURS), *methods, *(backbone_of(study, name) for name in methods)]
    found = tally.ask(models, runs=asked["runs"], most=asked["questions"])
    return found + tally.talk(models, [MAIN], study.judges[:1], runs=asked["runs"], most=asked["conversations"])


def _harness(tally: Tally, own: Values, parts: Parts) -> list:
    """Return what lm-evaluation-harness asks: prompts that are read for the likeliest letter, and texts written.

    All letters of a question are told by one reading of its prompt, since each is one token.
    """
    limit, slots = own["protocol"]["limit"], own["protocol"]["batch_size"]
    tasks = harness.benchmarks(tally.study)
    found, writing = [], [one for one in tasks if one.thinks]
    for one in tasks:
        task = tally.lengths.harness[one.task]
        documents = min(task.documents, task.parts * limit or task.documents)
        asked = [(name, task.written) for name in parts.values()]
        if one.thinks:  # handled wrongly: reasoning left in, and cut off
            asked += [(parts["merged"], words) for words in (task.written, min(own["asked"]["short"], task.written))]
        found += [Asked(name, documents, task.read, words, DOCUMENTS, slots=slots) for name, words in asked]
    return [*found, Loaded(1 + bool(writing), len(parts) * len(tasks) + 2 * len(writing))]
