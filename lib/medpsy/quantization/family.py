"""The files of a model: what each is, holds and was made of. Makes nothing and reads none."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medpsy.quantization.calibration import Texts
from medpsy.study import ModelSpec

FORMATS = {"Q8_0": 8, "Q5_K_M": 5, "Q4_K_M": 4, "IQ4_NL": 4, "IQ4_XS": 4, "IQ3_M": 3, "IQ3_XXS": 3}  # report 4.7: bits
WITHOUT_MATRIX = ("Q8_0",)  # report 4.7: built without importance matrix
NEEDS_MATRIX = ("IQ3_XXS",)  # llama-quantize refuses it without
BASE = "BF16"
PLAIN = "plain"  # ends the name of a variant that has no importance matrix although its format is built with one


@dataclass(frozen=True)
class Variant:
    """One GGUF file.

    Args:
        name: of the model it is in the study.
        format: of its matrices, e.g. ``"Q4_K_M"``; ``"BF16"`` for the file all others are made of.
        matrices: number format -> numbers held in it, read back from the file, vectors left out.
        unlike: what of the file is not as in its source: chat template, end of turn, special tokens.
    """

    name: str
    size: str
    source: str
    format: str
    imatrix: bool
    file: Path
    bytes: int
    matrices: Mapping[str, int]
    unlike: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it was built without importance matrix although its format is built with one."""
        return self.name.endswith(f"-{PLAIN}")

    @property
    def label(self) -> str:
        return f"{self.format} without imatrix" if self.is_plain else self.format


@dataclass(frozen=True)
class Family:
    """The files of one size class: `base` in BF16 and the variants made of it."""

    size: str
    source: ModelSpec
    base: Variant
    variants: tuple[Variant, ...]
    texts: Texts
    context: int

    @property
    def files(self) -> tuple[Variant, ...]:
        return (self.base, *self.variants)
