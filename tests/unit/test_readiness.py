"""Before a profile starts: what would stop it is named with its fix, and what it will fetch is told in GB."""

import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from medpsy import doctor, hub_needs, planning, readiness, study
from medpsy.study import load

NOBODY = "nobody answers at "


@pytest.fixture
def found():
    """A machine that has everything."""
    here = {"gpus": ["one"], "gpu_memory_gib": [24.0], "sbatch": "/x", "free_disk_gib": 5e3, "free_cache_gib": None}
    here["llama_gpus"] = ["CUDA0: one"]
    return {"machine": here, "engines": dict.fromkeys(doctor.PACKAGES)}


@pytest.fixture(autouse=True)
def project(tmp_path, root, monkeypatch):
    """The real parameters and notebooks, an empty cache of the hub, no token."""
    for name in ("params", "notebooks"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in hub_needs.TOKENS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def changed(project):
    """Change a profile's study.yaml by a pattern; the other files stay the real ones."""

    def change(profile, *pairs):
        real = (project / "params" / profile).resolve()
        text = (real / "study.yaml").read_text()
        for old, new in pairs:
            text, count = re.subn(old, new, text)
            assert count
        (project / "params").unlink()
        (project / "params" / profile).mkdir(parents=True)
        for path in real.iterdir():
            (project / "params" / profile / path.name).write_text(
                text if path.name == "study.yaml" else path.read_text()
            )
        return load(profile)

    return change


@pytest.fixture
def no_endpoints(monkeypatch):
    monkeypatch.setattr(readiness, "_endpoints", lambda one: ())


def look(one, found):
    return readiness.readiness(one, found)


@pytest.fixture
def hub(project, root):
    """The miniature's models, each in its place."""
    place = project / "lib/medpsy/mini/hub"
    place.mkdir(parents=True)
    for path in (root / "lib/medpsy/mini/hub").iterdir():
        (place / path.name).symlink_to(path)
    return place


def cached(project, one, name):
    """Put model `name` into the cache of the hub as if it had been downloaded."""
    model = one.models[name]
    folder = project / "hub" / f"models--{model.path.replace('/', '--')}" / "snapshots" / model.revision
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_text("{}")


def test_nothing_is_missing_where_everything_is_there(hub, found):
    seen = look(load("mini"), found)
    assert (seen["missing"], seen["ahead"], seen["download_gb"]) == ([], [], 0)
    assert 1 < seen["disk_gb"] < 2


def test_a_model_that_is_not_there_is_named_with_its_folder(hub, found):
    (hub / "parser").unlink()
    seen = look(load("mini"), found)
    assert seen["missing"] == ["no model in lib/medpsy/mini/hub/parser (parser)"]
    assert seen["disk_gb"] is None and "no forecast" in seen["ahead"][0]


def test_a_model_that_cannot_be_understood_stops_no_examination(hub, found):
    (hub / "parser").unlink()
    (hub / "parser").mkdir()
    (hub / "parser" / "config.json").write_text("{}")
    assert look(load("mini"), found)["disk_gb"] is None


def test_an_engine_that_cannot_be_used_is_missing_for_its_profiles_only(hub, found, no_endpoints):
    found["engines"]["llama_cpp"] = "llama-server not found"
    assert look(load("mini"), found)["missing"] == ["engine llama_cpp: llama-server not found"]
    assert not [said for said in look(load("review"), found)["missing"] if "engine" in said]


def test_a_gpu_is_needed_and_large_enough(found, no_endpoints):
    assert not [said for said in look(load("review"), found)["missing"] if "GPU" in said]
    found["machine"]["gpu_memory_gib"] = [11.0]
    (small,) = [said for said in look(load("review"), found)["missing"] if "GPU" in said]
    assert small.startswith("models that want more GPUs of 12 GB than they are given, and how many: ")
    assert "llama-3.1-8b (16 GB) 2" in small and "tensor_parallel" in small and "qwen3-1.7b" not in small
    found["machine"] |= {"gpus": [], "gpu_memory_gib": []}
    assert look(load("review"), found)["missing"][0].startswith("no NVIDIA GPU; its models are too large")


def test_a_llama_cpp_that_finds_no_gpu_is_told_where_there_is_one(hub, found, no_endpoints):
    found["machine"]["llama_gpus"] = []
    (slow,) = [said for said in look(load("review"), found)["ahead"] if "llama.cpp" in said]
    assert "10_quantization would take days" in slow and "nvcc" in slow
    assert look(load("mini"), found)["ahead"] == []


def test_of_a_cluster_the_gpus_that_it_is_planned_for_are_looked_at(changed, found, no_endpoints):
    found["machine"] |= {"gpus": [], "gpu_memory_gib": []}
    assert not [said for said in look(load("paper"), found)["missing"] if "GPU" in said]
    one = changed("paper", (r"replicas: 1, tensor_parallel: 8", "replicas: 2, tensor_parallel: 4"))
    (large,) = [said for said in look(one, found)["missing"] if "GPU" in said]
    assert "more GPUs of 80 GB" in large and "baichuan-m3-235b (470 GB) 8" in large and "llama-3.3-70b" not in large


def test_gpus_that_share_a_model_are_counted(changed, found, no_endpoints):
    one = changed("review", (r"engine_options:\n", "engine_options:\n  tensor_parallel: 4\n"))
    said = [line for line in look(one, found)["missing"] if "tensor_parallel" in line]
    assert said == ["engine_options (replicas, tensor_parallel) want 4 GPUs, and there are 1"]


def test_disk_is_measured_against_the_plan_of_the_profile(project, found, no_endpoints):
    total = planning.plan("review").total.disk
    seen = look(load("review"), found)
    assert seen["disk_gb"] == pytest.approx(total + readiness.ROOM) and 100 < seen["download_gb"] < total
    found["machine"]["free_disk_gib"] = 20.0
    (full,) = [said for said in look(load("review"), found)["missing"] if "disk" in said]
    assert full == f"21 GB of disk are free; {seen['disk_gb']:.0f} are needed for downloads and outputs"
    found["machine"]["free_cache_gib"] = 30.0
    both = [said for said in look(load("review"), found)["missing"] if "disk" in said]
    assert [said.partition(" GB")[0] for said in both] == ["21", "32"] and both[1].endswith("in the hub's cache")


def test_the_readme_tells_downloads_and_disk_as_they_are(root, found, no_endpoints):
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"`review` downloads (\S+) GB and takes (\S+) GB of disk in all, `paper` (\S+) GB and (\S+) GB", text
    )
    seen = [look(load(profile), found)[what] for profile in ("review", "paper") for what in ("download_gb", "disk_gb")]
    assert [float(number.replace(",", "")) for number in told.groups()] == pytest.approx(seen, rel=0.1)


def test_what_is_downloaded_already_is_not_counted_again(project, found, no_endpoints):
    before = look(load("review"), found)
    cached(project, load("review"), "qwen3-4b")
    after = look(load("review"), found)
    assert before["download_gb"] - after["download_gb"] == pytest.approx(8.04, abs=0.01)
    assert before["disk_gb"] - after["disk_gb"] == pytest.approx(8.04, abs=0.01)
    (line,) = [said for said in after["ahead"] if said.startswith("models to be downloaded on first use, 106 GB: ")]
    assert "qwen3-4b-thinking-2507" in line and "qwen3-4b," not in line


def test_a_model_whose_size_nobody_knows_is_named_and_stops_nothing(changed, found, no_endpoints):
    one = changed("review", ("models:\n", "models:\n  own:\n    path: me/own\n"))
    (line,) = [said for said in look(one, found)["ahead"] if "size" in said]
    assert "114 GB, without own, whose size is not known: own, medpsy-4b" in line


def test_without_a_forecast_the_rest_is_told(changed, found, no_endpoints):
    seen = look(changed("review", ("Qwen/Qwen3-4B  #", "me/own  #")), found)
    assert seen["disk_gb"] is None and any(
        "no forecast of its disk: model 'qwen3-4b'" in said for said in seen["ahead"]
    )


def test_slurm_is_needed_where_trainings_take_several_nodes(found, no_endpoints):
    found["machine"]["sbatch"] = None
    assert any(said.startswith("sbatch of Slurm not found") for said in look(load("paper"), found)["missing"])
    assert not any("Slurm" in said for said in look(load("review"), found)["missing"])


def test_gated_models_are_named_with_their_terms_and_no_token_is_shown(found, no_endpoints, monkeypatch):
    gated = [said for said in look(load("review"), found)["missing"] if said.startswith("gated")]
    assert len(gated) == 3 and all(said.endswith(", and set HF_TOKEN to a token of that account") for said in gated)
    assert "gated: accept the Gemma Terms of Use on the page of google/gemma-3-4b-it, and set" in "\n".join(gated)
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret")
    seen = look(load("review"), found)
    assert not [said for said in seen["missing"] if said.startswith("gated")]
    assert len([said for said in seen["ahead"] if said.startswith("gated")]) == 3
    assert "hf_planted" not in json.dumps(seen)


def test_what_lacks_a_commit_is_named_with_the_command_that_writes_it(found, no_endpoints):
    review, paper = (look(load(profile), found) for profile in ("review", "paper"))
    (models,) = [said for said in review["ahead"] if "commit" in said]
    assert "medpsy-4b" in models and models.endswith("`medpsy pin --profile review` writes the newest")
    (data,) = [said for said in paper["missing"] if "commit" in said]  # nothing reads a set without one
    assert "05_rl.yaml: asked.revision (dataset che111/AlphaMed19K)" in data and "pin --profile paper" in data


def test_suites_that_are_not_cached_are_named(project, found, no_endpoints):
    def absent():
        (line,) = [said for said in look(load("review"), found)["ahead"] if said.startswith("suites")]
        return line

    assert "medqa (GBaker/MedQA-USMLE-4-options)" in absent() and "healthbench (openai/healthbench)" in absent()
    commit = hub_needs.SUITES["medqa"].revision
    (project / "hub/datasets--GBaker--MedQA-USMLE-4-options/snapshots" / commit).mkdir(parents=True)
    assert " medqa (" not in absent() and " medmcqa (" in absent()


def test_offline_the_hub_is_missed_where_something_is_not_cached(found, no_endpoints, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (line,) = [said for said in look(load("review"), found)["missing"] if "OFFLINE" in said]
    assert "medpsy-4b" in line and "medqa (" in line


def test_the_harness_reads_sets_of_its_own_where_a_profile_runs_it(found, no_endpoints):
    said = [line for line in look(load("paper"), found)["ahead"] if "lm-evaluation-harness" in line]
    assert len(said) == 1 and "cais/mmlu, TIGER-Lab/MMLU-Pro, wis-k/instruction" in said[0] and "punkt_tab" in said[0]
    assert not [line for line in look(load("review"), found)["ahead"] if "lm-evaluation-harness" in line]


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)  # it wants a key: somebody answers
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Refusing) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def test_endpoints_that_do_not_answer_are_named(changed, found, server, monkeypatch):
    monkeypatch.setattr(readiness, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as gone:
        mute, closed = (f"http://127.0.0.1:{one.getsockname()[1]}/v1" for one in (silent, gone))
        gone.close()
        pairs = zip((8000, 8001, 8002), (server, mute, closed), strict=True)
        one = changed("review", *((f"http://127.0.0.1:{port}/v1", url) for port, url in pairs))
        began = time.monotonic()
        said = [line for line in look(one, found)["missing"] if line.startswith(NOBODY)]
    assert [line.partition(")")[0] for line in said] == [
        f"{NOBODY}{mute} (gpt-oss-120b: ReadTimeout",
        f"{NOBODY}{closed} (fleming-r1-32b: ConnectError",
    ]
    assert time.monotonic() - began < 5
