"""A session: what a model of its own changes of what the study asks."""

from dataclasses import replace

import pytest
from medpsy import study
from medpsy.engines import engine_kind
from medpsy.engines.base import Sampling
from medpsy.store import ResponseStore, Session, capped


@pytest.fixture
def mini():
    return study.load("mini")


def test_a_model_with_a_small_context_writes_less_and_no_other_does(mini):
    asked = Sampling(max_tokens=16384)
    small = replace(mini.model(mini.parser), max_tokens=4096)
    assert capped(asked, small).max_tokens == 4096
    assert capped(replace(asked, max_tokens=100), small).max_tokens == 100
    assert capped(asked, mini.model(mini.parser)) == asked


def test_a_models_engine_options_go_before_those_of_the_study(mini, tmp_path):
    name = mini.parser
    own = replace(mini.models[name], engine_options={"outtype": "f16"})
    changed = replace(mini, models=mini.models | {name: own})
    kind, opening = Session(changed, ResponseStore(tmp_path)).engine(own)
    assert kind == engine_kind(mini.engine, own, {"outtype": "f16"}) == "llama_cpp:f16"
    others = {key: value for key, value in mini.engine_options.items() if key != "outtype"}
    assert others and opening.keywords.items() >= (others | {"outtype": "f16"}).items()


def test_an_endpoint_has_options_of_its_own_in_a_study_of_any_engine(mini, tmp_path):
    more = {"key_env": "HOST_KEY", "extended": False, "extra_body": {"reasoning_effort": "low"}}
    far = study.ModelSpec("far", "big", base_url="http://host.example/v1", engine_options=more)
    changed = replace(mini, models=mini.models | {"far": far})
    kind, opening = Session(changed, ResponseStore(tmp_path)).engine(far)
    assert opening.args == ("openai", far) and opening.keywords == {"gguf_dir": changed.gguf_dir, **more}
    assert kind == 'openai:{"reasoning_effort": "low"}'
    asked = replace(changed, engine="openai", engine_options={"timeout": 9.0, "key_env": "OTHER"})
    assert asked.answers(far) == ("openai", {"timeout": 9.0, **more})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiemout": 9.0}, "far.engine_options.tiemout: unknown key; did you mean 'timeout'"),
        ({"timeout": "9"}, "far.engine_options.timeout: '9' must be a number"),
        ({"concurrency": 0}, "far.engine_options: concurrency: 0 is below 1"),
    ],
)
def test_options_of_an_endpoint_are_checked_with_the_study(mini, options, message):
    far = study.ModelSpec("far", "big", base_url="http://host.example/v1", engine_options=options)
    with pytest.raises(ValueError, match=message):
        replace(mini, models=mini.models | {"far": far})


def test_a_model_that_may_write_nothing_is_refused(mini):
    with pytest.raises(ValueError, match=r"max_tokens\n.*greater than or equal to 1"):
        replace(mini.model(mini.parser), max_tokens=0)
