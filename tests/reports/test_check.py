"""The report of `check` on a terminal: roles of texts, counts, summary."""

from io import StringIO

import pytest
from rich.console import Console

from llmkit.data.findings import Finding
from llmkit.data.preview import Check, Piece, Sample
from llmkit.reports.check import _html_finding, printable, show_sample, summary


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
    assert printable("a\x1b[31m\u202e\tb\n") == "a\\x1b[31m\\u202e\tb\n"


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
    check = Check(None, [], {}, findings, [], 0, 0.0, None)
    assert summary(check) == expected


def test_findings_that_name_the_first_rows_only_have_the_others_folded_below():
    few, many = (Finding("test", "same id", [f"<a>:{i}" for i in range(n)]) for n in (2, 9))
    assert "<details>" not in _html_finding(few)
    html = _html_finding(many)
    assert html.count("<li>&lt;a&gt;:") == 9
    assert "<a>" not in html
