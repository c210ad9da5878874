"""lm-evaluation-harness on models of the miniature: its scores, its files, and what wrong handling does to them."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from medpsy import study as studies
from medpsy.engines.child import importable
from medpsy.generation import REPLAY
from medpsy.harness import BENCHMARKS, Settings, benchmarks, documents, evaluate, evaluating, handlings, protocols
from medpsy.harness import mini_data as data
from medpsy.harness.evaluating import CUT, LEFT_IN, STRIPPED, HarnessError
from medpsy.harness.mini_instructions import INSTRUCTIONS, instructed
from medpsy.harness.results import NoResults, responses, scores

HUB = studies.ROOT / "lib/medpsy/mini/hub"
MINI = studies.load("mini")
SETTINGS = Settings(dtype="float32", limit=6)
TASKS = [one.task for one in BENCHMARKS["mini"]]
STRICT = "prompt_level_strict_acc"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "ROOT", folder)
        yield folder


@pytest.fixture(scope="module")
def models(root):
    return [replace(MINI.model(name), path=str(HUB / name)) for name in ("qwen3-large", "qwen3-small")]


@pytest.fixture(scope="module")
def found(models):
    return evaluate(MINI, models, TASKS, settings=SETTINGS)


@pytest.fixture(scope="module")
def handled(models, found):
    return handlings(MINI, models, TASKS[2:], settings=SETTINGS, short=12)


@pytest.fixture
def no_process(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(evaluating, "Child", refuse)


def test_every_task_and_group_of_every_model_has_a_score_in_points(found):
    assert set(found["model"]) == {"qwen3-large", "qwen3-small"}
    table = found[found["model"] == "qwen3-small"].set_index(["task", "metric"])
    assert {("mini_mmlu", "acc"), ("mini_mmlu_stem", "acc"), ("mini_mmlu_pro", "acc"), ("mini_ifeval", STRICT)} <= set(
        table.index
    )
    assert table["value"].between(0, 100).all() and table.loc[("mini_ifeval", STRICT), "value"] > 0
    assert table.loc[("mini_mmlu", "acc"), "n"] == 36 and table.loc[("mini_mmlu_stem", "acc"), "n"] == 12
    assert table.loc[("mini_mmlu_pro", "acc"), "shots"] == 5 and table.loc[("mini_mmlu", "acc"), "shots"] == 0
    assert table.loc[("mini_ifeval", STRICT), "stderr"] > 1  # points, not shares


def test_documents_average_to_the_scores_groups_included(models, found, no_process):
    rows = documents(MINI, models, TASKS, settings=SETTINGS)
    means = rows.groupby(["model", "task", "metric"])["value"].mean()
    table = found.set_index(["model", "task", "metric"])["value"]
    for key in [key for key in table.index if not key[2].startswith("inst_level")]:  # those weigh by instruction
        assert means[key] == pytest.approx(table[key])
    stem = rows[(rows["task"] == "mini_mmlu_stem") & (rows["model"] == "qwen3-small")]
    assert len(stem) == 12 and stem["document"].str.contains("anatomy|college_biology").all()


def test_what_stands_is_not_run_again_and_other_settings_are_another_run(models, found, no_process):
    assert evaluate(MINI, models, TASKS, settings=SETTINGS).equals(found)
    with pytest.raises(AssertionError, match="a process was started"):
        evaluate(MINI, models, TASKS, settings=replace(SETTINGS, max_gen_toks=7))


def test_results_are_the_harnesss_own_files_and_name_no_machine(root, found):
    (folder,) = (root / "outputs/mini/harness/qwen3-small").glob("mini_mmlu-*")
    (path,) = folder.glob("results_*.json")
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["lm_eval_version"] == "0.4.13" and str(root) not in text
    assert not re.findall(r'"(/[^"]*)"', text)  # paths are relative, wherever outputs and models lie
    assert len(list(folder.glob("samples_mini_mmlu_*.jsonl"))) == 6
    assert not list((root / "outputs/mini/harness").glob("jobs-*.json"))


def test_reasoning_left_in_is_scored_and_a_short_budget_cuts_within_it(root, handled):
    shown = handled[handled["metric"] == STRICT].groupby("handling")["value"].mean()
    assert set(shown.index) == {STRIPPED, LEFT_IN, CUT.format(12)}
    texts = {}
    for folder in (root / "outputs/mini/harness/qwen3-small").glob("mini_ifeval-*"):
        settings = json.loads((folder / "harness.json").read_text())["settings"]
        texts[settings["think_end_token"], settings["max_gen_toks"]] = [
            row["text"] for row in responses(folder, "mini_ifeval")
        ]
    assert not any("think>" in text for text in texts["</think>", None])
    assert all("</think>" in text for text in texts[None, None])
    assert any(text.startswith("<think>") and "</think>" not in text for text in texts["</think>", 12])
    ours = [text.rpartition("</think>")[2].strip() for text in texts[None, None]]
    assert [text.strip() for text in texts["</think>", None]] == ours  # greedy: the same text but for the stripping


def test_handlings_can_be_compared_document_by_document(models, handled, no_process):
    rows = handlings(MINI, models, TASKS[2:], settings=SETTINGS, short=12, by_document=True)
    means = rows[rows["metric"] == STRICT].groupby(["handling", "model"])["value"].mean()
    told = handled[handled["metric"] == STRICT].set_index(["handling", "model"])["value"]
    assert len(told) == 6 and all(means[key] == pytest.approx(told[key]) for key in told.index)


def test_a_replay_tells_scores_and_documents_without_models(found, handled, models, monkeypatch, no_process):
    monkeypatch.setenv(REPLAY, "1")
    gone = [replace(model, path="gone/far/away") for model in models]
    assert evaluate(MINI, gone, TASKS, settings=SETTINGS).equals(found)
    assert len(documents(MINI, gone, TASKS, settings=SETTINGS)) > 200
    assert handlings(MINI, gone, TASKS[2:], settings=SETTINGS, short=12).equals(handled)


def test_a_task_that_does_not_exist_is_told_with_the_last_lines_of_the_process(models):
    with pytest.raises(HarnessError, match=r"(?s)qwen3-small on mini_mmul; its last lines.*mini_mmul"):
        evaluate(MINI, models[1:], ["mini_mmul"], settings=SETTINGS)


def test_what_cannot_be_evaluated_is_refused_before_a_process_starts(models, no_process):
    with pytest.raises(ValueError, match="behind an endpoint"):
        evaluate(MINI, [replace(models[0], base_url="http://localhost:1")], TASKS, settings=SETTINGS)
    with pytest.raises(ValueError, match="no task is named"):
        evaluate(MINI, models, [], settings=SETTINGS)
    for wrong in ({"batch_size": 0}, {"apply_chat_template": False}, {"backend_options": {"trust_remote_code": True}}):
        with pytest.raises(ValueError):
            Settings(**wrong)


def test_a_folder_without_the_harnesss_files_is_named(tmp_path):
    with pytest.raises(NoResults, match="holds 0 files of results; delete the folder"):
        scores(tmp_path, "one")


def test_defaults_are_those_of_the_cards_commands_and_tasks_those_it_names():
    card = Settings()
    assert (card.backend, card.batch_size, card.dtype) == ("hf", 64, "bfloat16")
    assert card.apply_chat_template and card.fewshot_as_multiturn and card.limit == 0
    assert [one.task for one in BENCHMARKS["hub"]] == ["mmlu", "leaderboard_mmlu_pro", "leaderboard_ifeval"]
    assert benchmarks(MINI) == BENCHMARKS["mini"]


def test_the_miniatures_instructions_are_ones_that_ifeval_knows_and_checks_without_downloads():
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    from medpsy.harness.worker import SPLITTING

    for kind, arguments, _ in INSTRUCTIONS:
        checker = INSTRUCTION_DICT[kind](kind)
        checker.build_description(**arguments)
        assert arguments == (checker.get_instruction_args() or {})  # nothing is left to IFEval's own drawing of lots
    rows = instructed()
    kinds = [kind for row in rows for kind in row["instruction_id_list"]]
    assert len(rows) == 48 and not set(kinds) & SPLITTING and not any("language" in kind for kind in kinds)
    assert all(len(set(row["instruction_id_list"])) == len(row["kwargs"]) for row in rows)
    assert {kind for kind, _, _ in INSTRUCTIONS} == set(kinds)


def test_examples_are_none_of_the_questions_and_rows_have_the_schema_of_their_originals():
    files = data.files()
    asked = {row["question"] for row in files["mmlu_pro.jsonl"]}
    assert len(files["mmlu_pro_examples.jsonl"]) == 5
    assert not asked & {row["question"] for row in files["mmlu_pro_examples.jsonl"]}
    assert all(row["options"]["ABCDEFGHIJ".index(row["answer"])] for row in files["mmlu_pro.jsonl"])
    assert sum(len(rows) for name, rows in files.items() if name.startswith("mmlu_") and "pro." not in name) == 75


def test_missing_sentence_data_stops_only_a_task_that_needs_them(monkeypatch):
    import nltk
    from medpsy.harness.worker import require_sentences

    def manager(kind):
        task = SimpleNamespace(test_docs=lambda: [{"instruction_id_list": [kind]}])
        return SimpleNamespace(load=lambda names: {"tasks": {names[0]: task}})

    monkeypatch.setattr(nltk.data, "path", [])
    require_sentences(manager("punctuation:no_comma"), "leaderboard_ifeval")
    with pytest.raises(SystemExit, match="leaderboard_ifeval: length_constraints:number_sentences need.*punkt_tab"):
        require_sentences(manager("length_constraints:number_sentences"), "leaderboard_ifeval")


def test_protocols_say_every_point_of_both_benchmarks():
    table = protocols("hub")
    assert table.groupby("benchmark")["point"].nunique().tolist() == [9, 9]
    assert table[["harness", "ours"]].map(len).min().min() > 3
    mini = protocols("mini").set_index(["benchmark", "point"])
    assert "very questions" in mini.loc[("MMLU", "questions"), "harness"]


def test_neither_package_imports_a_framework():
    heavy = "{'torch', 'transformers', 'lm_eval', 'mergekit', 'datasets', 'nltk'}"
    code = (
        f"import sys, medpsy.harness, medpsy.merging, medpsy.report.harness; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=importable(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
