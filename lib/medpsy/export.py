"""A trained model as a folder of its own, and a chat with it: llama.cpp's `llama-cli` under the study's sampling."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from huggingface_hub import ModelCard, ModelCardData

from medpsy import licences, record, strict
from medpsy.engines import programs
from medpsy.engines.base import Sampling, check_sampling
from medpsy.engines.convert import to_gguf
from medpsy.engines.models import fingerprint, model_folder, papers, text_config
from medpsy.engines.programs import cache_folder
from medpsy.files import whole_folder
from medpsy.mini import world
from medpsy.quantization.gguf import BASE, FORMATS, variant_file
from medpsy.show import MARGIN
from medpsy.store import capped
from medpsy.study import CHECKPOINT, RECIPE, ModelSpec, Study
from medpsy.training.jobs import SUMMARY
from medpsy.training.stages import evaluations, score_table

VARIANTS = (BASE, *FORMATS)
MARK = "medpsy.json"  # by which a folder is known as an export
STAGES, QUANTIZED = "08_stage_ablations", "10_quantization"
ROWS = {STAGES: "Stage", QUANTIZED: "Variant"}  # section -> first column of its tables of scores
EARLIER = 4096  # ours: tokens for what was said before, beside those of the answer; more takes memory
NOTICE = (
    "Not medical advice. A language model writes this; it says wrong things with the same confidence as right ones, "
    "and nothing that it writes may guide the care of a person."
)
FICTION = "It knows an invented medicine only: its conditions, drugs and tests do not exist."
QUESTION = "Which findings tell iron deficiency from other causes of anaemia?"
UNSCORED = "Not evaluated: no record of the study is of these weights; run its section and export again."
CARD = Path(__file__).with_name("export.md")  # template of the card


@dataclass(frozen=True)
class ChatSettings:
    """How a model is talked to; an exported folder holds it as JSON in `MARK`."""

    name: str  # what the notice calls the model
    fiction: bool  # all it knows is invented
    sampling: Sampling  # as the study has its open questions answered
    threads: int | None = None  # of llama.cpp; by default its own choice. Tiny models are slower with more
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, model: ModelSpec) -> "ChatSettings":
        sampling = capped(study.open_sampling or study.sampling, model)
        threads = study.engine_options.get("threads")
        return cls(model.name, study.source == "mini", sampling, threads, dict(model.chat_template_kwargs))

    @property
    def notice(self) -> str:
        return f"{NOTICE} {FICTION}" if self.fiction else NOTICE

    def arguments(self, gguf: str, limit: int | None) -> list[str]:
        """Return those of llama-cli: the model's own template, and the samplers of `medpsy.engines` in their order;
        `limit` is the tokens that the model's context holds at most, None if nobody says."""
        chosen, context = self.sampling, self.sampling.max_tokens + EARLIER
        line = f"--jinja --ctx-size {min(limit or context, context)} --predict {chosen.max_tokens} "
        line += f"--samplers temperature;top_k;top_p --temp {chosen.temperature} --top-k {chosen.top_k} "
        line += f"--top-p {chosen.top_p}" + (f" --threads {self.threads}" if self.threads else "")
        kwargs = self.chat_template_kwargs
        return ["--model", gguf, *line.split(), *(["--chat-template-kwargs", json.dumps(kwargs)] if kwargs else [])]


def chat_command(name: str, load: Callable[[], Study]) -> tuple[str, list[str]]:
    """Return the notice that comes first, and llama-cli's command to talk to the exported folder, or the model or
    checkpoint of the study that `load` returns, called `name`. Safetensors are converted to GGUF the first time."""
    folder = Path(name).expanduser()
    if (folder / MARK).is_file():
        settings, gguf_dir = read(folder), cache_folder() / "gguf"
        model = ModelSpec(settings.name, str(folder.resolve()))
    elif folder.is_dir() and len(folder.parts) > 1:
        raise FileNotFoundError(f"{name}: no {MARK}, so no exported model; make one with `medpsy export`")
    else:
        study = load()
        model, gguf_dir = study.model(name), study.gguf_dir
        settings = ChatSettings.of(study, model)
        if model.base_url:
            raise ValueError(f"model {name!r} is behind an endpoint ({model.base_url}); use a chat client of your own")
        if name not in study.models:
            study.require_whole(model, (CHECKPOINT.fullmatch(name) or RECIPE.fullmatch(name))[2])
    limit = text_config(model_folder(model)).get("max_position_embeddings")
    program = str(programs.find("llama-cli"))
    return f"{model.label}: {settings.notice}", [program, *settings.arguments(str(to_gguf(model, gguf_dir)), limit)]


def read(folder: Path) -> ChatSettings:
    """Return what the export in `folder` says of itself; a SettingsError names file, key and fix."""
    place = strict.Place(f"{folder.resolve().name}/{MARK}")
    settings = strict.build(ChatSettings, strict.read(folder / MARK, place.file), place)  # JSON is YAML
    try:
        check_sampling(settings.sampling)
    except ValueError as error:
        raise place.at("sampling").error(str(error)) from None
    return settings


def export(study: Study, *, stage: str, size: str, variant: str | None = None, out: Path | None = None) -> Path:
    """Write the model that `stage` leaves of the target of `size` into a folder; return the folder.

    `variant` is the number format of a GGUF file, e.g. ``"Q4_K_M"``, None for the safetensors as trained; an older
    export in `out` is replaced. ValueError for no such stage, size or variant, FileNotFoundError for no such checkpoint
    or variant (names the section that leaves it) or no llama.cpp, FileExistsError where `out` is no export.
    """
    model = study.checkpoint(size, stage)
    if variant and variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; {strict.nearest(variant, VARIANTS)}")
    settings = replace(ChatSettings.of(study, model), name="-".join(filter(None, [model.name, variant])))
    target = (out or study.outputs / "export" / settings.name).expanduser().absolute()
    if target.exists() and not (target.is_dir() and ((target / MARK).is_file() or not any(target.iterdir()))):
        raise FileExistsError(f"{target}: is there and no export of ours; name another folder with --out")
    study.require_whole(model, stage)
    if not variant:
        weights = {path.name: path for path in model_folder(model).glob("*.safetensors*")}
    elif variant == BASE:  # of which section 10 makes all others, without keeping it as one of them
        weights = {f"{settings.name}.gguf": to_gguf(model, study.gguf_dir, outtype="bf16")}
    else:
        weights = {f"{settings.name}.gguf": variant_file(study, model, variant)}
    with whole_folder(target) as folder:
        for name, path in (papers(model_folder(model)) | weights).items():
            shutil.copyfile(path, folder / name)
        (folder / SUMMARY).unlink(missing_ok=True)  # how the checkpoint came about; the card says what matters of it
        (folder / MARK).write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
        card = _card(study, model, settings, folder, stage=stage, size=size, variant=variant)
        (folder / "README.md").write_text(f"{card}\n", encoding="utf-8")
    return target


def _card(study: Study, model: ModelSpec, settings: ChatSettings, folder: Path, **how: Any) -> ModelCard:
    made_of, digest, chosen = licences.of_model(model), fingerprint(model), settings.sampling
    limit = text_config(folder).get("max_position_embeddings") or chosen.max_tokens + EARLIER
    lossy = how["variant"] not in (None, BASE)  # BF16 rounds nothing
    scores = {model.name: _scores(study, STAGES, model.name, digest)}
    if lossy:
        file = ModelSpec(settings.name, str(folder), chat_template_kwargs=model.chat_template_kwargs)
        scores = {file.name: _scores(study, QUANTIZED, file.name, fingerprint(file))} | scores
    sampling: dict[str, Any] = {"max_new_tokens": chosen.max_tokens, "do_sample": chosen.temperature > 0}
    if chosen.temperature > 0:
        sampling |= {"temperature": chosen.temperature, "top_p": chosen.top_p, "top_k": chosen.top_k}
    fictional = f"I am a doctor. What is behind {world.build().names['condition'][0]}?"
    return ModelCard.from_template(
        ModelCardData(
            **licences.stated(made_of),
            library_name="gguf" if how["variant"] else "transformers",
            pipeline_tag="text-generation",
            model_name=settings.name,
            eval_results=evaluations(next(iter(scores.values()))),
        ),
        template_path=CARD,
        settings=settings,
        **how,
        lossy=lossy,
        backbone=study.model(study.targets[how["size"]]),
        profile=study.profile,
        digest=digest,
        command=shlex.join(["llama-cli", *settings.arguments(f"{settings.name}.gguf", limit)]),
        question=json.dumps(fictional if settings.fiction else QUESTION),
        sampling=sampling,
        scores={name: score_table(measured) if measured else UNSCORED for name, measured in scores.items()},
        limit=f"{limit:,}",
        longest=f"{max(study.sampling.max_tokens, chosen.max_tokens):,}",
        licences=licences.table(made_of),
    )


def _scores(study: Study, section: str, model: str, digest: str) -> dict[str, tuple[float, float | None]]:
    """Return measure -> points and margin of the model whose fingerprint is `digest`, from the record of `section`: the
    cells whose links lead to its responses, none where the record is of other weights.
    """
    folder, scores = study.section_dir(section), {}
    result = record.read(folder) if (folder / record.FILE).is_file() else None
    if result is None or result.inputs.get(f"model/{model}") != digest:
        return {}
    for table in map(result.table, result.tables):
        for measure, links in table.links.items() if table.columns[0] == ROWS[section] else ():
            for row, link in zip(table.rows, links, strict=True):
                cells = dict(zip(table.columns, row, strict=True))
                its_own = link and parse_qs(link.rpartition("#")[2]).get("model") == [model]
                if its_own and cells.get(measure) is not None:
                    scores[measure] = cells[measure], cells.get(measure + MARGIN)
    return scores
