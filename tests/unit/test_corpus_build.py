"""A corpus from seeds to shards: counts, files, what a rerun does, and what stops it."""

import dataclasses
import json
import tracemalloc

import datasets
import pyarrow as pa
import pytest
from corpus_example import making, mine, small_study, teacher, thinks  # noqa: F401
from medpsy import corpus, engines
from medpsy.corpus import building, rows
from medpsy.corpus import filters as contamination
from medpsy.corpus.seeds import draw_seeds
from medpsy.engines.base import Response
from medpsy.store import FailedResponsesWarning, ResponseStore
from medpsy.study import ModelSpec

KINDS = {"facts": 12, "questions": 18}


def build(settings, kinds=KINDS, name="corpus1", **filters):
    return corpus.build(settings, "anna", name, kinds, **making(**filters))


def files(built):
    return {path.name: path.read_bytes() for path in built.folder.iterdir()}


def test_a_corpus_is_written_with_its_card_and_loads_as_a_data_set(mine, teacher):  # noqa: F811
    built = build(mine)
    assert set(files(built)) == {"part-00000.parquet", "card.json", "README.md", "licences.json"}
    data = datasets.load_dataset("parquet", data_files=str(built.folder / "part-*.parquet"), split="train")
    assert data.column_names == rows.SCHEMA.names and len(data) == built.card.rows == 30
    assert corpus.load(mine, "corpus1")["id"] == data["id"]
    first = data[0]
    assert first["messages"][0]["role"] == "user"
    assert (first["answer"], first["teacher"]) == ("The answer is A.", "anna")
    assert "<think>" not in first["reasoning"] and first["reasoning"].startswith("About this")
    assert sum(data["tokens"]) == built.card.tokens and first["facts"]
    stored = ResponseStore(mine.store_dir).lookup(data["key"], model=mine.model("anna"))
    assert all(one.endswith("The answer is A.") for one in stored["text"])
    assert corpus.card(mine, "corpus1") == built.card


def test_a_killed_run_goes_on_where_it_stopped_and_a_rerun_writes_the_same_bytes(mine, teacher):  # noqa: F811
    def dies(prompt, sampling):
        if len(teacher.asked) > 15:
            raise RuntimeError("killed")
        return thinks(prompt, sampling)

    teacher.reply = dies
    with pytest.raises(RuntimeError, match="killed"):
        build(mine)
    assert not (mine.corpora_dir / "corpus1").exists()
    teacher.reply = thinks
    first, engines = build(mine), len(teacher.engines)
    assert first.effort["generated"] == 30 - 15
    before = files(first)
    again = build(mine)
    assert files(again) == before and again.effort["generated"] == 0
    assert [(one.opened, one.closed) for one in teacher.engines if one.asked] == [(1, 1)] * 2
    assert not any(one.asked for one in teacher.engines[engines:])


def test_every_filter_counts_what_it_drops(mine, teacher, monkeypatch):  # noqa: F811
    leak = next(iter(draw_seeds(mine, "corpus1", {"questions": 8})))
    real = contamination.stems
    monkeypatch.setattr(building, "stems", lambda settings: real(settings) | {"pubmedqa": [leak.stem]})
    order = [seed.id for seed in draw_seeds(mine, "corpus1", {"questions": 8})]
    long = " ".join(f"w{number}" for number in range(600))
    says = {
        1: Response("", "", "failed", 0, 0, 1.0, "timed out"),
        2: Response("", "<think>on and on", "length", 9, 64, 1.0),
        3: "I cannot tell.",
        4: f"<think>{long}</think>A",
    }

    def reply(prompt, sampling):
        said = says.get(order.index(prompt.id.rsplit("#", 1)[0]), thinks(prompt, sampling))
        return dataclasses.replace(said, prompt_id=prompt.id) if isinstance(said, Response) else said

    teacher.reply = reply
    with pytest.warns(FailedResponsesWarning):
        card = build(mine, {"questions": 8}).card
    dropped = {"failed": 1, "cut off": 1, "unreadable": 1, "too long": 1, "contaminated": 1}
    duplicates = {"exact duplicate": 0, "near duplicate": 0}
    assert card.funnel == {"questions": {"seeds": 8, "kept": 3} | dropped | duplicates}
    assert card.leaks["pubmedqa"] == {"same stem": 1, "n-gram": 0, "near stem": 0}
    assert leak.id not in corpus.load(mine, "corpus1")["id"]


def test_a_prompt_drawn_twice_is_another_sample_and_rows_that_say_the_same_are_kept_once(mine, teacher):  # noqa: F811
    teacher.reply = lambda prompt, sampling: "<think>the same</think>The answer is A."
    counts = build(mine, {"facts": 300}).card.funnel["facts"]
    assert len(teacher.asked) == 300 and {one.split("#")[-1] for one in teacher.asked} == {"0", "1", "2"}
    assert counts["exact duplicate"] > 0
    assert counts["kept"] == 300 - counts["exact duplicate"] - counts["near duplicate"]


@pytest.mark.filterwarnings("ignore::medpsy.store.FailedResponsesWarning")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Response("", "", "failed", 0, 0, 1.0, "no connection"), "failed 30"),
        (Response("", "<think>hm", "stop", 9, 64, 1.0), "unreadable 30"),
    ],
)
def test_a_teacher_that_answers_nothing_leaves_no_corpus(mine, teacher, said, why):  # noqa: F811
    teacher.reply = lambda prompt, sampling: dataclasses.replace(said, prompt_id=prompt.id)
    with pytest.raises(ValueError, match=f"no row is left of 30 that anna wrote .{why}."):
        build(mine)
    assert not (mine.corpora_dir / "corpus1").exists()
    with pytest.raises(FileNotFoundError, match="not complete: it has no card.json; run 03_training_data"):
        corpus.load(mine, "corpus1")


def test_rows_go_into_shards_of_one_size_and_a_corpus_that_lost_one_or_rows_is_refused(mine, teacher, monkeypatch):  # noqa: F811
    monkeypatch.setattr(building, "SHARD_ROWS", 20)
    built = build(mine, {"facts": 50})
    sizes = {path.name: pa.parquet.read_metadata(path).num_rows for path in built.folder.glob("*.parquet")}
    assert sizes == {"part-00000.parquet": 20, "part-00001.parquet": 20, "part-00002.parquet": 10}
    assert built.card.longest == max(corpus.load(mine, "corpus1")["tokens"])
    card = json.loads((built.folder / "card.json").read_text())
    card["funnel"]["facts"]["kept"] += 1
    (built.folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="50 rows, 51 by its card.json"):
        corpus.load(mine, "corpus1")
    (built.folder / "part-00000.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="part-00000.parquet is missing; run 03_training_data"):
        corpus.load(mine, "corpus1")


def test_tokens_are_those_that_training_counts_for_the_target_that_needs_most(root, tmp_path, monkeypatch):
    from medpsy.corpus import rows
    from transformers import AutoTokenizer

    hub = root / "lib" / "medpsy" / "mini" / "hub"
    monkeypatch.setattr(engines, "fingerprint", lambda model: f"fp {model.name}")
    large, small = (str(hub / f"qwen3-{size}") for size in ("large", "small"))
    targets = [ModelSpec("large", large, opens_thinking=True), ModelSpec("small", small)]
    asked = ({"role": "user", "content": "What is the test for it?"},)
    row = rows.TrainingRow("a", "corpus1", "facts", asked, "Recall: this.", "The answer is A.", (), "anna", "k")
    store = ResponseStore(tmp_path / "store")
    counted = rows.Lengths(store, targets).longest([row, dataclasses.replace(row, answer="A")])
    expected = []
    for target in targets:
        tokenizer = AutoTokenizer.from_pretrained(target.path)
        form = rows.chat_form(tokenizer, opens_thinking=target.opens_thinking, switches={})
        ids = tokenizer("".join(form.examples(tokenizer, [vars(row)])[0].values()), add_special_tokens=False)
        expected.append(len(ids["input_ids"]))
    assert counted[0] == max(expected) > counted[1]
    monkeypatch.setattr(rows, "tokenizer_of", None)  # a replay has none
    assert rows.Lengths(ResponseStore(tmp_path / "store"), targets).longest([row]) == counted[:1]


def peak(settings, kinds, monkeypatch) -> int:
    """Return the most bytes that building a corpus of `kinds` holds, of Python and of Arrow."""
    pool, usual = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    monkeypatch.setattr(building, "SHARD_ROWS", 20)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        corpus.build(settings, "anna", "corpus1", kinds, **making(batch=20, packed_length=9999))
        return tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)


def test_memory_does_not_grow_with_the_rows(mine, teacher, monkeypatch):  # noqa: F811
    def writes_much(prompt, sampling):
        start = sampling.prompt_seed(prompt.id)
        return "<think>" + " ".join(str(start + number) for number in range(500)) + "</think>A."

    teacher.reply, teacher.forgets = writes_much, True
    monkeypatch.setattr(building, "stems", lambda settings: {"medqa": ["Which drug helps?"]})  # an index of a few bytes
    small = small_study(seed=1)
    peak(small, {"questions": 20}, monkeypatch)  # what is loaded once
    few = peak(small_study(seed=2), {"questions": 20}, monkeypatch)
    many = peak(small_study(seed=3), {"questions": 200}, monkeypatch)
    assert many < 1.6 * few  # ten times the rows; Arrow reads a few shards ahead, and no more


def test_a_public_set_goes_the_same_way(mine, teacher, tmp_path, monkeypatch):  # noqa: F811
    options = dict.fromkeys(("opa", "opb", "opc", "opd"), "w")
    asked = [{"question": f"Invented stem {number}?", **options} for number in range(9)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    monkeypatch.setattr(building, "stems", lambda settings: {"medqa": ["Invented stem 3?"]})
    settings = small_study(source="hub", targets={})
    how = making(4, ngram=13) | {"targets": ["large"], "origins": {"medmcqa": {"data_dir": str(tmp_path)}}}
    built = corpus.build(settings, "anna", "corpus2", {"medmcqa": 9}, **how)
    assert built.card.funnel["medmcqa"]["contaminated"] == 1 and built.card.rows == 8
    card = (built.folder / "README.md").read_text(encoding="utf-8")
    assert "license: other\nlicense_name: apache-2.0-and-not-stated\n" in card  # of the questions and of the teacher
    assert f"| medmcqa (questions of folder {tmp_path.name}) | Apache-2.0 |\n| models/anna | not stated |" in card
    assert str(tmp_path) not in (built.folder / "card.json").read_text(encoding="utf-8") + card
    assert corpus.load(settings, "corpus2")["facts"] == [[]] * 8
