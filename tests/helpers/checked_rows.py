"""Rows for `llmkit check`, and what it finds in them."""

import json
import random
from pathlib import Path

from rows import TEXT, write_jsonl

WORDS = sorted({word for text in TEXT for word in text.lower().split()})


def sentence(rng: random.Random, length: int = 14) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def clean_rows(count: int, seed: int) -> list[dict]:
    rng = random.Random(seed)
    return [{"document": sentence(rng, 20), "summary": sentence(rng, 5)} for _ in range(count)]


def conversation(asked: str, answered: str, **more: str) -> dict:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": turns, **more}


def renamed(rows: list[dict], task: str) -> list[dict]:
    if task == "chat":
        return [conversation(*row.values()) for row in rows]
    names = {"summarize": ("document", "summary"), "translate": ("en", "de")}
    names |= {"qa": ("context", "question"), "pretrain": ("text", "rest")}
    names |= {"reason": ("question", "answer"), "instruct": ("instruction", "output")}
    rows = [dict(zip(names[task], row.values(), strict=True)) for row in rows]
    return [{**row, "answers": "none"} for row in rows] if task == "qa" else rows


DEFAULTS = ("data.max_length=128", "generation.max_new_tokens=20")


def found(report: dict, kind: str, split: str = "train") -> set[str]:
    """Names (file:line) of the rows found odd in this way."""
    rows = [
        row
        for finding in report["findings"]
        if (finding["kind"], finding["split"]) == (kind, split)
        for row in finding["rows"]
    ]
    return {Path(row).name for row in rows}


def check_rows(llmkit, folder, train, test=None, *arguments, task="summarize"):
    """Check rows as train and test, with clean ones for validation, and for test if it is None;
    returns the exit code and the JSON."""
    files = {
        "train": train,
        "validation": renamed(clean_rows(10, seed=7), task),
        "test": renamed(clean_rows(10, seed=8), task) if test is None else test,
    }
    paths = [write_jsonl(folder / f"{split}.jsonl", rows) for split, rows in files.items()]
    named = [f"data.{path.stem}={path}" for path in paths]
    result = llmkit("check", task, *named, *DEFAULTS, *arguments, "--json")
    assert result.exit_code in (0, 2), result.output
    return result.exit_code, json.loads(result.stdout)
