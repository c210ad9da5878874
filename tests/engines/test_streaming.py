"""One response while it is written: its pieces are the text that the engine would give at once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Small
from medpsy.engines import Engine, EngineError, Prompt, PromptTooLong, Sampling, open_engine
from medpsy.engines.gguf_talk import GgufTalk
from medpsy.quantization import to_gguf
from stub_endpoint import Stub, serving
from tiny_models import Spec

GREEDY = Sampling(max_tokens=24, temperature=0)
DRAWN = Sampling(max_tokens=24, seed=3)


def whole(engine: Engine, prompt: Prompt, sampling: Sampling) -> str:
    return next(iter(engine.generate([prompt], sampling))).text


@pytest.mark.parametrize("engine", ["transformers", "openai"], indirect=True)
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_the_pieces_are_the_text_of_one_response(engine: Engine, prompts: list[Prompt], sampling: Sampling) -> None:
    pieces = list(engine.stream(prompts[0], sampling))
    assert "".join(pieces) == whole(engine, prompts[0], sampling) and len(pieces) > 3


@pytest.fixture
def talk(small: Small, gguf_dir: Path, llama_tools: None) -> Iterator[GgufTalk]:
    with GgufTalk(small.spec, small.spec.folder, to_gguf(small.spec, gguf_dir), context=256, threads=1) as opened:
        yield opened


def test_a_gguf_file_streams_what_transformers_writes(talk: GgufTalk, small: Small, prompts: list[Prompt]) -> None:
    pieces = list(talk.stream(prompts[0], GREEDY))
    assert "".join(pieces) == small.text(small.greedy(prompts[0], GREEDY.max_tokens)) and len(pieces) > 3


def test_a_prompt_that_does_not_fit_is_refused_and_the_next_is_answered(talk: GgufTalk, prompts: list[Prompt]) -> None:
    with pytest.raises(PromptTooLong, match="the context holds 256"):
        talk.stream(prompts[0], Sampling(max_tokens=250))
    stopped = talk.stream(prompts[0], GREEDY)
    next(stopped)
    stopped.close()
    assert list(talk.stream(prompts[0], GREEDY))
    talk.close()
    with pytest.raises(EngineError, match="stopped answering"):
        list(talk.stream(prompts[0], GREEDY))


def test_an_endpoint_that_refuses_says_why(endpoint: Callable[[Stub], Engine], prompts: list[Prompt]) -> None:
    too_long = {"error": {"message": "maximum context length is 8", "code": "context_length_exceeded"}}
    with pytest.raises(PromptTooLong, match="shorten the prompt"):
        list(endpoint(Stub(lambda *_: (400, too_long))).stream(prompts[0], GREEDY))
    with pytest.raises(EngineError, match="broke off"):
        list(endpoint(Stub(lambda *_: (422, {"error": {"message": "no"}}))).stream(prompts[0], GREEDY))


@pytest.fixture
def endpoint() -> Iterator[Callable[[Stub], Engine]]:
    """Open the engine of a stubbed endpoint."""
    with ExitStack() as stack:

        def opened(stub: Stub) -> Engine:
            spec = Spec("stub", "stub", base_url=stack.enter_context(serving(stub)))
            return stack.enter_context(open_engine("openai", spec, retries=0))

        yield opened
