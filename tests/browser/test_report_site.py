"""The site as a reader meets it: opened from disk in a browser, with hostile text in every place that holds any."""

import pytest
from report_example import MODELS, PLANTED, SECTION

HOME = f"sections/{SECTION}"
PAGES = ["index.html", f"{HOME}/index.html", f"{HOME}/responses.html", "search.html"]
PAGES += ["sections/00_published_claims/index.html"]


def texts(page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def ready(page) -> None:
    """Wait until the list of responses is there."""
    page.wait_for_selector("[data-part=list] tr")


def rows(page) -> list[list[str]]:
    return [line.split("\t") for line in texts(page, "[data-part=list] tr")]


def opened(page) -> str:
    page.wait_for_selector("[data-part=response] h2")
    return page.locator("[data-part=response]").inner_text()


def assert_linked_files_are_there(watched, place) -> set[str]:
    """Check the files that a page loads or links to, and return their addresses."""
    page = watched.open(place)
    linked = "[...document.querySelectorAll('a[href], img[src], link[href], script[src]')]"
    found = page.evaluate(f"{linked}.map(one => one.href || one.src)")
    inside = {url.split("#")[0].split("?")[0] for url in found if url.startswith("file:")}
    missing = [url for url in inside if not (watched.root / url.removeprefix(f"file://{watched.root}/")).is_file()]
    assert missing == []
    return inside


@pytest.mark.parametrize("place", PAGES)
def test_every_link_and_file_of_a_page_is_there_and_planted_markup_stays_text(watched, place):
    assert len(assert_linked_files_are_there(watched, place)) > 10
    page = watched.page
    if "responses" in place:
        page = watched.open(f"{place}#model=quill&suite=medqa&question=q00000")
        ready(page)
        page.click("[data-part=list] tr >> nth=0 >> a")
        opened(page)
    planted = "<script>window.planted=1;console.error('planted')</script>" in page.inner_text("body")
    assert planted is (place != "search.html") and page.locator("img[src=x], img[onerror]").count() == 0
    assert page.evaluate("window.planted") is None


def test_the_front_page_counts_verdicts_and_names_what_has_not_run_and_no_page_a_path_of_this_machine(watched, built):
    pages = [path for path in watched.root.rglob("*") if path.suffix in (".html", ".js", ".css")]
    assert pages and not [path for path in pages if str(built) in path.read_text(encoding="utf-8")]
    page = watched.open("index.html")
    assert "Not medical advice" in page.inner_text("main")
    assert "Profile mini" in page.inner_text("main")
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in texts(page, "#sections tbody tr")}
    assert lines["3.1 Backbone *selection* <one>"] == ["done", "0", "0", "1", "1", "0", "0", "360", "12"]
    assert lines["Title of 06_answer_extraction"] == ["not yet run"] + ["–"] * 8
    assert f"Reed-1 leads {PLANTED}.\nBy 2 points." in texts(page, ".verdicts li")[0]
    page.click("#sections a >> text=Backbone")
    assert page.url.endswith(f"{HOME}/index.html")


@pytest.mark.parametrize(
    ("heading", "up", "down"),
    [
        ("Average", ["9.50 ± 1.50", "61.25 ± 2.00"], ["61.25 ± 2.00", "9.50 ± 1.50"]),
        ("MedQA (USMLE)", ["100.00", "–"], ["100.00", "–"]),  # what is missing stays at the end
        ("Model", [MODELS["quill"].label, "Reed-1"], ["Reed-1", MODELS["quill"].label]),
    ],
)
def test_tables_sort_by_number_or_name(watched, heading, up, down):
    page = watched.open(f"{HOME}/index.html")
    table = page.locator("table.medpsy").first
    head = table.locator("th", has_text=heading)
    place = head.evaluate("one => one.cellIndex + 1")
    for expected, said in ((up, "ascending"), (down, "descending")):
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == said
        assert [text.strip() for text in table.locator(f"tbody td:nth-child({place})").all_inner_texts()] == expected


def test_a_score_leads_to_its_responses(watched):
    page = watched.open(f"{HOME}/index.html")
    page.click("table.medpsy td a >> nth=0")
    ready(page)
    assert page.url.endswith("responses.html#model=quill&suite=medqa&reader=parser")
    assert page.inner_text("[data-part=count]") == "1 to 50 of 90"
    assert {row[3] for row in rows(page)} == {"MedQA (USMLE)"}
    assert {row[2] for row in rows(page)} == {MODELS["quill"].label}


def test_a_response_shows_question_reasoning_answer_and_every_reading(watched):
    page = watched.open(f"{HOME}/responses.html#model=reed&suite=pubmedqa&outcome=wrong")
    ready(page)
    page.click("[data-part=list] tr >> nth=0 >> a")
    opened(page)
    page.click(".reasoning summary")
    shown = opened(page)
    parts = ("Which tincture calms a grellish", "A trial of 12 grells.", "salt & ash", "I weigh the moss.", "Answer: B")
    assert [part for part in parts if part not in shown] == []
    assert texts(page, ".readings td:nth-child(1)") == ["parser", "lenient"]
    gold, chosen = page.locator("li.gold").inner_text(), page.locator("li.chosen").inner_text()
    assert gold[0] != chosen[0]
    assert texts(page, ".readings td:nth-child(2)") == [chosen[0]] * 2
    assert texts(page, ".readings td:nth-child(3)") == [gold[0]] * 2
