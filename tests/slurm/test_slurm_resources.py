"""What the profiles ask of a cluster: granted by a real Slurm, and the same as their trainings are started with."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from medpsy.training import jobs
from private_slurm import QUICK
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

PROFILES = ("paper", "review")
TRAINED = ("04_sft", "05_rl")


class Resources(dict):
    """Resources of a job, as Snakemake hands them to its plugin."""

    __getattr__ = dict.__getitem__


@pytest.fixture(scope="module")
def asked(root):
    """Return a function: the resources of every rule of a profile, its own on top of the cluster's."""
    folder = root / "setup" / "slurm"
    common = yaml.safe_load((folder / "cluster.yaml").read_text())["default-resources"]

    def read(profile):
        own = yaml.safe_load((folder / f"{profile}.yaml").read_text())
        assert set(own) == {"set-resources"}
        return {rule: Resources(common | more) for rule, more in own["set-resources"].items()}

    return read


@pytest.mark.parametrize("profile", PROFILES)
def test_every_named_rule_is_a_section_of_the_profile_and_has_a_gpu_if_it_keeps_a_machine_busy(asked, root, profile):
    text = (root / "Snakefile").read_text()
    busy = {f"section_{name}" for name in re.findall(r'"(\d\d_\w+)": \{.*"machine": 1', text)}
    known = {f"section_{path.stem}" for path in (root / "params" / profile).glob("[0-9]*.yaml")}
    assert set(asked(profile)) <= known
    assert {rule for rule, one in asked(profile).items() if one["gres"].startswith("gpu:")} == busy & known


@pytest.mark.parametrize("section", TRAINED)
def test_the_nodes_and_gpus_of_a_training_are_those_it_is_started_with(asked, root, section):
    launching = yaml.safe_load((root / "params" / "paper" / f"{section}.yaml").read_text())["launching"]
    config = yaml.safe_load((root / "lib/medpsy/training/configs" / f"{launching['config']}.yaml").read_text())
    rule = asked("paper")[f"section_{section}"]
    assert config["num_machines"] == rule["nodes"] == rule["tasks"]
    assert config["num_processes"] == launching["processes"] == rule["nodes"] * int(rule["gres"].partition(":")[2])


@pytest.mark.parametrize("profile", PROFILES)
def test_slurm_grants_what_every_rule_asks_for(asked, slurm, profile):
    for rule, resources in asked(profile).items():
        job = SimpleNamespace(resources=resources, threads=1)
        named = {"run_uuid": "x", "slurm_logfile": "x", "comment_str": rule}
        call = get_submit_command(job, {**named, "account": "", "partition": "", "workdir": ""}) + set_gres_string(job)
        said = slurm("bash", "-c", f"{call} --test-only --wrap true 2>&1")
        nodes = re.search(r"on nodes? (\S+) in partition main", said).group(1)
        assert len(slurm("scontrol", "show", "hostnames", nodes).split()) == resources.get("nodes", 1), said


@pytest.mark.slow
def test_a_training_section_finds_a_task_on_each_of_its_nodes_with_all_gpus_of_it(slurm, root, tmp_path):
    for name in ("notebooks", "params/paper", "setup"):
        (tmp_path / name).mkdir(parents=True)
    for file in ("Snakefile", "notebooks/04_sft.ipynb", "params/paper/04_sft.yaml", "params/paper/study.yaml"):
        shutil.copy(root / file, tmp_path / file)
    record = tmp_path / "outputs/paper/04_sft/result.json"
    gpus = "$(scontrol show step $SLURM_JOB_ID.$SLURM_STEP_ID | grep -o 'gpu:[0-9]*')"  # per node
    task = f"echo $SLURMD_NODENAME $SLURM_PROCID $SLURM_LAUNCH_NODE_IPADDR {gpus}"
    call = [*jobs.ON_EVERY_NODE, "--ntasks=4", "bash", "-c", task]
    (tmp_path / "stand-in").write_text(f"#!/bin/sh\n{shlex.join(call)} > {record}.part && mv {record}.part {record}\n")
    (tmp_path / "stand-in").chmod(0o755)
    cluster = yaml.safe_load((root / "setup/slurm/cluster.yaml").read_text()) | QUICK
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    words = ["--executor", "slurm", "--profile", "cluster.yaml", "--nolock", "--allowed-rules", "section_04_sft"]
    words += ["--workflow-profile", str(root / "setup/slurm/paper.yaml"), "--config", "profile=paper"]
    words += [f"medpsy={tmp_path}/stand-in", "--", str(record.relative_to(tmp_path))]
    paths = os.pathsep.join([str(root / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | slurm.environment | {"MEDPSY_ROOT": str(tmp_path), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    assert sorted(record.read_text().splitlines()) == [f"n{node} {node} 127.0.0.1 gpu:8" for node in range(4)]
