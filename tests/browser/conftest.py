"""A site built by Sphinx from invented outputs, and a headless Chromium that reports whatever goes wrong on a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import report_example
from medpsy.site import build

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [f"--{flag}" for flag in ("no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run")]
FLAGS += ["--disable-component-update"]


@dataclass
class Watched:
    """A browser page and what went wrong on it."""

    page: object
    root: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, place: str) -> object:
        """Go to `place` (a path below the site, maybe with a fragment), loading the page anew; return the page."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.root}/{place}")
        return self.page

    def failed(self, url: str) -> None:
        """Note a request that failed; one for a table is a download, which the browser reports as an aborted visit."""
        if not url.endswith(".csv"):
            self.errors.append(f"failed: {url}")

    @property
    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((f"file://{self.root}/", "data:", "about:"))]


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """Return the root of a project whose site of profile `mini` has been built."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDPSY_ROOT", str(root))
        report_example.write(root)
        build.build("mini")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Return a headless Chromium of this machine; none is downloaded."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium on PATH: install the package chromium to test the site in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright drives the browser")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=FLAGS, headless=True)
        yield launched
        launched.close()


@contextmanager
def watching(browser, site: Path) -> Iterator[Watched]:
    """Lend a page of `site`; a script error, an error in the console or a failed request fails the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(30_000)
    page = context.new_page()
    watched = Watched(page, site)
    page.on("console", lambda message: watched.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("requestfailed", lambda request: watched.failed(request.url))
    page.on("request", lambda request: watched.requests.append(request.url))
    yield watched
    planted = page.evaluate("window.planted")
    context.close()
    assert watched.errors == []
    assert watched.outside == []
    assert planted is None


@pytest.fixture
def watched(built, browser) -> Iterator[Watched]:
    """Return a watched page of the site in `built`."""
    with watching(browser, built / "outputs/mini/report") as page:
        yield page
