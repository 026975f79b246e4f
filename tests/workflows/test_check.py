"""`llmkit check`: every planted fault is found where it stands, and no clean row is accused."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from checked_rows import DEFAULTS, clean_rows
from rich.console import Console
from rows import TEXT, write_jsonl
from runs import forget_accelerator

from llmkit.config.recipe import load_recipe
from llmkit.runtime.devices import start_accelerator
from llmkit.workflows.training_setup import setup_training


def test_check_names_all_unreadable_rows_and_counts_the_others(check):
    rows = clean_rows(40, seed=1)
    rows[2] = {"document": 5, "summary": "s"}
    rows[9] = {"document": "d"}
    code, report = check(rows)
    assert code == 2
    (finding,) = report["findings"]
    assert (finding["kind"], finding["severity"]) == ("unreadable", "error")
    assert [Path(row.split(": ")[0]).name for row in finding["rows"]] == [
        "train.jsonl:3",
        "train.jsonl:10",
    ]
    assert report["splits"]["train"]["rows"] == {"whole": 38, "unreadable": 2}


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_row_of_a_table_that_is_not_utf_8_is_named(llmkit, tmp_path, suffix):
    delimiter = "\t" if suffix == ".tsv" else ","
    lines = [f'"{row["document"]}"{delimiter}s' for row in clean_rows(90, seed=1)]
    lines[7] += " Zürich"
    lines[9] = f'"two\nlines, the second bad: ü"{delimiter}s'
    lines[20] = "\0" + lines[20].replace('"', "").replace(",", "")
    content = "\n".join([delimiter.join(("document", "summary")), *lines, ""]).encode("latin-1")
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    result = llmkit("check", "summarize", f"data.train={path}", *DEFAULTS, "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    (finding,) = (f for f in report["findings"] if f["kind"] == "unreadable")
    assert [Path(row.split(": ")[0]).name for row in finding["rows"]] == [
        f"rows{suffix}:9",
        f"rows{suffix}:12",
        f"rows{suffix}:23",
    ]


def test_a_split_of_left_out_rows_is_still_shown(check):
    code, report = check([{"document": "", "summary": "s"}] * 40)
    assert code == 2
    assert report["splits"]["train"]["rows"]["empty"] == 40
    assert report["num_steps"] == 0
    assert "most left out" in {finding["kind"] for finding in report["findings"]}


def test_an_unreadable_row_is_counted_once_for_splits_by_hash(llmkit, tmp_path):
    rows = clean_rows(80, seed=1)
    rows[0] = {"document": 5}
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    result = llmkit("check", "summarize", f"data.train={path}", *DEFAULTS, "--json")
    assert result.exit_code == 2
    report = json.loads(result.stdout)
    assert [(f["split"], f["kind"]) for f in report["findings"]] == [("train", "unreadable")]
    assert sum(sum(split["rows"].values()) for split in report["splits"].values()) == 80


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ((), "8,192 tokens"),
        (("train.method=lora", "train.micro_batch_size=2"), "2 rows"),
        (("train.activation_checkpointing=true",), "activation checkpointing on"),
    ],
)
def test_check_prints_the_plan_of_the_training_as_finetune_does(
    llmkit, tiny_gpt2, tmp_path, settings, shown
):
    path = write_jsonl(tmp_path / "rows.jsonl", clean_rows(40, seed=1))
    arguments = ("summarize", f"data.train={path}", f"model={tiny_gpt2}", *DEFAULTS, *settings)
    checked = llmkit("check", *arguments)
    assert checked.exit_code == 0, checked.output
    forget_accelerator()
    recipe = load_recipe("summarize", overrides=arguments[1:])
    console = Console(file=StringIO(), width=200)
    accelerator = start_accelerator("auto", "auto", 0)
    setup = setup_training(recipe, accelerator, console)
    prepared = console.file.getvalue().splitlines()
    (steps,) = [line for line in prepared if line.startswith("steps ")]
    (memory,) = [line for line in prepared if line.startswith("memory ")]
    assert shown in steps + memory
    assert steps in checked.output
    assert memory.rpartition("; ")[2] in checked.output, "activation checkpointing"
    report = json.loads(llmkit("check", *arguments, "--json").stdout)
    assert report["micro_batch_size"] == setup.schedule.limit.rows
    assert report["memory"] == setup.memory.usage.parts(setup.schedule.largest_size(0))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("data.columns.document=article",), "no column 'article'"),
        (("evaluation.metric=nonsense",), "summarize has no score 'nonsense'"),
        (
            ("data.max_length=20", "generation.max_new_tokens=19"),
            "leaves no room for the completion",
        ),
        (("train.freeze_layers=99",), "train.freeze_layers: 99 leaves nothing to train"),
        (("data.template={document} ",), "data.template: it ends in white space"),
    ],
)
def test_check_refuses_what_finetune_would_refuse(llmkit, tmp_path, arguments, expected):
    path = write_jsonl(tmp_path / "rows.jsonl", clean_rows(80, seed=1))
    result = llmkit("check", "summarize", f"data.train={path}", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_each_mixed_set_is_counted_and_many_passes_are_warned_of(llmkit, tmp_path):
    web = write_jsonl(tmp_path / "web.jsonl", [{"text": f"{TEXT[i % 3]} {i}"} for i in range(60)])
    books = write_jsonl(tmp_path / "books.jsonl", [{"text": TEXT[0]}, {"text": ""}])
    mix = (f"data.mix.books.train={books}", "data.mix.books.share=0.5")
    result = llmkit("check", "pretrain", f"data.train={web}", *mix, "data.max_length=32")
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    assert "mix.books" in output
    assert re.search(r"mix train: [45]\d\.\d% of the tokens; \d+ encoded rows per epoch", output)
    assert re.search(r"mix books: [45]\d\.\d% of the tokens", output)
    assert re.search(r"warning: data.mix: an epoch makes \d+\.\d passes over books", output)
    assert "1 row: a text is empty" in output
