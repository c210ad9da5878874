"""Response lengths: counted from the store, drawn pair by pair, weighted by questions."""

import numpy as np
import pandas as pd
import pytest
from fake_engine import FakeEngine, answer, prompts
from medpsy import claims, evaluate, judge, stats, study
from medpsy.data.suites import SUITES
from medpsy.engines.base import Response, Sampling
from medpsy.store import ResponseStore

COUNT = 40
NAMES = [*SUITES, "healthbench"]


def rows(means, count=COUNT):
    """Return lengths: model -> suite -> mean tokens, or one number for all; every third question is answered wrong."""
    found = []
    for model, tokens_of in means.items():
        for suite in NAMES:
            size = tokens_of.get(suite, tokens_of["else"]) if isinstance(tokens_of, dict) else tokens_of
            for n in range(count):
                outcome = None if suite == "healthbench" else "wrong" if n % 3 == 0 else "correct"
                parts = (1.0 * size, 0.6 * size, 0.4 * size)
                found.append((model, suite, f"q{n}", 0, f"{model}{suite}{n}", *parts, False, outcome))
    return pd.DataFrame(found, columns=evaluate.LENGTHS)


@pytest.fixture(scope="module")
def mine():
    """The miniature's study; MMLU has twice as many questions as were asked, every other suite just these."""

    def every(study, suites=None, **_):
        return {one: dict.fromkeys(range(COUNT * (2 if one == "mmlu_health" else 1))) for one in suites}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate, "questions", every)
        patched.setattr(judge, "conversations", every)
        yield study.load("mini")


MEANS = {"qwen3-large": 200.0, "large-rl2": 100.0, "small-rl2": {"mmlu_health": 300.0, "else": 100.0}}


def test_the_mean_is_weighted_by_the_questions_a_suite_has_and_a_ratio_is_paired(mine):
    drawn = claims.draws(mine, lengths=rows(MEANS))
    assert drawn.mean_length("small-rl2")[0] == pytest.approx((2 * 300 + 7 * 100) / 9)  # not by those asked
    spread = rows(MEANS)
    spread["tokens"] *= 1 + spread["item"].str[1:].astype(int)  # hard questions take longer, for every model alike
    drawn = claims.draws(mine, lengths=spread)
    first, last = drawn.mean_length("qwen3-large"), drawn.mean_length("large-rl2")
    assert (first / last)[0] == pytest.approx(2.0)
    assert stats.half_width((first / last)[1:]) < 1e-9 < 1 < stats.half_width(last[1:])


def test_a_question_that_one_model_failed_on_counts_for_none(mine):
    lengths = rows(MEANS)
    lost = (lengths["model"] == "small-rl2") & (lengths["suite"] == "medqa")
    drawn = claims.draws(mine, lengths=lengths[~(lost & (lengths["item"] == "q3"))])
    asked = [drawn.questions([(f"Response length: {SUITES[suite].title}", "large-rl2")]) for suite in SUITES]
    assert dict(zip(SUITES, asked, strict=True)) == dict.fromkeys(SUITES, COUNT) | {"medqa": COUNT - 1}
    with pytest.raises(ValueError, match="suite 'medqa': no question was answered by every model"):
        claims.draws(mine, lengths=lengths[~lost])


def test_questions_that_either_model_was_cut_off_on_can_be_left_out(mine):
    lengths = rows(MEANS)
    cut = (lengths["model"] == "qwen3-large") & lengths["item"].isin([f"q{n}" for n in range(10)])
    lengths.loc[cut, ["tokens", "cut_off"]] = 50.0, True
    finished = lengths[~lengths["item"].isin(lengths.loc[cut, "item"])]
    items = claims.length_items(finished).assign(measure=lambda items: "Finished " + items["measure"])
    drawn = claims.draws(mine, lengths=lengths).beside(claims.drawn(items))
    assert drawn.mean_length("qwen3-large")[0] == pytest.approx(0.75 * 200 + 0.25 * 50)
    assert drawn.mean_length("qwen3-large", "Finished Response length")[0] == pytest.approx(200)
    assert drawn.mean_length("qwen3-large", "Cut off")[0] == pytest.approx(0.25)


def test_lengths_of_outcomes_and_what_an_endpoint_hides(mine):
    lengths = rows(MEANS)
    lengths.loc[lengths["model"] == "qwen3-large", ["reasoning", "answer"]] = np.nan
    drawn = claims.draws(mine, lengths=lengths)
    share, tokens = (drawn.mean_length("large-rl2", f"{what} wrong", ["medqa"]) for what in ("Share", "Tokens"))
    assert share[0] == pytest.approx(14 / COUNT) and tokens[0] / share[0] == pytest.approx(100)
    assert drawn.mean_length("large-rl2", "Reasoning length")[0] == pytest.approx(60)
    assert np.isnan(drawn.mean_length("qwen3-large", "Reasoning length")).all()


def said(prompt, _):
    """Answer conversation 0, reason on conversation 1 until the limit, fail on conversation 2."""
    place = int(prompt.messages[-1]["content"].strip("?")[-1])
    text = ("<think>one two three</think>four five", "<think>without an end", "")[place]
    return Response(prompt.id, text, ("stop", "length", "failed")[place], 3, 9 * bool(text), 0.1)


def test_lengths_come_from_the_store_and_nothing_is_asked(tmp_path, monkeypatch):
    """Reasoning of conversations is counted anew; cut-off responses are marked, failed requests left out."""
    monkeypatch.setattr(study.Study, "store_dir", tmp_path)
    monkeypatch.setattr(evaluate, "count_tokens", lambda model, texts: [len(text.split()) for text in texts])
    mine, asked = study.load("mini"), prompts(3, suite="healthbench")
    store, model = ResponseStore(tmp_path), mine.model("qwen3-small")
    engine = FakeEngine(store.fingerprint(model), reply=said)
    stored = answer(store, engine, asked, model=model, sampling=Sampling(max_tokens=9))
    judged = stored.assign(suite="healthbench", conversation_id=stored["prompt_id"]).drop(columns="text")
    graded = pd.DataFrame(
        [("qwen3-small", "medqa", "q0", 0, "k", 20, 15, "stop", "wrong")],
        columns=["model", "suite", "question_id", "run", "key", "completion_tokens", "reasoning_tokens"]
        + ["finish_reason", "outcome"],
    )
    found = evaluate.lengths(mine, graded, pd.concat([judged, judged])).set_index("item")
    assert found[["tokens", "reasoning", "answer"]].to_numpy().tolist() == [[20, 15, 5], [9, 3, 6], [9, 9, 0]]
    assert found["cut_off"].to_list() == [False, False, True]
    assert found["outcome"].isna().to_list() == [False, True, True]
