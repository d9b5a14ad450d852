"""The pages in a browser: what can be clicked works, nothing complains, and no request leaves."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spare
from spare.demo.world import write_world
from spare.leaderboards.errors_page import errors
from spare.leaderboards.grids import write
from spare.leaderboards.site import report

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_world(folder / "data", sets=8)
    for seed in range(3):
        run = folder / f"seed-{seed}"
        spare.evaluate("random", "whatsup_a,vsr_zeroshot", data=folder / "data", out=run, seed=seed)
    runs = [folder / f"seed-{seed}" for seed in range(3)]
    report(runs, out=folder / "site", published=True)
    write(folder / "errors.html", errors(spare.load_run(runs[0]), number=20))
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def nothing_complains_and_nothing_leaves(browser: Any) -> Iterator[None]:
    yield
    assert browser.get_log("browser") == []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = message["params"]["request"]["url"]
            assert address.startswith(("file:", "data:", "blob:", "chrome:", "about:")), address


def open_page(browser: Any, page: Path, fragment: str = "") -> None:
    browser.get("about:blank")  # another fragment alone would not load the page anew
    browser.get(page.as_uri() + fragment)


def shown(browser: Any, selector: str) -> list[Any]:
    found = browser.find_elements("css selector", selector)
    return [element for element in found if element.is_displayed()]


def texts(browser: Any, selector: str) -> list[str]:
    return [element.text for element in shown(browser, selector)]


def test_every_page_loads(browser: Any, folder: Path) -> None:
    pages = sorted((folder / "site").rglob("*.html"))
    for page in [*pages, folder / "errors.html"]:
        open_page(browser, page)
        assert browser.find_element("css selector", "h1").text
        broken = browser.execute_script(
            "return [...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth)"
            ".map(i => i.src)"
        )
        assert broken == []


def test_the_leaderboard_sorts_filters_and_hides_columns(browser: Any, folder: Path) -> None:
    open_page(browser, folder / "site" / "index.html")
    place = texts(browser, "thead th").index("whatsup_a (provisional)") + 1
    cells = f"tbody td:nth-child({place})"
    head = shown(browser, f"thead th:nth-child({place}) button")[0]
    head.click()
    down = [float(text.split()[0]) for text in texts(browser, cells) if text != "-"]
    assert down == sorted(down, reverse=True)
    head.send_keys("\n")  # by keyboard
    up = [float(text.split()[0]) for text in texts(browser, cells) if text != "-"]
    assert up == sorted(up)
    assert shown(browser, "thead th")[place - 1].get_attribute("aria-sort") == "ascending"
    rows = len(texts(browser, "tbody tr"))
    search = shown(browser, "#search")[0]
    search.send_keys("qwen")
    assert len(texts(browser, "tbody tr")) == 2 < rows
    assert browser.current_url.endswith("#search=qwen")
    search.clear()
    search.send_keys("x\b")
    assert len(texts(browser, "tbody tr")) == rows
    columns = len(texts(browser, "thead th"))
    shown(browser, "#columns input")[0].click()
    assert len(texts(browser, "thead th")) == columns - 1


def test_a_link_to_a_filter_can_be_shared(browser: Any, folder: Path) -> None:
    page = folder / "site" / "samples" / "seed-0-vsr_zeroshot-spare-spare.html"
    open_page(browser, page, "#status=wrong&relation=left+of")
    found = browser.find_elements("css selector", "tr.row")
    visible = [row for row in found if row.is_displayed()]
    assert 0 < len(visible) < len(found)
    for row in visible:
        assert row.get_attribute("data-status") == "wrong"
        assert row.get_attribute("data-relation") == "left of"
    assert texts(browser, "#count") == [f"{len(visible)} of {len(found)}"]


def test_a_sample_can_be_opened_from_the_front(browser: Any, folder: Path) -> None:
    open_page(browser, folder / "site" / "index.html")
    shown(browser, "tbody a")[0].click()
    shown(browser, "section a")[0].click()
    shown(browser, "tr.row a")[3].click()
    assert browser.current_url.endswith("#s4")
    assert browser.execute_script("return document.querySelector(':target').id") == "s4"


def test_labels_are_kept_and_saved(browser: Any, folder: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, folder / "errors.html")
    ActionChains(browser).send_keys("jj3k1").perform()
    cards = shown(browser, ".card")
    note = cards[1].find_element("css selector", ".comment")
    note.send_keys('=1+1, "quoted"')
    open_page(browser, folder / "errors.html")
    kept = [select.get_attribute("value") for select in shown(browser, "select.label")]
    assert kept[:3] == ["wrong relation", "frame of reference", ""]
    shown(browser, "#save")[0].click()
    file = browser.downloads / "labels.csv"
    deadline = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 20
    assert [row["label"] for row in rows[:3]] == kept[:3]
    assert rows[1]["note"] == '\'=1+1, "quoted"'  # no formula
    assert {row["status"] for row in rows} == {"wrong"}


def test_without_scripts_everything_can_be_read(browser: Any, folder: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, folder / "errors.html")
        assert len(shown(browser, ".card")) == 20
        assert not shown(browser, "#search")
        open_page(browser, folder / "site" / "index.html")
        assert len(shown(browser, "tbody tr")) == 15
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("page", ["errors.html", "site/index.html", "site/runs/seed-0.html"])
def test_a_phone_scrolls_no_page_sideways(browser: Any, folder: Path, page: str) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        open_page(browser, folder / page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
