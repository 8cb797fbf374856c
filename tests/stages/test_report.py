"""The report: its numbers are the inputs', it needs nothing from outside, and it hides nothing."""

import base64
import hashlib
import itertools
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev
from xml.etree import ElementTree

import numpy as np
import pytest

from stages.core.base.artifacts import read_json, write_json, write_table
from stages.core.base.errors import InputError
from stages.core.evaluation.stream_metrics import continual_metrics
from tests.helpers.synthetic_run import SyntheticRun

PROJECT = Path(__file__).parents[2]
TASKS = ["caption", "choice", "box"]
SIGNS = list(itertools.product((1, -1), repeat=3))
HEAVY = ("--profiles", "--allocations", "--routers", "--transfers", "--experts", "--routes")
HEAVY += ("--rows", "--predictions")


class Page(HTMLParser):
    """Tables by data-name as rows of texts, their tooltips alike, and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tips: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict]] = []
        self.leads: dict[str, str] = {}
        self._table, self._cell, self._section, self._lead = None, False, None, False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        fields = dict(attributes)
        self.tags.append((tag, fields))
        if tag == "section":
            self._section = fields["id"]
        self._lead = tag == "p" and fields.get("class") == "lead"
        if tag == "table":
            self._table = fields.get("data-name")
            self.tables[self._table], self.tips[self._table] = [], []
        if tag == "tr":
            self.tables[self._table].append([])
            self.tips[self._table].append([])
        if tag in ("td", "th"):
            self._cell = True
            self.tables[self._table][-1].append("")
            self.tips[self._table][-1].append(fields.get("title", ""))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[self._table][-1][-1] += data
        elif self._lead:
            self.leads[self._section] = self.leads.get(self._section, "") + data


def make(run: SyntheticRun, *leave_out: str) -> str:
    run.make(*leave_out)
    return (run.root / "report.html").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """D-MoLE and two static methods, one seed; ``individual`` has the diagonal only."""
    methods = ("dmole", "seq_ft", "individual")
    return SyntheticRun(tmp_path_factory.mktemp("run"), TASKS, methods).write()


@pytest.fixture(scope="module")
def html(run):
    return make(run)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Three seeds of two methods."""
    return SyntheticRun(tmp_path_factory.mktemp("seeds"), TASKS, seeds=(0, 1, 2)).write()


@pytest.fixture(scope="module")
def seeds_page(seeds):
    return Page(make(seeds, *HEAVY))


def pictures(page: Page) -> list[str]:
    """What all pictures show, in words."""
    return [fields["aria-label"] for tag, fields in page.tags if tag == "svg"]


def by_name(rows: list[list[str]]) -> dict[str, list[str]]:
    return {row[0]: row for row in rows}


# --- numbers ---


@pytest.mark.parametrize("method", ["dmole", "seq_ft"])
def test_matrix_shows_every_score_and_its_interval(page, run, method):
    rows = page.tables[f"matrix:{method}"][1:]
    assert [row[0] for row in rows] == [
        "0 · pretrained backbone",
        "1 · caption",
        "2 · choice",
        "3 · box",
    ]
    for step, row in enumerate(rows):
        assert row[1:] == [f"{run.score(method, 0, step, i):.1f}" for i in range(3)]
        for i, tip in enumerate(page.tips[f"matrix:{method}"][1 + step][1:]):
            value = run.score(method, 0, step, i)
            assert f"seed 0: {value:.2f} ({value - 4:.2f} to {value + 4:.2f}), n 20" in tip


def test_cells_not_measured_are_dashes(page):
    rows = [row[1:] for row in page.tables["matrix:individual"][1:]]
    dashes = {(step, i) for step, row in enumerate(rows) for i, t in enumerate(row) if t == "–"}
    assert dashes == {(step, i) for step in range(4) for i in range(3) if step != i + 1}


def test_cells_are_marked_as_own_and_unseen(html):
    table = html.partition('data-name="matrix:dmole"')[2].partition("</table>")[0]
    marks = re.findall(r'<td class="(\w+) b\d+"', table)
    expected = [["unseen"] * 3, ["own", "unseen", "unseen"], ["seen", "own", "unseen"]]
    assert marks == sum([*expected, ["seen", "seen", "own"]], [])


def test_metrics_equal_the_formulas(page, run):
    head, *rows = page.tables["metrics"]
    assert len(head) == 10
    ends = {m: fmean(run.score(m, 0, 3, i) for i in range(3)) for m in ("dmole", "seq_ft")}
    order = sorted(ends, key=ends.get, reverse=True)
    assert [row[0] for row in rows] == [*order, "individual"]
    for method, row in zip(order, rows, strict=False):
        matrix = np.array([[run.score(method, 0, t, i) for i in range(3)] for t in range(4)])
        expected = continual_metrics(matrix, TASKS)
        for key, text in zip(head[1:], row[1:], strict=True):
            assert text == f"{expected[key]['value']:.2f}", key


def test_missing_metrics_name_their_cells(page, html):
    head, *rows = page.tables["metrics"]
    shown = dict(zip(head, rows[2], strict=True))
    assert shown["bwt"] == shown["avg"] == "–"
    assert page.tips["metrics"][3][head.index("bwt")] == "not measured: A[3,1], A[3,2]"
    # avg needs steps 1..3 of all tasks: nine cells less the diagonal's three
    assert "<dt>individual</dt><dd>Missing, as these cells were not measured: avg (A[1,2], " in html
    assert "A[1,2], A[1,3], A[2,1] and 3 more); last, bwt, bwt_n (A[3,1], A[3,2])" in html
    assert re.fullmatch(r"\d+\.\d\d", shown["mft"])


def test_every_metric_is_defined(html, page):
    for key in page.tables["metrics"][0][1:]:
        assert f"<dt>{key}</dt>" in html


def test_several_seeds_give_means_and_intervals(seeds_page, seeds):
    for step in range(4):
        values = [seeds.score("dmole", seed, step, 1) for seed in seeds.seeds]
        assert seeds_page.tables["matrix:dmole"][1 + step][2] == f"{fmean(values):.1f}"
    finals = [fmean(seeds.score("dmole", seed, 3, i) for i in range(3)) for seed in seeds.seeds]
    head = seeds_page.tables["metrics"][0]
    row = by_name(seeds_page.tables["metrics"])["dmole"]
    spread = 4.302653 * stdev(finals) / 3**0.5  # Student's t, two degrees of freedom
    assert row[head.index("last")] == f"{fmean(finals):.2f} ± {spread:.2f}"
    place = seeds_page.tables["metrics"].index(row)
    tip = seeds_page.tips["metrics"][place][head.index("last")]
    assert [f"seed {k}: {value:.2f}" in tip for k, value in enumerate(finals)] == [True] * 3


def test_methods_are_compared_pairwise(seeds_page, seeds):
    def last(method, seed):
        return [seeds.score(method, seed, 3, i) for i in range(3)]

    by_seed = [fmean(last("seq_ft", seed)) - fmean(last("dmole", seed)) for seed in seeds.seeds]
    by_task = [
        fmean(last("seq_ft", seed)[i] - last("dmole", seed)[i] for seed in seeds.seeds)
        for i in range(3)
    ]
    patterns = [fmean(s * d for s, d in zip(signs, by_task, strict=True)) for signs in SIGNS]
    p = fmean(abs(mean) >= abs(fmean(by_task)) - 1e-9 for mean in patterns)
    head, row = seeds_page.tables["differences"]
    place = head.index("Δ last")
    spread = 4.302653 * stdev(by_seed) / 3**0.5
    assert row[0] == "seq_ft"
    assert row[place : place + 2] == [f"{fmean(by_seed):+.2f} ± {spread:.2f}", f"{p:.3f}"]


def test_the_scores_by_task_are_those_at_the_end(page, run, seeds_page, seeds):
    final = [fmean(seeds.score("seq_ft", k, 3, i) for k in seeds.seeds) for i in range(3)]
    shown = by_name(seeds_page.tables["finals"])["seq_ft"]
    assert shown == ["seq_ft", *(f"{value:.1f}" for value in final)]
    learnt = [f"{run.score('individual', 0, i + 1, i):.1f}" for i in range(3)]
    assert by_name(page.tables["finals"])["individual"] == ["individual", *learnt]


def test_the_comparison_stands_in_a_markdown_file_too(seeds_page, seeds):
    text = (seeds.root / "comparison.md").read_text()
    for row in seeds_page.tables["comparison"][1:]:
        assert f"| {' | '.join(row)} |".replace("_", "\\_") in text
    assert "seeds 0, 1, 2" in text


def test_unparsed_answers_of_the_last_stage(page, seeds_page, html):
    # (step + i) % 4 of the fixture at step 3; the first task's kind has none
    assert page.tables["unparsed"][1] == ["dmole", "0 / 20", "0 / 20", "1 / 20"]
    # individual is measured at step i only
    assert page.tables["unparsed"][3] == ["individual", "0 / 20", "3 / 20", "1 / 20"]
    assert seeds_page.tables["unparsed"][1] == ["dmole", "0 / 60", "0 / 60", "3 / 60"]


def test_switches_and_variants(page):
    rows = {row[0]: row[1:3] for row in page.tables["switches"][1:]}
    assert rows == {"routing.second": ["parent", "rank"], "subset.min_samples": ["16", "64"]}
    assert page.tables["variants"][1] == ["dmole_alone", "dmole", "routing.second: none"]


def test_run_times_are_sums_over_jobs(page, run):
    seconds = [
        float(path.read_text().splitlines()[1].split()[0])
        for path in run.files["--benchmarks"]
        if "train_expert" in path.parts
    ]
    row = next(row for row in page.tables["runtimes"] if row[0] == "train_expert")
    assert row[1:3] == ["3", f"{sum(seconds) / 60:.3g} min"]
    assert row[5] == f"{1500 + max(seconds):.0f}"


def test_routing_table_counts_samples(page):
    row = page.tables["routing"][1]
    # last step: 3 tasks x 20; steps 1 and 2: (1 + 2) x 20 seen, (2 + 1) x 20 unseen
    assert (row[:3], row[6:8]) == (["dmole", "1", "60"], ["60", "60"])
    assert len(page.tables["routing"]) == 2  # static methods have no routing


def test_examples_show_the_image_once_and_every_step(page, html):
    images = [fields for tag, fields in page.tags if tag == "img"]
    assert {(fields["width"], fields["height"]) for fields in images} == {("200", "150")}
    cards = html.partition('id="examples"')[2].partition("</details>")[0].split('class="card"')[1:]
    assert len({re.search(r'src="([^"]*)"', card)[1] for card in cards}) == len(cards)
    assert "Is &lt;i&gt;caption" in cards[0] and "&lt;b&gt;True&lt;/b&gt;" in cards[0]
    steps = re.findall(r'<th scope="row">(\d)(?:–(\d))?</th>', cards[0].partition("</table>")[0])
    assert [int(first) for first, _ in steps] == [
        0, *(int(last or first) + 1 for first, last in steps[:-1])
    ]  # fmt: skip
    assert int(steps[-1][1] or steps[-1][0]) == 3


# --- the page as a whole ---


def test_all_sections_are_there(page):
    ids = [fields["id"] for tag, fields in page.tags if tag == "section"]
    links = [fields["href"] for tag, fields in page.tags if tag == "a"]
    assert ids[0] == "result" and ids[-1] == "run"
    assert links == [f"#{key}" for key in ids[1:]] and len(ids) == len(set(ids)) == 19
    assert [key for key, lead in page.leads.items() if lead.startswith("Absent")] == ["robust"]


def test_sections_without_inputs_say_so(tmp_path):
    run = SyntheticRun(tmp_path, TASKS, methods=("seq_ft",)).write()
    page = Page(make(run, *HEAVY))
    absent = {key for key, lead in page.leads.items() if lead.startswith("Absent")}
    assert absent == {
        "comparison",
        "examples",
        "parameters",
        "robust",
        "training",
        "sensitivity",
        "budgets",
        "evolution",
        "routing",
        "activation",
        "losses",
        "tree",
        "runtimes",
    }
    assert len(pictures(page)) == 3  # of the scores
    assert page.tables["matrix:seq_ft"][1][1] == f"{run.score('seq_ft', 0, 0, 0):.1f}"


def test_routes_of_static_methods_are_left_out(tmp_path):
    run = SyntheticRun(tmp_path, ["only"], methods=("seq_ft",)).write()
    rows = [
        {"sample_id": "s", "step": 1, "experts": ["only"]}
        | dict.fromkeys(("best_task", "ratio", "n_under"))
    ]
    path = run.path("--routes", "seed0/seq_ft/routes/only.parquet")
    write_table("routes", path, rows, task="only", method="seq_ft")
    run.make()
    leads = Page((tmp_path / "report.html").read_text()).leads
    assert leads["routing"].startswith("Absent") and leads["activation"].startswith("Absent")


def test_nothing_is_loaded_from_outside(html, page):
    for _, fields in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (fields.get(name) or "#").startswith(("#", "data:"))
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed"}
    addresses = set(re.findall(r"https?://[^\"'<\s]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}  # in the script: the name of a format
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", html)


def test_only_the_page_s_own_script_may_run(html):
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert len(re.findall("<script", html)) == 1


def test_every_picture_is_described(page):
    described = pictures(page)
    assert len(described) == len(set(described)) >= 8 and all(described)


def test_the_main_pictures_are_files_with_captions_in_snakemakes_report(run, html):
    figures = {file.stem: file.read_text() for file in (run.root / "figures").iterdir()}
    captions = (PROJECT / "workflow/report/figure.rst").read_text()
    assert set(figures) == set(re.findall(r'^  "(\w+)": "', captions, re.M))
    for svg in figures.values():
        assert ElementTree.fromstring(svg).get("aria-label") in pictures(Page(html))
        assert not re.search(r"url\(|@import|href", svg)


def test_equal_inputs_give_equal_bytes(run, html):
    """Also in another process with another hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": str(PROJECT)}
    flags = ["--runs", "runs.json", "--scores", "scores.parquet", "--metrics", "metrics.json"]
    flags += ["--comparison", "comparison.json", "--separability", "separability.json"]
    command = [sys.executable, "-m", "stages.report", *flags]
    run.sheet()
    subprocess.run([*command, "--out", "again.html"], check=True, cwd=run.root, env=environment)
    assert (run.root / "again.html").read_text() == html


def test_names_are_escaped_everywhere(tmp_path):
    hostile = '"><img src=x onerror=alert(1)>$^{&'
    run = SyntheticRun(tmp_path, ["plain", hostile]).write()
    html = make(run)
    page = Page(html)
    assert "<img src=x" not in html and "&gt;&lt;img src=x" in html
    assert page.tables["unparsed"][0] == ["Method", "plain", hostile]
    assert not any(name.startswith("on") for _, fields in page.tags for name in fields)
    images = [fields for tag, fields in page.tags if tag == "img"]
    assert images and all(fields["src"].startswith("data:image/jpeg;base64,") for fields in images)
    assert not {tag for tag, _ in page.tags} & {"i", "b"}  # of questions and answers


def test_help_needs_no_heavy_module():
    code = "import sys, stages.report; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=PROJECT
    )
    assert not {"torch", "matplotlib", "sklearn", "scipy", "jinja2"} & set(shown.stdout.split())


def test_other_wordings_are_shown_where_they_were_measured(tmp_path):
    """D-MoLE under two seeds with shares and scores, sequential fine-tuning with scores alone."""
    run = SyntheticRun(tmp_path, TASKS, methods=("dmole", "seq_ft"), seeds=(0, 1)).write()
    for seed, own in ((0, 0.875), (1, 0.625)):
        shares = {"own_first": own, "rejected": 1 - own, "other_first": 0.0}
        scores = {"score_routed": 40 + seed, "score_own": 50.0, "score_backbone": 10.0}
        entry = {"kind": "hint_dropped", "n": 8, **shares, **scores}
        overall = {**entry, "task": None, "n": 24, "auroc": 0.75, "unknown_rejected": None}
        content = {"samples": 8, "wordings": [{**entry, "task": "box"}, overall]}
        write_json("robust", tmp_path / f"seed{seed}/dmole/robust.json", content)
    entry = {"kind": "hint_dropped", "task": None, "n": 24, "score_routed": 33.0}
    content = {"samples": 8, "wordings": [entry, entry | {"task": "box", "score_routed": 31.0}]}
    write_json("robust", tmp_path / "seed0/seq_ft/robust.json", content)
    tables = Page(make(run, *HEAVY)).tables
    shown = ["75.0", "0.0", "25.0"]
    assert tables["robust"][1:] == [["dmole", "hint dropped", "2", "48", *shown, "0.7500", "–"]]
    assert tables["robust-scores"] == [
        ["Who answers", "hint dropped"],
        ["dmole, as routed", "40.5"],
        ["dmole, own expert", "50.0"],
        ["seq_ft", "33.0"],
        ["Backbone alone", "10.0"],
    ]
    assert tables["robust-tasks"][3] == ["dmole", "box", "75.0"]
    assert tables["robust-task-scores"][9] == ["seq_ft", "box", "31.0"]
    assert tables["robust-task-scores"][8] == ["seq_ft", "choice", "–"]


def general(run: str, seed: int, accuracy: float, **other: object) -> dict:
    tasks = [{"task": "pope", "version": "2.0", "n": 500, "metrics": {"accuracy": accuracy}}]
    made = {"run": run, "method": run, "seed": seed, "step": 3, "limit": None, "tasks": tasks}
    return made | {"lmms_eval": "0.3.0", "provenance": {}} | other


def test_general_benchmarks_stand_beside_the_untouched_backbone(tmp_path):
    methods = ("dmole", "zero_shot", "seq_ft")
    run = SyntheticRun(tmp_path, TASKS, methods=methods, seeds=(0, 1)).write()
    assert "general" not in Page(make(run, *HEAVY)).leads
    fewer = [{"task": "pope", "version": "2.0", "n": 50, "metrics": {"accuracy": 0.5}}]
    for content in (
        general("dmole", 0, 0.8125),
        general("dmole", 1, 0.6875),
        general("zero_shot", 0, 0.875),
        general("seq_ft", 0, 0.0, tasks=fewer, step=2),
    ):
        place = f"seed{content['seed']}/{content['run']}/general.json"
        write_json("general", tmp_path / place, content)
    html = make(run, *HEAVY)
    assert Page(html).tables["general"] == [
        ["Method", "Seeds", "popeaccuracyn 500", "popeaccuracyn 50"],
        ["Untouched backbone", "1", "0.875", "–"],
        ["dmole", "2", "0.75 (-0.125)", "–"],  # (0.8125 + 0.6875) / 2
        ["seq_ft, after 2 tasks", "1", "–", "0.5"],  # no backbone on 50 samples
    ]
    assert "lmms-eval 0.3.0; versions: pope 2.0; n: samples" in html


# --- bad input ---


def test_a_file_of_another_task(tmp_path):
    run = SyntheticRun(tmp_path, ["a", "b"]).write()
    first, second = run.files["--profiles"]
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match="profiles/a.parquet: of task 'b', expected 'a'"):
        run.make(*(flag for flag in HEAVY if flag != "--profiles"))


def test_benchmark_that_is_none(tmp_path):
    run = SyntheticRun(tmp_path, ["a"]).write()
    run.files["--benchmarks"][0].write_text("s\tmax_rss\nsoon\t1\n")
    with pytest.raises(InputError, match="a.tsv: expected numbers in the columns 's'"):
        run.make()


def test_nothing_is_written_on_error(run, tmp_path):
    out = tmp_path / "new.html"
    with pytest.raises(InputError, match="tasks are not those"):
        run.tasks = TASKS[::-1]
        try:
            run.make(*HEAVY, out=out)
        finally:
            run.tasks = TASKS
            run.sheet()
    assert not list(tmp_path.iterdir())


def test_results_that_rest_on_edits_are_marked(tmp_path, page):
    run = SyntheticRun(tmp_path, TASKS, methods=("dmole",)).write()
    edited, taken = run.files["--transfers"][1], run.files["--routers"][2]
    edited.write_text(re.sub(r'"parent": "\w+"', '"parent": null', edited.read_text()))
    content = read_json("router", taken) | {"provenance": {"stage": "take_override"}}
    write_json("router", taken, content)
    marked = Page(make(run))
    assert marked.tables["edits"] == [
        ["Run", "Seed", "Task", "Artefact", "How"],
        ["dmole", "0", "box", "router", "from overrides"],
        ["dmole", "0", "choice", "transfer", "edited in place"],
    ]
    assert [row[0] for row in marked.tables["metrics"]] == ["Method", "dmole †"]
    assert marked.tips["metrics"][1][0] == "rests on edits of box, choice"
    assert "edits" not in page.tables
    assert not any("†" in row[0] for row in page.tables["metrics"])
