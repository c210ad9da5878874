"""Seconds that follow from units and work, on work that is made up; and the units against a run that was measured."""

from dataclasses import replace

import pytest
from medpsy import planning
from medpsy.planning import pricing
from medpsy.planning.artefacts import Files, Loaded, Merged
from medpsy.planning.asking import DOCUMENTS, Asked
from medpsy.planning.costs import costs
from medpsy.planning.pricing import Graphics, Processor
from medpsy.planning.sizes import Size
from medpsy.planning.trained import Trained
from medpsy.planning.work import Section
from medpsy.training.effort import Shape

UNIT = replace(
    costs().cpu, notebook=1.0, drawn=0.5, serve=2.0, read=0.1, token=1.0, sampled=10.0, update=3.0, start=7.0, task=4.0,
    train={"float32": 6e-6, "bfloat16": 60e-6}, build=1.0, measure=2.0, merge=5.0,
)  # fmt: skip
MODEL = Size(Shape(1000, 0, 0, 0), 1000.0, 2e9, 1.0)
ONE = Trained("first", "a", "a-sft1", "model", 10.0, 1.0, 1.0, "float32", False, 1, 0.5)
MEASURED = {  # seconds of one run of profile mini on the reference machine, whose sections and tests shared two cores
    "01_backbone_selection": 127, "02_teacher_selection": 75, "04_sft": 107, "05_rl": 238, "10_quantization": 163,
    "12_gspo_judge": 195, "13_openmed": 228,
    "08_stage_ablations": 66,  # of another run: in this one a training beside it made it 108
}  # fmt: skip
WITHIN = 1.5


def seconds(slowness=1.0, **work):
    machine = Processor(replace(costs(), cpu=UNIT), {"model": MODEL}, slowness)
    return machine.seconds(Section("any", **work))


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "cores", lambda: 2)
        yield


def test_a_section_that_does_nothing_takes_what_a_notebook_takes_and_longer_on_a_slower_machine():
    assert seconds() == 1.0 and seconds(slowness=3.0) == 3.0


def test_requests_take_reading_writing_and_a_server():
    assert seconds(asked=(Asked("model", 10, 5.0, 2.0, "answers"),), drawn=4) == 1 + 4 * 0.5 + 2 + 10 * (0.5 + 2)


def test_what_the_harness_asks_needs_no_server_but_processes_that_load_the_model_for_every_task():
    asked = (Asked("model", 10, 5.0, 0.0, DOCUMENTS),)
    assert seconds(asked=asked, loaded=(Loaded(launches=2, tasks=6),)) == 1 + 10 * 0.5 + 2 * 7 + 6 * 4 / 2


def test_trainings_of_a_lane_run_in_turn_lanes_side_by_side_and_launches_one_after_another():
    second = replace(ONE, name="a-sft2")
    alone = 10 * 6 * 1000 / 6e3  # tokens, operations per parameter, parameters, operations per second
    assert seconds(trained=(ONE,)) == pytest.approx(1 + alone + 7)
    assert seconds(trained=(ONE, second)) == pytest.approx(1 + 2 * alone + 7)
    assert seconds(trained=(ONE, replace(second, lane="b"))) == pytest.approx(1 + alone + 7)
    assert seconds(trained=(ONE, replace(second, launch="later"))) == pytest.approx(1 + 2 * (alone + 7))


def test_an_adapter_a_number_format_and_samples_count():
    alone = 10.0
    assert seconds(trained=(replace(ONE, operations=4.0),)) == pytest.approx(1 + alone * 4 / 6 + 7)
    assert seconds(trained=(replace(ONE, precision="bfloat16"),)) == pytest.approx(1 + alone / 10 + 7)
    assert seconds(trained=(replace(ONE, sampled=50.0, updates=2),)) == pytest.approx(1 + alone + 5 + 6 + 7)


def test_files_and_merges_take_their_time():
    assert seconds(files=(Files("model", 4, 1.0),), merged=(Merged("model", 3),)) == 1 + 4 * 3 + 3 * 5


def test_a_gpu_loads_every_model_once_per_section_and_writes_merges():
    machine = Graphics(costs(), costs().gpus["H100"], {"model": MODEL})
    asked = Asked("model", 0, 5.0, 2.0, "answers")
    assert machine.seconds(Section("any", asked=(asked, asked))) == pytest.approx(costs().serving.start)
    made = machine.seconds(Section("any", merged=(Merged("model", 3),)))
    assert made == pytest.approx(3 * 2 * costs().serving.merge)  # gigabytes


def test_an_adapter_is_trained_in_two_thirds_of_the_gpu_time():
    machine = Graphics(costs(), costs().gpus["H100"], {"model": MODEL})
    whole, adapter = (machine.seconds(Section("any", trained=(replace(ONE, operations=n),))) for n in (6.0, 4.0))
    assert adapter == pytest.approx(whole * 4 / 6)


@pytest.fixture(scope="module")
def forecast(two_cores):
    return {row.section: 3600 * row.hours for row in planning.plan("mini", slower=1.0).rows}


@pytest.mark.parametrize("section", MEASURED)
def test_every_section_of_a_minute_is_forecast_within_a_factor_of_one_and_a_half(forecast, section):
    assert 1 / WITHIN < MEASURED[section] / forecast[section] < WITHIN


def test_all_of_them_together_are_forecast_closer_than_that(forecast):
    ratio = sum(MEASURED.values()) / sum(forecast[section] for section in MEASURED)
    assert 0.85 < ratio < 1.15
