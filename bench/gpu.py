"""What our training reaches on a GPU and what holds it back: `python -m bench.gpu`, called by `make bench-gpu`.

Measured on one GPU: matrix products in bfloat16; SFT against them and against the data sheet; where the time of a step
of SFT, and of a rollout of GRPO with its updates, goes. Written without a GPU at hand: all of it has run on a
processor with a small shape, and none of it on CUDA.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from medpsy.planning.costs import TERA, unit_costs

from bench.rows import Row, in_own_process, keep

if TYPE_CHECKING:
    from bench.gpu_runs import Sizes

GOAL = 0.45  # ours: share of the data sheet
NO_GPU = (
    "bench-gpu: no NVIDIA GPU here, so nothing was measured; with one it measures matrix products in bfloat16, the "
    "speed and utilization of SFT of Qwen3-1.7B's shape at 4,096 packed tokens, and the parts of steps of SFT and GRPO."
)
NO_ROOM = (
    "bench-gpu: the memory of this GPU is too small for it; try `python -m bench.gpu --micro-batch 1 "
    "--checkpointing`, and --packed-length 2048"
)


def sft_rows(speed: Mapping[str, float], peak: float | None) -> list[Row]:
    """Return what SFT reaches against the measured ceiling and, where it is known, the `peak` of the data sheet.

    Args:
        peak: operations per second.
    """
    done, most = speed["tokens_per_second"] * speed["flops_per_token"], speed["ceiling"]
    pairs = [("SFT / matrix products measured here", done, most)]
    if peak:
        pairs += [("matrix products measured here / data sheet", most, peak)]
        pairs += [(f"SFT / data sheet, goal {GOAL}", done, peak)]
    rows = [Row(name, ours / TERA, reference / TERA, ours / reference, "TFLOP/s") for name, ours, reference in pairs]
    rate, held, expected = speed["tokens_per_second"], speed["memory_gib"], speed["expected_gib"]
    rows += [Row("SFT / as fast as the matrix products", rate, most / speed["flops_per_token"], done / most)]
    return [*rows, Row("SFT: memory / forecast", held, expected, held / expected, "GiB")]


def part_rows(name: str, seconds: Mapping[str, float], whole: float, rounds: int = 1) -> list[Row]:
    """Return a row per part of `name`, the largest first: seconds of a round, beside those of the whole."""
    left = whole - sum(seconds.values())
    shown = {**seconds, "what is left": left} if left else seconds
    ordered = sorted(shown.items(), key=lambda one: -one[1])
    return [Row(f"{name}: {part} / all", own / rounds, whole / rounds, own / whole, "s") for part, own in ordered]


def data_sheet(gpu: str) -> float | None:
    """Return the operations per second in bfloat16 by the data sheet of the GPU called `gpu`, None if unknown to us."""
    words = re.split(r"[^A-Z0-9]+", gpu.upper().replace("RTX ", "RTX"))
    return next((one.peak * TERA for name, one in unit_costs().gpus.items() if name in words), None)


def measure(sizes: "Sizes", peak: float | None, rows: list[Row]) -> None:
    """Add what is measured to `rows`, part by part, so that what was found stays if a later part fails."""
    from bench import gpu_runs as runs  # takes seconds, and to say that there is no GPU needs none of it

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows += sft_rows(in_own_process(runs.sft_speed, sizes, folder), peak)
        parts, kinds = in_own_process(runs.sft_parts, sizes, folder)
        rows += part_rows("SFT step", parts.seconds, parts.whole, parts.steps)
        rows += part_rows("SFT forward and backward", kinds, sum(kinds.values()))
        found = in_own_process(runs.grpo_parts, sizes, folder)
        rollouts = found.steps // sizes.updates()
        rows += part_rows("GRPO rollout and its updates", found.seconds, found.whole, rollouts)


def main(
    packed_length: Annotated[int, typer.Option(help="Tokens of a packed row.")] = 4096,
    micro_batch: Annotated[int, typer.Option(help="Packed rows at a time.")] = 2,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Forget activations: less memory.")] = False,
    peak: Annotated[float, typer.Option(help="TFLOP/s in bfloat16 of the data sheet; 0: as we know it.")] = 0.0,
) -> None:
    """Measure SFT and GRPO on this machine's GPU; without one, say so."""
    import torch

    if not torch.cuda.is_available():
        print(NO_GPU)
        return
    from bench.gpu_runs import Sizes

    sizes = replace(Sizes(), packed_length=packed_length, micro_batch=micro_batch, checkpointing=checkpointing)
    rows: list[Row] = []
    try:
        measure(sizes, peak * TERA or data_sheet(torch.cuda.get_device_name()), rows)
    except torch.OutOfMemoryError as error:
        print(NO_ROOM, error, sep="\n")
        raise typer.Exit(1) from None
    finally:
        keep(rows, "bench_gpu.json")


if __name__ == "__main__":
    typer.run(main)
