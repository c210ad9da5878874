"""GGUF variants of a model of the minihub: what is built, when, what the files hold, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from medpsy import corpus, engines, published, quantization, strict, study
from medpsy.engines import EngineError, programs
from medpsy.engines.models import gguf_file as one_file
from medpsy.quantization import gguf as medpsy_gguf
from medpsy.quantization import losses
from medpsy.quantization.gguf import FORMATS, Calibration, read_back, reader, texts
from medpsy.quantization.losses import planned
from medpsy.store import REPLAY
from scipy.stats import t

HUB = Path(__file__).parents[2] / "lib" / "medpsy" / "mini" / "hub"
CALIBRATION = {"corpora": ["corpus1"], "rows": 20, "held_out": 10, "context": 64}
ROWS = [
    {"messages": [{"role": "user", "content": f"What is {n}?"}], "reasoning": f"Think of {n}.", "answer": f"It is {n}."}
    for n in range(40)
]


@pytest.fixture(scope="session", autouse=True)
def llama_tools():
    try:
        for name in ("llama-quantize", "llama-imatrix", "llama-perplexity"):
            programs.find(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The miniature's study in a folder of its own, its small target being the backbone itself."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patched:
        loaded = study.load("mini")
        patched.setenv("MEDPSY_ROOT", str(root))
        patched.setattr(corpus, "load", lambda study, name: ROWS)
        models = {name: replace(one, path=str(HUB / name)) for name, one in loaded.models.items()}
        yield replace(loaded, models=models, root=root)


@pytest.fixture(scope="module")
def files(mine):
    """One row per file, by format; without importance matrix by ``Q4_K_M-plain``."""
    made = build(mine)
    return made.set_index(made["format"] + made["plain"].map({True: "-plain", False: ""}), drop=False)


@pytest.fixture(scope="module")
def section(root):
    """The functions of section 10 that say which tensors a published model has and what a file's predictions lose."""
    names = {"np": np, "pd": pd, "t": t, "published": published}
    for cell in nbformat.read(root / "notebooks/10_quantization.ipynb", as_version=4).cells:
        if cell.id in ("10-67", "10-69"):
            exec(cell.source, names)
    return names


@pytest.fixture(scope="module")
def divergences(mine, files, section):
    return quantization.divergences(mine, files, section["measure"], context=64, threads=1)


def build(own, formats=tuple(FORMATS), plain=("Q4_K_M",), **changes):
    settings = {"formats": list(formats), "plain": list(plain), "calibration": CALIBRATION | changes, "threads": 1}
    return quantization.build(own, {"small": "qwen3-small"}, **settings)


def test_files_hold_the_types_of_their_format_and_shrink_with_its_bits(files):
    assert list(files["name"]) == [f"qwen3-small-{end}" for end in files.index]
    types = files["matrices"].map(set)
    assert types["BF16"] == {"BF16"} and types["Q8_0"] == {"Q8_0"} and types["Q4_K_M"] == {"Q4_K", "Q6_K"}
    assert "IQ3_XXS" in types["IQ3_XXS"] and types["Q4_K_M-plain"] == types["Q4_K_M"]
    assert [*medpsy_gguf.unmixed(files.at["Q5_K_M", "file"], "Q4_K_M", True)] == ["Q5_K for Q4_K"]
    assert files["bytes"].iloc[:8].is_monotonic_decreasing
    assert list(files["imatrix"]) == [False, False, *[True] * 6, False]
    with_matrix, plain = (files.at[name, "file"].read_bytes() for name in ("Q4_K_M", "Q4_K_M-plain"))
    assert with_matrix != plain


def test_a_replay_tells_of_the_files_without_them(mine, files, divergences, monkeypatch):
    for name in (REPLAY, programs.VARIABLE):  # llama.cpp is out of reach
        monkeypatch.setenv(name, "1")
    told = build(mine)
    assert told.equals(files.reset_index(drop=True))
    assert quantization.divergences(mine, told, None, context=64).equals(divergences)


def test_files_are_faithful_name_no_path_of_this_machine_and_are_made_once(mine, files, monkeypatch):
    assert list(files["unlike"]) == [[]] * 9
    assert read_back(files.at["BF16", "file"], mine.model("qwen3-large").local_dir)["unlike"] == ["chat template"]
    for file in files["file"]:
        assert str(study.find_root()) not in file.read_bytes().decode("latin-1")
        assert [path.name for path in file.parent.glob("*.gguf") if path.is_symlink()] == []
    monkeypatch.setattr(medpsy_gguf, "run_tool", None)
    written = [file.stat().st_mtime_ns for file in files["file"]]
    assert [file.stat().st_mtime_ns for file in build(mine)["file"]] == written


def test_another_calibration_text_gives_other_files_and_another_fingerprint(mine):
    def fingerprints(**changes):
        made = build(mine, formats=["IQ4_NL"], plain=[], **changes)
        return engines.fingerprint(quantization.with_variants(mine, made).model("qwen3-small-IQ4_NL"))

    first = fingerprints()
    assert fingerprints(rows=5) != first == fingerprints()


def test_a_variant_is_a_model_of_the_study_that_llama_cpp_serves(mine, files):
    own = quantization.with_variants(mine, files, runs=1, questions=5)
    model, source = own.model("qwen3-small-Q8_0"), mine.model("qwen3-small")
    assert (own.runs, own.questions_per_suite, own.conversations_per_suite) == (1, 5, 0)
    assert model.label == "Qwen3 small, Q8_0" and model.opens_thinking == source.opens_thinking
    assert len({engines.fingerprint(own.model(name)) for name in files["name"][1:]}) == 8
    assert [engines.engine_kind(kind, model) for kind in ("transformers", "vllm")] == ["llama_cpp"] * 2
    assert engines.engine_kind("vllm", source) == "vllm"
    absent = replace(model, path="outputs/nowhere")  # as in a replay
    assert engines.engine_kind("llama_cpp", absent, {"outtype": "bf16"}) == "llama_cpp"
    with pytest.raises(ValueError, match="a GGUF file; open it with engine 'llama_cpp'"):
        engines.open_engine("transformers", model)
    with engines.open_engine("llama_cpp", model, slots=1, threads=1) as engine:
        prompt = engines.Prompt("a", ({"role": "user", "content": "What is behind taskosk?"},))
        (answer,) = engine.generate([prompt], engines.Sampling(max_tokens=8, temperature=0))
    assert answer.text and engine.fingerprint == engines.fingerprint(model)


def test_the_file_of_a_model_trained_again_is_not_handed_out(mine, files, tmp_path):
    source = mine.model("qwen3-small")
    assert quantization.variant_file(mine, source, "Q8_0") == files.at["Q8_0", "file"]
    again = shutil.copytree(HUB / "qwen3-small", tmp_path / "again")
    (again / "config.json").write_text(json.dumps(json.loads((again / "config.json").read_text()) | {"x": 1}))
    for model, form in ((replace(source, path=str(again)), "Q8_0"), (source, "Q6_K")):
        with pytest.raises(FileNotFoundError, match=f"no {form} file of it as it is now; run python -m medpsy run 10"):
            quantization.variant_file(mine, model, form)


def test_a_damaged_file_is_named_with_the_fix_and_not_used(mine, files, tmp_path):
    path, file = tmp_path / "cut.gguf", files.at["Q8_0", "file"]
    whole = file.read_bytes()
    for damaged in (whole[:-20_000], b"no GGUF"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cut.gguf is no whole GGUF file .*delete it and make it again"):
            reader(path)
    file.write_bytes(whole[:-9_000])
    with pytest.raises(ValueError, match="qwen3-small-Q8_0.gguf is no whole GGUF file"):
        build(mine, formats=["Q8_0"], plain=[])
    file.write_bytes(whole)
    shutil.copy(file, path)
    shutil.copy(file, tmp_path / "more.gguf")
    with pytest.raises(ValueError, match=r"holds cut.gguf, more.gguf; leave one"):
        one_file(tmp_path)


def test_no_row_is_both_calibrated_on_and_measured_with(mine, files):
    calibration, held_out = texts(mine, mine.model("qwen3-small"), Calibration(**CALIBRATION))
    assert medpsy_gguf.held_out_file(mine, "qwen3-small").read_text(encoding="utf-8") == held_out  # as it was built
    used = [{n for n in range(40) if f"What is {n}?" in text} for text in (calibration, held_out)]
    assert [len(rows) for rows in used] == [20, 10] and not used[0] & used[1]
    assert calibration.count("<|im_start|>user") == 20 and "<think>\nThink of" in calibration
    (study.find_root() / "any.txt").write_text("one\n\ntwo\n\nthree\n", encoding="utf-8")  # in place of corpora
    both = texts(mine, mine.model("qwen3-small"), Calibration((), 9, 1, 64, "any.txt"))
    assert sorted("".join(both).split()) == ["one", "three", "two"]
    assert texts(mine, mine.model("qwen3-small"), Calibration((), 9, 1, 64)) == ("", "")


def test_what_cannot_be_built_is_refused(mine, files):
    for settings, message in (
        ({"formats": ["Q4_K"]}, "formats.0: 'Q4_K' must be .*; did you mean"),
        ({"plain": ["IQ3_XXS"]}, "plain: IQ3_XXS cannot be built both ways"),
        ({"rows": 0}, "calibration.rows: 0 must be greater than or equal to 1"),
        ({"text": "any.txt"}, "calibration: text: 'any.txt' and corpora"),
    ):
        with pytest.raises(strict.SettingsError, match=f"params/mini/10_quantization.yaml: {message}"):
            build(mine, **settings)
    with pytest.raises(ValueError, match="Q5_K_M is built with an importance matrix; give calibration.corpora"):
        build(mine, corpora=[])
    with pytest.raises(EngineError, match="llama-imatrix failed"):
        medpsy_gguf.importance_matrix(files.at["BF16", "file"], "short", 512, threads=1)


def test_divergence_grows_as_bits_go(files, divergences):
    rows = divergences.set_index("name")
    assert rows.loc["qwen3-small-IQ3_XXS", "divergence"] > 10 * rows.loc["qwen3-small-Q8_0", "divergence"] > 0
    assert rows.loc["qwen3-small-BF16"].isna().sum() == 6  # it has its perplexity and nothing to compare it with
    base, other = rows.loc["qwen3-small-BF16", "perplexity"], rows.loc["qwen3-small-IQ3_XXS"]
    assert other["log_ratio"] == pytest.approx(np.log(other["perplexity"] / base))
    assert 0 < other["same_top"] < 100 and other["divergence_margin"] > 0
    assert list(files.at["BF16", "file"].parent.glob(".perplexity-*")) == []


def logits(path, rows, came):
    """Write log-probabilities [chunks, scored, vocabulary] as llama-perplexity does; `came` [chunks, context]."""
    chunks, scored, vocabulary = rows.shape
    least = rows.min(axis=2, keepdims=True)
    scale = (rows.max(axis=2, keepdims=True) - least) / 65535
    levels = np.round((rows - least) / scale).astype(np.uint16)
    head = np.concatenate([scale, least], axis=2).astype(np.float32).view(np.uint16)
    sizes = np.array([came.shape[1], vocabulary, chunks], np.int32)
    body = np.concatenate([head, levels], axis=2)
    path.write_bytes(b"_logits_" + sizes.tobytes() + came.astype(np.int32).tobytes() + body.tobytes())
    return losses.read_predictions(path)


def test_measures_are_those_of_the_definition(tmp_path, section):
    generator = np.random.default_rng(0)
    first, second = (np.log(generator.dirichlet(np.ones(6), size=(3, 3))) for _ in range(2))
    came = generator.integers(0, 6, size=(3, 8))
    found = section["measure"](logits(tmp_path / "a", first, came), logits(tmp_path / "b", second, came))
    scored = came[:, -3:, None]
    surprise = [-np.take_along_axis(one, scored, axis=2).mean() for one in (first, second)]
    assert found["perplexity"] == pytest.approx(np.exp(surprise[1]), rel=1e-3)
    assert found["log_ratio"] == pytest.approx(surprise[1] - surprise[0], abs=1e-3)
    assert found["divergence"] == pytest.approx((np.exp(first) * (first - second)).sum(axis=2).mean(), abs=1e-3)
    assert found["same_top"] == pytest.approx(100 * (first.argmax(axis=2) == second.argmax(axis=2)).mean())
    assert found["tokens"] == 9 and found["divergence_margin"] > 0
    data = (tmp_path / "a").read_bytes()
    for damaged in (data[:-2], b"_other__" + data[8:], data[:10]):
        (tmp_path / "b").write_bytes(damaged)
        with pytest.raises(ValueError, match="b is not what llama-perplexity --save-all-logits writes"):
            losses.read_predictions(tmp_path / "b")


def test_chat_markers_are_read_as_tokens_in_a_copy_alone(files, tmp_path):
    base = files.at["BF16", "file"]
    losses.readable_markers(base, tmp_path / "copy.gguf")
    kinds = [reader(path).get_field("tokenizer.ggml.token_type").contents() for path in (base, tmp_path / "copy.gguf")]
    assert medpsy_gguf.CONTROL in kinds[0] and medpsy_gguf.CONTROL not in kinds[1]


def test_printed_sizes_are_those_of_the_tensors_plus_one_tokenizer(mine, section):
    sizes = quantization.published_sizes(mine, section["tensors"])
    rest = pd.DataFrame({name: sizes["printed"] - sizes[name] for name in ("recomputed", "tied")})
    spread = rest.max() - rest.min()  # of what is no tensor; sizes are printed to 0.01 GB
    assert len(sizes) == 16 and spread["recomputed"] <= 0.01 < spread["tied"]


def test_llama_cpps_plan_for_shapes_is_what_it_does_with_a_file(files):
    """The recomputed sizes rest on a dry run over a file without content; here the same plan meets real files."""
    shapes = {one.name: tuple(map(int, reversed(one.shape))) for one in reader(files.at["BF16", "file"]).tensors}
    forms = ("Q8_0", "Q4_K_M", "IQ3_XXS")
    for form, (size, types) in planned(shapes, forms).items():
        assert size == sum(int(tensor.n_bytes) for tensor in reader(files.at[form, "file"]).tensors)
        assert set(types.split(", ")) == set(files.at[form, "matrices"])
