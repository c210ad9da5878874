"""The teacher's run over very many rows, on paper: time by part, files, memory, restarts."""

from dataclasses import replace

import pytest
from medpsy import report
from medpsy.planning.costs import Gpu, Serving, Store, costs
from medpsy.planning.sizes import Size
from medpsy.planning.teacher_run import TeacherRun
from medpsy.report.budget import Assumed
from medpsy.responses import SHARD_ROWS
from medpsy.training.effort import Shape

GPU = Gpu(peak=1e6, bandwidth=1.0, memory=10.0, price=1.0)  # operations cost nothing here: memory sets the pace
SERVING = Serving(bandwidth=1.0, compute=1.0, memory=1.0, slots=100, gguf_slots=8, start=10.0, gguf=1.0, merge=1.0)
STORE = Store(token=2.0, key=1e-6, file=1e-3, text=1e-9, sift=1e-3, index=1000.0, held=2000.0, weights=1.0)
TEACHER = Size(Shape(4_000_000_000, 10, 100, 100), 4e9, 8e9, 1e-3)
RUN = TeacherRun(TEACHER, GPU, SERVING, STORE, rows=1e6, prompt=10.0, row=100.0, batch=1000, gpus=4)
NOTHING = {"rows": 0, "shards": 0, "token": None, "response": None, "corpus": None}
ABOUT = Assumed("H100", 30e6, 1110.0, 150.0, [0.3], [0.01, 0.4], {"Baichuan-M3-235B": "baichuan-inc/Baichuan-M3-235B"})


def test_rows_per_second_follow_from_the_weights_that_every_step_reads():
    step = 8e9 / 1e12  # seconds in which each of 100 responses gets a token
    assert RUN.copies == 4
    assert RUN.rows_per_second == pytest.approx(4 * 100 / (100 * step), rel=0.01)
    assert RUN.response_seconds == pytest.approx(100 * step, rel=0.01)


def test_writing_is_shared_by_the_gpus_and_filtering_is_not():
    few, many = RUN.hours(), replace(RUN, gpus=40).hours()
    assert few["Writing"] == pytest.approx(10 * many["Writing"])
    assert few["Filtering"] == many["Filtering"] == pytest.approx(1e6 * 1e-3 / 3600)


def test_loading_and_searching_are_paid_once_per_batch():
    small, large = RUN.hours(), replace(RUN, batch=10_000).hours()
    assert small["Loading"] == pytest.approx(1000 * (8 + 10) / 3600)  # batches; reading 8 GB, and the start
    assert small["Loading"] == pytest.approx(10 * large["Loading"])
    assert small["Searching the store"] == pytest.approx(10 * large["Searching the store"], rel=0.05)


def test_a_slow_run_leaves_many_small_shards_and_a_fast_one_full_ones():
    slow, fast = replace(RUN, row=20_000.0, gpus=1), replace(RUN, gpus=4000)
    assert fast.shard_rows == SHARD_ROWS and fast.shards == 1000
    assert slow.shard_rows == pytest.approx(20 * slow.rows_per_second) and slow.shards > 10 * fast.shards


def test_what_the_driver_holds_grows_with_the_batch_alone():
    assert RUN.memory(RUN.batch) == pytest.approx(2e-3) and RUN.prompt_files == 2


def test_a_dead_copy_loses_what_it_had_under_way_and_a_dead_driver_all_of_it():
    assert RUN.lost_rows == 100
    assert RUN.driver_loss > RUN.load_seconds + RUN.response_seconds / 2


@pytest.mark.parametrize(("changed", "message"), [({"batch": 0}, "batch: 0"), ({"gpus": 0}, "GPUs: 0 hold no copy")])
def test_a_run_that_cannot_be_meant_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(RUN, **changed)


def test_all_rows_of_the_report_stand_in_tables():
    runs = report.teacher_runs(ABOUT, NOTHING, [8, 240], [20_000, 200_000])
    hours = report.runs_table(runs).frame.set_index(["Rows at a time", "GPUs"])
    assert 4 * 24 < hours.loc[(20_000, 240), "Loading (h)"] < 7 * 24  # 1,500 times some five minutes
    assert hours.loc[(200_000, 240), "Days in all"] < hours.loc[(20_000, 240), "Days in all"] / 2
    files = report.restart_table(runs).frame.set_index("GPUs")
    assert files.loc[240, "Shards"] == 30_000 < files.loc[8, "Shards"] and files.loc[240, "Copies"] == 30
    amounts = report.amounts_table(runs, NOTHING).frame.set_index("Amount")["Value"]
    assert amounts["GB of all responses"] == pytest.approx(30e6 * 1260 * costs().store.token / 1e9)
    assert amounts["GB if all rows were asked at once"] > 50


def test_bytes_that_a_real_profile_stores_take_the_place_of_those_measured_elsewhere():
    stored = NOTHING | {"rows": 10, "token": 3.0, "response": 3000.0}
    (run,) = report.teacher_runs(ABOUT, stored, [8], [1000])
    assert run.row_bytes == pytest.approx(3 * 1260)
    basis = report.amounts_table([run], stored).frame.set_index("Amount")["From"]
    assert "measured in this profile" in basis["Bytes of a response with its prompt"]


def test_it_is_said_whether_the_teacher_writes_for_most_of_the_time():
    said = report.run_verdicts(report.teacher_runs(ABOUT, NOTHING, [8, 240], [20_000, 200_000]))
    assert [one["verdict"] for one in said] == ["pattern holds", "pattern fails"]
    assert "filtering" in said[1]["note"] and "200,000 rows at a time" in said[1]["text"]
