"""The report of `check` on a terminal: roles of texts, counts, summary."""

import random
from io import StringIO

import pytest
from browser import BROWSER, overflowing_widths
from checked_rows import DEFAULTS, clean_rows, sentence
from rich.console import Console
from rows import write_jsonl

from llmkit.data.findings import Finding
from llmkit.data.preview import Check, Piece, Sample
from llmkit.reports.check import _html_finding, escape_controls, show_sample, summary
from llmkit.reports.html import ASSETS

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


def test_supervised_and_truncated_text_have_colors_of_their_own():
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=80)
    pieces = [
        Piece("Read: ", "prompt"),
        Piece("much", "truncated"),
        Piece(" so<|endoftext|>", "supervised"),
    ]
    show_sample(console, Sample("rows.jsonl:1", "prompt truncated", pieces))
    shown = console.file.getvalue()
    assert "\x1b[2mRead: \x1b[0m" in shown
    assert "\x1b[9;31mmuch\x1b[0m" in shown
    assert "\x1b[1;32m so<|endoftext|>\x1b[0m" in shown


def test_control_characters_of_rows_do_not_reach_the_terminal():
    assert escape_controls("a\x1b[31m\u202e\tb\n") == "a\\x1b[31m\\u202e\tb\n"


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], "no problems found"),
        (["note"], "1 note"),
        (["note", "error", "warning", "error"], "2 errors, 1 warning, 1 note"),
    ],
)
def test_the_summary_counts_problems_the_worst_first(severities, expected):
    kinds = {"note": "unanswerable", "warning": "repeated", "error": "same id"}
    findings = [Finding("test", kinds[severity], ["a:1"]) for severity in severities]
    check = Check(None, [], {}, findings, [], None)
    assert summary(check) == expected


def test_findings_that_name_the_first_rows_only_have_the_others_folded_below():
    few, many = (Finding("test", "same id", [f"<a>:{i}" for i in range(n)]) for n in (2, 9))
    assert "<details>" not in _html_finding(few)
    html = _html_finding(many)
    assert html.count("<li>&lt;a&gt;:") == 9
    assert "<a>" not in html


def test_any_terminal_can_show_any_row(tmp_path, fork_server):
    rows = clean_rows(80, seed=1)
    for row in rows:
        row["document"] = f"ร้าน \x1b[31m {row['document']}"
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    environment = {**fork_server.environment, "PYTHONIOENCODING": "latin-1"}
    process = fork_server.start(
        ("check", "summarize", f"data.train={path}"), cwd=tmp_path, environment=environment
    )
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert r"\u0e23" in output
    assert "\x1b" not in output


def test_the_terminal_shows_rows_counts_and_findings(llmkit, tmp_path):
    rows = clean_rows(90, seed=1)
    for row in rows[:3]:
        row["document"] = "<b>" + row["document"] + sentence(random.Random(row["document"]), 200)
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    arguments = ("check", "summarize", f"data.train={path}", *DEFAULTS)
    result = llmkit(*arguments, "--html", "page.html")
    assert result.exit_code == 0, result.output
    roles = ("[prompt]", "[truncated]", "[supervised]")
    for expected in (*roles, "<|endoftext|>", "rows read", " note"):
        assert expected in result.output
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert '<span class="part-supervised">' in page
    assert (ASSETS / "page.css").read_text("utf-8") in page, "the style of the report"
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "://" not in page
    result = llmkit(*arguments, "--html", path)
    assert result.exit_code == 2
    assert "name a file that ends in .html" in result.stderr
    result = llmkit(*arguments, "--html", "missing/page.html")
    assert result.exit_code == 2
    assert "--html: there is no folder missing" in result.stderr


@needs_browser
def test_the_page_never_scrolls_sideways(llmkit, tmp_path):
    rows = clean_rows(20, seed=1)
    rows += [*rows[:12], {"document": "x" * 400, "summary": "y" * 400}]  # repeated and unbroken
    path = write_jsonl(tmp_path / f"{'rows' * 40}.jsonl", rows[::-1])
    template = "data.template=" + "z" * 100 + " {document}"
    arguments = ("check", "summarize", f"data.train={path}", *DEFAULTS, template)
    result = llmkit(*arguments, "--html", "page.html")
    assert result.exit_code == 0, result.output
    page = tmp_path / "page.html"
    assert all(each in page.read_text("utf-8") for each in ("y" * 50, "z" * 100, "<details>"))
    assert overflowing_widths(page) == []
