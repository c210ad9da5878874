"""What two model cards claim beyond the 772: AFM-4.5B-OpenMed (with its RL-CoT checkpoint) and Qwen3.5-Medical-GSPO.

Ids are A (OpenMed) and G (GSPO) with a running number. What the 772 claims hold of these cards already (P417 to P435,
X081 to X083) is not said twice. Differences and what an order follows from are recomputed from printed numbers.
"""

from dataclasses import dataclass
from functools import cache

from medpsy.published.cells import read_data
from medpsy.published.claim import Claim, claim_fields

FILE = "cards/claims.csv"
PREFIXES = ("A", "G")


@dataclass(frozen=True)
class CardClaim(Claim):
    """One statement of a card.

    Args:
        notebook, profile: which notebook tests it, and the smallest profile that tests its value; empty where none can.
        fact: why no run can test it; empty where one can.
    """

    notebook: str
    profile: str
    fact: str

    def __post_init__(self) -> None:
        if bool(self.notebook) == bool(self.fact) or bool(self.notebook) != bool(self.profile):
            raise ValueError(f"claim {self.id}: give notebook and profile, or the fact alone (data/{FILE})")


@cache
def card_claims() -> tuple[CardClaim, ...]:
    """Return the claims of both cards, in their order."""
    own = ("notebook", "profile", "fact")
    return tuple(CardClaim(**claim_fields(row), **{name: row[name] for name in own}) for row in read_data(FILE))
