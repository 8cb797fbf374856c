"""The report in a real browser; skipped without Chromium and the package playwright."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.synthetic_run import SyntheticRun

api = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")
TABLE = 'table[data-name="comparison"]'


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    methods = ("dmole", "seq_ft", "individual")
    run = SyntheticRun(tmp_path_factory.mktemp("run"), ["a", "b", "c"], methods).write()
    run.make()
    return run.root / "report.html"


@pytest.fixture
def page(browser, file):
    shown = browser.new_page(viewport={"width": 390, "height": 800})
    shown.complaints = []
    shown.on("console", lambda message: shown.complaints.append(message.text))
    shown.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.on("request", lambda request: shown.complaints.append(request.url))
    shown.goto(file.as_uri())
    yield shown
    shown.close()


def column(page, number: int) -> list[str]:
    cells = f"rows => rows.map(row => row.cells[{number}].textContent)"
    return page.eval_on_selector_all(f"{TABLE} tbody tr", cells)


def test_nothing_is_asked_for_and_nothing_sticks_out(page, file) -> None:
    assert page.complaints == [file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_tables_are_sorted_by_a_click(page) -> None:
    head = page.locator(f"{TABLE} thead th")
    numbers = sorted(float(text) for text in column(page, 1) if text != "–")
    head.nth(1).click()
    assert column(page, 1) == [*(f"{n:.2f}" for n in reversed(numbers)), "–"]
    head.nth(1).click()
    assert column(page, 1) == [*(f"{n:.2f}" for n in numbers), "–"]
    head.nth(0).press("Enter")
    assert column(page, 0) == ["dmole", "individual", "seq_ft"]
    assert len(page.complaints) == 1


def test_tables_and_pictures_are_saved(page) -> None:
    def saved(section: str, label: str) -> str:
        with page.expect_download() as download:
            page.locator(f"#{section} .save button", has_text=label).first.click()
        return Path(download.value.path()).read_text(encoding="utf-8")

    names = [line.split(",")[0] for line in saved("comparison", "CSV").splitlines()]
    assert names == ['"Method"', *(f'"{name}"' for name in column(page, 0))]
    latex = saved("comparison", "LaTeX")
    assert latex.startswith("\\begin{tabular}{lrrrr}") and "seq\\_ft & " in latex
    assert "\\textbf{" in latex
    svg = saved("result", "SVG")
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg and "--accent:" in svg
