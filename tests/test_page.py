"""The report page of real runs, in a real browser, and what is in it."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import summary_rows, write_jsonl

from llmkit.page import POINTS, follow, picked, report_page, thin

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> & \u2028"

# What a reader would do, and what came of it, as JSON in the page's title.
ACTIONS = """
<script>
const found = { errors: window.errors };
found.headings = [...document.querySelectorAll("h2")].map((e) => e.textContent);
found.curves = document.querySelectorAll("polyline").length;
found.points = document.querySelectorAll("circle.point").length;
found.tokens = document.querySelectorAll("span.token").length;
found.tables = document.querySelectorAll("table").length;
found.hostile = document.querySelectorAll("main img, main script").length;
const sort = [...document.querySelectorAll("th button")].find((e) => e.textContent === "rougeL" &&
  e.closest("table").querySelectorAll("tbody tr").length > 2);
const column = () => [...sort.closest("table").querySelectorAll("tbody tr")].map((row) =>
  parseFloat(row.children[1].firstChild.textContent));
sort.click(); found.falling = column();
sort.click(); found.rising = column();
const theme = document.getElementById("theme");
const ground = () => getComputedStyle(document.body).backgroundColor;
theme.click(); found.light = ground();
theme.click(); found.dark = ground();
const curve = document.querySelector("svg");
curve.dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
found.hover = curve.closest("figure").querySelector("output").textContent;
found.requests = performance.getEntriesByType("resource").length;
found.wide = document.documentElement.scrollWidth > window.innerWidth;
document.title = JSON.stringify(found);
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
    """Two short runs, with a text that would like to be a program."""
    from click.testing import CliRunner

    from llmkit import cli

    folder = tmp_path_factory.mktemp("runs")
    rows = summary_rows(60)
    for row in rows:
        row["document"] += HOSTILE
    write_jsonl(folder / "rows.jsonl", rows)
    for name in ("one", "two"):
        arguments = [
            "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={folder / 'rows.jsonl'}",
            "max_length=120", "train.epochs=null", "train.max_steps=4", "train.log_every=1",
            "train.global_batch_size=4", "evaluation.every=2", "generation.max_new_tokens=5",
            "--run-dir", str(folder / name),
        ]  # fmt: skip
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 0, result.output
    return [folder / "one", folder / "two"]


def visit(page: str, folder, width: int) -> dict:
    """Open the page in a window of that width and act as a reader would."""
    path = folder / "page.html"
    head, body = page.split("<header>")
    path.write_text(f"{head}{CATCH}<header>{body.replace('</html>', f'{ACTIONS}</html>')}", "utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL).group(1)
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@needs_browser
@pytest.mark.parametrize(("count", "width"), [(1, 1200), (2, 1200), (1, 500)])
def test_a_reader_sees_all_of_it_and_nothing_goes_out(runs, tmp_path, count, width):
    found = visit(report_page(runs[:count]), tmp_path, width)
    assert found["errors"] == []
    assert found["requests"] == 0
    assert found["hostile"] == 0
    headings = " ".join(found["headings"])
    for expected in (
        "Scores",
        "Curves",
        "Predictions",
        "All predictions",
        "Scores by group",
        "Data",
        "Settings",
    ):
        assert expected in headings
    assert ("Side by side" in headings) == (count == 2)
    assert found["curves"] >= 6 * count
    assert found["tables"] >= 3
    assert found["points"] >= count
    assert found["tokens"] >= 10
    assert found["falling"] == sorted(found["falling"], reverse=True)
    assert found["rising"] == sorted(found["rising"])
    assert len(set(found["rising"])) > 1
    assert found["light"] != found["dark"]
    assert found["hover"].startswith("step 1")
    assert not found["wide"], "the page scrolls sideways"


def test_the_page_stands_alone_and_is_small(runs):
    page = (runs[0] / "report.html").read_text("utf-8")
    assert len(page.encode()) < 2_000_000
    assert not re.search(r"(src|href)\s*=|@import|url\(", page.split('id="data"')[0])
    assert page.count("<script") == 2
    assert "Lead-3" in page or "lead-3" in page


def test_a_run_is_followed_until_it_has_finished(runs, tmp_path):
    unfinished = tmp_path / "run"
    shutil.copytree(runs[0], unfinished)
    (unfinished / "metrics.json").rename(tmp_path / "metrics.json")
    (unfinished / "predictions.jsonl").unlink()
    log = unfinished / "metrics.jsonl"
    log.write_text(log.read_text("utf-8") + '{"step": 5, "lo', "utf-8")  # being written
    output = tmp_path / "page.html"
    looks = follow([unfinished], output)
    next(looks)
    assert '"finished": false' in output.read_text("utf-8")
    (tmp_path / "metrics.json").rename(unfinished / "metrics.json")
    assert len(list(looks)) == 1
    assert '"finished": true' in output.read_text("utf-8")


def test_long_runs_and_texts_are_cut_to_a_page():
    points = [{"step": i} for i in range(5 * POINTS + 3)]
    assert len(thin(points)) <= POINTS + 1
    assert thin(points)[-1] == points[-1]
    assert thin([]) == []
    rows = [
        {"id": str(i), "prompt": "p" * 10**5, "prediction": "x", "references": ["y"], "score": i}
        for i in range(100)
    ]
    shown = picked(rows, higher_is_better=True)
    assert [row["score"] for row in shown["best"]] == list(range(99, 89, -1))
    assert [row["score"] for row in shown["worst"]] == list(range(10))
    assert all(len(row["prompt"]) < 5000 for each in shown.values() for row in each)
    assert picked(rows, higher_is_better=False)["best"][0]["score"] == 0


def test_what_is_no_run_is_refused(llmkit, tmp_path):
    result = llmkit("report", tmp_path)
    assert result.exit_code == 2
    assert "no run; name the folder" in result.stderr
    result = llmkit("report")
    assert result.exit_code == 2
