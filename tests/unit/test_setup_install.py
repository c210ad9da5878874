"""The set-up: what is missing is named with its cure, what was interrupted goes on, what is done is not repeated."""

import fcntl
import importlib
import json
import os
import subprocess
import sys
import time

import pytest

MODULES = ("machine", "environment", "llama_tools", "install")


@pytest.fixture
def setup(root, monkeypatch):
    """The modules of the folder setup, imported for one test."""
    monkeypatch.syspath_prepend(root / "setup")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def environment(setup, tmp_path, monkeypatch):
    """The module that makes the environment, at work in a project of its own with one pinned package."""
    module = setup["environment"]
    (tmp_path / "setup").mkdir()
    for name in ("pins.txt", "vllm-cpu.txt", "vllm-gpu.txt"):
        (tmp_path / "setup" / name).write_text("torch==1.0\n")
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = []\n[project]\nname = "x"\n[tool.a]\nb = 1\n')
    for name, value in (("ROOT", ""), ("VENV", ".venv"), ("SETUP", "setup"), ("PINS", "setup/pins.txt")):
        monkeypatch.setattr(module, name, tmp_path / value)
    monkeypatch.setenv("MEDPSY_ACCELERATOR", "cpu")
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    return module


@pytest.fixture
def pip_calls(environment, monkeypatch):
    """What pip was asked for; nothing is installed, and the environment is a bare folder."""
    calls = []
    (environment.VENV / "bin").mkdir(parents=True)
    environment.python().write_text("")
    monkeypatch.setattr(environment, "pip", lambda *words: calls.append(" ".join(map(str, words))))
    monkeypatch.setattr(environment, "create", lambda: None)
    return calls


def test_torch_comes_first_and_alone_and_a_second_call_has_nothing_to_do(environment, pip_calls):
    assert not environment.ready()
    environment.make()
    assert pip_calls[0].endswith("torch==1.0") and "-c " in pip_calls[0]
    assert "-e " in pip_calls[1] and "--no-deps" in pip_calls[2]
    assert environment.ready()


@pytest.mark.parametrize(
    ("name", "old", "new", "again"),
    [
        ("setup/pins.txt", "1.0", "1.1", True),
        ("setup/vllm-cpu.txt", "1.0", "1.1", True),
        ("setup/vllm-gpu.txt", "1.0", "1.1", False),  # not for this machine
        ("pyproject.toml", 'name = "x"', 'name = "x"\ndependencies = ["a"]', True),
        ("pyproject.toml", "b = 1", "b = 2", False),  # a linter's setting
    ],
)
def test_changed_pins_set_up_again_and_changed_settings_do_not(environment, pip_calls, name, old, new, again):
    environment.make()
    path = environment.ROOT / name
    path.write_text(path.read_text().replace(old, new))
    assert environment.ready() is not again


def test_an_environment_that_was_moved_is_not_ready(environment, pip_calls, monkeypatch):
    environment.make()
    monkeypatch.setattr(environment, "ROOT", environment.ROOT / ".." / environment.ROOT.name)
    assert not environment.ready()


def test_a_failed_step_leaves_the_environment_incomplete(setup, environment, pip_calls, monkeypatch):
    environment.make()

    def fail(*words):
        raise setup["machine"].Missing("no network")

    monkeypatch.setattr(environment, "pip", fail)
    with pytest.raises(setup["machine"].Missing):
        environment.make()
    assert not environment.ready()


def test_the_index_of_cpu_builds_is_for_torch_alone(environment, pip_calls, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "file:///wheels")
    environment.make()
    assert ["--index-url" in call for call in pip_calls] == [True, False, False]


@pytest.mark.parametrize(("system", "processor"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_without_a_build_of_vllm_the_rest_is_installed(environment, pip_calls, monkeypatch, capsys, system, processor):
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    monkeypatch.setattr(environment.platform, "machine", lambda: processor)
    environment.make()
    assert len(pip_calls) == 2 and "vLLM has no build" in capsys.readouterr().out and environment.ready()


def test_what_a_killed_pip_left_is_discarded(environment):
    packages = environment.VENV / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info", "~orch"):
        (packages / name).mkdir(parents=True)
    (packages / "whole-1.dist-info" / "RECORD").write_text("")
    (packages / "half-1.dist-info" / "METADATA").write_text("")  # pip would take it for installed
    environment.discard_partial()
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_an_environment_whose_python_is_gone_is_made_anew(environment, monkeypatch, capsys):
    (environment.VENV / "bin").mkdir(parents=True)
    environment.python().symlink_to("/no/such/python")
    calls = []
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **_: calls.append(command))
    environment.create()
    assert calls[0][1:4] == ["-m", "venv", "--clear"] and "made anew" in capsys.readouterr().out


def test_pip_shows_what_it_does_and_its_failure_is_explained(setup, environment, capsys):
    (environment.VENV / "bin").mkdir(parents=True)
    environment.python().write_text("#!/bin/sh\necho Requirement already satisfied: a\necho Collecting b\nexit $3\n")
    environment.python().chmod(0o755)
    environment.pip("0")
    assert capsys.readouterr().out == "  Collecting b\n"
    with pytest.raises(setup["machine"].Missing, match="call make again; it goes on where it stopped"):
        environment.pip("1")


@pytest.mark.parametrize(
    ("tools", "what", "said"),
    [
        (["apt-get"], "compiler", "apt-get install build-essential"),
        (["dnf"], "compiler", "dnf install gcc gcc-c++"),
        (["brew"], "compiler", "xcode-select --install"),
        ([], "compiler", "apt-get install build-essential"),
        (["apt-get"], "venv", "apt-get install python3.11-venv"),
    ],
)
def test_the_command_that_installs_what_is_missing_is_that_of_this_system(
    setup, tmp_path, monkeypatch, tools, what, said
):
    for tool in tools:
        (tmp_path / tool).write_text("")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said in setup["machine"].how_to_install(what)


@pytest.mark.parametrize(("present", "missing"), [([], "no C compiler"), (["gcc"], "no C++ compiler")])
def test_a_missing_compiler_is_named(setup, tmp_path, monkeypatch, present, missing):
    for tool in present:
        (tmp_path / tool).write_text("")
        (tmp_path / tool).chmod(0o755)
    for name, value in (("PATH", str(tmp_path)), ("CC", ""), ("CXX", "")):
        monkeypatch.setenv(name, value)
    with pytest.raises(setup["machine"].Missing, match=missing.replace("+", r"\+")):
        setup["machine"].need_compiler()


def test_too_little_disk_is_named_with_the_folder(setup, tmp_path):
    setup["machine"].need_disk(tmp_path / "not" / "yet", 0, "something")
    with pytest.raises(setup["machine"].Missing, match=r"the environment needs 1000000 GiB in .*/not/yet, where"):
        setup["machine"].need_disk(tmp_path / "not" / "yet", 1_000_000, "the environment")


def test_the_accelerator_can_be_chosen(setup, monkeypatch):
    monkeypatch.setenv("MEDPSY_ACCELERATOR", "gpu")
    assert setup["machine"].accelerator() == "gpu"
    monkeypatch.setenv("MEDPSY_ACCELERATOR", "tpu")
    with pytest.raises(setup["machine"].Missing, match="'tpu' is neither"):
        setup["machine"].accelerator()


@pytest.fixture
def llama(setup, tmp_path, monkeypatch):
    """The module that builds llama.cpp, with a cache of its own, no tool on PATH and stand-ins for the long steps."""
    module = setup["llama_tools"]
    for name, value in (
        ("XDG_CACHE_HOME", str(tmp_path)),
        ("PATH", "/nowhere"),
        ("MEDPSY_LLAMA_CMAKE", ""),
        ("MEDPSY_ACCELERATOR", "cpu"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MEDPSY_LLAMA_CPP", raising=False)
    module.calls = []

    def unpack(*words):
        module.calls.append("download")
        source = module.cache() / "build" / f"llama_cpp_python-{module.VERSION}" / "vendor" / "llama.cpp"
        for name in ("conversion", "gguf-py"):
            (source / name).mkdir(parents=True)
        for name in ("convert_hf_to_gguf.py", "LICENSE"):
            (source / name).write_text(name)

    def build(source, work):
        module.calls.append("build")
        (module.output(work) / "bin").mkdir(parents=True, exist_ok=True)
        for tool in module.TOOLS + module.EXTRA:
            (module.output(work) / "bin" / tool).write_text(tool)

    monkeypatch.setattr(module.environment, "pip", unpack)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(module.machine, "need_compiler", lambda: None)
    monkeypatch.setattr(module, "build", build)
    return module


def test_the_tools_are_built_once_and_kept_outside_the_project(llama):
    assert not llama.ready()
    llama.make()
    assert llama.ready() and llama.calls == ["download", "build"]
    names = {path.name for path in llama.cache().iterdir()}
    assert names == {"bin", "complete.json", "convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE"}
    assert {path.name for path in (llama.cache() / "bin").iterdir()} == set(llama.TOOLS + llama.EXTRA)


def test_an_interrupted_build_is_not_complete_and_does_not_download_again(llama, monkeypatch):
    build = llama.build
    monkeypatch.setattr(llama, "build", lambda source, work: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        llama.make()
    assert not llama.ready()
    monkeypatch.setattr(llama, "build", build)
    llama.make()
    assert llama.ready() and llama.calls == ["download", "build"]


def test_a_cache_from_a_machine_that_can_do_more_is_built_again(llama, monkeypatch):
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "avx512f", "x86_64"])
    llama.make()
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "avx512f", "avx512_fp16", "x86_64"])
    assert llama.ready()  # one that can do less fits
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "x86_64"])
    assert not llama.ready()
    llama.make()
    assert llama.ready()


def test_other_options_build_again(llama, monkeypatch):
    llama.make()
    monkeypatch.setenv("MEDPSY_LLAMA_CMAKE", "-DGGML_CUDA=ON")
    assert llama.options()[-1] == "-DGGML_CUDA=ON" and not llama.ready()


@pytest.mark.parametrize(("accelerator", "compiler"), [("gpu", True), ("gpu", False), ("cpu", True)])
def test_cuda_is_built_for_a_gpu_whose_compiler_is_there(llama, monkeypatch, tmp_path, accelerator, compiler):
    monkeypatch.setenv("MEDPSY_ACCELERATOR", accelerator)
    monkeypatch.setenv("PATH", str(tmp_path))
    if compiler:
        (tmp_path / "nvcc").touch(mode=0o755)
    assert (llama.CUDA in llama.options()) == (accelerator == "gpu" and compiler)
    monkeypatch.setenv("MEDPSY_LLAMA_CMAKE", "-DGGML_CUDA=OFF")
    assert llama.options()[-1] == "-DGGML_CUDA=OFF"  # the last one wins


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tools": true}'])
def test_a_damaged_stamp_means_not_ready(llama, text):
    llama.make()
    (llama.cache() / "complete.json").write_text(text)
    assert not llama.ready()


def test_tools_on_path_are_taken_and_only_the_converter_is_fetched(llama, tmp_path, monkeypatch):
    folder = tmp_path / "path"
    folder.mkdir()
    for tool in llama.TOOLS:
        (folder / tool).write_text("")
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    llama.make()
    assert llama.ready() and llama.calls == ["download"]
    assert list((llama.cache() / "bin").iterdir()) == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert not llama.ready()


def test_a_build_of_the_users_own_is_left_to_the_user(llama, monkeypatch):
    monkeypatch.setenv("MEDPSY_LLAMA_CPP", "/opt/llama.cpp")
    assert llama.ready()


@pytest.fixture
def build_folder(setup, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (setup["llama_tools"].cache() / "build").mkdir(parents=True)
    return setup["llama_tools"].cache() / "build"


def test_a_failed_command_shows_the_end_of_its_log(setup, build_folder, capsys):
    with pytest.raises(setup["machine"].Missing, match="llama.cpp did not build"):
        setup["llama_tools"].run("sh", "-c", "echo 'no space left' >&2; exit 3")
    assert "no space left" in capsys.readouterr().err


def test_progress_is_shown_and_warnings_go_to_the_log(setup, build_folder, capsys):
    setup["llama_tools"].run("sh", "-c", "echo '[1/2] Building a'; echo 'a.h: warning: x' >&2; echo '[2/2] Linking a'")
    assert capsys.readouterr().out == "  [1/2] Building a\n  [2/2] Linking a\n"
    assert "a.h: warning: x" in (build_folder / "build.log").read_text()


def test_the_processor_is_described_by_what_code_may_use(setup):
    found = setup["llama_tools"].instructions()
    assert "smep" not in found  # protects the kernel; machines differ in it
    assert found == sorted(found) and len(found) > 1
    assert json.loads(json.dumps(found)) == found


def test_a_ready_project_is_found_so_at_once(setup, monkeypatch):
    install = setup["install"]
    monkeypatch.setattr(install.environment, "ready", lambda: True)
    monkeypatch.setattr(install.llama_tools, "ready", lambda: True)
    monkeypatch.setattr(install, "locked", lambda folder: 1 / 0)
    install.main()


def test_a_second_set_up_waits_for_the_first(setup, tmp_path, capsys):
    hold = "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); "
    hold += "print(1, flush=True); time.sleep(1)"
    first = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE)
    first.stdout.readline()
    started = time.monotonic()
    with setup["install"].locked(tmp_path):
        assert time.monotonic() - started > 0.3
        handle = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    first.wait()
    assert "another set-up is under way" in capsys.readouterr().out


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 12, 0)])
def test_another_python_is_refused_with_the_way_out(root, version):
    script = root / "setup" / "install.py"
    code = f"import sys; sys.version_info = {version}; exec(compile(open({str(script)!r}).read(), 'install', 'exec'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Python 3.11 is needed" in done.stderr and "make PYTHON=" in done.stderr
