"""The llama.cpp tools: taken from PATH, else built once per machine from a pinned source distribution.

Builds outside the project, so that a second clone or a wiped environment finds them; the stamp is written last, and
an interrupted build goes on where it stopped. Refuses a cache built for a processor that can do more than this one, and
tools that have not answered with a quantized file: some builds crash at every such file on some processors.
"""

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import environment
import machine

VERSION = "0.3.36"  # of llama-cpp-python, whose source distribution carries the whole of llama.cpp
TOOLS = ("llama-quantize", "llama-imatrix", "llama-server")
EXTRA = ("llama-bench", "llama-perplexity", "llama-cli")  # cheap once the rest is built
CONVERTER = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")  # the script and what it imports
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",  # for this processor; the stamp remembers which
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # else cmake downloads a web page for the server
    "-DLLAMA_OPENSSL=OFF",  # the server listens on the loopback address only
)
CUDA = "-DGGML_CUDA=ON"
# llama.cpp's AMX code crashes at every quantized file (ggml-org/llama.cpp#20824)
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
SAFER = "-DGGML_NATIVE=OFF"  # up to AVX2 only, in place of all that this processor has: what most machines run
BUILDERS = ("cmake==4.4.4", "ninja==1.13.2")  # where the machine has none
INSTRUCTIONS = re.compile(
    r"sse|ssse|avx|fma|f16c|bmi|abm|movbe|popcnt|amx|gfni|vaes|vpcl|asimd|sve|sme[0-9]*$|i8mm|bf16"
)
SPACE = 2  # GiB; measured: 0.9


def cache() -> Path:
    """Return the folder of the tools: ``bin/`` and the converter."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "medpsy" / f"llama.cpp-{VERSION}"


def ready() -> bool:
    """Return whether converter and tools are there and fit this processor; takes milliseconds."""
    if os.environ.get("MEDPSY_LLAMA_CPP"):  # the user's own build; the library looks nowhere else
        return True
    answered = record()
    try:
        if on_path():
            return answered["on_path"] == on_path()
        built, there = answered["built"], all((cache() / "bin" / tool).is_file() for tool in TOOLS + EXTRA)
        return there and set(built["instructions"]) <= set(instructions()) and built["options"] == options()
    except (KeyError, TypeError):
        return False


def make() -> None:
    """Fetch the source, build what is missing, copy the result into the cache, and see that it works.

    Raises:
        machine.Missing: it does not, or something to build it with is not here.
    """
    machine.need_disk(cache(), SPACE, "building llama.cpp")
    work = cache() / "build"
    work.mkdir(parents=True, exist_ok=True)
    source = fetched(work)
    copy(source, CONVERTER, cache())
    if on_path():
        if problem := trial():
            raise machine.Missing(f"llama.cpp on PATH fails here; take it off PATH, and make builds one. {problem}")
        answered = {"on_path": on_path()}
    else:
        build_what_answers(source, work)
        answered = {"built": {"instructions": instructions(), "options": options()}}
    (cache() / "complete.json").write_text(json.dumps(record() | answered, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)


def record() -> dict:
    """Return which tools answered: those `built` for which processor with which options, and those `on_path`."""
    try:
        found = json.loads((cache() / "complete.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def on_path() -> list:
    """Return path, size and time of each tool on PATH, by which others in their place show; nothing if one lacks."""
    paths = [shutil.which(tool) for tool in TOOLS]
    return [[path, os.stat(path).st_size, os.stat(path).st_mtime_ns] for path in paths] if all(paths) else []


def build_what_answers(source: Path, work: Path) -> None:
    """Build for this very processor, and where that does not work for a plainer one; leave in the cache what works."""
    machine.need_compiler()
    environment.say(f"building llama.cpp for this machine, once: about 6 minutes on two cores ({cache()})")
    for safer in ((), (SAFER,)):
        out = build(source, work, options(*safer))
        (cache() / "bin").mkdir(exist_ok=True)
        copy(out / "bin", TOOLS + EXTRA, cache() / "bin")
        if not (problem := trial()):
            return
        if not safer:
            environment.say(f"building llama.cpp again, with {SAFER}, since it fails here: {problem.splitlines()[0]}")
    raise machine.Missing(
        f"llama.cpp fails on this machine, with {SAFER} too. Give cmake other options in MEDPSY_LLAMA_CMAKE "
        f"(e.g. -DGGML_AVX2=OFF), or name a folder with a build that works in MEDPSY_LLAMA_CPP. {problem}"
    )


def trial() -> str:
    """Return why the tools fail with a quantized file, or nothing; the library finds them where it will later."""
    if CUDA in options() and not machine.has_gpu():
        environment.say("llama.cpp was built for a GPU, and none is here: it was not tried")
        return ""
    environment.say("trying llama.cpp with a quantized file")
    code = "from medpsy.quantization import gguf; print(bad := gguf.trial()); raise SystemExit(bool(bad))"
    command = [environment.python(), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return (done.stdout or done.stderr).strip() or f"exit status {done.returncode}" if done.returncode else ""


def options(*more: str) -> list[str]:
    """Return cmake's options, with CUDA for a GPU whose compiler is there; those of MEDPSY_LLAMA_CMAKE win."""
    flags = []
    if platform.machine() == "x86_64":
        given = {"C": os.environ.get("CFLAGS", ""), "CXX": os.environ.get("CXXFLAGS", "")}  # which cmake would take
        flags = [f"-DCMAKE_{language}_FLAGS={f'{own} {WITHOUT_AMX}'.strip()}" for language, own in given.items()]
    cuda = [CUDA] if machine.accelerator() == "gpu" and shutil.which("nvcc") else []
    return [*OPTIONS, *flags, *cuda, *more, *shlex.split(os.environ.get("MEDPSY_LLAMA_CMAKE", ""))]


def instructions() -> list[str]:
    """Return the vector instruction sets of this processor, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return [platform.machine()]
    words = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return sorted({platform.machine(), *filter(INSTRUCTIONS.match, words.group(1).split() if words else [])})


def fetched(work: Path) -> Path:
    """Return llama.cpp's source folder, downloaded and unpacked unless that was completed before."""
    source = work / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    if not (work / "unpacked").exists():
        environment.say(f"downloading the source of llama.cpp (73 MB, in llama-cpp-python {VERSION})")
        wanted = f"llama-cpp-python=={VERSION}"
        environment.pip("download", "--no-deps", "--no-binary", "llama-cpp-python", wanted, "-d", work)
        subprocess.run(["tar", "-xzf", work / f"llama_cpp_python-{VERSION}.tar.gz", "-C", work], check=True)
        (work / "unpacked").touch()
    return source


def build(source: Path, work: Path, options: list[str]) -> Path:
    """Configure and compile, showing the compiler's progress; return the folder of the objects.

    Another processor or other options begin in a folder of their own instead of mixing.
    """
    cmake, ninja = builders(work)
    out = work / f"out-{hashlib.sha256(json.dumps([instructions(), options]).encode()).hexdigest()[:8]}"
    if not knows_amx():
        options = [option for option in options if WITHOUT_AMX not in option]
    run(cmake, "-S", source, "-B", out, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *options)
    run(cmake, "--build", out, "--target", *TOOLS, *EXTRA, "--parallel", os.cpu_count() or 1)
    return out


def knows_amx() -> bool:
    """Return whether the compilers know AMX; older ones refuse the options, and write no such code."""
    test = [*WITHOUT_AMX.split(), "-E", "-x", "c", os.devnull]
    compilers = [machine.compiler(variable) for variable in machine.COMPILERS]
    return not any(subprocess.run([name, *test], capture_output=True).returncode for name in compilers)


def builders(work: Path) -> tuple[str, str]:
    """Return cmake and ninja, from the machine or from a throw-away environment beside the build."""
    if runs("cmake") and runs("ninja"):
        return "cmake", "ninja"
    folder = work / "builders"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *BUILDERS], check=True)
    return str(folder / "bin" / "cmake"), str(folder / "bin" / "ninja")


def runs(tool: str) -> bool:
    """Return whether `tool` is on PATH and starts; a version manager's stand-in may be there and not start."""
    return bool(shutil.which(tool)) and not subprocess.run([tool, "--version"], capture_output=True).returncode


def run(*command: object) -> None:
    """Run a build command; its progress goes to the terminal, warnings about other people's code to a log."""
    log = cache() / "build" / "build.log"
    words = [str(part) for part in command]
    with (
        log.open("a") as kept,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as running,
    ):
        for line in running.stdout:
            kept.write(line)
            if line.startswith("["):  # [17/220] Building CXX object ...
                print(f"  {line.rstrip()[:150]}", flush=True)
    if running.returncode:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:]), file=sys.stderr)
        raise machine.Missing(
            f"llama.cpp did not build (above: the end of {log}). Call make again to go on; "
            f"delete {cache()} to begin anew, or put {', '.join(TOOLS)} on PATH"
        )


def copy(source: Path, names: tuple[str, ...], target: Path) -> None:
    """Copy files and folders called `names` from `source` into `target`; a running server keeps its old file."""
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, target / f".{name}")
            os.replace(target / f".{name}", target / name)
