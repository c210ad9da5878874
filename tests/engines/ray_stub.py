"""`medpsy.engines.vllm_engine` with a model that costs nothing in the place of Ray's vLLM; run as a program.

It writes down in ``STUB_FOLDER`` which process answered what. Files there are wishes: ``slow``, ``odd-PLACE`` for a
prompt to fail, and ``kill-PLACE`` for the process that has it in hand to be killed, once.
"""

import os
import signal
import time
from pathlib import Path

from medpsy.engines import vllm_engine


class StubModel:
    """Writes a number of tokens that depends on the prompt's seed only; notes each batch once it is done."""

    def __init__(self, folder, sampling):
        self._folder, self._most = Path(folder), sampling["max_tokens"]
        self._wishes = {path.name for path in self._folder.iterdir()}
        self._token = next(token for token in range(5, 500) if token not in sampling["stop_token_ids"])

    def __call__(self, batch):
        places = batch["place"].tolist()
        self._die(places)
        time.sleep(0.2 if "slow" in self._wishes else 0)
        with (self._folder / f"done-{os.getpid()}").open("a") as notes:
            notes.write("".join(f"{place}\n" for place in places))
        odd = ["no answer to this" if f"odd-{place}" in self._wishes else "" for place in places]
        made = [[self._token] * (1 + seed % self._most) for seed in batch["seed"].tolist()]
        return {"place": places, "generated_tokens": made, "__inference_error__": odd}

    def _die(self, places):
        for wish in [self._folder / f"kill-{place}" for place in places if f"kill-{place}" in self._wishes]:
            if wish.exists():
                wish.unlink()
                os.kill(os.getpid(), signal.SIGKILL)


def generator(_, options, sampling, __):
    from ray.data import ActorPoolStrategy

    def generate(prompts):
        return prompts.map_batches(
            StubModel,
            fn_constructor_args=(os.environ["STUB_FOLDER"], sampling),
            compute=ActorPoolStrategy(size=options.replicas),
            batch_size=options.batch,
        )

    return generate


if __name__ == "__main__":
    vllm_engine.generator = generator
    vllm_engine.main()
