"""The llama.cpp tools: taken from PATH, else built once per machine from a pinned source distribution.

Builds outside the project, so that a second clone or a wiped environment finds them; the stamp is written last, and
an interrupted build goes on where it stopped. Refuses a cache built for a processor that can do more than this one.
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
EXTRA = ("llama-bench", "llama-perplexity")  # cheap once the rest is built
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
    try:
        built = json.loads((cache() / "complete.json").read_text(encoding="utf-8"))
        fits = built["tools"] and set(built["instructions"]) <= set(instructions()) and built["options"] == options()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return fits or on_path()


def make() -> None:
    """Fetch the source, build what is missing, and copy the result into the cache."""
    machine.need_disk(cache(), SPACE, "building llama.cpp")
    work = cache() / "build"
    work.mkdir(parents=True, exist_ok=True)
    source = fetched(work)
    building = not on_path()
    if building:
        machine.need_compiler()
        environment.say(f"building llama.cpp for this machine, once: about 6 minutes on two cores ({cache()})")
        build(source, work)
    install(source, work, TOOLS + EXTRA if building else ())
    record = {"tools": building, "instructions": instructions(), "options": options()}
    (cache() / "complete.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)


def on_path() -> bool:
    return all(shutil.which(tool) for tool in TOOLS)


def options() -> list[str]:
    """Return cmake's options: CUDA for a GPU whose compiler is there; MEDPSY_LLAMA_CMAKE adds some, which win."""
    cuda = [CUDA] if machine.accelerator() == "gpu" and shutil.which("nvcc") else []
    return [*OPTIONS, *cuda, *shlex.split(os.environ.get("MEDPSY_LLAMA_CMAKE", ""))]


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


def build(source: Path, work: Path) -> None:
    """Configure and compile, showing the compiler's progress."""
    cmake, ninja = builders(work)
    out = output(work)
    run(cmake, "-S", source, "-B", out, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *options())
    run(cmake, "--build", out, "--target", *TOOLS, *EXTRA, "--parallel", os.cpu_count() or 1)


def output(work: Path) -> Path:
    """Return the folder of the objects; another processor or other options begin anew instead of mixing with these."""
    made_for = json.dumps([instructions(), options()]).encode()
    return work / f"out-{hashlib.sha256(made_for).hexdigest()[:8]}"


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


def install(source: Path, work: Path, tools: tuple[str, ...]) -> None:
    """Copy the converter and the built `tools` from `work` into the cache."""
    (cache() / "bin").mkdir(exist_ok=True)
    for name in CONVERTER:
        target = cache() / name
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, target)
    for name in tools:
        shutil.copy2(output(work) / "bin" / name, cache() / "bin" / f".{name}")
        os.replace(cache() / "bin" / f".{name}", cache() / "bin" / name)  # a running server keeps its old file
