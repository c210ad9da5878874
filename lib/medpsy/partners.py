"""Whom one can talk to: an exported folder, or a model, checkpoint or endpoint of a study.

Finds and loads a model for one prompt at a time; asking many at once is the work of `medpsy.sessions`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from medpsy import engines, exported
from medpsy.engines.base import Prompt, Sampling
from medpsy.engines.weights import gguf_file, model_folder
from medpsy.study import CHECKPOINT, ModelSpec, Study

NOTICE = (
    "Not medical advice. A language model writes this; it says wrong things with the same confidence as right ones, "
    "and nothing that it writes may guide the care of a person."
)
FICTION = "It knows an invented medicine only: its conditions, drugs and tests do not exist."
EARLIER = 4096  # ours: tokens for what was said before, beside those of the answer; more takes memory


class Loaded(AbstractContextManager, Protocol):
    """A loaded model that answers one prompt at a time."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Return the pieces of one response while it is written."""
        ...


@dataclass(frozen=True)
class Partner:
    """A model to talk to.

    Args:
        fiction: True where all it knows is invented.
        gguf: returns the file that llama.cpp serves; None where another engine answers.
        options: of an endpoint's engine.
        threads: of llama.cpp's server; None leaves it to llama.cpp.
    """

    model: ModelSpec
    sampling: Sampling
    fiction: bool
    gguf: Callable[[], Path] | None = None
    options: dict[str, Any] | None = None
    threads: int | None = None

    @property
    def notice(self) -> str:
        return f"{self.model.label}: {NOTICE}" + (f" {FICTION}" if self.fiction else "")

    def sampled(self, **settings: Any) -> "Partner":
        """Return the partner with other settings of sampling; those that are None stay."""
        given = {name: value for name, value in settings.items() if value is not None}
        return replace(self, sampling=replace(self.sampling, **given))

    def load(self) -> Loaded:
        """Return the model, loaded.

        Raises:
            OSError, ValueError: model or tool is not to be had; names it and how to get it.
            EngineError: it cannot be loaded on this machine, or the endpoint cannot be reached.
        """
        if self.model.base_url:
            return engines.open_engine("openai", self.model, **(self.options or {}))
        if self.gguf is None:
            return engines.open_engine("transformers", self.model)
        from medpsy.engines.gguf_talk import GgufTalk  # heavy, and not needed by others

        gguf = self.gguf()
        folder = self.model.local_dir or model_folder(self.model)
        return GgufTalk(self.model, folder, gguf, context=self.sampling.max_tokens + EARLIER, threads=self.threads)


def find(name: str | Path, load: Callable[[], Study]) -> Partner:
    """Return the model called `name`: an exported folder, or a model, checkpoint or endpoint of the study.

    Args:
        load: returns the study; not called for a folder.

    Raises:
        ValueError, OSError: there is no such model, or it is not whole; says what to do.
    """
    folder = Path(name).expanduser()
    if exported.is_export(folder):
        return _exported(folder.resolve())
    if folder.is_dir() and len(folder.parts) > 1:
        raise FileNotFoundError(f"{name}: no {exported.MARK}, so no exported model; make one with `medpsy export`")
    return _of_study(load(), str(name))


def _exported(folder: Path) -> Partner:
    one = exported.read(folder)
    switches = {"opens_thinking": one.opens_thinking, "chat_template_kwargs": one.chat_template_kwargs}
    gguf = (lambda: folder / one.weights) if one.variant else None
    return Partner(ModelSpec(one.title, str(folder), **switches), one.sampling, one.fiction, gguf, threads=one.threads)


def _of_study(study: Study, name: str) -> Partner:
    model, fiction = study.model(name), study.source == "mini"
    sampling = study.open_sampling or study.sampling
    if model.base_url:
        return Partner(model, sampling, fiction, options=study.engine_options if study.engine == "openai" else {})
    if name not in study.models:
        from medpsy.report.stages import require_whole

        require_whole(model, CHECKPOINT.fullmatch(name)["stage"], study.profile)
    is_gguf = model.local_dir is not None and gguf_file(model.local_dir) is not None  # it is itself, with any engine
    if study.engine != "llama_cpp" and not is_gguf:
        return Partner(model, sampling, fiction)
    return Partner(model, sampling, fiction, _conversion(study, model), threads=study.engine_options.get("threads"))


def _conversion(study: Study, model: ModelSpec) -> Callable[[], Path]:
    from medpsy.quantization import to_gguf

    return lambda: to_gguf(model, study.gguf_dir)
