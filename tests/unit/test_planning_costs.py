"""First principles against numbers that others printed: sizes, pace of decoding, GPUs, unknown names."""

from dataclasses import replace

import pytest
from medpsy import published
from medpsy.planning import costs
from medpsy.planning.costs import Gpu, Size, gpu_name, listed_size, listed_sizes, size_of_folder, unit_costs
from medpsy.training.flops import Shape

H100 = unit_costs().gpus["H100"]
SMALL = Gpu(peak=1e5, bandwidth=1.0, memory=10.0, price=1.0)  # so fast that operations cost nothing
ITSELF, EACH = 2.4e-3, 0.080e-3  # seconds of a step of decoding, and of a response in it


def model(*, billions: float, cache: float = 1e5) -> Size:
    return Size(Shape(round(1e9 * billions), 10, 100, 100), 1e9 * billions, 2e9 * billions, cache)


def test_the_table_of_models_agrees_with_the_sizes_that_names_state():
    nominal = published.table("nominal_parameters")["Nominal parameters (B)"]
    names = {path.rpartition("/")[2]: size.shape.parameters / 1e9 for path, size in listed_sizes().items()}
    both = {name: (names[name], stated) for name, stated in nominal.items() if name in names}
    assert len(both) > 10
    assert {name: pair for name, pair in both.items() if abs(pair[0] / pair[1] - 1) > 0.21} == {}  # 1.2 is called 1B


def test_a_local_model_is_counted_from_its_files(root):
    size = size_of_folder(root / "lib/medpsy/mini/hub/qwen3-large")
    assert (size.shape.parameters, size.weights, size.remote) == (1_601_552, 2 * 1_601_552, False)


@pytest.mark.parametrize(("share", "rate"), [(0.3, 12_300), (0.5, 20_500)])
def test_tokens_per_second_of_training_follow_from_the_share_of_the_peak(share, rate):
    size = listed_sizes()["Qwen/Qwen3-4B"]
    assert costs.training_rate(size, H100, share, 0) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    ("responses", "milliseconds"),
    [(2, 7.8), (200, 27.2)],  # LambdaLabsML/vllm-benchmark, 2024: between two tokens, of short prompts and responses
)
def test_a_step_of_decoding_takes_what_others_measured_of_mistral_7b_on_one_h100(responses, milliseconds):
    mistral = Size(Shape(7_248_000_000, 32, 4096, 4096), 7.248e9, 14.5e9, 4 * 32 * 1024)
    assert 1e3 * costs.step_seconds(mistral, H100, 340, responses) == pytest.approx(milliseconds, rel=0.15)


def test_a_step_reads_weights_and_caches_and_takes_time_of_its_own_and_of_every_response():
    size = model(billions=1.0, cache=1e5)
    for responses in (1, 10, 1000):
        read = (2e9 + responses * 1e5 * 100) / 1e12
        step = costs.step_seconds(size, SMALL, 100, responses)
        assert step == pytest.approx(read + ITSELF + responses * EACH)
        assert costs.step_seconds(size, Gpu(1.0, 1.0, 10.0, 1.0), 100, responses) > step  # it computes slowly
    sparse = replace(size, active=size.active / 10)  # a mixture of experts reads all its weights
    assert costs.step_seconds(sparse, SMALL, 100, 10) == costs.step_seconds(size, SMALL, 100, 10)
    rates = [costs.writing_rate(size, SMALL, 100.0, slots) for slots in (1, 10, 100)]
    assert rates[0] < rates[1] < rates[2] < 100 * rates[0]


def test_a_model_takes_as_many_gpus_as_hold_it_and_has_as_many_responses_as_their_caches_hold():
    assert [costs.gpus_needed(model(billions=size), SMALL) for size in (1.0, 4.0, 5.0, 40.0)] == [1, 1, 2, 16]
    size = model(billions=4.0, cache=1e6)
    assert costs.at_once(size, SMALL, 100.0) == pytest.approx((0.9 * 10e9 - 8e9) / 1e8)
    assert costs.at_once(size, SMALL, 100.0, slots=8) == 8 and costs.at_once(size, SMALL, 1e9) == 1


def test_what_is_not_listed_is_named_with_the_fix():
    with pytest.raises(ValueError, match=r"^teachers\.Mine: the size of me/mine is not known; add a line to"):
        listed_size("me/mine", "teachers.Mine")
    with pytest.raises(ValueError, match="gpu 'H1000' is unknown; did you mean 'H100'"):
        gpu_name("H1000")
    assert gpu_name("h100") == "H100"


def test_a_slow_machine_takes_longer_and_a_fast_one_as_long_as_the_reference_machine(monkeypatch):
    monkeypatch.setattr(unit_costs().cpu, "reference", 1e-3)  # GFLOP/s
    assert costs.slowness(0.1) == 1.0
    monkeypatch.setattr(unit_costs().cpu, "reference", 1e5)
    assert 10 < costs.slowness(0.1) < 1e5
