"""Response lengths: counted from the store, drawn pair by pair, weighted by questions, cut-off ones never hidden."""

import numpy as np
import pandas as pd
import pytest
from fake_engine import FakeEngine, prompts
from medpsy import evaluate, lengths, open_ended, published, report, study, tokens
from medpsy.benchmarks import SUITES
from medpsy.engines.base import Response, Sampling
from medpsy.report.compare import Measured, verdict
from medpsy.report.length_claims import SHAPES
from medpsy.report.responsibility import responsible
from medpsy.report.scales import scale
from medpsy.report.settling import settled
from medpsy.report.stages import Ladder
from medpsy.responses import ResponseStore

COUNT = 40
NAMES = [*SUITES, "healthbench"]
LADDERS = {
    "large": Ladder(
        "large", "token_efficiency_4b", {"backbone": "qwen3-large", "sft2": "large-sft2", "rl2": "large-rl2"}
    ),
    "small": Ladder("small", "token_efficiency_1p7b", {"backbone": "qwen3-small", "rl2": "small-rl2"}),
}
CLAIMS = {claim.id: claim for claim in published.claims()}
LONGEST = {"medxpertqa": 300.0, "medqa": 280.0, "mmlu_pro_health": 260.0}  # tokens of the large backbone; else 200


def rows(means, count=COUNT, noise=5.0):
    """Return lengths: model -> suite -> mean tokens (or one number for all); every third question is answered wrong."""
    source = np.random.default_rng(0)
    found = []
    for model, tokens_of in means.items():
        for suite in NAMES:
            mean = tokens_of.get(suite, tokens_of["else"]) if isinstance(tokens_of, dict) else tokens_of
            for n in range(count):
                outcome = None if suite == "healthbench" else "wrong" if n % 3 == 0 else "correct"
                size = mean + source.normal() * noise + 10 * (outcome == "wrong")
                found.append(
                    (model, suite, f"q{n}", 0, f"{model}{suite}{n}", size, 0.6 * size, 0.4 * size, False, outcome)
                )
    return pd.DataFrame(found, columns=lengths.COLUMNS)


PUBLISHED_SHAPE = {
    "qwen3-large": LONGEST | {"else": 200.0},
    "large-sft2": 170.0,
    "large-rl2": 100.0,
    "qwen3-small": {one: 190.0 for one in (*LONGEST, "mmlu_health")} | {"healthbench": 115.0, "else": 150.0},
    "small-rl2": {"healthbench": 125.0, "else": 120.0},
}


@pytest.fixture(scope="module")
def mine():
    """The miniature's study; MMLU has twice as many questions as were asked, every other suite just these."""

    def every(study, suites=None, **_):
        return {one: dict.fromkeys(range(COUNT * (2 if one == "mmlu_health" else 1))) for one in suites}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate, "questions", every)
        patched.setattr(open_ended, "conversations", every)
        yield study.load("mini")


@pytest.fixture(scope="module")
def found(mine):
    return report.length_draws(mine, rows(PUBLISHED_SHAPE), LADDERS)


def test_the_mean_is_weighted_by_the_questions_a_suite_has_not_by_those_asked(mine):
    lengths_of = rows(PUBLISHED_SHAPE | {"large-rl2": {"mmlu_health": 300.0, "else": 100.0}}, noise=0.0)
    lengths_of["tokens"] -= 10 * (lengths_of["outcome"] == "wrong")
    drawn = report.length_draws(mine, lengths_of, LADDERS)
    assert drawn.mean("large-rl2")[0] == pytest.approx((2 * 300 + 7 * 100) / 9)


def test_a_ratio_is_paired_so_that_the_spread_among_questions_cancels(mine):
    shared = rows(dict.fromkeys(PUBLISHED_SHAPE, 200.0), noise=0.0)
    spread = shared["item"].str[1:].astype(int) * 4.0  # hard questions take longer, for every model alike
    for model, factor in {"qwen3-large": 2.0, "large-rl2": 1.0}.items():
        own = shared["model"] == model
        shared.loc[own, "tokens"] = factor * (100 + spread[own])
    drawn = report.length_draws(mine, shared, LADDERS)
    ratio = drawn.ratio(LADDERS["large"])
    assert ratio[0] == pytest.approx(2.0) and drawn.margin(ratio) < 1e-9 < 1 < drawn.margin(drawn.mean("large-rl2"))


def test_a_question_that_one_model_failed_on_counts_for_none(mine):
    lengths_of = rows(PUBLISHED_SHAPE)
    gone = (lengths_of["model"] == "small-rl2") & (lengths_of["suite"] == "medqa") & (lengths_of["item"] == "q3")
    drawn = report.length_draws(mine, lengths_of[~gone], LADDERS)
    assert drawn.asked == dict.fromkeys(NAMES, COUNT) | {"medqa": COUNT - 1}
    with pytest.raises(ValueError, match="suite 'medqa': no question was answered by every model"):
        lost = (lengths_of["model"] == "small-rl2") & (lengths_of["suite"] == "medqa")
        report.length_draws(mine, lengths_of[~lost], LADDERS)


def test_truncation_flatters_and_is_shown(mine):
    lengths_of = rows(PUBLISHED_SHAPE)
    cut = (lengths_of["model"] == "qwen3-large") & (lengths_of["item"].isin([f"q{n}" for n in range(10)]))
    lengths_of.loc[cut, "tokens"] = 50.0
    lengths_of.loc[cut, "cut_off"] = True
    drawn = report.length_draws(mine, lengths_of, LADDERS)
    table = report.length_table(drawn, "large").frame
    assert (table["Cut off backbone (%)"] == 25).all() and (table["Cut off rl2 (%)"] == 0).all()
    assert drawn.finished(LADDERS["large"]) == 8 * (COUNT - 10)
    assert drawn.finished_ratio(LADDERS["large"])[0] > drawn.ratio(LADDERS["large"])[0] + 0.3
    assert "25 % cut off" in {
        text.get_text() for text in _texts(report.length_bars(report.length_table(drawn, "large")))
    }


def _texts(figure):
    return figure.canvas.axes[0].texts


def test_correct_and_wrong_responses_are_measured_apart(found):
    table = report.outcome_lengths(found).frame.set_index(["Class", "Stage"])
    assert table.loc[("small", "rl2"), "Wrong minus correct"] == pytest.approx(10, abs=2)
    assert table.loc[("large", "backbone"), "Correct (%)"] == pytest.approx(65, abs=1)


def test_an_outcome_that_never_came_has_no_length_and_breaks_nothing(mine):
    never_wrong = rows(PUBLISHED_SHAPE).replace({"outcome": {"wrong": "unreadable"}})
    table = report.outcome_lengths(report.length_draws(mine, never_wrong, LADDERS)).frame
    assert table["Wrong"].isna().all() and table["Wrong ±"].isna().all() and table["Correct ±"].notna().all()


def test_reasoning_and_answer_make_the_whole_and_an_endpoint_hides_them(mine):
    lengths_of = rows(PUBLISHED_SHAPE)
    lengths_of.loc[lengths_of["model"] == "qwen3-small", ["reasoning", "answer"]] = np.nan
    table = report.parts_table(report.length_draws(mine, lengths_of, LADDERS)).frame.set_index(
        ["Class", "Stage", "Suites"]
    )
    known = table.loc[("large", "rl2", "closed-ended")]
    assert known["Whole"] == pytest.approx(known["Reasoning"] + known["Answer"])
    assert known["Reasoning (%)"] == pytest.approx(60)
    hidden = table.loc[("small", "backbone", "closed-ended")]
    assert np.isnan(hidden["Reasoning"]) and np.isnan(hidden["Answer ±"]) and hidden["Whole ±"] > 0


def test_every_claim_on_lengths_is_answered(mine, found):
    answered = {row["id"]: row for row in report.length_claims(mine, found)}
    owed = {claim.id for claim in CLAIMS.values() if responsible(claim).notebook == "09_token_efficiency"}
    assert owed <= set(answered)
    assert {answered[one]["verdict"] for one in (*SHAPES, "P030", "P033", "P289", "P399")} == {"pattern holds"}
    assert answered["P282"]["verdict"] == "not testable"  # a length of another model


def test_shapes_that_are_not_there_fail(mine):
    flat = report.length_draws(mine, rows(dict.fromkeys(PUBLISHED_SHAPE, 100.0) | {"large-rl2": 120.0}), LADDERS)
    answered = {row["id"]: row["verdict"] for row in report.length_claims(mine, flat)}
    assert answered["P030"] == answered["P284"] == "pattern fails"
    assert "pattern holds" not in answered.values()


def test_four_questions_a_suite_settle_nothing(mine):
    few = report.length_draws(mine, rows(PUBLISHED_SHAPE, count=4), LADDERS)
    answered = {row["id"]: row["verdict"] for row in report.length_claims(mine, few)}
    assert {answered[one] for one in SHAPES} == {"too few to tell"}
    assert np.isnan(report.length_table(few, "large").frame["Ratio ±"].iloc[1])


def test_a_ratio_above_zero_but_below_one_is_no_reduction():
    ratio = scale(CLAIMS["P030"])
    assert ratio == {"neutral": 1.0, "resolution": pytest.approx(0.16)} and scale(CLAIMS["P008"]) == {}
    measured = Measured(3.2, 0.8, 0.05, difference=True, **ratio)
    assert verdict(measured, "mini") == "pattern fails"
    assert verdict(Measured(3.2, 3.1, 0.3, difference=True, **ratio), "paper") == "too few to tell"
    assert verdict(Measured(3.2, 3.1, 0.12, difference=True, **ratio), "paper") == "agrees"


def test_a_plan_to_settle_a_ratio_reckons_from_one():
    effort = {"questions": 100, "runs": 1, "tokens": 300.0}
    row = {"verdict": "too few to tell", "ours": 1.1, "margin": 0.2, "published": 3.2, "effort": effort}
    (near, *_), (far, *_) = (settled(row | more, "mini") for more in ({"neutral": 1.0}, {}))
    assert near.questions > 50 * far.questions


def test_the_sentences_say_where_the_length_goes(mine, found):
    graded = pd.DataFrame(
        [
            {"model": model, "suite": suite, "weight_group": suite, "question_id": f"q{n}", "run": 0, "gold": 0}
            | {"outcome": "correct" if n < 15 + 15 * (model == "large-rl2") else "wrong"}
            for model in ("qwen3-large", "large-rl2")
            for suite in SUITES
            for n in range(COUNT)
        ]
    )
    said = report.length_verdicts(mine, found, "large", graded)
    assert [one["verdict"] for one in said] == ["pattern holds"] * 5
    start, middle, end = (found.mean(LADDERS["large"].models[one])[0] for one in ("backbone", "sft2", "rl2"))
    assert said[3]["note"] == f"tokens less: SFT {start - middle:+.1f}, RL {middle - end:+.1f}"


def test_a_model_is_on_the_frontier_unless_another_is_better_at_no_more_length(found):
    models = [(size, stage, model) for size, one in LADDERS.items() for stage, model in one.models.items()]
    score = {"qwen3-large": 60, "large-sft2": 50, "large-rl2": 70, "qwen3-small": 40, "small-rl2": 45}
    both = pd.DataFrame([{"model": model, "score": score[model], "margin": 2.0} for *_, model in models])
    rubric = both.assign(suite="healthbench", judge="judge-lenient", kind="overall")
    points = report.frontier(found, both.assign(suite="average"), rubric, "judge-lenient")
    closed = points[points["kind"] == "closed-ended"].set_index(["size", "stage"])["on"]
    assert closed[closed].index.to_list() == [("large", "rl2")]
    assert len(report.frontier_figure(points).canvas.axes) == 2 and len(report.frontier_table(points).rows) == 10


def said(prompt, _):
    """Answer conversation 0, reason on conversation 1 until the limit, fail on conversation 2."""
    place = int(prompt.messages[-1]["content"].strip("?")[-1])
    text = ("<think>one two three</think>four five", "<think>without an end", "")[place]
    return Response(prompt.id, text, ("stop", "length", "failed")[place], 3, 9 * bool(text), 0.1)


def test_lengths_come_from_the_store_and_nothing_is_asked(tmp_path, monkeypatch):
    """Reasoning of conversations is counted anew; cut-off responses are marked, failed requests left out."""
    monkeypatch.setattr(study.Study, "store_dir", tmp_path)
    monkeypatch.setattr(tokens, "count", lambda model, texts: [len(text.split()) for text in texts])
    mine, asked = study.load("mini"), prompts(3, suite="healthbench")
    settings = {"sampling": Sampling(max_tokens=9), "run": 0, "engine_kind": "transformers"}
    store, model = ResponseStore(tmp_path), mine.model("qwen3-small")
    stored = store.answer(model, FakeEngine(store.fingerprint(model), reply=said), asked, **settings)
    judged = stored.assign(suite="healthbench", conversation_id=stored["prompt_id"]).drop(columns="text")
    graded = pd.DataFrame(
        [("qwen3-small", "medqa", "q0", 0, "k", 20, 15, "stop", "wrong")],
        columns=["model", "suite", "question_id", "run", "key", "completion_tokens", "reasoning_tokens"]
        + ["finish_reason", "outcome"],
    )
    found = lengths.of_responses(mine, graded, pd.concat([judged, judged])).set_index("item")
    assert found[["tokens", "reasoning", "answer"]].to_numpy().tolist() == [[20, 15, 5], [9, 3, 6], [9, 9, 0]]
    assert found["cut_off"].to_list() == [False, False, True]
    assert found["outcome"].isna().to_list() == [False, True, True]
