"""Where the tools of llama.cpp are: three programs and the converter script. Finds them; builds and runs nothing."""

import os
import shutil
from pathlib import Path

from medpsy.engines.cache_folder import cache_folder

VARIABLE = "MEDPSY_LLAMA_CPP"
RELEASE = "llama.cpp-0.3.36"  # as packed in llama-cpp-python 0.3.36
PROGRAMS = ("llama-server", "llama-quantize", "llama-imatrix")
CONVERTER = "convert_hf_to_gguf.py"


def find(name: str) -> Path:
    """Return the program or script `name`: from the folder in ``MEDPSY_LLAMA_CPP``, else PATH, else the cache folder.

    Raises:
        FileNotFoundError: naming the tool, where it was looked for and how to get it.
    """
    if folder := os.environ.get(VARIABLE):
        if found := _inside(Path(folder), name):
            return found
        raise FileNotFoundError(f"{name} is not in the folder that {VARIABLE} names; correct or unset {VARIABLE}")
    on_path = shutil.which(name)
    if found := Path(on_path) if on_path else _inside(cache_folder() / RELEASE, name):
        return found
    raise FileNotFoundError(
        f"{name} of llama.cpp is neither on PATH nor built; run `make setup`, or install llama.cpp "
        f"(conda-forge), or let {VARIABLE} name a folder with bin/ and {CONVERTER}"
    )


def _inside(folder: Path, name: str) -> Path | None:
    places = (folder / "bin" / name, folder / name)
    return next((place for place in places if place.is_file()), None)
