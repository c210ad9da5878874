"""Training whose second of two processes dies within a resume point of small-sft2: `-m dies_while_saving JOBS`."""

import os
import runpy
import signal
import time
from pathlib import Path

from training_examples import CONFIG
from transformers import Trainer

write = Trainer._save_rng_state


def write_half(self: Trainer, folder: str) -> None:
    write(self, folder)
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    second = self.state.global_step > CONFIG["save_steps"] and "small-sft2" in folder
    if first and second and self.args.process_index == 1:
        part = Path(folder) / "rng_state_1.pth"
        part.write_bytes(part.read_bytes()[:100])
        while not (Path(folder) / "trainer_state.json").exists():  # the last file of the other process
            time.sleep(0.01)
        time.sleep(0.5)  # for what that one does next
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Trainer._save_rng_state = write_half
    runpy.run_module("medpsy.training.worker", run_name="__main__")
