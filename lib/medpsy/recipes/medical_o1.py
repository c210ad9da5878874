"""Qwen3.5-Medical-GSPO: corpus, open questions with a reference, its methods as jobs, and what is asked afterwards.

medical-o1-reasoning-SFT (Chen et al., "HuatuoGPT-o1") has four configurations and no default: "en" is not "en_mix", and
what was called "en" before the set was divided is neither. A row without its three texts is refused; nothing is
translated, cut or repaired. All methods have the same start, questions, judge, adapter and budget, and several seeds:
what makes a method is here; how long, how fast and within which bounds it is trained is the caller's.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from medpsy import licences, strict
from medpsy.corpus.building import Origins, Written, write_corpus
from medpsy.corpus.filters import Contamination, Filters, stems
from medpsy.corpus.rows import SCHEMA, TrainingRow
from medpsy.corpus.seeds import HubCopy, is_held_out
from medpsy.data import rows
from medpsy.data.rows import DataError, Row
from medpsy.engines.base import Prompt
from medpsy.engines.chat import render
from medpsy.engines.models import model_folder, weight_files
from medpsy.grading.readers import CLOSES, OPENS, pattern, split
from medpsy.judge import judged
from medpsy.mini import suites
from medpsy.mini import world as worlds
from medpsy.mini.world import STATED, said, take
from medpsy.store import ResponseStore, Session, noted
from medpsy.study import Study
from medpsy.training.data import NEAR, NGRAM, OpenQuestion, write_open_questions
from medpsy.training.jobs import Job
from medpsy.training.rewards import Ask, Judge, Tier, conversation, earned, has_words
from medpsy.training.stages import recipe_job

T = TypeVar("T")
Say = Callable[[str], None] | None
FICTION, AUTHOR = "fictional medicine", "a program"


@dataclass(frozen=True)
class Copy:
    """The copy of a set that is read; `fiction` where the miniature writes it."""

    origin: rows.Origin
    licence: str
    fiction: bool

    @property
    def described(self) -> str:
        """The place for a record; of a folder its name alone."""
        return FICTION if self.fiction else str(replace(self.origin, partial=False))

    @property
    def author(self) -> str:
        """Who wrote its rows, as far as we know."""
        return AUTHOR if self.fiction else f"the authors of {self.described}"

    def read(self, file: str) -> list[Row]:
        """Return the rows of one file of the copy; a local folder may hold it without the hub's folders above it.

        Raises:
            DataError: the file is not there, or the hub does not hand it over.
        """
        if self.origin.data_dir is None:
            return rows.from_hub(self.origin, None, file)
        return rows.from_files(rows.find(self.origin.data_dir, (file, Path(file).name)))


def copy(
    study: Study,
    name: str,
    hub_id: str,
    licence: str,
    given: Mapping[str, str],
    write: Callable[[Path], Path] | None = None,
    revision: str | None = None,
) -> Copy:
    """Return the copy of set `name` that the study reads.

    Args:
        given: fields of `medpsy.corpus.seeds.HubCopy`.
        write: writes the miniature's own copy to a folder.
        revision: commit of `hub_id` where the study names none.

    Raises:
        ValueError: an unknown field, or any for the miniature, which makes its own files.
    """
    if study.source == "mini" and write is not None:
        if given:
            raise ValueError(
                f"{name}: origin {dict(given)} belongs to a real study; the miniature writes its own files"
            )
        folder = write(study.outputs / "data" / name)
        return Copy(rows.Origin(hub_id, None, "train", None, folder, partial=True), "Apache-2.0", True)
    chosen = strict.build(HubCopy, dict(given), strict.Place(f"origin of {name}"))
    if chosen.data_file:
        raise ValueError(f"{name}: data_file {chosen.data_file!r} has no use here, its files are known; remove it")
    folder = study.root / Path(chosen.data_dir).expanduser() if chosen.data_dir else None
    if not folder and not (chosen.hub_id or hub_id):
        raise DataError(f"{name}: it is on no hub that we know; give data_dir, a folder with its files")
    commit = study.commit(chosen.hub_id) if chosen.hub_id else study.commit(hub_id, revision)
    return Copy(rows.Origin(chosen.hub_id or hub_id, None, "train", commit, folder, partial=True), licence, False)


def drawn(items: Sequence[T], count: int, seed: str) -> list[T]:
    """Return `count` of `items` in their own order, drawn by `seed`; 0 means all; more contain the fewer.

    Raises:
        ValueError: there are not so many.
    """
    if not 0 <= count <= len(items):
        raise ValueError(f"{seed}: {count:,} rows are asked for, {len(items):,} are there; 0 means all")
    places = list(range(len(items)))
    random.Random(seed).shuffle(places)
    return [items[place] for place in sorted(places[: count or len(items)])]


def write_rows(
    study: Study,
    name: str,
    rows: Sequence[TrainingRow],
    filters: Mapping[str, object],
    purpose: str,
    copies: Mapping[str, Copy],
    more: Mapping[str, str] | None = None,
    schema=SCHEMA,
) -> Written:
    """Write `rows` through the filters as corpus `name`.

    Args:
        filters: fields of `medpsy.corpus.filters.Filters`.
        copies: name of a set -> the copy of it that rows are from.
        more: further sources -> licence.

    Raises:
        ValueError: bad settings, or no row is left; nothing is written then.
    """
    fiction = all(one.fiction for one in copies.values())
    sources = {f"{title} ({one.described})": one.licence for title, one in copies.items()} | dict(more or {})
    origins = Origins(purpose, sources, AUTHOR if fiction else "its authors and their models", fiction)
    chosen = strict.build(Filters, dict(filters), strict.Place("filters"))
    return write_corpus(study, name, rows, filters=chosen, origins=origins, schema=schema)


NAME, HUB_ID, LICENCE = "medical-o1", "FreedomIntelligence/medical-o1-reasoning-SFT", "Apache-2.0"
CORPUS, TITLE = "o1", "medical-o1-reasoning-SFT"
FILES = suites.O1_FILES  # the names are those of the real set
COLUMNS = ("Question", "Complex_CoT", "Response")


def o1_copy(study: Study, given: Mapping[str, str] | None) -> Copy:
    """Return the copy of the set that the study reads; `given` as in `copy`."""
    return copy(study, NAME, HUB_ID, LICENCE, given or {}, suites.write_o1)


def read(source: Copy, config: str) -> list[TrainingRow]:
    """Return all rows of `config`, as rows of a corpus whose kind it is.

    Raises:
        ValueError: an unknown configuration.
        DataError: the file is not there, or a row lacks one of its texts; names file, row and field.
    """
    if config not in FILES:
        raise ValueError(
            f"configuration {config!r} is unknown, and there is no default; {strict.nearest(config, FILES)}"
        )
    return [training_row(row, config, source) for row in source.read(FILES[config])]


def training_row(row: Row, config: str, source: Copy) -> TrainingRow:
    asked, thought, answer = (row.text(column) for column in COLUMNS)
    messages = ({"role": "user", "content": asked},)
    return TrainingRow(
        f"{NAME}/{config}/{row.number}", CORPUS, config, messages, thought, answer, (), source.author, ""
    )


def question_of(row: TrainingRow) -> str:
    return row.messages[0]["content"]


def training_rows(source: Copy, configs: Mapping[str, int], seed: int) -> list[TrainingRow]:
    """Return rows of every configuration by seed, none of them held out; 0 means all."""
    if not configs:
        raise ValueError(f"configs: none is named, and there is no default; known are {', '.join(FILES)}")
    chosen = []
    for config, count in configs.items():
        free = [row for row in read(source, config) if source.fiction or not is_held_out(question_of(row))]
        chosen += drawn(free, count, f"{NAME}/{config}/{seed}")
    return chosen


def o1_corpus(
    study: Study, *, configs: Mapping[str, int], filters: Mapping[str, object], origin: Mapping[str, str] | None = None
) -> Written:
    """Write corpus ``"o1"`` from configurations of medical-o1-reasoning-SFT.

    Args:
        configs: configuration -> rows, drawn by the study's seed; 0 means all of it.
        filters: fields of `medpsy.corpus.filters.Filters`.
        origin: fields of `medpsy.corpus.seeds.HubCopy`.

    Raises:
        ValueError: bad settings, or no row is left; nothing is written then.
        DataError: the set is not to be had, or a row is malformed.
    """
    source = o1_copy(study, origin)
    chosen = training_rows(source, configs, study.seed)
    purpose = "Open questions with reasoning and a concise conclusion."
    return write_rows(study, CORPUS, chosen, filters, purpose, {TITLE: source})


SAME_CONCLUSION = "Gives the same conclusion as this reference: {response}"
UNHEARD = ("enzyme", "harms")  # relations of which the miniature's judges were taught nothing; there they guess


@dataclass(frozen=True)
class OpenSet:
    """Open questions to train on and held-out ones; `made_of`: source -> licence."""

    train: tuple[OpenQuestion, ...]
    held_out: tuple[OpenQuestion, ...]
    made_of: dict[str, str]


def open_questions(
    study: Study, *, config: str, rows: int, held_out: int, seed: int, origin: Mapping[str, str] | None = None
) -> OpenSet:
    """Return questions of `config` for reinforcement learning with a judge; none is a suite's.

    Args:
        rows: questions to train on, drawn by seed; 0 means all there are.
        held_out: held-out questions, likewise: in the miniature of held-out cells.
        origin: fields of `medpsy.corpus.seeds.HubCopy`; none for the miniature.

    Raises:
        ValueError: fewer questions than asked for, or none.
        DataError: the set is not to be had, or a row is malformed.
    """
    source = o1_copy(study, origin)
    train, index, chosen = read(source, config), Contamination(stems(study), near=NEAR, ngram=NGRAM), []
    if source.fiction:
        apart = list(_held_out_cells(source, config))
    else:
        apart = [row for row in train if is_held_out(question_of(row))]
        train = [row for row in train if not is_held_out(question_of(row))]
    for name, part, count in (("train", train, rows), ("held out", apart, held_out)):
        asked = [_open_question(row, source) for row in part]
        readable = [one for one in asked if one is not None]
        free = [one for one in readable if index.hit(_stem(one), _stem(one)) is None]
        if not free:
            why = f"{name}: {len(asked)}, {len(readable)} with a conclusion that judges can read, all asked by suites"
            raise ValueError(f"{config}: no question is left to choose from ({why}); take another configuration")
        chosen.append(tuple(drawn(free, count, f"open questions/{config}/{name}/{seed}")))
    return OpenSet(*chosen, {f"{NAME} ({source.described})": source.licence})


def _stem(question: OpenQuestion) -> str:
    return question.messages[0]["content"]


def _held_out_cells(source: Copy, config: str) -> Iterator[TrainingRow]:
    world = worlds.build()
    for number, case in enumerate(suites.o1_cases(world, held_out=True), 1):
        row = Row(suites.o1_row(world, case), "held-out cells", number)
        yield training_row(row, f"{config}/held-out", source)


def _open_question(row: TrainingRow, source: Copy) -> OpenQuestion | None:
    """Return the question of `row`, with the criterion that a conclusion like the row's meets as its reference.

    None for a conclusion that the miniature's judges misread.
    """
    criterion = SAME_CONCLUSION.format(response=row.answer)
    if source.fiction:
        known = said(row.answer)
        if known is None or any(known.topic.startswith(f"fact {relation} ") for relation in UNHEARD):
            return None
        criterion = f"Says that {row.answer.removeprefix(STATED)}"
        criterion = take(known.key).criterion if known.topic == "take" else criterion
    return OpenQuestion(row.id, row.messages, criterion)


def unseen(
    study: Study, corpus: Path, config: str, *, rows: int, origin: Mapping[str, str] | None = None
) -> tuple[OpenQuestion, ...]:
    """Return questions of `config` that the corpus in the folder `corpus` does not hold, drawn by the study's seed.

    They are no held-out questions: what they ask about may be in the corpus in other words. The reference is the row's
    own response, which the miniature's judges read in English alone.

    Raises:
        ValueError: fewer questions than asked for.
    """
    held = {turns[0]["content"] for file in corpus.glob("*.parquet") for turns in pd.read_parquet(file)["messages"]}
    free = [row for row in read(o1_copy(study, origin), config) if question_of(row) not in held]
    chosen = drawn(free, rows, f"unseen/{config}/{study.seed}")
    return tuple(OpenQuestion(row.id, row.messages, SAME_CONCLUSION.format(response=row.answer)) for row in chosen)


SFT = "sft"  # the step that all methods start from
METHODS: dict[str, dict[str, Any]] = {
    # GSPO, section 4: the likelihood of a whole response by its length is weighed and clipped
    "gspo": {"importance_sampling_level": "sequence", "loss_type": "grpo", "reward_weights": [1.0, 0.0]},
    # the baseline of that paper: the same objective with a ratio for every token
    "grpo": {"importance_sampling_level": "token", "loss_type": "grpo", "reward_weights": [1.0, 0.0]},
    # DAPO, section 3: the mean over all tokens of a rollout, and a penalty on length
    "dapo": {"importance_sampling_level": "token", "loss_type": "dapo", "reward_weights": [1.0, 1.0]},
}
# A KL term is in none of them, and groups of equal rewards are not replaced: each would change what a budget buys.
SHARED: dict[str, Any] = {"beta": 0.0, "sampling_rounds": 0, "lr_scheduler_type": "constant_with_warmup"}
POINTS = 5.0  # shown to the judge beside a criterion, below 0 where its reward is


def checkpoint(study: Study, base: str, step: str, seed: int | None = None) -> str:
    """Return the name of what `step` leaves of `base` (a size class or a model); the study's own seed is not in it."""
    return f"{base}-{CORPUS}-{step}" + ("" if seed in (None, study.seed) else f"-s{seed}")


def seeds(study: Study, trainings: int) -> list[int]:
    """Return the seeds of so many trainings, the study's own first."""
    if trainings < 1:
        raise ValueError(f"trainings: {trainings}; at least one is needed")
    return [study.seed + place for place in range(trainings)]


def greedy(study: Study) -> Study:
    """Return `study` with judges that answer greedily: a reward has to be the same each time.

    Raises:
        ValueError: the study does not say how judges reply.
    """
    if study.judge_sampling is None:
        raise ValueError(f"judge_sampling: params/{study.profile}/study.yaml says not how judges reply; add it")
    return replace(study, judge_sampling=replace(study.judge_sampling, temperature=0.0))


def tiered(model: str, tiers: Mapping[str, float], *, otherwise: float, no_conclusion: float) -> Judge:
    """Return the judge `model` with `tiers`: criterion -> reward, in the order in which they count."""
    made = [Tier(text, reward, -POINTS if reward < 0 else POINTS) for text, reward in tiers.items()]
    return Judge(model, tuple(made), otherwise, no_conclusion)


def sft_job(study: Study, base: str, corpus: Written, config: Mapping[str, Any]) -> Job:
    """Return the job that teaches `base` the form of `corpus`; `config` are arguments of `trl.SFTConfig`."""
    parent, files = study.targets.get(base, base), sorted(corpus.folder.glob("*.parquet"))
    return recipe_job(study, checkpoint(study, base, SFT), parent=parent, method="sft", config=config, data=files)


def method_jobs(
    study: Study,
    base: str,
    questions: OpenSet,
    judge: Judge,
    config: Mapping[str, Any],
    *,
    lora: Mapping[str, Any],
    clip_ranges: Mapping[str, Sequence[float]],
    trainings: int,
) -> list[list[Job]]:
    """Return a sequence of one job per method and seed, all of which start from the checkpoint of `SFT`.

    Args:
        config: arguments of `medpsy.training.config.DapoConfig` that all methods share.
        lora: arguments of `peft.LoraConfig`.
        clip_ranges: method, a key of `METHODS` -> how far below and above 1 its ratio may be.
    """
    if unknown := sorted(set(clip_ranges) - set(METHODS)):
        raise ValueError(f"clip_ranges: {unknown[0]!r} is no method; known are {', '.join(METHODS)}")
    file = study.outputs / "training" / "questions" / CORPUS / "train.parquet"
    write_open_questions(file, questions.train)
    licences.write(file.parent, questions.made_of)
    return [
        [
            recipe_job(
                study,
                checkpoint(study, base, method, seed),
                parent=checkpoint(study, base, SFT),
                method="rl",
                config=method_arguments(method, config, clip),
                data=[file],
                lora=lora,
                judge=judge,
            )
        ]
        for seed in seeds(study, trainings)
        for method, clip in clip_ranges.items()
    ]


def method_arguments(method: str, shared: Mapping[str, Any], clip: Sequence[float]) -> dict[str, Any]:
    """Return the arguments of `medpsy.training.config.DapoConfig` that make `method`; as those of `method_jobs`."""
    low, high = clip
    return {**SHARED, **shared, **METHODS[method], "epsilon": low, "epsilon_high": high}


FORMS = ("in form", "no conclusion", "no think block", "several blocks", "long conclusion")
IN_FORM, NO_CONCLUSION, NO_BLOCK, BLOCKS, LONG = FORMS


def response_form(text: str, finish_reason: str, *, opens_thinking: bool, longest: int) -> str:
    """Return which of `FORMS` a response has; the first that is wrong counts.

    No conclusion: the reasoning never ended, or nothing follows it. No think block: nothing is reasoned, or its
    beginning is not marked.

    Args:
        opens_thinking: the chat template already wrote the opening marker.
        longest: characters of a conclusion that still counts as concise.
    """
    parts = split(text, opens_thinking=opens_thinking, finish_reason=finish_reason)
    if parts.answer is None or finish_reason != "stop":
        return NO_CONCLUSION
    opened = opens_thinking or parts.reasoning.lstrip().startswith(OPENS)
    if not opened or not has_words(parts.reasoning):
        return NO_BLOCK
    if any(marker in parts.reasoning for marker in CLOSES) or len(pattern(OPENS).findall(parts.reasoning)) > 1:
        return BLOCKS
    return IN_FORM if len(parts.answer) <= longest else LONG


ANSWER = ["model", "run", "text", "finish_reason", "completion_tokens", "key"]


def open_answers(
    study: Study,
    models: Sequence[str],
    questions: Mapping[str, Sequence[OpenQuestion]],
    *,
    runs: int,
    longest: int,
    progress: Say = None,
) -> pd.DataFrame:
    """Let `models` answer open questions, as the study's conversations are answered.

    Args:
        questions: configuration, which is to say language -> questions.
        longest: characters of a conclusion that still counts as concise.

    Returns:
        One row per model, configuration, run and question: `ANSWER`, ``question_id``, ``config``, and ``form``, one of
        `FORMS`.
    """
    session, frames = Session(study, ResponseStore(study.store_dir), progress), []
    sampling = study.open_sampling or study.sampling
    asked = {one.id: Prompt(f"open/{one.id}", one.messages) for some in questions.values() for one in some}
    for model in models:
        session.fill(model, list(asked.values()), range(runs), sampling)
        form = partial(response_form, opens_thinking=study.model(model).opens_thinking, longest=longest)
        for config, run in product(questions, range(runs)):
            names = [one.id for one in questions[config]]
            frame = session.answer(model, [asked[name] for name in names], run, sampling)[ANSWER]
            forms = [form(*cells) for cells in zip(frame["text"], frame["finish_reason"], strict=True)]
            frames.append(frame.assign(question_id=names, config=config, form=forms))
    return pd.concat(frames, ignore_index=True)


def rewarded(
    study: Study, answers: pd.DataFrame, questions: Sequence[OpenQuestion], judge: Judge, *, progress: Say = None
) -> pd.DataFrame:
    """Return `answers` with the ``tier`` that each reached and its ``reward``, NaN where it stayed unjudged.

    Args:
        answers: columns ``question_id`` and ``text``.
    """
    talks = {one.id: conversation(one, judge) for one in questions}
    named = [talks[name] for name in answers["question_id"]]
    results = earned(named, list(answers["text"]), judge, asking(study, judge, progress))
    rewards = [float("nan") if reward is None else reward for _, reward in results]
    return answers.assign(tier=[tier for tier, _ in results], reward=rewards)


def asking(study: Study, judge: Judge, progress: Say = None) -> Ask:
    """Return what asks `judge` about (question, conclusion) pairs, through the study's store."""
    session, study = Session(study, ResponseStore(study.store_dir), progress), greedy(study)
    return partial(judged, session, judge.model, sampling=study.judge_sampling, attempts=study.judge_attempts)


def adapters(
    study: Study, models: Sequence[str], parent: str, questions: Sequence[OpenQuestion], *, max_tokens: int
) -> pd.DataFrame:
    """Compare the adapter of every one of `models` with the merged checkpoint, both loaded by transformers and peft.

    Args:
        models: checkpoints that were trained with an adapter.
        parent: the model that all of them were trained from.
        questions: what is answered greedily; at each token of the answers the models may differ.
        max_tokens: of an answer.

    Returns:
        One row per model: ``tokens`` that the adapter on its parent answered with; how many of them the checkpoint
        (``same``) and the parent alone (``parent_same``) would have chosen too; the largest difference of two logits
        there, to the checkpoint (``largest``), to the adapter merged here and not rounded to the checkpoint's number
        format (``unrounded``), and to the parent alone (``learned``); ``adapter_mb`` and ``merged_mb``.

    Raises:
        FileNotFoundError: a checkpoint has no adapter.
    """
    asked = [list(one.messages) for one in questions]
    compare = partial(_compared, study, parent, asked, max_tokens)
    return pd.DataFrame([noted(study.store_dir, f"adapter-{name}", partial(compare, name)) for name in models])


def _compared(study: Study, parent: str, asked: Sequence[list], max_tokens: int, name: str) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    from medpsy.training.save import ADAPTER, adapted, load_whole

    folder, start = study.model(name).local_dir, model_folder(study.model(parent))
    if not (folder / ADAPTER).is_dir():
        raise FileNotFoundError(f"{name}: its checkpoint has no folder {ADAPTER!r}; train it with lora")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(start, trust_remote_code=False)
    limits = {"do_sample": False, "max_new_tokens": max_tokens, "pad_token_id": tokenizer.pad_token_id}
    model, written = adapted(start, folder / ADAPTER).to(device).eval(), []

    def logits(model: Any, ids: Any, at: int) -> Any:
        """Return the logits [tokens of the answer, vocabulary] from which the tokens of `ids` after `at` are chosen."""
        return model(input_ids=ids).logits[0, at - 1 : -1].float().cpu()

    def beside(model: Any) -> tuple[int, float]:
        """Return at how many tokens `model` would choose alike, and the largest difference of two logits."""
        same, largest = 0, 0.0
        for ids, at, ours in written:
            theirs = logits(model, ids, at)
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            largest = max(largest, float((ours - theirs).abs().max()))
        return same, largest

    with torch.inference_mode():
        for text in render(tokenizer, asked, study.model(name).chat_template_kwargs):
            inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(device)
            prompt = {part: inputs[part] for part in ("input_ids", "attention_mask")}
            ids, at = model.generate(**prompt, **limits), inputs["input_ids"].shape[1]
            written.append((ids, at, logits(model, ids, at)))
        with model.disable_adapter():
            parent_same, learned = beside(model)
        _, unrounded = beside(model.merge_and_unload())
        del model
        same, largest = beside(load_whole(folder).to(device).eval())
    row = {"model": name, "tokens": sum(len(ours) for _, _, ours in written), "same": same, "parent_same": parent_same}
    row |= {"learned": learned, "largest": largest, "unrounded": unrounded}
    sizes = {"adapter_mb": weight_files(folder / ADAPTER), "merged_mb": weight_files(folder)}
    return row | {column: sum(file.stat().st_size for file in files) / 1e6 for column, files in sizes.items()}
