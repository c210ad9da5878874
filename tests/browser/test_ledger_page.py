"""The ledger's page, opened from disk: all claims to filter, search and link to; hostile notes stay text."""

import json

import nbformat
import pytest
from medpsy import claims, published
from medpsy.claims.ledger import WORDS
from medpsy.show import table
from medpsy.site import build
from nbformat import v4
from records import write_record
from report_example import PLANTED
from test_report_site import assert_linked_files_are_there

SECTION, MEASURED = "14_ledger", "01_backbone_selection"
ALL = len(published.claims()) + len(published.card_claims())
EFFORT = {"questions": 400, "runs": 3, "tokens": 150.0, "run_share": 0.2, "suite": None, "share": None}


def claim(identity, verdict, ours, margin, note="", **more):
    numbers = {"published": 13.43, "ours": ours, "margin": margin}
    return {"id": identity, "claim": "A lead", "verdict": verdict, "note": note} | numbers | more


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the root of a project whose site has a ledger of a section that measured four claims; takes the place of
    the common example here."""
    root, outputs = tmp_path_factory.mktemp("project"), "outputs/mini"
    rows = [
        claim("P110", "pattern holds", 12.5, 3.0, note=f"seen {PLANTED}"),
        claim("P111", "too few to tell", 2.0, 4.0, effort=EFFORT),
        claim("P112", "pattern fails", -9.0, 4.0),
        claim("R004", "not testable", 58.9, 4.0, note="a score of another model than the published one"),
    ]
    ledger = table(claims.ledger("mini", {MEASURED: rows}).drop(columns="Plans"), "Every claim")
    write_record(root / outputs, MEASURED, title="Backbones", claims=rows)
    write_record(root / outputs, SECTION, title="The ledger", tables={"ledger": ledger})
    (root / "notebooks").mkdir()
    for name in (MEASURED, SECTION):
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"# Title of {name}")])
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPSY_ROOT", str(root))
        build.build("mini")
    return root


def shown(page) -> list[str]:
    return page.locator("#ledger tbody tr:not([hidden])").evaluate_all("rows => rows.map(row => row.id)")


def test_all_claims_are_there_and_the_front_page_counts_them(watched):
    page = watched.open("index.html")
    said = " ".join(page.inner_text(".ledger-counts").split())
    assert "1 pattern holds 1 pattern fails" in said and "1 too few to tell" in said
    assert f"Of {ALL} published claims: 772 that the audit covers" in page.inner_text("main")
    page.click(".ledger-counts a >> text=pattern fails")
    page.wait_for_selector(f"#ledger-count >> text=1 of {ALL} claims")
    assert shown(page) == ["P112"]
    assert len(shown(watched.open("ledger.html"))) == ALL


def test_claims_are_filtered_by_verdict_section_and_notebook_and_found_by_words(watched):
    page = watched.open("ledger.html")
    page.select_option("[data-filter=notebook]", MEASURED)
    here = len(shown(page))
    page.select_option("[data-filter=section]", "3.1")
    page.select_option("[data-filter=verdict]", "not testable")
    assert 0 < len(shown(page)) < here
    page.fill("[data-filter=text]", "gemma LAST")
    assert shown(page) == ["P126"]
    assert page.inner_text("#ledger-count") == f"1 of {ALL} claims"
    assert page.url.endswith("#verdict=not+testable&section=3.1&notebook=01_backbone_selection&text=gemma+LAST")
    again = watched.open(f"ledger.html{page.url[page.url.index('#') :]}")
    assert shown(again) == ["P126"] and again.input_value("[data-filter=text]") == "gemma LAST"


def test_a_permanent_link_leads_to_one_claim_among_all_and_a_planted_script_stays_text(watched):
    page = watched.open("ledger.html#P399")
    assert page.locator("tr.opened").get_attribute("id") == "P399"
    assert page.locator("#P399").evaluate("one => one.getBoundingClientRect().top") < 1000
    assert len(shown(page)) == ALL
    assert f"seen {PLANTED}" in page.inner_text("#P110")
    assert page.locator("#ledger script, #ledger img").count() == 0


def test_a_claim_says_why_it_is_open_or_not_testable_and_what_would_test_it(watched):
    page = watched.open("ledger.html")
    assert "(questions × runs)" in page.inner_text("#P111") and "2.00 ± 4.00" in page.inner_text("#P111")
    assert "profile review tests it" in page.inner_text("#R004")
    assert "not yet run" in page.inner_text("#P137") or "ran and measured nothing" in page.inner_text("#P137")
    assert "GPUs, which a rerun adopts" in page.inner_text("#P158")


def test_the_ledger_sorts_and_every_file_it_links_to_is_there(watched):
    page = watched.open("ledger.html")
    page.click("#ledger th button >> text=Ours")
    assert shown(page)[:3] == ["P112", "P111", "P110"]
    link = page.get_attribute("main a >> text=all as JSON", "href")
    exported = json.loads((watched.root / link).read_text(encoding="utf-8"))
    table = exported["tables"]["ledger"]
    assert len(table["rows"]) == ALL
    assert {row[table["columns"].index("Verdict")] for row in table["rows"]} <= set(WORDS)
    assert_linked_files_are_there(watched, "ledger.html")
