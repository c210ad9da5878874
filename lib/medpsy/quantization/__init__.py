"""Models as GGUF files for llama.cpp: conversion, calibration, quantization, and what a file loses and costs."""

from medpsy.quantization.gguf import build, variant_file, with_variants
from medpsy.quantization.losses import divergences, published_sizes, speeds
