"""What training takes, counted from the parameters of its sections: tokens trained on and sampled, attempts.

Settings are those of the trainers, checked as they are checked before a training starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medpsy import strict
from medpsy.planning.asking import Asked
from medpsy.planning.costs import Lengths, costs
from medpsy.planning.sizes import size
from medpsy.study import Study
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings
from medpsy.training.stages import CORPUS, checked, targets
from medpsy.training.switches import PARTS

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """One stage of one target.

    Args:
        launch: what is started with it: processes load their frameworks once per launch.
        name: of the checkpoint; it has the size of the backbone `model`.
        tokens: trained on, over all epochs.
        document: mean tokens of a row.
        sampled: tokens written on the way.
        per_second: tokens that one process samples per second on a GPU.
        held: tokens that one process holds at a time.
        mfu: share of a GPU's peak, 0 to 1.
        kept: whether the checkpoint stays.
    """

    launch: str
    name: str
    model: str
    tokens: float
    document: float
    held: float
    checkpointing: bool
    processes: int
    mfu: float
    sampled: float = 0.0
    per_second: float = 1.0
    kept: bool = True


def fine_tuned(study: Study, lengths: Lengths, own: Values, corpora: Values) -> list[Trained]:
    """Return the SFT stages of every target; `own` and `corpora` are the parameters of 04_sft and 03_training_data."""
    shared = {**own["batch"], **own["optimizer"], **own["computing"], "report_to": own["trackers"]}
    document, found = lengths.seed + lengths.row, []
    for kind, seed in targets(study, own["seeds"]):
        for stage, corpus in CORPUS.items():
            place = strict.Place(f"params/{study.profile}/04_sft.yaml", (stage,))
            settings = SftSettings(**checked(SftSettings, shared | own[stage], place, seed))
            tokens = sum(corpora[corpus].values()) * document * settings.epochs
            held = settings.micro_batch * settings.packed_length
            about = (held, settings.checkpointing, own["launching"]["processes"], own["mfu"])
            name = study.checkpoint(kind, stage, seed).name
            found.append(Trained("sft", name, study.targets[kind], tokens, document, *about))
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


def reinforced(study: Study, lengths: Lengths, own: Values) -> list[Trained]:
    """Return the RL stages of every target, and the short ones that compare DAPO's parts."""
    found = []
    for kind, seed in targets(study, own["seeds"]):
        for stage in ("rl1", "rl2"):
            name = study.checkpoint(kind, stage, seed).name
            found.append(_stage(study, lengths, own, own[stage], (name, study.targets[kind], stage), seed))
    short, kind = own["rl1"] | {"rollouts": own["parts"]["rollouts"], "epochs": 0.0}, own["parts"]["size"]
    for part in ("all", *PARTS):
        name = f"{study.checkpoint(kind, 'rl1').name}-{part}"
        found.append(_stage(study, lengths, own, short, (name, study.targets[kind], ""), study.seed))
    return found


def _stage(
    study: Study, lengths: Lengths, own: Values, stage: Values, about: tuple[str, str, str], seed: int
) -> Trained:
    """Return one stage; `about` is name, backbone, and the stage if it is one: short ones choose no checkpoint."""
    name, model, kind = about
    shared = {**own["rollout"], **own["limits"], **own["optimizer"], **own["computing"]}
    place = strict.Place(f"params/{study.profile}/05_rl.yaml", (kind or "parts",))
    settings = RlSettings(**checked(RlSettings, shared | dict(stage), place, seed))
    learnable = max(1, round(_questions(lengths, own) * lengths.learnable))
    rollouts = len(settings.schedule(learnable)) // settings.prompts_per_rollout
    each = sum(lengths.attempt)
    trained = rollouts * settings.responses * each
    looks = 1 + rollouts // settings.evaluate_every if kind else 0
    sampled = trained * lengths.resampled + looks * own["asked"]["held_out"] * each
    held = settings.micro_batch * each
    how = (held, settings.checkpointing, own["launching"]["processes"], costs().updates)
    return Trained(kind, name, model, trained, each, *how, sampled, own["sampled_per_second"], bool(kind))


def _questions(lengths: Lengths, own: Values) -> int:
    return own["asked"]["size"] or lengths.rl_set
