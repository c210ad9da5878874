"""GGUF variants of a model of the minihub: what is built, when, what the files hold, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from medpsy import corpus, engines, quantization, strict, study
from medpsy.engines import EngineError, tools
from medpsy.engines.weights import gguf_file as one_file
from medpsy.generation import REPLAY
from medpsy.quantization import divergence, gguf_file, importance, llama_tool
from medpsy.quantization.calibration import Calibration, texts
from medpsy.quantization.faithful import unlike
from medpsy.quantization.published_sizes import planned, tensors
from medpsy.report import size_verdict

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
            tools.find(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The miniature's study in a folder of its own, its small target being the backbone itself."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patched:
        loaded = study.load("mini")
        patched.setattr(study, "ROOT", root)
        patched.setattr(corpus, "load", lambda study, name: ROWS)
        models = {name: replace(one, path=str(HUB / name)) for name, one in loaded.models.items()}
        yield replace(loaded, models=models)


@pytest.fixture(scope="module")
def family(mine):
    return build(mine)["small"]


def build(own, formats=("Q8_0", "Q4_K_M", "IQ3_XXS"), plain=("Q4_K_M",), **changes):
    settings = {"formats": list(formats), "plain": list(plain), "calibration": CALIBRATION | changes, "threads": 1}
    return quantization.build(own, {"small": "qwen3-small"}, **settings)


def test_files_hold_the_types_of_their_format_and_shrink_with_its_bits(family):
    assert [one.name.removeprefix("qwen3-small-") for one in family.files] == [
        "BF16", "Q8_0", "Q4_K_M", "IQ3_XXS", "Q4_K_M-plain",
    ]  # fmt: skip
    types = {one.label: set(one.matrices) for one in family.files}
    assert types["BF16"] == {"BF16"} and types["Q8_0"] == {"Q8_0"} and types["Q4_K_M"] == {"Q4_K", "Q6_K"}
    assert "IQ3_XXS" in types["IQ3_XXS"] and types["Q4_K_M without imatrix"] == types["Q4_K_M"]
    sizes = [one.bytes for one in family.files[:4]]
    assert sizes == sorted(sizes, reverse=True)
    assert [one.imatrix for one in family.variants] == [False, True, True, False]


def test_the_importance_matrix_changes_the_weights_and_not_their_types(family):
    with_matrix, plain = (one.file.read_bytes() for one in family.variants if one.format == "Q4_K_M")
    assert with_matrix != plain


def test_a_replay_tells_of_the_files_without_them(mine, family, monkeypatch):
    rows = quantization.divergences(mine, {"small": family}, threads=1)
    for name in (REPLAY, tools.VARIABLE):  # llama.cpp is out of reach
        monkeypatch.setenv(name, "1")
    told = build(mine)["small"]
    assert replace(told, texts=family.texts) == family and told.texts.held_out_rows == family.texts.held_out_rows
    assert quantization.divergences(mine, {"small": told}).equals(rows)


def test_template_and_special_tokens_are_those_of_the_source(mine, family):
    assert [one.unlike for one in family.files] == [()] * 5
    assert unlike(mine.model("qwen3-large"), gguf_file.read(family.base.file)) == ("chat template",)


def test_no_file_names_a_path_of_this_machine(family):
    for one in family.files:
        assert str(study.ROOT) not in one.file.read_bytes().decode("latin-1")
        assert [path.name for path in one.file.parent.glob("*.gguf") if path.is_symlink()] == []


def test_a_second_build_makes_nothing(mine, family, monkeypatch):
    monkeypatch.setattr(llama_tool, "run", None)
    written = [one.file.stat().st_mtime_ns for one in family.files]
    assert [one.file.stat().st_mtime_ns for one in build(mine)["small"].files] == written


def test_another_calibration_text_gives_other_files_and_another_fingerprint(mine):
    def fingerprints(**changes):
        made = build(mine, formats=["IQ4_NL"], plain=[], **changes)
        return engines.fingerprint(quantization.with_variants(mine, made).model("qwen3-small-IQ4_NL"))

    first = fingerprints()
    assert fingerprints(rows=5) != first == fingerprints()


def test_a_variant_is_a_model_of_the_study_that_llama_cpp_serves(mine, family):
    own = quantization.with_variants(mine, {"small": family}, runs=1, questions=5)
    model = own.model("qwen3-small-Q8_0")
    assert (own.runs, own.questions_per_suite, own.conversations_per_suite) == (1, 5, 0)
    assert model.label == "Qwen3 small, Q8_0" and model.opens_thinking == family.source.opens_thinking
    assert len({engines.fingerprint(own.model(one.name)) for one in family.variants}) == len(family.variants)
    assert [engines.engine_kind(kind, model) for kind in ("transformers", "vllm")] == ["llama_cpp"] * 2
    assert engines.engine_kind("vllm", family.source) == "vllm"
    absent = replace(model, path="outputs/nowhere")  # as in a replay
    assert engines.engine_kind("llama_cpp", absent, {"outtype": "bf16"}) == "llama_cpp"
    with pytest.raises(ValueError, match="a GGUF file; open it with engine 'llama_cpp'"):
        engines.open_engine("transformers", model)
    with engines.open_engine("llama_cpp", model, slots=1, threads=1) as engine:
        prompt = engines.Prompt("a", ({"role": "user", "content": "What is behind taskosk?"},))
        (answer,) = engine.generate([prompt], engines.Sampling(max_tokens=8, temperature=0))
    assert answer.text and engine.fingerprint == engines.fingerprint(model)


def test_a_folder_with_two_gguf_files_is_no_model(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds a.gguf, b.gguf; leave one"):
        one_file(tmp_path)


def test_the_file_of_a_model_trained_again_is_not_handed_out(mine, family, tmp_path):
    source = family.source
    assert quantization.variant_file(mine, source, "Q8_0") == family.variants[0].file
    again = shutil.copytree(HUB / "qwen3-small", tmp_path / "again")
    (again / "config.json").write_text(json.dumps(json.loads((again / "config.json").read_text()) | {"x": 1}))
    for model, form in ((replace(source, path=str(again)), "Q8_0"), (source, "Q5_K_M")):
        with pytest.raises(FileNotFoundError, match=f"no {form} file of it as it is now; run python -m medpsy run 10"):
            quantization.variant_file(mine, model, form)


@pytest.mark.parametrize("damage", [lambda data: data[:-20_000], lambda data: data[:3000], lambda data: b"no GGUF"])
def test_a_damaged_file_is_named_with_the_fix(family, tmp_path, damage):
    path = tmp_path / "cut.gguf"
    path.write_bytes(damage(family.base.file.read_bytes()))
    with pytest.raises(ValueError, match=r"cut.gguf is no whole GGUF file .*delete it and make it again"):
        gguf_file.read(path)


def test_a_damaged_variant_is_not_used(mine):
    (one,) = build(mine, formats=["Q8_0"], plain=[])["small"].variants
    whole = one.file.read_bytes()
    one.file.write_bytes(whole[:-9_000])
    with pytest.raises(ValueError, match="qwen3-small-Q8_0.gguf is no whole GGUF file"):
        build(mine, formats=["Q8_0"], plain=[])
    one.file.write_bytes(whole)


def test_no_row_is_both_calibrated_on_and_measured_with(mine):
    found = texts(mine, mine.model("qwen3-small"), Calibration(("corpus1",), 20, 10, 64))
    used = [{n for n in range(40) if f"What is {n}?" in text} for text in (found.calibration, found.held_out)]
    assert [len(one) for one in used] == [found.calibration_rows, found.held_out_rows] == [20, 10]
    assert not used[0] & used[1]
    assert found.calibration.count("<|im_start|>user") == 20 and "<think>\nThink of" in found.calibration


def test_a_text_takes_the_place_of_corpora_and_without_either_there_is_none(mine):
    (study.ROOT / "any.txt").write_text("one\n\ntwo\n\nthree\n", encoding="utf-8")
    found = texts(mine, mine.model("qwen3-small"), Calibration((), 9, 1, 64, "any.txt"))
    assert sorted((found.calibration + found.held_out).split()) == ["one", "three", "two"]
    assert texts(mine, mine.model("qwen3-small"), Calibration((), 9, 1, 64)).calibration == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ["Q4_K"]}, "formats: 'Q4_K' is no format; did you mean"),
        ({"plain": ["IQ3_XXS"]}, "plain: IQ3_XXS cannot be built both ways"),
        ({"rows": 0}, "calibration: rows is 0; it must be 1 or more"),
        ({"text": "any.txt"}, "calibration: text: 'any.txt' and corpora"),
        ({"corpus": []}, "calibration.corpus: unknown key; did you mean 'corpora'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(mine, settings, message):
    with pytest.raises(strict.SettingsError, match=f"params/mini/10_quantization.yaml: {message}"):
        build(mine, **settings)


def test_a_format_that_needs_a_matrix_is_refused_without_a_text(mine):
    with pytest.raises(ValueError, match="Q4_K_M is built with an importance matrix; give calibration.corpora"):
        build(mine, corpora=[])


def test_a_text_too_short_for_one_context_says_so(family):
    with pytest.raises(EngineError, match="llama-imatrix failed"):
        importance.importance_matrix(family.base.file, "short", 512, threads=1)


def test_divergence_grows_as_bits_go(mine, family):
    rows = quantization.divergences(mine, {"small": family}, threads=1).set_index("name")
    assert rows.loc["qwen3-small-IQ3_XXS", "divergence"] > 10 * rows.loc["qwen3-small-Q8_0", "divergence"] > 0
    assert rows.loc["qwen3-small-BF16"].isna().sum() == 6  # it has its perplexity and nothing to compare it with
    base, other = rows.loc["qwen3-small-BF16", "perplexity"], rows.loc["qwen3-small-IQ3_XXS"]
    assert other["log_ratio"] == pytest.approx(np.log(other["perplexity"] / base))
    assert 0 < other["same_top"] < 100 and other["divergence_margin"] > 0
    assert list(family.base.file.parent.glob(".perplexity-*")) == []


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
    return divergence.read(path)


def test_measures_are_those_of_the_definition(tmp_path):
    generator = np.random.default_rng(0)
    first, second = (np.log(generator.dirichlet(np.ones(6), size=(3, 3))) for _ in range(2))
    came = generator.integers(0, 6, size=(3, 8))
    found = divergence.measures(logits(tmp_path / "a", first, came), logits(tmp_path / "b", second, came))
    scored = came[:, -3:, None]
    surprise = [-np.take_along_axis(one, scored, axis=2).mean() for one in (first, second)]
    assert found["perplexity"] == pytest.approx(np.exp(surprise[1]), rel=1e-3)
    assert found["log_ratio"] == pytest.approx(surprise[1] - surprise[0], abs=1e-3)
    assert found["divergence"] == pytest.approx((np.exp(first) * (first - second)).sum(axis=2).mean(), abs=1e-3)
    assert found["same_top"] == pytest.approx(100 * (first.argmax(axis=2) == second.argmax(axis=2)).mean())
    assert found["tokens"] == 9 and found["divergence_margin"] > 0


def test_predictions_that_are_not_whole_are_refused(tmp_path):
    logits(tmp_path / "a", np.log(np.full((1, 1, 2), 0.5) + [[[0.1, -0.1]]]), np.zeros((1, 4)))
    for damage in (lambda data: data[:-2], lambda data: b"_other__" + data[8:], lambda data: data[:10]):
        (tmp_path / "b").write_bytes(damage((tmp_path / "a").read_bytes()))
        with pytest.raises(ValueError, match="b is not what llama-perplexity --save-all-logits writes"):
            divergence.read(tmp_path / "b")


def test_chat_markers_are_read_as_tokens_in_a_copy_alone(family, tmp_path):
    copy = gguf_file.read(gguf_file.readable_markers(family.base.file, tmp_path / "copy.gguf"))
    assert copy.control == frozenset() and "<|im_start|>" in gguf_file.read(family.base.file).control


def test_printed_sizes_are_those_of_the_tensors_plus_one_tokenizer(mine):
    found = quantization.published_sizes(mine)
    assert len(found) == 16
    assert size_verdict(found)["verdict"] == "agrees" and "they would not" in size_verdict(found)["note"]
    moved = found.assign(printed=found["printed"].where(found["format"] != "IQ4_NL", found["printed"] + 0.02))
    assert size_verdict(moved)["verdict"] == "differs"


def test_llama_cpps_plan_for_shapes_is_what_it_does_with_a_file(family):
    """The recomputed sizes rest on a dry run over a file without content; here the same plan meets real files."""
    import gguf

    shapes = {one.name: tuple(map(int, reversed(one.shape))) for one in gguf.GGUFReader(family.base.file).tensors}
    plans = planned(shapes, ("Q8_0", "Q4_K_M", "IQ3_XXS"))
    for one in family.variants[:3]:
        real = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(one.file).tensors)
        assert plans[one.format][0] == real
        assert set(plans[one.format][1].split(", ")) == set(one.matrices)


def test_the_shapes_of_qwen3_count_its_parameters():
    counts = {
        model: sum(_size(one) for one in tensors(model, tied=True).values()) for model in ("Qwen3-4B", "Qwen3-1.7B")
    }
    assert {name: round(count / 1e9, 2) for name, count in counts.items()} == {"Qwen3-4B": 4.02, "Qwen3-1.7B": 1.72}


def _size(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)
