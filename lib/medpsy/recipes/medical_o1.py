"""Qwen3.5-Medical-GSPO: corpus, open questions with a reference, its checkpoints, and what is asked afterwards.

medical-o1-reasoning-SFT (Chen et al., "HuatuoGPT-o1") has four configurations and no default: "en" is not "en_mix", and
what was called "en" before the set was divided is neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy import licences, strict
from medpsy.corpus.building import Origins, Written, write_corpus
from medpsy.corpus.filters import Contamination, stems
from medpsy.corpus.rows import TrainingRow
from medpsy.corpus.seeds import Copy, Given, PublicSet, copy, drawn, is_held_out, user_words
from medpsy.data.rows import Row
from medpsy.engines.base import Prompt
from medpsy.judge import judged
from medpsy.mini import suites
from medpsy.mini import world as worlds
from medpsy.mini.world import STATED, said, take
from medpsy.store import Progress, ResponseStore, Session
from medpsy.study import Study
from medpsy.training.data import NEAR, NGRAM, OpenQuestion, RlSet, write
from medpsy.training.rewards import Ask, Judge, conversation, earned

NAME, CORPUS, TITLE = "medical-o1", "o1", "medical-o1-reasoning-SFT"
SET = PublicSet(f"FreedomIntelligence/{TITLE}", None, "Apache-2.0", write=suites.write_o1)
FILES = suites.O1_FILES  # the names are those of the real set


def o1_copy(study: Study, given: Given) -> Copy:
    """Return the copy of the set that the study reads; `given` as in `medpsy.corpus.seeds.copy`."""
    return copy(study, NAME, SET, given)


def read(source: Copy, config: str) -> list[TrainingRow]:
    """Return all rows of `config`, as rows of a corpus; one without a text of its three is a DataError."""
    if config not in FILES:
        known = strict.nearest(config, FILES)
        raise ValueError(f"configuration {config!r} is unknown, and there is no default; {known}")
    return [training_row(row, config, source) for row in source.read(FILES[config])]


def training_row(row: Row, config: str, source: Copy) -> TrainingRow:
    asked, thought, answer = (row.text(column) for column in ("Question", "Complex_CoT", "Response"))
    place = (f"{NAME}/{config}/{row.number}", CORPUS, config, ({"role": "user", "content": asked},))
    return TrainingRow(*place, thought, answer, (), source.author, "")


def training_rows(source: Copy, configs: Mapping[str, int], seed: int) -> list[TrainingRow]:
    """Return rows of every configuration by seed, none of them held out; 0 means all."""
    if not configs:
        raise ValueError(f"configs: none is named, and there is no default; known are {', '.join(FILES)}")
    chosen = []
    for config, count in configs.items():
        free = [row for row in read(source, config) if source.fiction or not is_held_out(user_words(row.messages))]
        chosen += drawn(free, count, f"{NAME}/{config}/{seed}")
    return chosen


def origins(purpose: str, copies: Mapping[str, Copy], taught: Mapping[str, str] | None = None) -> Origins:
    """Return where a recipe's rows come from: `copies` of sets, by name, and what the study's teacher was made of."""
    fiction = all(source.fiction for source in copies.values())
    sources = {f"{title} ({source.described})": source.licence for title, source in copies.items()}
    author = "a program" if fiction else "its authors and their models"
    return Origins(f"{purpose} Written by {author}.", sources | dict(taught or {}), author, fiction)


def o1_corpus(
    study: Study, *, configs: Mapping[str, int], filters: Mapping[str, object], origin: Given = None
) -> Written:
    """Write corpus ``"o1"``, as `medpsy.corpus.building.write_corpus`. `configs`: configuration -> rows, drawn by the
    study's seed; 0 means all of it. `origin` as of `medpsy.corpus.seeds.copy`; a set that is not to be had, or
    malformed, is a DataError."""
    source = o1_copy(study, origin)
    made_of = origins("Open questions with reasoning and a concise conclusion.", {TITLE: source})
    return write_corpus(study, CORPUS, training_rows(source, configs, study.seed), filters=filters, origins=made_of)


UNHEARD = ("enzyme", "harms")  # relations of which the miniature's judges were taught nothing; there they guess


def open_questions(study: Study, *, config: str, rows: int, held_out: int, seed: int, origin: Given = None) -> RlSet:
    """Return questions of `config` for reinforcement learning with a judge; none is a suite's. `rows` to train on and
    `held_out` ones, in the miniature of held-out cells, are drawn by seed; 0 means all there are, and fewer than asked
    for are a ValueError. `origin` as of `o1_corpus`; none for the miniature."""
    source = o1_copy(study, origin)
    train, index, chosen = read(source, config), Contamination(stems(study), near=NEAR, ngram=NGRAM), []
    if source.fiction:
        world = worlds.build()
        cells = enumerate(suites.o1_cases(world, held_out=True), 1)
        cells = [Row(suites.o1_row(world, case), "held-out cells", number) for number, case in cells]
        apart = [training_row(row, f"{config}/held-out", source) for row in cells]
    else:
        apart = [row for row in train if is_held_out(user_words(row.messages))]
        train = [row for row in train if not is_held_out(user_words(row.messages))]
    for name, part, count in (("train", train, rows), ("held out", apart, held_out)):
        readable = [asked for row in part if (asked := _open_question(row, source))]
        words = [user_words(asked.messages) for asked in readable]
        free = [asked for asked, text in zip(readable, words, strict=True) if index.hit(text, text) is None]
        if not free:
            why = f"{name}: {len(part)}, {len(readable)} with a conclusion that judges can read, all asked by suites"
            raise ValueError(f"{config}: no question is left to choose from ({why}); take another configuration")
        chosen.append(tuple(drawn(free, count, f"open questions/{config}/{name}/{seed}")))
    return RlSet(*chosen, {}, {f"{NAME} ({source.described})": source.licence})


def _open_question(row: TrainingRow, source: Copy) -> OpenQuestion | None:
    """Return the question of `row`, with the criterion that a conclusion like the row's meets as its reference. None
    for a conclusion that the miniature's judges misread."""
    criterion = f"Gives the same conclusion as this reference: {row.answer}"
    if source.fiction:
        heard = said(row.answer)
        if heard is None or any(heard.topic.startswith(f"fact {relation} ") for relation in UNHEARD):
            return None
        criterion = f"Says that {row.answer.removeprefix(STATED)}"
        criterion = take(heard.key).criterion if heard.topic == "take" else criterion
    return OpenQuestion(row.id, row.messages, criterion)


def question_file(study: Study, questions: RlSet) -> Path:
    """Write the questions to train on where jobs find them, beside their licences; return the file."""
    file = write(study.outputs / "training" / "questions" / CORPUS / "train.parquet", questions.train)
    licences.write(file.parent, questions.made_of)
    return file


# A KL term is in no method, and groups of equal rewards are not replaced: each would change what a budget buys.
SHARED: dict[str, Any] = {"beta": 0.0, "sampling_rounds": 0, "lr_scheduler_type": "constant_with_warmup"}


def checkpoint(study: Study, base: str, step: str, seed: int | None = None) -> str:
    """Return the name of what `step` leaves of `base` (a size class or a model); the study's own seed is not in it."""
    return f"{base}-{CORPUS}-{step}" + ("" if seed in (None, study.seed) else f"-s{seed}")


def seeds(study: Study, trainings: int) -> list[int]:
    """Return the seeds of so many trainings, the study's own first."""
    if trainings < 1:
        raise ValueError(f"trainings: {trainings}; at least one is needed")
    return [study.seed + place for place in range(trainings)]


def greedy(study: Study) -> Study:
    """Return `study` with judges that answer greedily: a reward has to be the same each time."""
    return replace(study, judge_sampling=replace(study.judging(), temperature=0.0))


ANSWER = ["model", "run", "text", "finish_reason", "completion_tokens", "key"]
Questions = Mapping[str, Sequence[OpenQuestion]]  # by configuration (language)


def open_answers(
    study: Study, models: Sequence[str], questions: Questions, *, runs: int, progress: Progress = None
) -> pd.DataFrame:
    """Let `models` answer open questions as the study's conversations are answered. Returns one row per model,
    configuration, run and question: `ANSWER`, ``question_id`` and ``config``."""
    session, frames = Session(study, ResponseStore(study.store_dir), progress), []
    prompts = {item.id: Prompt(f"open/{item.id}", item.messages) for group in questions.values() for item in group}
    for model in models:
        asked = session.ask(model, list(prompts.values()), range(runs), study.open_sampling or study.sampling)
        answers = [rows.set_index("prompt_id", drop=False) for rows in asked]
        for config, group in questions.items():
            names = [item.id for item in group]
            for rows in answers:
                frame = rows.loc[[prompts[name].id for name in names], ANSWER].reset_index(drop=True)
                frames.append(frame.assign(question_id=names, config=config))
    return pd.concat(frames, ignore_index=True)


def rewarded(
    study: Study, answers: pd.DataFrame, questions: Sequence[OpenQuestion], judge: Judge, *, progress: Progress = None
) -> pd.DataFrame:
    """Return `answers` (``question_id``, ``text``) with the ``tier`` that each reached and its ``reward``, NaN where it
    stayed unjudged."""
    talks = {item.id: conversation(item, judge) for item in questions}
    asked = [talks[name] for name in answers["question_id"]]
    results = earned(asked, list(answers["text"]), judge, asking(study, judge, progress))
    rewards = [float("nan") if reward is None else reward for _, reward in results]
    return answers.assign(tier=[tier for tier, _ in results], reward=rewards)


def asking(study: Study, judge: Judge, progress: Progress = None) -> Ask:
    """Return what asks `judge` about (question, conclusion) pairs, through the study's store."""
    session = Session(study, ResponseStore(study.store_dir), progress)
    return partial(judged, session, judge.model, sampling=greedy(study).judging())
