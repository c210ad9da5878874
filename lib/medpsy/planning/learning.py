"""What training takes, counted from the parameters of 04_sft and 05_rl: tokens trained on and sampled, attempts.

Settings are those of the trainers, checked as they are checked before a training starts.
"""

from collections.abc import Mapping
from typing import Any

from medpsy import strict
from medpsy.planning.asking import Asked
from medpsy.planning.costs import Lengths
from medpsy.planning.sizes import size
from medpsy.planning.trained import Place, Trained, reinforced, tuned
from medpsy.study import Study
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings
from medpsy.training.stages import CORPUS, targets
from medpsy.training.switches import PARTS

Values = Mapping[str, Any]
SWITCHES = "switches"  # launch of the short stages that compare DAPO's parts


def fine_tuned(study: Study, lengths: Lengths, own: Values, corpora: Values) -> list[Trained]:
    """Return the SFT stages of every target; `own` and `corpora` are the parameters of 04_sft and 03_training_data."""
    shared = {**own["batch"], **own["optimizer"], **own["computing"], "report_to": own["trackers"]}
    document, found = lengths.seed + lengths.row, []
    for kind, seed in targets(study, own["seeds"]):
        for stage, corpus in CORPUS.items():
            where = strict.Place(f"params/{study.profile}/04_sft.yaml", (stage,))
            settings = strict.build(SftSettings, shared | own[stage], where, seed=seed)
            tokens, name = sum(corpora[corpus].values()) * document, study.checkpoint(kind, stage, seed).name
            place = Place("sft", f"{kind}, seed {seed}", name, study.targets[kind], own["launching"]["processes"])
            found.append(tuned(place, settings, tokens, document, own["mfu"]))
    return found


def attempts(study: Study, lengths: Lengths, own: Values) -> list[Asked]:
    """Return the attempts at questions of the RL set: before each stage, and after the comparison of DAPO's parts."""
    read, written = lengths.attempt
    questions, found = _questions(lengths, own), []
    for kind, seed in targets(study, own["seeds"]):
        for stage in ("sft2", "rl1"):
            name = study.checkpoint(kind, stage, seed).name
            words = written if study.source == "mini" else size(study, name).written
            found.append(Asked(name, questions * own["attempts"]["rl"], read, words, "attempts"))
    short = study.checkpoint(own["parts"]["size"], "rl1").name
    again = own["asked"]["held_out"] * own["attempts"]["switches"]
    kept = [f"{short}-{part}" for part in ("all", *PARTS)]
    return found + [Asked(short, again, read, written, "attempts", kept=one) for one in kept]


def learned(study: Study, lengths: Lengths, own: Values) -> list[Trained]:
    """Return the RL stages of every target, and the short ones that compare DAPO's parts."""
    found = []
    for kind, seed in targets(study, own["seeds"]):
        for stage in ("rl1", "rl2"):
            name = study.checkpoint(kind, stage, seed).name
            place = Place(stage, name, name, study.targets[kind], own["launching"]["processes"])
            found.append(_stage(study, lengths, own, own[stage], place, seed))
    short = own["rl1"] | {"rollouts": own["parts"]["rollouts"], "epochs": 0.0, "keep": "last"}
    kind = own["parts"]["size"]
    for part in ("all", *PARTS):
        name = f"{study.checkpoint(kind, 'rl1').name}-{part}"
        place = Place(SWITCHES, name, name, study.targets[kind], own["launching"]["processes"], kept=False)
        found.append(_stage(study, lengths, own, short | ({} if part == "all" else {part: False}), place, study.seed))
    return found


def _stage(study: Study, lengths: Lengths, own: Values, stage: Values, place: Place, seed: int) -> Trained:
    shared = {**own["rollout"], **own["limits"], **own["optimizer"], **own["computing"]}
    where = strict.Place(f"params/{study.profile}/05_rl.yaml", (place.launch,))
    settings = strict.build(RlSettings, shared | dict(stage), where, seed=seed)
    learnable = max(1, round(_questions(lengths, own) * lengths.learnable))
    held_out, rate = own["asked"]["held_out"], own["sampled_per_second"]
    return reinforced(place, settings, learnable, sum(lengths.attempt), asked=held_out, rate=rate)


def _questions(lengths: Lengths, own: Values) -> int:
    return own["asked"]["size"] or lengths.rl_set
