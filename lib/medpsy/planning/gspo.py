"""What 12_gspo_judge asks and trains, counted from its parameters: SFT, three methods by several seeds, a judge."""

from collections.abc import Iterator, Mapping
from typing import Any

from medpsy import recipes, strict
from medpsy.planning.artefacts import Loaded
from medpsy.planning.asking import Asked, Tally
from medpsy.planning.costs import costs
from medpsy.planning.trained import Place, Trained, reinforced, tuned
from medpsy.recipes.attacks import TEXTS
from medpsy.recipes.methods import SFT, method_settings
from medpsy.recipes.sources import HELD_OUT
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings

TRIED = 2 * len(TEXTS) + 1  # texts in the conclusion; in the reasoning that is shown, where none is tried too
GSPO = "gspo"
Values = Mapping[str, Any]


def gspo(tally: Tally, own: Values, _: object) -> list:
    """Return all that the section does."""
    study, (base, *others) = tally.study, own["bases"]
    backbone, start = study.targets.get(base, base), recipes.checkpoint(study, base, SFT)
    jobs = list(_methods(tally, own, base))
    found = [_taught(tally, own, one) for one in own["bases"]] + jobs
    found += [next(_methods(tally, own, one)) for one in others]  # GSPO, once
    return [*found, *_answers(tally, own, backbone, start, jobs), *_verdicts(tally, own, jobs), Loaded(1)]


def _place(tally: Tally, launch: str, base: str, name: str) -> Place:
    return Place(launch, name, name, tally.study.targets.get(base, base))


def _taught(tally: Tally, own: Values, base: str) -> Trained:
    whole = {**own["sft"], **own["adam"], **own["computing"], "packed_length": own["filters"]["packed_length"]}
    settings = strict.build(SftSettings, whole, _where(tally, SFT), seed=tally.study.seed)
    rows = sum(count or tally.lengths.o1_set for count in own["corpus"]["configs"].values())
    place = _place(tally, SFT, base, recipes.checkpoint(tally.study, base, SFT))
    return tuned(place, settings, rows * tally.lengths.o1, tally.lengths.o1, costs().updates)


def _methods(tally: Tally, own: Values, base: str) -> Iterator[Trained]:
    """Yield the training of every method and seed, all of them in one launch; the first is GSPO's."""
    study, shared = tally.study, {**own["rollout"], **own["limits"], **own["optimizer"], **own["computing"]}
    lora = {"rank": shared.pop("rank"), "alpha": shared.pop("alpha"), "dropout": 0.0, "targets": own["adapted"]}
    judge, asked = recipes.tiered(**own["judge"], tiers=own["tiers"]), own["counts"]["rows"] or tally.lengths.o1_set
    for seed in recipes.seeds(study, own["counts"]["seeds"]):
        for method, clip in sorted(own["clip_ranges"].items(), key=lambda one: one[0] != GSPO):
            whole = method_settings(method, judge, shared | {"lora": lora}, clip)
            settings = strict.build(RlSettings, whole, _where(tally, method), seed=seed)
            place = _place(tally, "methods", base, recipes.checkpoint(study, base, method, seed))
            yield reinforced(place, settings, asked, sum(tally.lengths.open))


def _answers(tally: Tally, own: Values, backbone: str, start: str, jobs: list[Trained]) -> list[Asked]:
    """Return the answers to open questions, and to closed-ended ones of the RL set."""
    counts, lengths = own["counts"], tally.lengths
    names = [backbone, start, *(job.name for job in jobs)]
    foreign = {name: counts["foreign"] for name in (backbone, start)}
    asked = {name: (_held_out(tally, own) + foreign.get(name, 0)) * counts["runs"] for name in names}
    found = [Asked(name, number, *lengths.open, "answers") for name, number in asked.items()]
    return found + [Asked(name, counts["closed"] * counts["runs"], *lengths.attempt, "attempts") for name in names]


def _verdicts(tally: Tally, own: Values, jobs: list[Trained]) -> list[Asked]:
    """Return what the judge decides: rewards while it trains, of held-out answers, and of those that were altered."""
    model, each = own["judge"]["model"], len(own["tiers"]) * tally.lengths.unjudged
    held_out = _held_out(tally, own)
    judged = [job.tokens / job.document for job in jobs]
    judged += [held_out * own["counts"]["runs"] * (2 + len(jobs)), held_out * TRIED]
    return [Asked(model, each * number, *tally.lengths.verdict, "verdicts") for number in judged]


def _held_out(tally: Tally, own: Values) -> float:
    return own["counts"]["held_out"] or HELD_OUT * tally.lengths.o1_set


def _where(tally: Tally, step: str) -> strict.Place:
    return strict.Place(f"params/{tally.study.profile}/12_gspo_judge.yaml", (step,))
