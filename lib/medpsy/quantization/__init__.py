"""Models as GGUF files for llama.cpp: conversion, calibration, quantization, and what a file loses and costs.

A notebook calls::

    families = quantization.build(study, sources, formats=[...], plain=[...], calibration={...})
    settings = quantization.with_variants(study, families)  # a study that knows the files as models
    losses = quantization.divergences(study, families)
    speeds = quantization.speeds(study, families, threads=1)
"""

from medpsy.quantization.conversion import to_gguf
from medpsy.quantization.divergence import divergences
from medpsy.quantization.family import Family, Variant
from medpsy.quantization.published_sizes import published_sizes
from medpsy.quantization.speed import speeds
from medpsy.quantization.variants import build, variant_file, with_variants

__all__ = [
    "Family", "Variant", "build", "divergences", "published_sizes", "speeds", "to_gguf", "variant_file",
    "with_variants",
]  # fmt: skip
