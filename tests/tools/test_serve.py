"""cmit serve: what the page shows, and the page itself in a browser where there is one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.model.continual import ContinualModel
from stages.core.model.exported import find_source
from stages.tools import cmit, serve
from tests.helpers.finished_run import TASKS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def asked(small_run, tmp_path_factory) -> tuple[str, str]:
    """File of an image and question of a test row."""
    file = small_run / f"data/{TASKS[1]}/test.parquet"
    row = artifacts.read_table("data", file).to_pylist()[0]
    image = tmp_path_factory.mktemp("images") / "one.png"
    image.write_bytes(row["images"][0]["bytes"])
    return str(image), row["turns"][0]["question"]


def test_bars_have_the_threshold_in_the_middle() -> None:
    shown = serve.bars({"far": 7.0, "<b>": 0.5, "edge": 1.0})
    assert [part.split("%")[0] for part in shown.split("width:")[1:]] == ["25.0", "50.0", "100.0"]
    assert shown.count("track known") == 2
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert "<span>7 →</span>" in shown
    assert serve.bars({}) == "<p>No router was asked.</p>"


def test_a_reply_is_the_answer_of_the_step(small_run, asked) -> None:
    model = ContinualModel.load(small_run)
    for step in (0, 2):
        want = ContinualModel.load(small_run, step).ask(*asked)
        text, who, losses = serve.reply(model, *asked, step, "")
        assert text == want.text
        assert all(name in who for name in want.experts) and ("backbone" in who) == (step == 0)
        assert losses == serve.bars(want.ratios)
    with pytest.raises(InputError, match="no image"):
        serve.reply(model, None, "What?", 2, None)


def test_a_run_that_goes_on_can_be_asked_as_far_as_it_is(small_run, tmp_path) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    assert serve.reached(find_source(root)) == 3
    shutil.rmtree(root / f"seed0/dmole/experts/{TASKS[1]}")
    assert serve.reached(find_source(root)) == 1
    shutil.rmtree(root / f"seed0/dmole/experts/{TASKS[0]}")
    with pytest.raises(InputError, match=f"expert of {TASKS[0]} is missing"):
        serve.reached(find_source(root))


def test_without_gradio_one_sentence_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as ended:
        cmit.main(["serve", "nowhere"])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    (file,) = [word for word in error.split() if word.endswith("requirements-serve.txt")]
    assert "gradio==" in Path(file).read_text()


def test_an_address_that_cannot_be_used() -> None:
    with serve.listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: .*choose another --port"):
            serve.listening("127.0.0.1", port)
    with pytest.raises(InputError, match="choose another --port"):
        serve.listening("127.0.0.1", 70000)


@pytest.fixture
def browser():
    """A page of a headless browser."""
    pytest.importorskip("gradio", reason="Gradio is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened.new_page()
        opened.close()


@pytest.fixture
def address(small_run):
    """Where a served run answers."""
    command = [sys.executable, "-m", "stages.tools.serve", str(small_run), "--port", "0"]
    env = os.environ | {"PYTHONPATH": str(Path(serve.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        line = next((line for line in server.stdout if "answers" in line), "")
        yield line.split()[0]
        server.terminate()


def test_the_page_in_a_browser(browser, address, small_run, asked) -> None:
    loaded: list[str] = []
    browser.on("request", lambda request: loaded.append(request.url))
    browser.goto(address)
    browser.set_input_files("input[type=file]", asked[0])
    browser.wait_for_selector("[data-testid=detailed-image], img[src*='one.png']")
    browser.fill("#question textarea", asked[1])
    for step in (3, 0):
        want = ContinualModel.load(small_run, step).ask(*asked)
        browser.fill("#step input[type=number]", str(step))
        browser.locator("#step input[type=number]").blur()
        browser.click("#ask")
        told = " beside it" if want.experts else "untouched backbone"
        browser.wait_for_function(
            f"document.querySelector('#who textarea').value.includes('{told}')"
        )
        assert browser.input_value("#answer textarea") == want.text
        assert browser.locator("#losses .track").count() == step
    browser.fill("#question textarea", " ")
    browser.click("#ask")
    browser.wait_for_selector("text=it is empty; ask something about the image")
    assert len(loaded) > 5
    assert [url for url in loaded if not url.startswith((address, "data:", "blob:"))] == []


def test_only_this_machine_is_answered(monkeypatch) -> None:
    assert serve._parse(["run"]).host == "127.0.0.1"
    with serve.listening("127.0.0.1", 0) as waiting:
        assert waiting.family == socket.AF_INET and waiting.getsockname()[0] == "127.0.0.1"
