"""`medpsy.engines.ray_engine` with a model that costs nothing in the place of vLLM; run as a program.

It writes down in ``STUB_FOLDER`` which process answered what. Files there are wishes: ``slow``, and ``kill-ID`` for
the process that has the prompt ID in hand to be killed, once.
"""

import os
import signal
import time
from pathlib import Path

from medpsy.engines import ray_engine


class StubModel:
    """Writes a number of tokens that depends on the prompt's seed only; notes each batch once it is done."""

    def __init__(self, folder, sampling):
        self._folder, self._most = Path(folder), sampling["max_tokens"]
        self._wishes = {path.name for path in self._folder.iterdir()}
        self._token = next(token for token in range(5, 500) if token not in sampling["stop_token_ids"])

    def __call__(self, batch):
        self._die(batch["id"])
        time.sleep(0.2 if "slow" in self._wishes else 0)
        with (self._folder / f"done-{os.getpid()}").open("a") as notes:
            notes.write("".join(f"{name}\n" for name in batch["id"]))
        odd = ["no answer to this" if name.startswith("odd") else "" for name in batch["id"]]
        made = [[self._token] * (1 + seed % self._most) for seed in batch["seed"].tolist()]
        return {"id": batch["id"], "size": batch["size"], "generated_tokens": made, "__inference_error__": odd}

    def _die(self, names):
        for wish in [self._folder / f"kill-{name}" for name in names if f"kill-{name}" in self._wishes]:
            if wish.exists():
                wish.unlink()
                os.kill(os.getpid(), signal.SIGKILL)


def generator(job, gpus):
    from ray.data import ActorPoolStrategy

    def generate(prompts):
        return prompts.map_batches(
            StubModel,
            fn_constructor_args=(os.environ["STUB_FOLDER"], job["sampling"]),
            compute=ActorPoolStrategy(size=job["options"]["replicas"]),
            batch_size=job["options"]["batch"],
        )

    return generate


if __name__ == "__main__":
    ray_engine.generator = generator
    ray_engine.main()
