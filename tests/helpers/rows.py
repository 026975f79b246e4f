"""Rows that tests train on."""

import csv
import json
from pathlib import Path

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
LABELS = ("bad", "good, really", "Größe")
TEXT = [
    "The ferry left the harbour at noon. Mara Linden waited on the pier with two grey geese.",
    "A man in a red coat sold 12 apples, 3 loaves of bread and a map of Brackwater for nothing.",
    "Who opened the mill? Otto Brandt did, on Friday, and nobody else came. The dog slept.",
] * 3


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def summary_rows(count: int) -> list[dict]:
    return [
        {"id": f"r{i}", "document": f"{TEXT[i % 3]} Row {i}.", "summary": f"Ferry {i} left."}
        for i in range(count)
    ]


def write_csv(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
