"""Serve a local page that asks a finished model: image, question, answer, who gave it and why.

Reads   the results of a run (or a folder of `cmit export`) and its backbone
Writes  nothing; uploaded images are deleted when it ends

    cmit serve results/demo                        # http://127.0.0.1:7860, Ctrl-C ends it
    cmit serve results/demo --method seq_ft --port 8000

It needs Gradio: pip install --no-deps -r envs/requirements-serve.txt. The page loads nothing from
elsewhere and sends nothing elsewhere. From a cluster's node: ssh -L 7860:127.0.0.1:7860 NODE.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import cli
from stages.core.base.config import CLONE
from stages.core.base.errors import InputError
from stages.tools.ask import why

if TYPE_CHECKING:
    from stages.core.model.continual import ContinualModel
    from stages.core.model.source import Source

SHOWN = 2.0  # times the threshold: the longest bar
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'"
)
"""What the browser may load: this server's own files."""
STYLE = """
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .3rem .8rem; }
.bars .track { position: relative; background: var(--background-fill-secondary); }
.bars .bar { height: 100%; background: var(--neutral-400); }
.bars .known .bar { background: var(--primary-600); }
.bars .track::after { content: ""; position: absolute; left: 50%; top: 0; bottom: 0;
  border-left: 2px solid var(--body-text-color); }
"""


def bars(ratios: Mapping[str, float]) -> str:
    """Loss / threshold of each task as HTML; the threshold is in the middle of each track."""
    if not ratios:
        return "<p>No router was asked.</p>"
    rows = []
    for task, ratio in sorted(ratios.items(), key=lambda item: item[1]):
        known = " known" if ratio <= 1 else ""
        width = 100 * min(ratio, SHOWN) / SHOWN
        rows.append(
            f"<span>{escape(task)}</span>"
            f'<div class="track{known}"><div class="bar" style="width:{width:.1f}%"></div></div>'
            f"<span>{ratio:.3g}{'' if ratio <= SHOWN else ' →'}</span>"
        )
    legend = "Loss / threshold of each task's router; the line is the threshold."
    return f'<p>{legend}</p><div class="bars">{"".join(rows)}</div>'


def reply(
    model: ContinualModel, image: str | None, question: str, step: int, task: str | None
) -> tuple[str, str, str]:
    """The answer after a step, a sentence on who gave it, and the bars.

    Raises:
        InputError: as :meth:`ContinualModel.ask`, or the run has not reached the step.
    """
    answer = model.at(step).ask(image or "", question, task or None)
    return answer.text, why(model, answer), bars(answer.ratios)


def reached(source: Source) -> int:
    """The last step that can be asked.

    Raises:
        InputError: not even the first one; says what is missing.
    """
    for step in range(len(source.tasks), 0, -1):
        try:
            source.check(step)
        except InputError:
            continue
        return step
    source.check(1)
    return 0


def page(model: ContinualModel) -> Any:
    """The page as ``gradio.Blocks``."""
    import gradio as gr

    source = model.source

    def answered(*given: Any) -> tuple[str, str, str]:
        try:
            return reply(model, *given)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def moved(image: str | None, question: str, *given: Any) -> tuple[str, str, str]:
        asked = image and question and question.strip()
        return answered(image, question, *given) if asked else ("", "", "")

    with gr.Blocks(title=f"{source.run}, seed {source.seed}", analytics_enabled=False) as made:
        gr.Markdown(f"### {source.run}, seed {source.seed}: {' → '.join(source.tasks)}")
        with gr.Row():
            with gr.Column():
                image = gr.Image(
                    type="filepath", image_mode=None, label="Image", height=280,
                    sources=["upload", "clipboard"],
                )  # fmt: skip
                question = gr.Textbox(label="Question", elem_id="question")
                task = gr.Dropdown(
                    [("not told", ""), *((name, name) for name in source.tasks)],
                    value=source.tasks[0] if source.method.knows_task else "",
                    label="Task",
                )
                step = gr.Slider(
                    0, len(source.tasks), model.step, step=1, elem_id="step",
                    label="After so many tasks (0: the untouched backbone)",
                )  # fmt: skip
                ask = gr.Button("Ask", variant="primary", elem_id="ask")
            with gr.Column():
                answer = gr.Textbox(label="Answer", elem_id="answer", interactive=False)
                who = gr.Textbox(label="Who, and why", elem_id="who", interactive=False)
                losses = gr.HTML(elem_id="losses")
        places = {
            "inputs": [image, question, step, task],
            "outputs": [answer, who, losses],
            "concurrency_id": "model",
            "api_visibility": "private",
        }
        gr.on([ask.click, question.submit], answered, **places)
        step.release(moved, **places)
    return made


def listening(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers.

    Raises:
        InputError: the address cannot be used.
    """
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{host}:{port}: {getattr(error, 'strerror', None) or error}; choose another --port."
        ) from None


def serve(model: ContinualModel, waiting: socket.socket) -> None:
    """Answer browsers until the process is told to stop."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI, Request, Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def nothing_from_elsewhere(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    app = gr.mount_gradio_app(
        app, page(model), path="/", theme=theme, css=STYLE, footer_links=[], run_history=False,
        ssr_mode=False, max_file_size="50mb",
    )  # fmt: skip
    host, port = waiting.getsockname()[:2]
    print(f"http://{host}:{port} answers; Ctrl-C ends it.", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[waiting])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run, or an export")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--backbone", help="its folder, where the run's is no longer there")
    parser.add_argument("--port", type=int, default=7860, help="default 7860; 0 takes a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="default 127.0.0.1: nobody but this machine"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"cmit serve needs Gradio ({error}): "
            f"pip install --no-deps -r {CLONE / 'envs/requirements-serve.txt'}"
        ) from None

    from stages.core.model.continual import ContinualModel
    from stages.core.model.exported import find_source

    source = find_source(args.run, args.method, args.seed)
    step = reached(source)
    with listening(args.host, args.port) as waiting, tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        serve(ContinualModel.of(source, step, backbone=args.backbone), waiting)


if __name__ == "__main__":
    cli.run(main)
