"""lm-evaluation-harness on models of the miniature: its scores, its files, and what wrong handling does to them."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from medpsy import evaluate as ours
from medpsy import harness
from medpsy import study as studies
from medpsy.harness import BENCHMARKS, HarnessError, Settings, evaluate, likeliest
from medpsy.store import REPLAY, NotStored

HUB = studies.find_root() / "lib/medpsy/mini/hub"
MINI = studies.load("mini")
SETTINGS = Settings(dtype="float32", limit=6)
TASKS = [one.task for one in BENCHMARKS["mini"]]
IFEVAL, STRICT = TASKS[2], "prompt_level_strict_acc"
WAYS = {"stripped": SETTINGS, "left in": replace(SETTINGS, think_end_token=None)}
WAYS |= {"cut": replace(SETTINGS, max_gen_toks=12)}
WHOLE = replace(SETTINGS, limit=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("harness")


@pytest.fixture(scope="module")
def mini(root):
    return replace(MINI, root=root)


@pytest.fixture(scope="module")
def models(mini):
    return [replace(mini.model(name), path=str(HUB / name)) for name in ("teacher-broad", "teacher-terse")]


@pytest.fixture(scope="module")
def found(mini, models):
    return evaluate(mini, models, TASKS, settings=SETTINGS)


@pytest.fixture(scope="module")
def handled(mini, models, found):
    """What each of `WAYS` gives; one process does them, and all of `mini_mmlu`, since starting takes the longest."""
    files, asked = harness.mini_files(), [(WAYS["left in"], IFEVAL), (WAYS["cut"], IFEVAL), (WHOLE, "mini_mmlu")]
    waiting = [job for how, task in asked for job in harness.jobs(mini, models[1:], [task], how, files)]
    harness.run_jobs(waiting, files, print)
    return {way: evaluate(mini, models[1:], [IFEVAL], settings=how) for way, how in WAYS.items()}


@pytest.fixture
def no_process(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(harness, "Child", refuse)


def test_every_task_and_group_of_every_model_has_a_score_in_points(found):
    scores, _ = found
    assert set(scores["model"]) == {"teacher-broad", "teacher-terse"}
    table = scores[scores["model"] == "teacher-terse"].set_index(["task", "metric"])
    assert table["value"].between(0, 100).all() and table.loc[(IFEVAL, STRICT), "value"] > 0
    assert table.loc[("mini_mmlu", "acc"), "n"] == 36 and table.loc[("mini_mmlu_stem", "acc"), "n"] == 12
    assert table.loc[("mini_mmlu_pro", "acc"), "shots"] == 5 and table.loc[("mini_mmlu", "acc"), "shots"] == 0
    assert table.loc[(IFEVAL, STRICT), "stderr"] > 1  # points, not shares


def test_documents_average_to_the_scores_groups_included(found):
    scores, documents = found
    means = documents.groupby(["model", "task", "metric"])["value"].mean()
    table = scores.set_index(["model", "task", "metric"])["value"]
    for key in [key for key in table.index if not key[2].startswith("inst_level")]:  # those weigh by instruction
        assert means[key] == pytest.approx(table[key])
    stem = documents[(documents["task"] == "mini_mmlu_stem") & (documents["model"] == "teacher-terse")]
    assert len(stem) == 12 and stem["document"].str.contains("anatomy|college_biology").all()


def test_what_stands_is_not_run_again_and_other_settings_are_another_run(mini, models, found, no_process):
    again = evaluate(mini, models, TASKS, settings=SETTINGS)
    assert all(frame.equals(before) for frame, before in zip(again, found, strict=True))
    with pytest.raises(AssertionError, match="a process was started"):
        evaluate(mini, models, TASKS, settings=replace(SETTINGS, max_gen_toks=7))


def test_results_are_the_harnesss_own_files_and_name_no_machine(root, found):
    (folder,) = (root / "outputs/mini/harness/teacher-terse").glob("mini_mmlu-*")
    (path,) = folder.glob("results_*.json")
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["lm_eval_version"] == "0.4.13" and str(root) not in text
    assert not re.findall(r'"(/[^"]*)"', text)  # paths are relative, wherever outputs and models lie
    assert len(list(folder.glob("samples_mini_mmlu_*.jsonl"))) == 6
    assert not list((root / "outputs/mini/harness").glob("jobs-*.json"))


def test_reasoning_left_in_is_scored_and_a_short_budget_cuts_within_it(root, handled):
    texts = {}
    for folder in (root / "outputs/mini/harness/teacher-terse").glob("mini_ifeval-*"):
        how = json.loads((folder / "harness.json").read_text())["settings"]
        (file,) = folder.glob("samples_*.jsonl")
        rows = sorted(map(json.loads, file.read_text(encoding="utf-8").splitlines()), key=lambda row: row["doc_id"])
        texts[how["think_end_token"], how["max_gen_toks"]] = [row["filtered_resps"][0] for row in rows]
    assert not any("think>" in text for text in texts["</think>", None])
    assert all("</think>" in text for text in texts[None, None])
    assert any(text.startswith("<think>") and "</think>" not in text for text in texts["</think>", 12])
    stripped = [text.rpartition("</think>")[2].strip() for text in texts[None, None]]
    assert [text.strip() for text in texts["</think>", None]] == stripped  # greedy: the same text but for the stripping


def test_a_replay_tells_scores_and_documents_without_models(mini, found, handled, models, monkeypatch, no_process):
    monkeypatch.setenv(REPLAY, "1")
    gone = [replace(model, path="gone/far/away") for model in models]
    told = [*evaluate(mini, gone, TASKS, settings=SETTINGS)]
    told += [frame for how in WAYS.values() for frame in evaluate(mini, gone[1:], [IFEVAL], settings=how)]
    before = [*found, *(frame for frames in handled.values() for frame in frames)]
    assert all(frame.equals(one) for frame, one in zip(told, before, strict=True))


def test_options_by_likelihood_are_those_of_any_suites_questions(mini, models, handled, monkeypatch):
    asked = {key: list(some.values()) for key, some in ours.questions(mini, ["mmlu_health", "pubmedqa"]).items()}
    withheld = replace(asked["pubmedqa"][0], gold=None)
    some = [*asked["mmlu_health"], withheld, *asked["pubmedqa"][1:5]]
    rows = likeliest(mini, models[1:], some, settings=WHOLE)
    assert rows.groupby("suite").size().to_dict() == {"mmlu_health": 70, "pubmedqa": 4}
    assert set(rows["value"]) <= {0.0, 100.0} and withheld.id not in set(rows["question_id"])
    _, documents = evaluate(mini, models[1:], ["mini_mmlu"], settings=WHOLE)
    card = documents[documents["task"] == "mini_mmlu"]["value"].mean()
    assert rows[rows["suite"] == "mmlu_health"]["value"].mean() == pytest.approx(card, abs=15)  # it names the subject
    monkeypatch.setenv(REPLAY, "1")
    assert likeliest(mini, models[1:], some, settings=WHOLE).equals(rows)
    with pytest.raises(NotStored):  # other questions are another run
        likeliest(mini, models[1:], some[:3], settings=WHOLE)


def test_a_task_that_does_not_exist_is_told_with_the_last_lines_of_the_process(mini, models):
    with pytest.raises(HarnessError, match=r"(?s)teacher-terse on mini_mmul; it ended with.*Its log ends.*mini_mmul"):
        evaluate(mini, models[1:], ["mini_mmul"], settings=SETTINGS)


def test_what_cannot_be_evaluated_is_refused_before_a_process_starts(mini, models, no_process):
    with pytest.raises(ValueError, match="behind an endpoint"):
        evaluate(mini, [replace(models[0], base_url="http://localhost:1")], TASKS, settings=SETTINGS)
    for wrong in ({"batch_size": 0}, {"apply_chat_template": False}, {"backend_options": {"trust_remote_code": True}}):
        with pytest.raises(ValueError):
            Settings(**wrong)


def test_a_folder_without_the_harnesss_files_is_named(tmp_path):
    with pytest.raises(HarnessError, match="holds 0 files results.*; delete the folder"):
        harness.read_scores(tmp_path, "one")


def test_the_miniatures_instructions_are_ones_that_ifeval_knows_and_checks_without_downloads():
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    for line in (harness.TASKS / "ifeval.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for kind, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            assert kind not in harness.SPLITTING
            checker = INSTRUCTION_DICT[kind](kind)
            checker.build_description(**arguments)
            # nothing is left to IFEval's own drawing of lots
            assert arguments == (checker.get_instruction_args() or {})


def test_missing_sentence_data_stop_only_a_task_that_needs_them(monkeypatch):
    import nltk

    def manager(kind):
        task = SimpleNamespace(test_docs=lambda: [{"instruction_id_list": [kind]}])
        return SimpleNamespace(load=lambda names: {"tasks": {names[0]: task}})

    monkeypatch.setattr(nltk.data, "path", [])
    harness.require_sentences(manager("punctuation:no_comma"), "leaderboard_ifeval")
    with pytest.raises(SystemExit, match="leaderboard_ifeval: length_constraints:number_sentences need.*punkt_tab"):
        harness.require_sentences(manager("length_constraints:number_sentences"), "leaderboard_ifeval")
