"""The shipped launch configurations: what the installed accelerate and torchrun make of them."""

from types import SimpleNamespace

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command, launch_command_parser
from case_rows import cases
from medpsy.training import jobs
from medpsy.training.jobs import CONFIGS, Sharing
from medpsy.training.jobs import launch_command as command
from torch.distributed import run as torchrun
from training_examples import job

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
BY_TORCHRUN = [name for name in NAMES if name != "gpu_1"]


def settings(name):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


@pytest.fixture
def slurm(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr("shutil.which", lambda _: "srun")


@pytest.fixture
def agent(monkeypatch, slurm):
    """What torchrun is asked to do on the second machine of a launch, if there are several."""

    def asked(name, restarts=0):
        words = command(["-c", "pass"], Sharing(settings(name)["num_processes"], name, restarts))
        head = ["--machine_rank", "1", "--main_process_ip", "10.0.0.7"] if "srun" in words else []
        assert words[:2] == ["env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"]
        if words[2] == "PET_STANDALONE=1":
            monkeypatch.setenv("PET_STANDALONE", "1")
        words = words[words.index("--config_file") : -2]  # without what the processes do
        seen = []
        monkeypatch.setattr(torchrun, "elastic_launch", lambda config, entrypoint: seen.append(config) or print)
        launch_command(launch_command_parser().parse_args([*head, *words, "script.py"]))
        return seen[0], words[words.index("--main_process_port") + 1]

    return asked


@pytest.mark.parametrize("name", NAMES)
def test_accelerate_knows_every_key(name):
    found = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    known = {action.dest for action in launch_command_parser()._actions}
    assert set(found.fsdp_config) <= known  # it takes unknown ones without a word
    assert found.num_processes % found.num_machines == 0


@pytest.mark.parametrize("name", BY_TORCHRUN)
def test_torchrun_starts_as_many_processes_again_and_all_machines_meet_at_the_first_one(agent, name):
    found, port = agent(name, restarts=2)
    assert (found.max_restarts, found.rdzv_backend) == (2, "c10d")  # the one that meets anew after a restart
    assert found.min_nodes == found.max_nodes == settings(name)["num_machines"]
    assert found.nproc_per_node * found.min_nodes == settings(name)["num_processes"]
    assert found.rdzv_endpoint == (f"10.0.0.7:{port}" if settings(name)["num_machines"] > 1 else "localhost:0")


@pytest.mark.parametrize(("how", "message"), cases("launches", "how", "message"))
def test_what_does_not_go_together_is_refused_before_anything_starts(how, message):
    with pytest.raises(ValueError, match=message):
        command(["-c", "pass"], Sharing(**how))


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, ["0", "1", "2", "3"]), ("2,3", ["2", "3"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"]), ("", [])],
)
def test_the_gpus_of_a_launch_are_those_that_it_may_use(monkeypatch, given, found):
    monkeypatch.setattr(jobs, "gpus", lambda: ["H100"] * 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert jobs.visible_gpus() == found


@pytest.mark.parametrize(
    ("how", "own"),
    [(Sharing(4, "fsdp_8"), ["0,1,2,3", "4,5,6,7"]), (Sharing(), list("012")), (Sharing(32, "fsdp_32"), [None])],
)
def test_trainings_side_by_side_have_gpus_of_their_own(tmp_path, monkeypatch, slurm, how, own):
    started = []
    monkeypatch.setattr(jobs, "visible_gpus", lambda: list("01234567"))
    monkeypatch.setattr(jobs, "watch", lambda running, say: None)
    idle = SimpleNamespace(stop=lambda: None)
    monkeypatch.setattr(jobs, "Child", lambda command, env: started.append(env.get("CUDA_VISIBLE_DEVICES")) or idle)
    jobs.train([[job(tmp_path, tmp_path, name=name)] for name in ("a", "b", "c")], how, print)
    assert started == own
