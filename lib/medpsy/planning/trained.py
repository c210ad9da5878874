"""One training as the planner sees it: tokens, operations and memory that follow from the settings of its method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medpsy.planning.costs import costs
from medpsy.training.dpo_settings import DpoSettings
from medpsy.training.effort import ADAM
from medpsy.training.rl_settings import RlSettings
from medpsy.training.sft_settings import SftSettings

FULL, ADAPTER = 6.0, 4.0  # operations per parameter and token; with an adapter the weights themselves take no gradient
FORWARD = 2.0  # a further pass forward: probabilities under the reference, or as they were when the rollout was sampled
WEIGHT = 4  # bytes per parameter of a model that is only read: float32


@dataclass(frozen=True)
class Trained:
    """One stage of one model.

    Args:
        launch: what is started with it: processes load their frameworks once per launch.
        lane: trainings of one lane run in turn, lanes of a launch side by side.
        name: of the checkpoint; it has the size of the backbone `model`.
        tokens: trained on, over all epochs.
        document: mean tokens of a row.
        held: tokens that one process holds at a time.
        precision: number format that it computes in.
        mfu: share of a GPU's peak, 0 to 1.
        operations: per parameter and token.
        states: bytes per parameter: weights, gradients, moments, a reference.
        updates: optimizer steps where responses are sampled on the way; 0 elsewhere.
        sampled: tokens written on the way; `per_second`: those of one process on a GPU.
        kept: whether the checkpoint stays.
    """

    launch: str
    lane: str
    name: str
    model: str
    tokens: float
    document: float
    held: float
    precision: str
    checkpointing: bool
    processes: int
    mfu: float
    operations: float = FULL
    states: float = ADAM
    updates: int = 0
    sampled: float = 0.0
    per_second: float = 1.0
    kept: bool = True


@dataclass(frozen=True)
class Place:
    """Where a training stands: `Trained` has the meaning of every field."""

    launch: str
    lane: str
    name: str
    model: str
    processes: int = 1
    kept: bool = True


def tuned(place: Place, settings: SftSettings, tokens: float, document: float, mfu: float) -> Trained:
    """Return a stage of SFT on `tokens` per epoch."""
    return Trained(
        **vars(place),
        tokens=tokens * settings.epochs,
        document=document,
        held=settings.micro_batch * settings.packed_length,
        mfu=mfu,
        **_about(settings),
        **_weights(settings.lora is not None, reference=False),
    )


def preferred(place: Place, settings: DpoSettings, pairs: float, document: float) -> Trained:
    """Return a stage of DPO: both sides of every pair pass the policy and, forward alone, its parent."""
    return Trained(
        **vars(place),
        tokens=2 * pairs * document * settings.epochs,
        document=document,
        held=2 * settings.micro_batch * document,
        mfu=costs().updates,
        **_about(settings),
        **_weights(adapter=False, reference=True),
    )


def reinforced(
    place: Place, settings: RlSettings, questions: int, each: float, *, asked: float = 0.0, rate: float = 0.0
) -> Trained:
    """Return a stage of reinforcement learning.

    Args:
        questions: that the stage learns from.
        each: tokens of a question and a response to it.
        asked: held-out questions of an evaluation; there is one at the start and one per `evaluate_every` rollouts.
        rate: tokens that a process samples per second on a GPU; that of ``costs.yaml`` by default.
    """
    rollouts = len(settings.schedule(questions)) // settings.prompts_per_rollout
    tokens = rollouts * settings.responses * each
    again = costs().resampled if settings.dynamic_sampling else 1.0
    looks = 1 + rollouts // settings.evaluate_every if settings.keep == "best" else 0
    how = _weights(settings.lora is not None, reference=not settings.no_kl)
    how["operations"] += FORWARD * (settings.updates_per_rollout > 1)
    return Trained(
        **vars(place),
        tokens=tokens,
        document=each,
        held=settings.micro_batch * each,
        mfu=costs().updates,
        updates=rollouts * settings.updates_per_rollout,
        sampled=tokens * again + looks * asked * each,
        per_second=rate or costs().sampled,
        **_about(settings),
        **how,
    )


def _about(settings: Any) -> Mapping[str, Any]:
    return {"precision": settings.precision, "checkpointing": settings.checkpointing}


def _weights(adapter: bool, *, reference: bool) -> dict[str, float]:
    """Return operations and bytes per parameter; an adapter's own are too few to count, and its parent is there."""
    operations = (ADAPTER if adapter else FULL) + FORWARD * reference
    return {"operations": operations, "states": WEIGHT if adapter else ADAM + WEIGHT * reference}
