"""What a low-rank adapter is trained with, checked before anything starts. Imports no framework."""

from dataclasses import dataclass

ADAPTER = "adapter"  # folder within a checkpoint


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation: the parent's weights stay, and pairs of small matrices beside some of them are trained.

    Args:
        rank: of the small matrices.
        alpha: their product is scaled by alpha / rank.
        dropout: share of the adapter's inputs dropped while training, 0 up to 1.
        targets: last parts of the names of the layers that get an adapter, e.g. ``"q_proj"``.
    """

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: {self.dropout} must be at least 0 and below 1")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets: {list(self.targets)} must name each kind of layer once, and at least one")
