"""How a judge's verdicts become a reward: tiers as data, checked before anything starts. Imports no framework."""

from dataclasses import dataclass

REFERENCE = "{reference}"  # in a criterion: where the question's reference goes


@dataclass(frozen=True)
class Tier:
    """One condition and what it is worth.

    Args:
        criterion: what must be true of the conclusion; `REFERENCE` stands for the question's reference.
        reward: of a conclusion that meets this criterion and none before it.
        points: shown to the judge beside the criterion, below 0 where it names something bad; no part of the reward.
    """

    criterion: str
    reward: float
    points: float = 5.0

    def __post_init__(self) -> None:
        if not self.criterion.strip():
            raise ValueError("criterion: it is empty; say what must be true of the conclusion")
        if not 0 < abs(self.points) <= 10:
            raise ValueError(f"points: {self.points} must be -10 to 10 without 0")


@dataclass(frozen=True)
class Judge:
    """Who judges conclusions, and what its verdicts are worth.

    Args:
        model: name of the judge among the study's models.
        tiers: in the order in which they count: the first one met decides.
        otherwise: reward of a conclusion that meets none of them.
        no_conclusion: reward of a response whose reasoning never ended; no judge is asked about it.
    """

    model: str
    tiers: tuple[Tier, ...]
    otherwise: float
    no_conclusion: float

    def __post_init__(self) -> None:
        if not any(tier.points > 0 for tier in self.tiers):
            raise ValueError("tiers: none has points above 0; at least one has to name something good")
        if not any(REFERENCE in tier.criterion for tier in self.tiers):
            raise ValueError(f"tiers: no criterion holds {REFERENCE}, so the reference would not matter; write it in")
        if len({self.otherwise, *(tier.reward for tier in self.tiers)}) < 2:
            raise ValueError(f"tiers: all conclusions would earn {self.otherwise}; nothing could be learned")
