"""The report page of real runs: what is in it, and how a real browser shows it."""

import json
import re
import shutil

import pytest
from browser import BROWSER, overflowing_widths, start_browser
from click.testing import CliRunner
from filelock import FileLock
from rows import summary_rows, write_jsonl

from llmkit import cli
from llmkit.reports.html import follow, report_page
from llmkit.reports.html_data import (
    page_data,
)
from llmkit.runs.folder import lock_path

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> & \u2028"
SMALLEST_TEXT = 11  # pixels

# What a reader would do, and what came of it, as JSON in the page's title.
ACTIONS = """
<script>
setTimeout(() => {
const found = { errors: window.errors };
const all = (selector) => [...document.querySelectorAll(selector)];
found.headings = all("h2").map((e) => e.textContent);
found.headline = document.querySelector(".headline").textContent;
found.curves = all("polyline").length;
found.points = all("circle.point").length;
found.tokens = all("span.token").length;
found.tables = all("table").length;
found.samples = all("table.samples").map((e) => [...e.rows].map((row) => row.cells.length));
found.hostile = all("main img, main script").length;
const looks = (e) => getComputedStyle(e).stroke + getComputedStyle(e).strokeDasharray;
found.looks = all(".charts figure").map((figure) => {
  const curves = [...figure.querySelectorAll("polyline")];
  return new Set(curves.map(looks)).size === curves.length;
});
const scaled = (e) => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a;
found.smallest = Math.min(...all("figure text").map(scaled));
const right = (e) => e.getBoundingClientRect().right;
found.outside = all("figure svg").filter((e) => right(e) > innerWidth).length;
const overflows = (e) => e.scrollWidth > e.clientWidth + 1;
found.unhinted = all(".scroll").filter((e) => overflows(e) &&
  (e.tabIndex !== 0 || getComputedStyle(e.nextElementSibling).display === "none")).length;
const sort = all("th button").find((e) => e.textContent === "rougeL" &&
  e.closest("table").querySelectorAll("tbody tr").length > 2);
const column = () => [...sort.closest("table").querySelectorAll("tbody tr")].map((row) =>
  parseFloat(row.children[1].firstChild.textContent));
sort.click(); found.falling = column();
sort.click(); found.rising = column();
const theme = document.getElementById("theme");
const ground = () => getComputedStyle(document.body).backgroundColor;
theme.click(); found.light = ground();
theme.click(); found.dark = ground();
const curve = document.querySelector(".charts svg");
curve.dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
found.hover = curve.closest("figure").querySelector("output").textContent;
const marks = (said, references) => {
  const box = document.createElement("div");
  box.append(...pair(said, references));
  return [...box.querySelectorAll("ins, del")].map((e) => e.textContent);
};
found.near = marks("the ferry left the port", ["no such thing", "the ferry reached the port"]);
found.wrong = marks("a goat sleeps", ["the ferry reached the port at noon"]);
found.silent = [marks("", [""]), marks("a goat", [])].flat();
found.requests = performance.getEntriesByType("resource").length;
found.wide = document.documentElement.scrollWidth > window.innerWidth;
document.title = JSON.stringify(found);
}, 500);
</script>
"""
CATCH = (
    "<script>window.errors = [];"
    "window.onerror = (message) => errors.push(message);"
    "document.addEventListener('securitypolicyviolation', (e) => errors.push(e.blockedURI));"
    "</script>"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_gpt2):
    """Two short runs that differ in seed and learning rate, with a text that would like to be a
    program."""
    folder = tmp_path_factory.mktemp("runs")
    rows = summary_rows(120)
    for row in rows:
        row["document"] += HOSTILE
    write_jsonl(folder / "rows.jsonl", rows)
    for name, *differing in (("one",), ("two", "seed=1", "train.learning_rate=1e-3")):
        arguments = [
            "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={folder / 'rows.jsonl'}",
            "data.max_length=120", "train.epochs=null", "train.max_steps=4", "train.log_every=1",
            "train.global_batch_size=4", "evaluation.every=2", "evaluation.samples=2",
            "generation.max_new_tokens=5", *differing, "--run-dir", str(folder / name),
        ]  # fmt: skip
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 0, result.output
    return [folder / "one", folder / "two"]


def data_of(page: str) -> dict:
    """The data in a page."""
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def copy_of(run, folder, without: tuple[str, ...] = ()):
    """A copy of a run without some of its files, for a test to change."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("model", "checkpoints", *without))
    return folder


def visit(page: str, folder, width: int) -> dict:
    """Open the page in a window of that width and act as a reader would.

    Headless Chromium has no narrower windows than 500 pixels, so the page is shown in a frame.
    """
    path, outer = folder / "page.html", folder / "outer.html"
    head, body = page.split("<header>")
    path.write_text(f"{head}{CATCH}<header>{body.replace('</html>', f'{ACTIONS}</html>')}", "utf-8")
    outer.write_text(
        f'<!doctype html><title></title><iframe src="page.html" width="{width}" height="900">'
        "</iframe><script>setInterval(() => { document.title = frames[0].document.title }, 100)"
        "</script>"
    )
    arguments = ("--allow-file-access-from-files", "--virtual-time-budget=3000")
    size = "--window-size=1400,1000"
    with start_browser(*arguments, size, "--dump-dom", outer.as_uri()) as browser:
        output, _ = browser.communicate(timeout=120)
    title = re.search(r"<title>(.*?)</title>", output, re.DOTALL).group(1)
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@needs_browser
@pytest.mark.parametrize(("count", "width"), [(2, 1200), (1, 360)])
def test_a_browser_shows_the_whole_page_without_any_request(runs, tmp_path, count, width):
    found = visit(report_page(runs[:count]), tmp_path, width)
    assert found["errors"] == []
    assert found["requests"] == 0
    assert found["hostile"] == 0
    sections = ("Scores", "Curves", "Samples", "Predictions", "All predictions", "Scores by group")
    for expected in (*sections, "Data", "Settings"):
        assert expected in " ".join(found["headings"])
    assert found["headline"].startswith("ROUGE-L ")
    assert found["curves"] >= 6 * count
    assert all(found["looks"]), "two curves of a figure look alike"
    assert found["smallest"] >= SMALLEST_TEXT
    assert found["outside"] == 0
    assert found["unhinted"] == 0
    assert found["tables"] >= 3
    assert found["samples"] == [[4, 4, 4]] * count, "prompt, expected text and two validations"
    assert found["points"] >= count
    assert found["tokens"] >= 10
    assert found["falling"] == sorted(found["falling"], reverse=True)
    assert found["rising"] == sorted(found["rising"])
    assert len(set(found["rising"])) > 1
    assert found["light"] != found["dark"]
    assert found["hover"].startswith("step 1")
    assert found["near"] == ["left", "reached"]
    assert found["wrong"] == found["silent"] == []
    assert not found["wide"], "the page scrolls sideways"


@needs_browser
def test_the_page_never_scrolls_sideways(runs, tmp_path):
    """Also if names, prompts, references, predictions and samples are words without a break."""
    names, word = ("one", "two"), "x" * 400
    unbroken = [copy_of(run, tmp_path / (name * 40)) for run, name in zip(runs, names, strict=True)]
    for run in unbroken:
        for name in ("predictions.jsonl", "samples.jsonl"):
            rows = [json.loads(line) for line in (run / name).open()]
            assert all({"prompt", "references", "prediction"} <= row.keys() for row in rows)
            texts = {"prompt": word, "references": [word], "prediction": word}
            write_jsonl(run / name, [{**row, **texts} for row in rows])
    pages = [tmp_path / f"{name}.html" for name in names]
    for count, page in enumerate(pages, 1):
        page.write_text(report_page(unbroken[:count]), "utf-8")
        assert data_of(page.read_text("utf-8"))["runs"][0]["samples"]["rows"]
    assert overflowing_widths(*pages) == []


def test_the_page_stands_alone_and_is_small(runs):
    page = (runs[0] / "report.html").read_text("utf-8")
    assert len(page.encode()) < 2_000_000
    assert not re.search(r"(src|href)\s*=|@import|url\(", page.split('id="data"')[0])
    assert page.count("<script") == 2
    assert "lead-3" in page


def test_the_verdict_of_a_run_is_on_its_page_its_card_and_the_terminal(runs, llmkit, tmp_path):
    (run,) = data_of(report_page(runs[:1]))["runs"]
    assert re.match(
        r"ROUGE-L [\d.]+, ([+-][\d.]+ over|-[\d.]+ against|the same as) the untuned model, p ",
        run["verdict"],
    )
    assert run["verdict"] in (runs[0] / "model" / "README.md").read_text("utf-8")
    evaluated = llmkit("evaluate", runs[0])
    assert run["verdict"] in evaluated.stdout.replace("\n", " ")


def test_shared_baselines_are_shown_once_and_differing_settings_are_named(runs):
    data = page_data(runs)
    assert data["differing"] == {"seed": [0, 1], "train.learning_rate": [
        data["runs"][0]["recipe"]["train.learning_rate"], 1e-3]}  # fmt: skip
    labels = [run["label"] for run in data["runs"]]
    assert labels[1] == "seed=1, learning_rate=0.001"
    (table,) = data["tables"]
    of_table = [entry["label"] for entry in table["entries"]]
    assert of_table[:2] == labels
    assert of_table.count("untuned") == of_table.count("lead-3") == 1
    for run, entry in zip(data["runs"], table["entries"], strict=False):
        assert entry["scores"] == run["scores"]["fine-tuned"]


def test_baselines_of_one_name_and_different_scores_are_told_apart(runs, tmp_path):
    other = copy_of(runs[1], tmp_path / "two")
    results = json.loads((other / "metrics.json").read_text())
    results["scores"]["untuned"]["rougeL"] += 1
    (other / "metrics.json").write_text(json.dumps(results))
    (table,) = page_data([runs[0], other])["tables"]
    labels = [entry["label"] for entry in table["entries"]]
    assert "untuned (seed=1, learning_rate=0.001)" in labels
    assert labels.count("lead-3") == 1


@needs_browser
def test_no_run_is_the_best_of_runs_that_were_scored_on_different_rows(runs, tmp_path):
    other = copy_of(runs[1], tmp_path / "two")
    assert page_data([runs[0], other])["same_rows"]
    lines = (other / "predictions.jsonl").read_text("utf-8").replace('"id": "', '"id": "other-')
    (other / "predictions.jsonl").write_text(lines, "utf-8")
    assert not page_data([runs[0], other])["same_rows"]
    found = visit(report_page([runs[0], other]), tmp_path, 1200)
    assert found["headline"].startswith("The runs were scored on different test rows")


def test_a_run_is_shown_as_stopped_or_as_training(runs, tmp_path):
    stopped = copy_of(runs[0], tmp_path / "run", without=("metrics.json", "predictions.jsonl"))
    (data,) = page_data([stopped])["runs"]
    assert (data["state"], data["progress"]) == ("stopped", "step 4 of 4")
    assert re.fullmatch(
        r"ROUGE-L [\d.]+ on the validation rows so far, at step \d", data["verdict"]
    )
    with FileLock(lock_path(stopped)):
        assert page_data([stopped])["runs"][0]["state"] == "training"
    (stopped / "metrics.jsonl").unlink()
    (data,) = page_data([stopped])["runs"]
    assert (data["progress"], data["verdict"]) == ("step 0 of 4", "no scores yet")


def test_a_run_of_another_version_is_shown_and_its_version_named(runs, tmp_path):
    old = copy_of(runs[0], tmp_path / "run")
    for name, gone in (
        (
            "metrics.json",
            (
                "version",
                "main",
                "higher_is_better",
                "differences",
                "intervals",
                "signature",
                "metric",
                "groups",
            ),
        ),
        ("run.json", ("started", "num_steps", "findings")),
    ):
        content = json.loads((old / name).read_text())
        content = {key: value for key, value in content.items() if key not in gone}
        if name == "run.json":
            content["libraries"]["llmkit"] = "0.0.1"
        (old / name).write_text(json.dumps(content))
    with (old / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": NaN, "learning_rate": 0.1, "grad_norm": Infinity}\n')
    with (old / "recipe.yaml").open("a") as file:
        file.write("setting_of_another_version: 1\n")
    page = report_page([old])
    assert not re.search(r"\b(NaN|Infinity)\b", page.split('id="data">')[1].split("</script>")[0])
    (data,) = data_of(page)["runs"]
    assert data["version"] == "0.0.1"
    assert re.fullmatch(r"ROUGE-L [\d.]+(, worse than .*)?", data["verdict"])
    assert data["recipe"]["setting_of_another_version"] == 1
    assert page_data(runs)["runs"][0]["version"] is None


@pytest.mark.parametrize(
    ("recorded", "metric", "best_is_highest"),
    [
        ({"metric": "rougeL", "higher_is_better": True}, "rougeL", True),
        ({"metric": "new_score", "higher_is_better": False}, "new_score", False),
        ({"metric": "bertscore", "higher_is_better": True}, "bertscore", True),
        ({}, "bertscore", True),  # of an earlier release
        ({}, "loss", False),
    ],
)
def test_predictions_are_ranked_by_the_recorded_direction(
    runs, tmp_path, recorded, metric, best_is_highest
):
    run = copy_of(runs[0], tmp_path / "run")
    results = json.loads((run / "metrics.json").read_text())
    del results["metric"], results["higher_is_better"]
    (run / "metrics.json").write_text(json.dumps({**results, **recorded}))
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"\bmetric: \w+", f"metric: {metric}", recipe))
    rows = [json.loads(line) for line in (run / "predictions.jsonl").open()]
    rows = [json.dumps({**row, "score": index}) + "\n" for index, row in enumerate(rows)]
    (run / "predictions.jsonl").write_text("".join(rows))
    (data,) = page_data([run])["runs"]
    assert (data["metric"], data["higher_is_better"]) == (metric, best_is_highest)
    ranked = [row["score"] for row in data["predictions"]["best"]]
    assert ranked == sorted(ranked, reverse=best_is_highest)
    assert data["model"] == data["recipe"]["model.name"]


def test_a_run_is_followed_until_it_has_finished(llmkit, runs, tmp_path):
    unfinished = copy_of(runs[0], tmp_path / "run", without=("metrics.json", "predictions.jsonl"))
    log = unfinished / "metrics.jsonl"
    log.write_text(log.read_text("utf-8") + '{"step": 5, "lo', "utf-8")  # being written
    output = tmp_path / "page.html"

    def is_finished_and_reloads() -> tuple[bool, bool]:
        data = data_of(output.read_text("utf-8"))
        return data["runs"][0]["finished"], data["reload_seconds"] is not None

    looks = follow([unfinished], output)
    next(looks)
    assert is_finished_and_reloads() == (False, True)
    looks.close()  # as Ctrl-C does
    assert is_finished_and_reloads() == (False, False)
    looks = follow([unfinished], output)
    next(looks)
    shutil.copy(runs[0] / "metrics.json", unfinished)
    assert len(list(looks)) == 1
    assert is_finished_and_reloads() == (True, False)
    said = llmkit("report", runs[0], "--follow", "--output", output).stdout
    assert said.count("written: ") == 1


def test_a_report_of_a_folder_that_is_not_a_run_is_refused(llmkit, tmp_path):
    result = llmkit("report", tmp_path)
    assert result.exit_code == 2
    assert "not a run; name the folder" in result.stderr
    result = llmkit("report")
    assert result.exit_code == 2
