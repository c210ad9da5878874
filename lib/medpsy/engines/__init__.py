"""Who answers: one contract (`medpsy.engines.base`), five engines that keep it. Importing this loads nothing heavy."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medpsy import strict
from medpsy.engines.base import LISTED, Engine, EngineError, Prompt, Response, Sampling
from medpsy.engines.models import Model, fingerprint, gguf_file

ENGINES, PRECISION = LISTED["engines"], LISTED["precision"]
EXACT = "f32"  # of llama_cpp, its default
ANSWERS = {"ray": "vllm"}  # the same vLLM, elsewhere: what one machine began, a cluster goes on with


def open_engine(kind: str, model: Model, *, gguf_dir: Path | None = None, **options: Any) -> Engine:
    """Return an engine of `kind` for `model`; its options are those that `ENGINES` names. `gguf_dir` is where
    `llama_cpp` keeps converted models. ValueError for an unknown kind or option or a kind that cannot reach the model,
    OSError for a model or tool that is not to be had, EngineError for an engine that cannot be started on this
    machine."""
    if kind not in ENGINES:
        raise ValueError(f"engine {kind!r} is unknown; choose one of {', '.join(ENGINES)}")
    if kind != engine_kind(kind, model):
        where = "behind an endpoint (base_url)" if model.base_url else "a GGUF file"
        raise ValueError(f"model {model.name!r} is {where}; open it with engine {engine_kind(kind, model)!r}")
    module, *names = ENGINES[kind]
    engine, its_options = (getattr(importlib.import_module(f"medpsy.engines.{module}"), name) for name in names)
    given = ({"gguf_dir": gguf_dir} if kind == "llama_cpp" and gguf_dir else {}) | options
    place = strict.Place(f"model {model.name!r}", ("engine_options",))
    opened = engine(model, strict.build(its_options, given, place))
    opened.kind = engine_kind(kind, model, options)
    return opened


def engine_kind(kind: str, model: Model, options: Mapping[str, Any] | None = None) -> str:
    """Return the kind of engine that can ask `model`: ``"openai"`` for one behind an endpoint, ``"llama_cpp"`` for a
    folder whose weights are a GGUF file, else `kind`. Given the engine's `options`, the name is the one that responses
    are kept under: ``"ray"`` becomes ``"vllm"``, which answers there, and a number format or an endpoint's `extra_body`
    is named after the kind (``"llama_cpp:bf16"``)."""
    if model.base_url:
        more = (options or {}).get("extra_body")
        return f"openai:{json.dumps(more, sort_keys=True)}" if more else "openai"
    if model.gguf or (model.local_dir and gguf_file(model.local_dir)):
        return "llama_cpp"
    if options is None:
        return kind
    name, chosen = ANSWERS.get(kind, kind), options.get(PRECISION.get(kind))
    return name if chosen in (None, EXACT) else f"{name}:{chosen}"
