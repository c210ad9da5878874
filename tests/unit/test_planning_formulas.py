"""First principles against numbers that others printed: parameters, memory, throughput, utilization, hours."""

import pytest
from medpsy import published
from medpsy.planning import formulas
from medpsy.planning.anchors import anchors
from medpsy.planning.costs import Gpu, Serving, costs, gpu_name
from medpsy.planning.sizes import Size, known, local, printed
from medpsy.training.effort import Shape

H100 = costs().gpus["H100"]
SERVING = Serving(bandwidth=0.5, compute=0.5, memory=0.9, slots=100, gguf_slots=8, start=90.0, gguf=20.0, merge=20.0)
SMALL = Gpu(peak=100.0, bandwidth=1.0, memory=10.0, price=1.0)


def model(*, billions: float, active: float | None = None, cache: float = 1e5) -> Size:
    return Size(Shape(round(1e9 * billions), 10, 100, 100), 1e9 * (active or billions), 2e9 * billions, cache)


@pytest.mark.parametrize(("column", "billions"), [("Qwen3-1.7B", 1.720), ("Qwen3-4B", 4.022)])
def test_parameters_follow_from_the_printed_shapes(column, billions):
    assert printed(column).shape.parameters / 1e9 == pytest.approx(billions, abs=0.001)


@pytest.mark.parametrize(
    ("column", "path"), [("Qwen3-1.7B", "Qwen/Qwen3-1.7B"), ("Qwen3-4B", "Qwen/Qwen3-4B-Thinking-2507")]
)
def test_the_table_of_models_has_the_shape_of_the_printed_backbones(column, path):
    counted, listed = printed(column), known()[path]
    assert listed.active == pytest.approx(counted.active, rel=0.001)
    assert (listed.cache, listed.shape.layers, listed.shape.attention) == (
        counted.cache,
        counted.shape.layers,
        counted.shape.attention,
    )


def test_the_table_of_models_agrees_with_the_sizes_that_names_state():
    nominal = published.table("nominal_parameters")["Nominal parameters (B)"]
    names = {path.rpartition("/")[2]: size.shape.parameters / 1e9 for path, size in known().items()}
    both = {name: (names[name], stated) for name, stated in nominal.items() if name in names}
    assert len(both) > 10
    assert {name: pair for name, pair in both.items() if abs(pair[0] / pair[1] - 1) > 0.21} == {}  # 1.2 is called 1B


@pytest.mark.parametrize(
    ("column", "sharding", "gigabytes"),
    [
        ("Qwen3-1.7B", "nothing (DDP)", 27.5),
        ("Qwen3-4B", "nothing (DDP)", 64.4),
        ("Qwen3-1.7B", "optimizer (ZeRO-1, as in the report)", 11.0),
        ("Qwen3-4B", "optimizer (ZeRO-1, as in the report)", 25.6),
        ("Qwen3-1.7B", "all (ZeRO-3, FSDP)", 0.9),
        ("Qwen3-4B", "all (ZeRO-3, FSDP)", 2.0),
    ],
)
def test_memory_per_gpu_by_what_is_spread_over_32(column, sharding, gigabytes):
    held = formulas.state_bytes(printed(column).shape.parameters, sharding, 32)
    assert held / 1e9 == pytest.approx(gigabytes, abs=0.06)


@pytest.mark.parametrize("sharding", formulas.SHARDINGS)
def test_one_gpu_alone_holds_everything_whatever_is_spread(sharding):
    assert 16 <= formulas.state_bytes(1.0, sharding, 1) <= 18


@pytest.mark.parametrize(
    ("column", "share", "tokens", "rate"),
    [("Qwen3-1.7B", 0.3, 0, 28_700), ("Qwen3-4B", 0.3, 0, 12_300), ("Qwen3-4B", 0.5, 0, 20_500)],
)
def test_tokens_per_second_follow_from_the_share_of_the_peak(column, share, tokens, rate):
    assert formulas.training_rate(printed(column), H100, share, tokens) == pytest.approx(rate, rel=0.01)


def test_attention_over_whole_packs_slows_training_down():
    rates = [formulas.training_rate(printed("Qwen3-4B"), H100, 0.3, tokens) for tokens in (0, 4096)]
    assert 0.7 < rates[1] / rates[0] < 0.8


def test_published_speeds_give_the_utilization_that_their_authors_print():
    found = anchors().dropna(subset="printed")
    assert len(found) == 2
    assert (found["utilization"] - found["printed"]).abs().max() < 0.01


def test_hours_of_writing_grow_with_tokens_and_active_parameters_and_fall_with_utilization():
    once = formulas.writing_hours(1e9, 22e9, H100, 0.05)
    assert once == pytest.approx(2 * 22e9 * 1e9 / (989e12 * 0.05) / 3600)
    assert formulas.writing_hours(2e9, 11e9, H100, 0.1) == pytest.approx(once / 2)


def test_one_response_alone_is_written_at_the_speed_of_reading_the_weights():
    rate = formulas.writing_rate(model(billions=1.0, cache=0.001), SMALL, SERVING, context=1.0, slots=1)
    assert rate == pytest.approx(0.5e12 / 2e9, rel=1e-6)


def test_many_responses_share_a_step_until_their_caches_or_the_operations_weigh_as_much():
    size = model(billions=1.0, cache=1e5)
    rates = [formulas.writing_rate(size, SMALL, SERVING, context=1000.0, slots=count) for count in (1, 10, 100)]
    assert rates[0] < rates[1] < rates[2] < 100 * rates[0]
    crowded = formulas.writing_rate(model(billions=1.0, cache=1.0), SMALL, SERVING, context=1.0, slots=10**6)
    assert crowded == pytest.approx(formulas.reading_rate(size, SMALL, SERVING))


def test_a_mixture_of_experts_reads_all_its_weights_however_few_are_active():
    dense, sparse = model(billions=4.0, cache=1.0), model(billions=4.0, active=0.4, cache=1.0)
    rates = [formulas.writing_rate(size, SMALL, SERVING, context=1.0, slots=10) for size in (dense, sparse)]
    assert rates[0] == rates[1]


def test_a_model_takes_as_many_gpus_as_hold_it_with_room_for_caches():
    counts = [formulas.gpus_needed(model(billions=size), SMALL, SERVING) for size in (1.0, 4.0, 5.0, 40.0)]
    assert counts == [1, 1, 2, 16]


def test_a_gpu_is_known_in_any_case_and_an_unknown_one_is_met_with_the_nearest():
    assert gpu_name("h100") == "H100"
    with pytest.raises(ValueError, match="gpu 'H1000' is unknown; did you mean 'H100'"):
        gpu_name("H1000")


def test_a_local_model_is_counted_from_its_files(root):
    found = local(root / "lib/medpsy/mini/hub/qwen3-large")
    assert found.shape.parameters == 1_601_552 and not found.remote
    assert found.weights == 2 * found.shape.parameters
