"""Corrections of p-values where many claims are tested together.

Returns adjusted p-values, to be compared with the level directly; decides nothing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that the chance of even one false claim stays below the level.

    Holm, Scandinavian Journal of Statistics 6, 1979: the k-th smallest of m times (m - k + 1), never decreasing.
    """
    p, order = _sorted(p_values)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _restored(stepped, order)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted so that the expected share of false claims among those made stays below the level.

    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995: the k-th smallest of m times m / k,
    the minimum over larger ones. Holds for independent or positively dependent tests.
    """
    p, order = _sorted(p_values)
    stepped = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _restored(np.minimum.accumulate(stepped[::-1])[::-1], order)


def _sorted(p_values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not (np.all(p >= 0) and np.all(p <= 1)):
        raise ValueError("p-values must be a list of numbers between 0 and 1, none missing")
    return p, np.argsort(p, kind="stable")


def _restored(stepped: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
