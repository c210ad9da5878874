"""The site as a reader meets it: opened from disk in a browser, with hostile text in every place that holds any."""

import json
import re

import pytest
from report_example import MODELS, PLANTED, SECTION

HOME = f"sections/{SECTION}"
PAGES = ["index.html", f"{HOME}/index.html", f"{HOME}/notebook.html", f"{HOME}/responses.html", "search.html"]
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


@pytest.mark.parametrize("place", PAGES)
def test_every_link_and_file_of_a_page_is_there(watched, place):
    page = watched.open(place)
    found = page.evaluate(
        """() => [...document.querySelectorAll('a[href], img[src], link[href], script[src]')]
                 .map(one => one.href || one.src)"""
    )
    inside = {url.split("#")[0].split("?")[0] for url in found if url.startswith("file:")}
    missing = [url for url in inside if not (watched.root / url.removeprefix(f"file://{watched.root}/")).is_file()]
    assert missing == []
    assert len(inside) > 10
    loaded = page.evaluate(
        "[...document.querySelectorAll('img[src], link[href], script[src]')].map(o => o.href || o.src)"
    )
    assert [url for url in loaded if url.startswith("http")] == []


def test_the_front_page_counts_verdicts_and_names_what_has_not_run(watched):
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
        ("Cut off", ["2", "11"], ["11", "2"]),
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
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == said
        assert [text.strip() for text in table.locator(f"tbody td:nth-child({place})").all_inner_texts()] == expected


def test_tables_sort_by_keyboard(watched):
    page = watched.open(f"{HOME}/index.html")
    page.locator("table.medpsy").first.locator("th button").nth(1).press("Enter")
    assert texts(page, "table.medpsy >> nth=0 >> th[aria-sort=ascending]") == ["Average"]


def test_tables_of_a_notebook_sort_too(watched):
    page = watched.open(f"{HOME}/notebook.html")
    assert page.locator("table.dataframe th button").count() == 3
    assert "One backbone leads at a price of $5 or $6." in page.inner_text("main")


def test_a_table_can_be_downloaded(watched):
    page = watched.open(f"{HOME}/index.html")
    with page.expect_download() as download:
        page.click("text=Download as CSV >> nth=0")
    assert download.value.path().read_text().splitlines()[2].startswith("Reed-1,61.25,2.0")


@pytest.mark.parametrize("place", PAGES[:4])
def test_planted_markup_stays_text(watched, place):
    page = watched.open(place)
    if "responses" in place:
        page = watched.open(f"{place}#model=quill&suite=medqa&question=q00000")
        ready(page)
        page.click("[data-part=list] tr >> nth=0 >> a")
        opened(page)
    shown = page.inner_text("body")
    assert "<script>window.planted=1;console.error('planted')</script>" in shown
    assert page.locator("img[src=x], img[onerror]").count() == 0
    assert page.evaluate("window.planted") is None


def test_a_score_leads_to_its_responses(watched):
    page = watched.open(f"{HOME}/index.html")
    page.click("table.medpsy td a >> nth=0")
    ready(page)
    assert page.url.endswith("responses.html#model=quill&suite=medqa&reader=parser")
    assert page.inner_text("[data-part=count]") == "1 to 50 of 90"
    assert {row[3] for row in rows(page)} == {"MedQA (USMLE)"}
    assert {row[2] for row in rows(page)} == {MODELS["quill"].label}


def test_responses_are_filtered_by_every_field(watched):
    page = watched.open(f"{HOME}/responses.html")
    ready(page)
    assert page.inner_text("[data-part=count]") == "1 to 50 of 360"
    page.select_option("[data-part=outcome]", "cut off")
    assert page.inner_text("[data-part=count]") == "1 to 50 of 72"
    page.select_option("[data-part=run]", "1")
    page.select_option("[data-part=model]", "reed")
    page.select_option("[data-part=suite]", "pubmedqa")
    assert page.inner_text("[data-part=count]") == "1 to 6 of 6"
    assert {tuple(row[2:5] + row[7:]) for row in rows(page)} == {("Reed-1", "PubMedQA", "1", "cut off")}
    page.fill("[data-part=question]", "case 9999")
    assert page.inner_text("[data-part=count]") == "No response matches."
    assert "outcome=cut%20off" in page.url
    again = page.url.split("#")[1]
    page = watched.open(f"{HOME}/responses.html#{again}")
    page.wait_for_selector("[data-part=browser]:not([hidden])")
    assert page.inner_text("[data-part=count]") == "No response matches."
    assert page.input_value("[data-part=model]") == "reed"


def test_pages_of_the_list_turn(watched):
    page = watched.open(f"{HOME}/responses.html")
    ready(page)
    first = rows(page)
    page.click("[data-part=on]")
    assert page.inner_text("[data-part=count]") == "51 to 100 of 360"
    assert len({tuple(row) for row in first} & {tuple(row) for row in rows(page)}) == 0
    page.click("[data-part=back]")
    assert rows(page) == first
    assert page.is_disabled("[data-part=back]")


def test_a_response_shows_question_reasoning_answer_and_every_reading(watched):
    page = watched.open(f"{HOME}/responses.html#model=reed&suite=pubmedqa&outcome=wrong")
    ready(page)
    page.click("[data-part=list] tr >> nth=0 >> a")
    opened(page)
    page.click(".reasoning summary")
    shown = opened(page)
    for part in (
        "Which tincture calms a grellish",
        "A trial of 12 grells.",
        "salt & ash",
        "I weigh the moss.",
        "Answer: B",
    ):
        assert part in shown
    assert texts(page, ".readings td:nth-child(1)") == ["parser", "lenient"]
    gold, chosen = page.locator("li.gold").inner_text(), page.locator("li.chosen").inner_text()
    assert gold[0] != chosen[0]
    assert texts(page, ".readings td:nth-child(2)") == [chosen[0]] * 2
    assert texts(page, ".readings td:nth-child(3)") == [gold[0]] * 2


@pytest.mark.parametrize(
    ("outcome", "why"),
    [("cut off", "None: the token limit came first."), ("failed", "None: the model did not respond.")],
)
def test_a_missing_answer_is_said_to_be_missing(watched, outcome, why):
    page = watched.open(f"{HOME}/responses.html#outcome={outcome.replace(' ', '%20')}")
    ready(page)
    page.click("[data-part=list] tr >> nth=0 >> a")
    assert why in opened(page)


def full_key(watched, place: int) -> str:
    import pyarrow.parquet as pq

    path = watched.root.parent / SECTION / "responses.parquet"
    return pq.read_table(path, columns=["key"])["key"][place].as_py()


def test_a_permanent_link_opens_its_response_wherever_it_stands(watched):
    key = full_key(watched, 333)
    page = watched.open(f"{HOME}/responses.html#{key}")
    shown = opened(page)
    assert page.inner_text("[data-part=count]") == "301 to 350 of 360"
    assert page.locator("tr.opened").count() == 1
    link = page.get_attribute("[data-part=link]", "href")
    assert key.startswith(link[1:])
    page = watched.open(f"{HOME}/responses.html{link}")
    assert opened(page) == shown


def test_a_link_to_no_response_says_so(watched):
    page = watched.open(f"{HOME}/responses.html#{'f' * 64}")
    page.wait_for_selector("[data-part=response] .missing")
    assert "has no response ffff" in page.inner_text("[data-part=response]")


def test_all_responses_to_a_question_stand_together(watched):
    page = watched.open(f"{HOME}/responses.html#{full_key(watched, 40)}")
    opened(page)
    page.click("text=All responses to this question")
    page.wait_for_selector("[data-part=count] >> text=1 to 6 of 6")
    assert len({row[0] for row in rows(page)}) == 1


def test_search_finds_a_page(watched):
    page = watched.open("search.html?q=backbone")
    page.wait_for_selector("#search-results li", timeout=30_000)
    assert "Backbone" in page.inner_text("#search-results")


def test_the_pages_hold_no_path_of_this_machine(built):
    site = built / "outputs/mini/report"
    pages = [
        path for kind in ("*.html", "*.js", "*.css") for path in site.rglob(kind) if "_static/vendor" not in str(path)
    ]
    assert not [path for path in pages if str(built) in path.read_text(encoding="utf-8")]


def test_the_record_is_beside_its_page(built):
    record = json.loads((built / f"outputs/mini/report/{HOME}/result.json").read_text())
    assert record["chosen"] == {"large": "reed"}
    page = (built / f"outputs/mini/report/{HOME}/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script>window\.planted", page)
