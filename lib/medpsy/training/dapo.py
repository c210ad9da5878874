"""DAPO's dynamic sampling on TRL's GRPOTrainer, which has the other four parts of DAPO as arguments.

A group whose responses all earned the same teaches nothing. Such groups are replaced by groups of other questions, in a
bounded number of rounds (DAPO, section 3.2, equation 11; its released recipe bounds the rounds too). What cannot be
filled stays in, with advantage 0 and outside the token count that the loss is divided by.

Without vLLM, responses come from the project's own decoding loop: it lets go of rows that have ended, which takes half
the time of the library's, and its seeds depend on seed, step and row alone, so a resumed run goes on as it would have.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import pad as padded

from medpsy.engines.base import Sampling
from medpsy.engines.local import Decoding, Job

Batch = dict[str, torch.Tensor]
SAME = 1e-6  # rewards that differ by less are equal; advantages may keep dust of rounding


class DapoTrainer(GRPOTrainer):
    """GRPOTrainer that replaces groups of equal rewards while it trains; it evaluates as its parent does.

    The first reward function decides whether a group is useful, so that a difference in length alone does not count
    (DAPO asks for accuracies other than 0 and 1). The log of a rollout averages over all its rounds, discarded groups
    included, and adds ``dynamic/rounds``, ``dynamic/equal`` (share of all groups drawn whose rewards were equal) and
    ``dynamic/useful`` (share of useful groups in what is trained on).

    A response for which the first function gives None has no reward at all, whatever the others say: TRL would add
    these up and so take None for 0. It is outside its group's mean and spread, its advantage is 0.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rounds, self._rewards = self.args.sampling_rounds, torch.empty(0)
        self._turn: tuple[bool, int, int] = (True, 0, 0)  # whether training, step, calls of the decoding loop there
        share = self.args.per_device_train_batch_size * self.args.steps_per_generation
        if self._rounds and share % self.num_generations:
            raise ValueError(
                f"sampling_rounds: a process holds {share} responses of a rollout, no multiple of the group size "
                f"{self.num_generations}; change generation_batch_size or the number of processes"
            )

    def _generate_single_turn(self, prompt_ids, *media, **more):
        if self.use_vllm or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._generate_single_turn(prompt_ids, *media, **more)
        model, stops = self.accelerator.unwrap_model(self.model), frozenset(self.eos_token_ids)
        sampling = Sampling(self.max_completion_length, self.temperature, 1.0, 0, self.args.seed)
        training, step = self.model.training, self.state.global_step
        calls = self._turn[2] + 1 if self._turn[:2] == (training, step) else 0
        self._turn = (training, step, calls)  # tells this call from others; every evaluation repeats the same ones
        turn = f"{f'train/{step}' if training else 'eval'}/{calls}/{self.accelerator.process_index}"
        jobs = [Job(row, ids, sampling.prompt_seed(f"{turn}/{row}")) for row, ids in enumerate(prompt_ids)]
        decoding = Decoding(model, jobs, sampling, stop_ids=stops, pad=self._tokenizer.pad_token_id)
        written: dict[int, list[int]] = {}
        while decoding.running:
            written.update(decoding.step())
        return [written[row] for row in range(len(jobs))], None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._rewards = rewards.masked_fill(rewards[:, :1].isnan(), torch.nan)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        if not self._rounds:  # all that was drawn is trained on; a process may hold a part of a group
            batch = super()._generate_and_score_completions(inputs)
            useful = useful_rows(self._rewards[:, 0], self.num_generations)
            self._count_groups(0, useful, useful)
            return batch
        rounds = [self._scored(inputs)]
        while len(rounds) <= self._rounds and (draw := self._shortage(rounds, len(inputs) // self.num_generations)):
            rounds.append(self._scored(self._others(draw, len(rounds))))
        batches, masks = zip(*rounds, strict=True)
        batch = joined(batches, self._tokenizer.pad_token_id)
        return self._chosen(batch, torch.cat(masks), len(inputs), len(rounds) - 1)

    def _scored(self, inputs: list[dict[str, Any]]) -> tuple[Batch, torch.Tensor]:
        """Return responses to `inputs`, and for each of them whether its group is useful."""
        batch = super()._generate_and_score_completions(inputs)
        first = self.accelerator.process_index * len(inputs)
        rewards = self._rewards[first : first + len(inputs), 0]  # of those of all processes
        return batch | {"rewarded": ~rewards.isnan()}, useful_rows(rewards, self.num_generations)

    def _shortage(self, rounds: list[tuple[Batch, torch.Tensor]], wanted: int) -> int:
        """Return how many groups every process draws next: what the worst of them lacks, at the yield it has had."""
        useful = torch.cat([mask for _, mask in rounds])
        kept = useful.sum() // self.num_generations
        least = int(self.accelerator.gather(kept.reshape(1)).min())  # all processes must run the same rounds
        if least >= wanted:
            return 0
        drawn = len(useful) // self.num_generations
        return min(wanted, math.ceil((wanted - least) * drawn / least)) if least else wanted

    def _others(self, groups: int, done: int) -> list[dict[str, Any]]:
        """Return this process's rows for `groups` further questions, a function of seed, step and round alone."""
        rng = random.Random(f"{self.args.seed}/{self.state.global_step}/{done}")
        picked = rng.choices(range(len(self.train_dataset)), k=groups * self.accelerator.num_processes)
        mine = picked[self.accelerator.process_index * groups :][:groups]
        return [self.train_dataset[index] for index in mine for _ in range(self.num_generations)]

    def _chosen(self, batch: Batch, useful: torch.Tensor, rows: int, done: int) -> Batch:
        """Return `rows` of `batch`, useful ones first, ready for the loss."""
        order = torch.cat([useful.nonzero(), (~useful).nonzero()]).squeeze(1)[:rows]
        taught = useful[order]
        chosen = {name: values[order] for name, values in batch.items()}
        chosen["advantages"] = chosen["advantages"] * taught
        tokens = (chosen["completion_mask"] * (taught & chosen.pop("rewarded"))[:, None]).sum()
        chosen["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        self._count_groups(done, useful, taught)
        return chosen

    def _count_groups(self, rounds: int, drawn: torch.Tensor, taught: torch.Tensor) -> None:
        """Log the further rounds, and which rows of all `drawn` and of those trained on are of a useful group."""
        shares = torch.stack([(~drawn).float().mean(), taught.float().mean()])
        equal, kept = self.accelerator.gather(shares).reshape(-1, 2).mean(dim=0).tolist()
        for name, number in {"rounds": float(rounds), "equal": equal, "useful": kept}.items():
            self._metrics["train"][f"dynamic/{name}"].append(number)


def useful_rows(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Return for each of `rewards` (a row per response, groups of `group` in line) whether its group differs. A reward
    that is no number counts for nothing, so a group with fewer than two others is of no use."""
    groups = rewards.reshape(-1, group)
    spread = groups.nan_to_num(-torch.inf).amax(dim=1) - groups.nan_to_num(torch.inf).amin(dim=1)
    return (spread > SAME).repeat_interleave(group)


def joined(batches: Sequence[Batch], pad: int) -> Batch:
    """Return the rows of all `batches` under each other; prompts padded on the left, what follows on the right."""
    rows: Batch = {}
    for name in [name for name, values in batches[0].items() if values.dim()]:
        every = [row for batch in batches for row in batch[name]]
        fill, side = pad if name.endswith("_ids") else 0, "left" if name.startswith("prompt_") else "right"
        rows[name] = padded(every, fill, side) if every[0].dim() else torch.stack(every)
    return rows
