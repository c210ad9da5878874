"""Conversations with their verdicts as a reader meets them: from disk, with hostile text everywhere."""

import time
from collections.abc import Iterator

import case_rows
import conversations_example as example
import pytest
from conftest import Watched, watching
from medpsy.evidence import CONVERSATIONS
from medpsy.show import table
from medpsy.site import build, evidence
from records import write_record
from report_example import PLANTED
from test_report_site import opened, ready

HOME, GUARDED, LARGE = "07_main_results", "08_guarded", "09_large"
PAGE = f"sections/{HOME}/conversations.html"
OPENS, FILTERS = 20.0, 2.0  # seconds for 50,000 responses on a busy machine; about 0.7 and 0.05 on two quiet cores


@pytest.fixture(scope="module")
def conversed(tmp_path_factory):
    """Return a project whose site has a section of invented rows, one of guarded rows, and one with 50,000 of them."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPSY_ROOT", str(root))
        patch.delenv(evidence.SHOW_ROWS, raising=False)
        links = {"Score": ["conversations#model=quill&suite=healthbench", None]}
        scores = table(example.pd.DataFrame({"Model": ["Quill", "Reed-1"], "Score": [1.0, 2.0]}), links=links)
        outputs = root / "outputs/mini"
        write_record(outputs, HOME, conversations=example.rows(28, hard=7), tables={"scores": scores})
        write_record(outputs, GUARDED, conversations=example.rows(3, guarded=True))
        write_record(outputs, LARGE, conversations=example.rows(1))
        report = build.build("mini").parent
    data = report / "data" / LARGE / "conversations"
    assert evidence.write(example.many(50_000), data, CONVERSATIONS) == 50_000
    return root


@pytest.fixture
def page(conversed, browser) -> Iterator[Watched]:
    with watching(browser, conversed / "outputs/mini/report") as watched:
        yield watched


def count(page) -> str:
    return page.inner_text("[data-part=count]")


def test_a_score_leads_to_the_conversations_behind_it(page):
    shown = page.open(f"sections/{HOME}/index.html")
    shown.click("table.medpsy td a")
    ready(shown)
    assert shown.url.endswith("conversations.html#model=quill&suite=healthbench")
    assert count(shown) == "1 to 50 of 56"


def test_responses_are_filtered_by_what_the_address_says(page):
    shown = page.open(PAGE)
    ready(shown)
    assert count(shown) == "1 to 50 of 140"
    for case in case_rows.rows("evidence_filters"):
        shown.evaluate("hash => { location.hash = hash; }", case["filters"])
        last = f"1 to {min(case['total'], 50)} of {case['total']}" if case["total"] else "No response matches."
        shown.wait_for_function("said => document.querySelector('[data-part=count]').textContent === said", arg=last)


def test_a_response_shows_turns_answer_and_every_verdict_side_by_side(page):
    shown = page.open(f"{PAGE}#differ=yes&model=reed")
    ready(shown)
    shown.click("[data-part=list] tr >> nth=0 >> a")
    text = opened(shown)
    assert shown.locator(".turn").count() == 3
    roles = [shown.get_attribute(f".turn >> nth={place}", "data-role") for place in range(3)]
    assert roles == ["user", "assistant", "user"]
    assert "Rest, and call" in text
    assert "I weigh the moss." not in text  # folded
    shown.click(".reasoning summary")
    assert "I weigh the moss." in opened(shown)
    heads = shown.locator("table.criteria thead th").all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == ["Criterion", *example.JUDGES]
    assert heads[2].split("\n")[1] == "100.0 points: 2 met, 1 not met"
    middle = shown.locator("table.criteria tbody tr").nth(1)
    assert "judges differ" in middle.inner_text()
    assert middle.locator(".outcome").all_inner_texts() == ["not met", "met", "not met"]
    assert "−8 points accuracy" in shown.locator("table.criteria tbody tr").nth(2).inner_text()
    assert f"kind says: met {PLANTED}" in text


def test_planted_markup_stays_text_in_every_place(page):
    shown = page.open(f"{PAGE}#conversation=healthbench%2Fc00000&model=quill")
    ready(shown)
    shown.click("[data-part=list] tr >> nth=0 >> a")
    opened(shown)
    shown.click(".reasoning summary")
    texts = ["[data-part=list] tr >> nth=0", ".turn >> nth=2", ".reasoning", "table.criteria td >> nth=0"]
    for place in [*texts, "td[data-judge]", "[data-part=response] h2"]:
        assert "<script>window.planted=1" in shown.locator(place).first.inner_text(), place
    assert shown.locator("img[src=x], img[onerror], script:not([src]):has-text('planted')").count() == 0


def test_a_permanent_link_opens_one_response_and_names_its_suite_where_two_share_it(page):
    shown = page.open(f"{PAGE}#suite=healthbench_hard&model=reed&run=1")
    ready(shown)
    link = shown.get_attribute("[data-part=list] tr >> nth=0 >> a", "href")
    assert link.endswith(".healthbench_hard")
    shown.click("[data-part=list] tr >> nth=0 >> a")
    text = opened(shown)
    assert "HealthBench Hard" in text
    shown = page.open(f"{PAGE}{shown.get_attribute('[data-part=link]', 'href')}")
    assert opened(shown) == text
    assert count(shown) == "101 to 140 of 140"
    shown.evaluate("location.hash = 'f'.repeat(64)")
    shown.wait_for_selector("[data-part=response] .missing")
    assert "has no response ffff" in shown.inner_text("[data-part=response]")


def test_guarded_rows_are_in_no_file_of_the_site_and_the_page_says_why(conversed, page):
    shown = page.open(f"sections/{GUARDED}/conversations.html")
    ready(shown)
    shown.keyboard.press("j")
    text = opened(shown)
    assert "the authors of this benchmark ask" in text
    assert "Criterion 1, not shown" in text
    assert "Rest, and call" in text
    body = shown.inner_text("body") + shown.evaluate(
        "JSON.stringify([...document.querySelectorAll('details')].map(o => o.textContent))"
    )
    for secret in ("grell", "tincture", "stern says", "I weigh"):
        assert secret not in body
    assert shown.locator("table.criteria .outcome").count() == 9


def test_fifty_thousand_responses_open_and_filter_fast(page):
    started = time.perf_counter()
    shown = page.open(f"sections/{LARGE}/conversations.html")
    ready(shown)
    assert time.perf_counter() - started < OPENS
    assert count(shown) == "1 to 50 of 50,000"
    assert len([url for url in page.requests if f"/data/{LARGE}/" in url]) == 1  # the index alone
    for name, value in (("outcome", "unjudged"), ("differ", "yes"), ("conversation", "nothing like it")):
        took = shown.evaluate(
            """([name, value]) => {
                 const field = document.querySelector(`[data-part=${name}]`), started = performance.now();
                 field.value = value;
                 field.dispatchEvent(new Event('input'));
                 return (performance.now() - started) / 1000;
               }""",
            [name, value],
        )
        assert took < FILTERS
    assert count(shown) == "No response matches."
    last = f"{49_999 * 2654435761 % 2**48:012x}"
    shown = page.open(f"sections/{LARGE}/conversations.html#{last}")
    assert "c008333" in opened(shown)
    assert len([url for url in page.requests if f"/data/{LARGE}/" in url]) == 3
