"""Merging checkpoints through mergekit: two models of one architecture become one, without training.

`merge` makes a checkpoint, `fused_shares` says how much of which tensor Arcee Fusion took. No merge method is written
here, and no framework is imported before a merge runs.
"""

from medpsy.merging.merge import Merged, merge
from medpsy.merging.shares import fused_shares

__all__ = ["Merged", "fused_shares", "merge"]
