"""Suites are read once per process, however often a notebook comes back to them."""

from dataclasses import replace
from pathlib import Path

import pytest
from medpsy import benchmarks, loaded, study


def counting(read):
    def load(key, *, source, data_dir=None):
        read.append((key, source, data_dir))
        return benchmarks.load_suite(key, source="mini")

    return load


@pytest.fixture
def hub(monkeypatch):
    found = replace(study.load("review"), data_dirs={"medqa": "data/medqa"})
    monkeypatch.setattr(study, "ROOT", Path("/elsewhere"))
    return found


def test_a_suite_is_read_again_only_from_another_folder(hub):
    read = []
    load = counting(read)
    first = loaded.suite(hub, "medqa", load)
    assert loaded.suite(replace(hub, questions_per_suite=3, seed=9), "medqa", load) is first
    loaded.suite(replace(hub, data_dirs={}), "medqa", load)
    assert read == [("medqa", "hub", Path("/elsewhere/data/medqa")), ("medqa", "hub", None)]


def test_a_suite_that_could_not_be_read_is_tried_again(hub):
    tries = []

    def load(key, **_):
        tries.append(key)
        raise benchmarks.DataError("no connection")

    for _ in range(2):
        with pytest.raises(benchmarks.DataError, match="no connection"):
            loaded.suite(hub, "medqa", load)
    assert len(tries) == 2
