"""The table of exports."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from llmkit.export.record import ExportRecord
from llmkit.export.verification import Verification
from llmkit.reports.export import export_section, header, lines, show_exports
from llmkit.reports.html_data import export_tables
from llmkit.runs.folder import exports_dir
from llmkit.scoring.significance import Difference


@pytest.fixture
def record():
    original = Verification(
        "llmkit", 4_400_000, 0, 0, 0, 100, "rougeL", 99.2, (98.8, 99.6), None, 900
    )
    export = replace(
        original,
        tool="llama.cpp",
        num_bytes=1_200_000,
        logit_difference=0.0123,
        logit_error=0.0021,
        kl=0.00035,
        identical_texts=99.5,
        score=98.7,
        interval=(98, 99.3),
        change=Difference(-0.5, -1.25, 0.25, 0.3, 1.0),
        tokens_per_second=1234.4,
        weight_error=0.0072,
    )
    return ExportRecord("gguf:q8_0", 200, original, export)


def test_an_export_is_a_line_below_its_model(record):
    names = [
        "", "size", "logits", "error", "KL", "weights", "texts", "ROUGE-L", "difference",
        "tokens/s",
    ]  # fmt: skip
    assert header("rougeL") == names
    original, export = lines([record])
    assert original == [
        "original", "4.4 MB", "", "", "", "", "", "99.20\n98.8-99.6", "", "900",
    ]  # fmt: skip
    assert export == [
        "gguf:q8_0", "1.2 MB", "1.2e-02", "0.21%", "3.5e-04", "0.72%", "99.5%",
        "98.70\n98.0-99.3", "-0.50\n-1.25 to +0.25", "1,234",
    ]  # fmt: skip


def test_the_section_of_the_card_is_a_markdown_table(record):
    section = export_section(record)
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {11}
    assert "opened by llama.cpp; 200 test rows" in section


def test_the_page_has_a_table_for_each_set_of_test_rows(record, tmp_path):
    """Even for sets of as many rows, on which the model of the run has different scores."""
    other = replace(record.original, score=45.6)
    for name, original, num_rows in (
        ("gguf:f16", record.original, 200), ("gguf:q8_0", record.original, 200),
        ("onnx:float32", other, 200), ("safetensors:bf16", record.original, 20),
    ):  # fmt: skip
        folder = exports_dir(tmp_path) / name.replace(":", "-")
        folder.mkdir(parents=True)
        ExportRecord(name, num_rows, original, record.export).write(folder)
    tables = export_tables(tmp_path)
    assert [table["rows"] for table in tables] == [20, 200, 200]
    assert [[line[0] for line in table["lines"]] for table in tables] == [
        ["original", "safetensors:bf16"], ["original", "gguf:f16", "gguf:q8_0"],
        ["original", "onnx:float32"],
    ]  # fmt: skip
    assert tables[2]["lines"][0][7] == "45.60\n98.8-99.6"


def test_the_terminal_shows_the_table_of_exports(record):
    output = io.StringIO()
    show_exports(Console(file=output, width=200), [record])
    assert "200 test rows, decoded greedily" in output.getvalue()
    assert "gguf:q8_0" in output.getvalue()
