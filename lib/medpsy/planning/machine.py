"""How fast this machine is against the one that the costs per unit were measured on. One second, one core."""

import time

from medpsy.planning.costs import costs

SIDE = 512  # of the square matrices: one product takes some milliseconds, so that some are not interrupted
SECONDS = 1.0


def speed(seconds: float = SECONDS) -> float:
    """Return the GFLOP/s of the fastest product of two matrices in float32, on one core.

    `medpsy.training.effort.ceiling` takes all cores and waits for the slowest; on a busy machine it says little.
    """
    import torch  # takes seconds, and a plan for a GPU needs none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, best, end = torch.randn(SIDE, SIDE), float("inf"), time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            one @ one
            best = min(best, time.perf_counter() - begun)
        return 2 * SIDE**3 / best / 1e9
    finally:
        torch.set_num_threads(threads)


def slowness() -> float:
    """Return how many times longer than the reference machine this one takes."""
    return costs().cpu.reference / speed()
