"""llama-server is started, found healthy, and gone afterwards, whatever happened in between. Real processes only."""

import gc
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from case_rows import cases
from medpsy import doctor
from medpsy.engines import EngineError, Prompt, Sampling, llama_cpp, open_engine, programs
from medpsy.engines.convert import to_gguf
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
from medpsy.engines.programs import Child, importable
from medpsy.quantization import gguf as quantization
from medpsy.study import ModelSpec
from tiny_models import asking

pytestmark = pytest.mark.usefixtures("llama_tools")
OPTIONS = ServerOptions(slots=2, context=256, threads=1)
GREEDY = Sampling(max_tokens=16, temperature=0)
ENDLESS = Sampling(max_tokens=400, temperature=1.5, top_k=0, top_p=1.0)
IDLE = """
import sys
from pathlib import Path
from medpsy.engines.llama_cpp import LlamaServer, ServerOptions
server = LlamaServer(Path({gguf!r}), ServerOptions(slots=2, context=256, threads=1))
print("answered", flush=True)
sys.stdin.read()
"""  # what runs no handler of Python's finds the same whatever runs; this loads no model's libraries


@pytest.fixture(scope="module")
def gguf(tiny, gguf_dir):
    return to_gguf(tiny, gguf_dir)


def servers(pid: int | None = None) -> list[psutil.Process]:
    """Return the llama-server processes that this process (or `pid`) started."""
    found = psutil.Process(pid).children(recursive=True)
    return [process for process in found if process.name() == "llama-server"]


def gone(process: psutil.Process, within: float = 120.0) -> bool:
    try:
        process.wait(within)
    except psutil.TimeoutExpired:
        return False
    return True


def questions(count: int) -> list[Prompt]:
    return [Prompt(str(at), ({"role": "user", "content": "which drug treats"},)) for at in range(count)]


def started(tiny: ModelSpec, gguf_dir: Path, *, tokens: int = ENDLESS.max_tokens) -> tuple[object, psutil.Process]:
    """Return an engine with its server running, its slots large enough for responses of `tokens`, and the server."""
    before = {process.pid for process in servers()}
    engine = open_engine("llama_cpp", tiny, gguf_dir=gguf_dir, slots=2, threads=1)
    list(engine.generate(questions(1), replace(GREEDY, max_tokens=tokens)))
    (server,) = [process for process in servers() if process.pid not in before]
    return engine, server


def test_an_engine_stops_its_server_when_closed_left_by_an_exception_or_forgotten(tiny, gguf_dir, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # is not for the loopback interface
    engine, server = started(tiny, gguf_dir)
    engine.close()
    assert gone(server)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate(questions(1), GREEDY)
    engine, server = started(tiny, gguf_dir)
    with pytest.raises(ZeroDivisionError), engine:
        for _ in engine.generate(questions(20), ENDLESS):
            raise ZeroDivisionError
    assert gone(server)
    engine, server = started(tiny, gguf_dir)
    del engine
    gc.collect()
    assert gone(server)


def interruptible() -> None:
    """Undo what a shell does to the jobs it starts in the background: they do not hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(code: str, **env: str) -> Iterator[subprocess.Popen]:
    """Run a program of Python's; once it has a first response, give its process, which the block is to end."""
    pipes, env = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE), {**os.environ, **importable(), **env}
    with subprocess.Popen([sys.executable, "-c", code], env=env, preexec_fn=interruptible, **pipes) as run:
        assert run.stdout.readline() == b"answered\n", run.stderr.read().decode()
        yield run
        run.communicate(timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_server(tiny, gguf, number):
    busy = asking("llama_cpp", tiny, gguf_dir=gguf.parent, slots=2)
    with running(busy if number == signal.SIGINT else IDLE.format(gguf=str(gguf))) as run:
        (server,) = servers(run.pid)
        run.send_signal(number)
        assert gone(server)
    assert run.returncode != 0


def test_a_forked_copy_leaves_the_server_alone_and_a_killed_watchdog_takes_it_along(gguf):
    with LlamaServer(gguf, OPTIONS) as server:
        child = os.fork()
        if not child:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        body, wrong = {"prompt": [1, 2], "n_predict": 1}, {"Authorization": "Bearer wrong"}
        with server.client(timeout=120) as client:
            assert client.post("/completion", json=body).status_code == 200
            assert client.post("/completion", json=body, headers=wrong).status_code == 401
        (process,) = servers(server._child.pid)
        assert server.key not in " ".join(process.cmdline())
        os.kill(server._child.pid, signal.SIGKILL)
        assert gone(process) or sys.platform != "linux"


def test_a_server_that_dies_is_named_with_its_log_and_replaced(tiny, gguf_dir):
    engine, server = started(tiny, gguf_dir)
    with engine:
        with pytest.raises(
            EngineError, match=r"llama-server stopped answering; it ended by SIGKILL \(Killed\): most likely memory"
        ):
            for at, _ in enumerate(engine.generate(questions(50), ENDLESS)):
                if at == 0:
                    server.kill()
        assert len(list(engine.generate(questions(3), GREEDY))) == 3


def test_a_connection_closed_as_a_request_goes_out_is_no_dead_server(tiny, gguf_dir, monkeypatch):
    post, closed = httpx.AsyncClient.post, httpx.RemoteProtocolError("Server disconnected without sending a response.")
    failures = [closed, httpx.ReadError(""), None, httpx.WriteError("")]  # where the system says it first: it was reset

    async def interrupted(*args: object, **options: object) -> httpx.Response:
        if failures and (failure := failures.pop(0)):
            raise failure
        return await post(*args, **options)

    engine, server = started(tiny, gguf_dir)
    monkeypatch.setattr(httpx.AsyncClient, "post", interrupted)
    with engine:
        answered = list(engine.generate(questions(6), GREEDY))
        assert [response.finish_reason != "failed" for response in answered] == [True] * 6
        assert server.is_running() and not failures


def test_a_longer_prompt_gets_a_server_with_larger_slots(tiny, gguf_dir):
    engine, server = started(tiny, gguf_dir, tokens=16)
    long = Prompt("long", ({"role": "user", "content": "the " * 300},))
    with engine:
        (response,) = engine.generate([long], GREEDY)
        assert response.prompt_tokens > 256
        assert gone(server)


def test_replicas_share_the_prompts_and_end_together(tiny, gguf_dir):
    """Two servers answer what one does, the second of them too; if one dies, both are replaced."""
    asked = questions(40)
    with open_engine("llama_cpp", tiny, gguf_dir=gguf_dir, slots=2, threads=1) as engine:
        alone = {response.prompt_id: response.text for response in engine.generate(asked, GREEDY)}
    before = {process.pid for process in servers()}
    engine = open_engine("llama_cpp", tiny, gguf_dir=gguf_dir, slots=2, threads=1, replicas=2)
    shared = list(engine.generate(asked, GREEDY))
    both = [process for process in servers() if process.pid not in before]
    assert len(both) == 2 and len(shared) == 40
    assert {response.prompt_id: response.text for response in shared} == alone
    both[1].kill()
    gone(both[1])
    assert len(list(engine.generate(asked, GREEDY))) == 40
    engine.close()
    assert gone(both[0]) and not [process for process in servers() if process.pid not in before]
    with pytest.raises(ValueError, match="engine_options.replicas: 0 must be"):
        open_engine("llama_cpp", tiny, gguf_dir=gguf_dir, replicas=0)


def test_a_file_that_cannot_be_loaded_shows_the_log_and_a_server_that_takes_too_long_is_stopped(gguf, tmp_path):
    (broken := tmp_path / "broken.gguf").write_bytes(b"GGUF but not really")
    before = servers()
    shown = r"(?s)ended while loading broken.gguf; .*exit code 1\n.*llama-server .*log ends:.*broken.gguf"
    with pytest.raises(EngineError, match=shown):
        LlamaServer(broken, OPTIONS)
    with pytest.raises(EngineError, match="did not load .* within 0 s"):
        LlamaServer(gguf, replace(OPTIONS, timeout=0.0))
    assert servers() == before


def test_a_port_taken_meanwhile_is_replaced_by_another(gguf, monkeypatch):
    free, before = llama_cpp._free_port, servers()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(llama_cpp, "_free_port", lambda: next(ports, None) or free())
        with LlamaServer(gguf, OPTIONS) as server:
            assert not server.url.endswith(str(taken.getsockname()[1]))
    assert servers() == before


def test_slots_share_the_context_and_exact_keys_and_values_leave_flash_attention_off():
    exact, short = ServerOptions(4, 300).arguments(), ServerOptions(1, 256, "f16", threads=3).arguments()
    assert "--ctx-size 2048" in " ".join(exact) and "--flash-attn off" in " ".join(exact)
    assert "--ctx-size 256" in " ".join(short) and "--flash-attn" not in short and "--threads 3" in " ".join(short)


def test_a_child_that_ignores_the_polite_request_is_killed(monkeypatch):
    monkeypatch.setattr("medpsy.engines.programs.PATIENCE", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); "
    child = Child([sys.executable, "-c", f"{stubborn} time.sleep(600)"])
    while "on" not in child.log():
        assert child.alive
    (process,) = psutil.Process(child.pid).children()
    child.stop()
    assert gone(process) and not child.alive


@pytest.mark.parametrize(("end", "told"), cases("dead_processes", "end", "told"))
def test_a_dead_process_is_told_by_how_it_ended_its_command_and_its_log(end, told):
    child = Child(["sh", "-c", f"echo last words >&2; {end}"], talk=end == "exit 3")
    child.wait()
    text = child.failure("the worker died")
    assert re.match(rf"the worker died; .*{told}.*\nIts command: sh -c '.*'\nIts log ends:\nlast words$", text)
    child.stop()


def test_a_processor_on_which_quantized_files_crash_shows_in_the_trial(tmp_path, monkeypatch):
    assert not quantization.trial()
    beside_converter = [path for path in programs.find(programs.CONVERTER).parent.iterdir() if path.name != "bin"]
    for path in (*beside_converter, programs.find("llama-quantize"), programs.find("llama-imatrix")):
        (tmp_path / path.name).symlink_to(path.resolve())
    (tmp_path / "llama-server").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "llama-server").chmod(0o755)
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path))
    problem = doctor._llama_problem()
    assert "ended while loading trial.gguf; it ended by SIGSEGV" in problem and programs.VARIABLE in problem
