"""The report of 28 methods on 9 tasks in 3 seeds, with made-up scores: bytes, seconds, height.

    python tests/benchmarks/bench_report.py [FOLDER]        (a minute; the run stays in FOLDER)

The height in pixels needs Chromium and `pip install playwright`; without them it is left out.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stages.methods import registry  # noqa: E402
from tests.helpers.synthetic_run import SyntheticRun  # noqa: E402

TASKS = ["captions", "grounding", "text_captions", "icons", "book_covers"]
TASKS += ["photos", "blind_vqa", "people", "medicine"]
ROUTED = [f"dmole_variant_{k}" for k in range(1, 12)]  # with routers, so with pictures of routing
METHODS = ["dmole", *ROUTED, *(name for name in registry.names() if name != "dmole")]
WIDTHS = (1280, 390)


def heights(page: Path) -> str:
    """Of the page in windows of two widths, as text."""
    browser = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        return "not measured"
    with sync_playwright() as tools:
        shown = tools.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        found = []
        for width in WIDTHS:
            shown.set_viewport_size({"width": width, "height": 800})
            shown.goto(page.as_uri())
            height = shown.evaluate("document.documentElement.scrollHeight")
            found.append(f"{height:,} px at a width of {width}")
        return ", ".join(found)


def main(folder: Path) -> None:
    """Write the run, then compare and report on it."""
    run = SyntheticRun(folder, TASKS, METHODS, (0, 1, 2), blocks=(24, 24), n=60)
    run.config["variants"] = {
        name: {"method": "dmole", "set": {"expert.alpha": 20 + k}} for k, name in enumerate(ROUTED)
    }
    run.write()
    start, busy = time.perf_counter(), time.process_time()
    run.make()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    page = folder.resolve() / "report.html"
    print(f"{len(METHODS)} methods, {len(TASKS)} tasks, 3 seeds")
    took = f"compare and report {seconds:.1f} s, {busy:.1f} of them CPU"
    print(f"{page.stat().st_size / 1e6:.2f} MB, {took}")
    print(f"height: {heights(page)}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
